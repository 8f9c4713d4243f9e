import Foundation
import Support

/// The programs under test, run as a user runs them.
enum Program: String, Sendable {
  case convert = "llama-convert"
  case verify = "llama-verify"

  /// Beside the test bundle; else where a release build leaves it.
  var url: URL {
    let test = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: rawValue)
    if FileManager.default.isExecutableFile(atPath: test.path) { return test }
    return Fixtures.root.appending(path: ".build/release").appending(path: rawValue)
  }
}

/// What a program gave back.
struct Outcome: Sendable {
  /// The exit status, or 128 plus the signal's number.
  let status: Int32
  let stdout: String
  let stderr: String

  /// Standard error's lines.
  var messages: [String] { stderr.split(separator: "\n").map(String.init) }
  /// Standard output as one JSON object, read by Foundation; nil when it is anything else or anything more.
  var json: [String: Any]? { (try? JSONSerialization.jsonObject(with: Data(stdout.utf8))) as? [String: Any] }
}

/// A program that was started and may be waited for or sent a signal.
final class Started {
  private let process = Process()
  private let folder: TemporaryFolder

  /// - Parameter environment: variables beside those of this process.
  init(_ program: URL, _ arguments: [String], stdout: String? = nil, environment: [String: String] = [:]) throws {
    folder = try TemporaryFolder()
    // Files and not pipes: nothing blocks, whatever the program writes.
    for name in ["stdout", "stderr"] {
      guard FileManager.default.createFile(atPath: folder.file(name).path, contents: nil) else {
        throw CocoaError(.fileWriteUnknown)
      }
    }
    process.executableURL = program
    process.arguments = arguments
    if !environment.isEmpty {
      process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: stdout.map { URL(filePath: $0) } ?? folder.file("stdout"))
    process.standardError = try FileHandle(forWritingTo: folder.file("stderr"))
    try process.run()
  }

  var isRunning: Bool { process.isRunning }

  /// Waits until the program catches SIGINT.
  func waitUntilListening() {
    let status = URL(filePath: "/proc/\(process.processIdentifier)/status")
    while process.isRunning {
      let lines = (try? String(contentsOf: status, encoding: .utf8))?.split(separator: "\n") ?? []
      let mask = lines.first { $0.hasPrefix("SigCgt:") }?.dropFirst(7).trimmingCharacters(in: .whitespaces) ?? ""
      if (UInt64(mask, radix: 16) ?? 0) & 1 << UInt64(SIGINT - 1) != 0 { return }
      usleep(100)
    }
  }

  func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

  func outcome() throws -> Outcome {
    process.waitUntilExit()
    let status = process.terminationStatus
    return Outcome(
      status: process.terminationReason == .uncaughtSignal ? 128 + status : status,
      stdout: try String(contentsOf: folder.file("stdout"), encoding: .utf8),
      stderr: try String(contentsOf: folder.file("stderr"), encoding: .utf8))
  }
}

func run(_ program: Program, _ arguments: String...) throws -> Outcome { try run(program, arguments) }

func run(_ program: Program, _ arguments: [String]) throws -> Outcome {
  try Started(program.url, arguments).outcome()
}

let evaluationText = Fixtures.bundled("eval.txt").path
