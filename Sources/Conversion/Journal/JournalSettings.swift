/// How the work of a conversion is remembered, so that it can be gone on with after it was cut off. Nothing here decides a
/// byte of the output.
public struct JournalSettings: Sendable {
  /// What becomes of unfinished work that an earlier run has left.
  public enum Resumption: Sendable {
    /// The same conversion goes on; what another one left is removed.
    case ifSame
    /// The same conversion goes on; what another one left is an error.
    case required
    /// It is removed.
    case never
  }

  public var resumption: Resumption
  /// Seconds from one time that finished tiles are made safe on the disk to the next; 0 for after each tile.
  public var interval: Double
  /// The command that began the work, for whoever finishes it, and the directory in which its relative paths begin.
  public var arguments: [String]
  public var workingDirectory: String
  /// Told what a person should know: that work goes on, or was removed.
  public var remark: @Sendable (String) -> Void

  public init(
    resumption: Resumption = .ifSame, interval: Double = 10, arguments: [String] = [], workingDirectory: String = ".",
    remark: @escaping @Sendable (String) -> Void = { _ in }
  ) {
    self.resumption = resumption
    self.interval = interval
    self.arguments = arguments
    self.workingDirectory = workingDirectory
    self.remark = remark
  }
}
