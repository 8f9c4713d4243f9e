internal import ByteIO

/// What the journal beside an output says of work that was begun there.
public struct SharedWork: Sendable {
  /// In how many parts; nil for the work of one process.
  public let parts: Int?
  /// The command's arguments, as they were given to the first part.
  public let arguments: [String]
  private let workingDirectory: String

  /// Nil when no work was begun there.
  public init?(of output: String) {
    guard let begun = JournalDirectory(of: output).begun else { return nil }
    parts = begun.identity.parts
    arguments = begun.arguments
    workingDirectory = begun.workingDirectory
  }

  /// Removes what a process that was killed right after publication has left of its journal.
  /// - Throws: `FileFailure`.
  public static func tidy(_ output: String) throws { try Workspace.tidy(output) }

  /// The path that the command meant.
  public func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : workingDirectory + "/" + path }
}
