/// Why a conversion was refused or stopped, apart from bad input (`ParseFailure`) and file trouble (`FileFailure`).
public struct ConversionFailure: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Kind: Sendable, Equatable {
    /// The options contradict each other or the model.
    case usage
    /// The output exists, or another run is writing it.
    case outputExists
    /// Unfinished work of another conversion is in the way.
    case otherWork
    /// Parts are missing: to be tried again when they are there.
    case unfinished
    /// The output's place is no place for it: it is the input, inside it or around it.
    case outputPlace
    /// The disk cannot hold the output.
    case noSpace
    /// The memory budget is too small.
    case memory
    /// What was written is not what was meant: our fault or the disk's.
    case selfCheck
  }

  public let kind: Kind
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }
}
