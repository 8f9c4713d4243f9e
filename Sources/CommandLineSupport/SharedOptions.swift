public import ArgumentParser
internal import Foundation
public import Kernels

/// Options that both programs have.
public struct SharedOptions: ParsableArguments {
  @Option(help: "Threads to use. The result does not depend on it.")
  public var threads: Int = ProcessInfo.processInfo.activeProcessorCount

  @Option(name: .customLong("max-memory"), help: "Upper bound of resident memory, such as 4GiB.")
  public var maximumMemory: ByteCountArgument = ByteCountArgument(4 << 30)

  @Option(
    name: .customLong("instruction-set"),
    help:
      "Use no better instructions than these: \(InstructionSet.names). The bytes of a conversion do not depend on it; a forward pass agrees to its stated accuracy."
  )
  public var instructionSet: InstructionSet?

  @Flag(help: "Print the result as one JSON document and nothing else on standard output.")
  public var json = false

  @Flag(help: "Print no progress and no remarks.")
  public var quiet = false

  public init() {}

  public mutating func validate() throws {
    guard (1...1024).contains(threads) else { throw ValidationError("--threads must be between 1 and 1024") }
    guard maximumMemory.bytes >= 64 << 20 else { throw ValidationError("--max-memory must be at least 64MiB") }
    if let instructionSet {
      guard InstructionSet.available.contains(instructionSet) else {
        throw ValidationError("--instruction-set \(instructionSet): this processor has \(InstructionSet.best) at most")
      }
      InstructionSet.limit(to: instructionSet)
    }
  }

  public func console(program: String) -> Console { Console(program: program, isQuiet: quiet) }
}

extension InstructionSet: ExpressibleByArgument {
  public init?(argument: String) {
    guard let found = Self.allCases.first(where: { $0.description == argument.lowercased() }) else { return nil }
    self = found
  }

  public static var allValueStrings: [String] { allCases.map(\.description) }

  fileprivate static let names = allValueStrings.joined(separator: ", ")
}
