public import Checkpoints

/// Which of a text's windows one of several processes scored: part i of n has the windows i, i + n, i + 2n, … of those that
/// are taken, so that every part is spread over the text and takes about the same time.
public struct WindowShare: Sendable, Equatable {
  public let part: WorkPart
  /// Windows that all parts have together.
  public let windows: Int

  public init(_ part: WorkPart, of windows: Int) {
    self.part = part
    self.windows = windows
  }

  /// How many windows the part has.
  package var count: Int { part.index < windows ? (windows - 1 - part.index) / part.count + 1 : 0 }

  /// The part's windows, by their numbers among those that are taken, ascending.
  package var numbers: [Int] { Array(stride(from: part.index, to: windows, by: part.count)) }
}
