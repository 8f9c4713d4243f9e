public import ArgumentParser
internal import Foundation

/// Options that both programs have.
public struct SharedOptions: ParsableArguments {
  @Option(help: "Threads to use. The result does not depend on it.")
  public var threads: Int = ProcessInfo.processInfo.activeProcessorCount

  @Option(name: .customLong("max-memory"), help: "Upper bound of resident memory, such as 4GiB.")
  public var maximumMemory: ByteCountArgument = ByteCountArgument(4 << 30)

  @Flag(help: "Print the result as one JSON document and nothing else on standard output.")
  public var json = false

  @Flag(help: "Print no progress and no remarks.")
  public var quiet = false

  public init() {}

  public mutating func validate() throws {
    guard (1...1024).contains(threads) else { throw ValidationError("--threads must be between 1 and 1024") }
    guard maximumMemory.bytes >= 64 << 20 else { throw ValidationError("--max-memory must be at least 64MiB") }
  }

  public func console(program: String) -> Console { Console(program: program, isQuiet: quiet) }
}
