public import ArgumentParser
public import ByteIO

/// The exit codes of both programs. Numbers from 64 on follow `sysexits.h`; pipelines decide on retries by them.
public enum ExitStatus: Int32, Sendable, CaseIterable {
  /// Done, or the gate passed.
  case success = 0
  /// The gate failed: the candidate is worse than the policy allows.
  case gateFailed = 1
  /// The gate could not decide with the text given.
  case inconclusive = 2
  /// Wrong use of the command.
  case usage = 64
  /// Bad or corrupt input.
  case badInput = 65
  /// The input is missing.
  case missingInput = 66
  /// A fault of this program.
  case bug = 70
  /// The output exists or cannot be created.
  case cannotCreate = 73
  /// Input/output error, or the disk is full.
  case inputOutput = 74
  /// Stopped by a signal; running again goes on.
  case interrupted = 75
  /// The system refused access.
  case permission = 77

  public var exitCode: ExitCode { ExitCode(rawValue) }
}

/// An error that knows its exit status.
public protocol ExitStatusError: Error {
  var exitStatus: ExitStatus { get }
}

extension ParseFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .badInput }
}

extension FileFailure: ExitStatusError {
  public var exitStatus: ExitStatus {
    switch kind {
    case .missing: .missingInput
    case .exists, .cannotCreate: .cannotCreate
    case .permission: .permission
    case .noSpace, .inputOutput: .inputOutput
    }
  }
}

extension Interrupted: ExitStatusError {
  public var exitStatus: ExitStatus { .interrupted }
}

/// A mistake in how the command was used that only shows once the input is known.
public struct UsageFailure: ExitStatusError, CustomStringConvertible {
  public let description: String
  public var exitStatus: ExitStatus { .usage }

  public init(_ description: String) { self.description = description }
}

extension ExitStatus {
  /// The status for any error; those that do not know theirs are this program's fault.
  public init(for error: any Error) {
    self = (error as? any ExitStatusError)?.exitStatus ?? .bug
  }
}
