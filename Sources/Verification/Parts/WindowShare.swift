public import Checkpoints

/// Which of several candidates of one command evidence is about, in the order in which they were given.
public struct CandidatePlace: Sendable, Equatable {
  /// Counted from 0.
  public let index: Int
  public let count: Int

  /// More models than one command compares.
  package static let maximumCount = 1024
  package static let only = CandidatePlace(uncheckedIndex: 0, count: 1)

  private init(uncheckedIndex index: Int, count: Int) { (self.index, self.count) = (index, count) }

  /// Nil unless 0 ≤ index < count ≤ 1,024.
  public init?(_ index: Int, of count: Int) {
    guard (0..<max(count, 0)).contains(index), count <= Self.maximumCount else { return nil }
    self.init(uncheckedIndex: index, count: count)
  }
}

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
