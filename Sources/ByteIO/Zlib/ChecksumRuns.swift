/// The CRC-32 of bytes that come in pieces, in any order: pieces that follow one another are joined to runs, until one run
/// is all of them.
public struct ChecksumRuns: Sendable {
  private struct Run {
    var range: Range<UInt64>
    var checksum: UInt32
  }

  /// By offset; neither overlapping nor touching.
  private var runs: [Run] = []
  private let byteCount: UInt64
  private let limit: Int

  /// - Parameters:
  ///   - byteCount: of all pieces together.
  ///   - limit: so many runs are remembered; further pieces that join none are left out.
  public init(byteCount: UInt64, limit: Int = .max) {
    self.byteCount = byteCount
    self.limit = limit
  }

  /// CRC-32 of all bytes, once they are there.
  public var checksum: UInt32? {
    if byteCount == 0 { return 0 }
    guard let first = runs.first, first.range == 0..<byteCount else { return nil }
    return first.checksum
  }

  /// The first bytes that no run covers. What is taken from its start on joins the run before it.
  public var firstGap: Range<UInt64>? {
    guard let first = runs.first else { return byteCount == 0 ? nil : 0..<byteCount }
    if first.range == 0..<byteCount { return nil }
    if first.range.lowerBound > 0 { return 0..<first.range.lowerBound }
    return first.range.upperBound..<(runs.count > 1 ? runs[1].range.lowerBound : byteCount)
  }

  /// Takes a piece with its check. One that overlaps another is left out: what it has that is new stays a gap.
  public mutating func insert(_ range: Range<UInt64>, checksum: UInt32) {
    if range.isEmpty { return }
    let run = Run(range: range, checksum: checksum)
    var (low, high) = (0, runs.count)
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].range.lowerBound < range.lowerBound { low = middle + 1 } else { high = middle }
    }
    let previous = low > 0 ? runs[low - 1] : nil
    let next = low < runs.count ? runs[low] : nil
    guard (previous?.range.upperBound ?? 0) <= range.lowerBound, range.upperBound <= next?.range.lowerBound ?? .max
    else { return }
    let followsPrevious = previous?.range.upperBound == range.lowerBound
    let precedesNext = next?.range.lowerBound == range.upperBound
    switch (followsPrevious, precedesNext) {
    case (true, true):
      runs[low - 1] = Self.joined(Self.joined(runs[low - 1], run), runs[low])
      runs.remove(at: low)
    case (true, false): runs[low - 1] = Self.joined(runs[low - 1], run)
    case (false, true): runs[low] = Self.joined(run, runs[low])
    case (false, false): if runs.count < limit || range.lowerBound == 0 { runs.insert(run, at: low) }
    }
  }

  private static func joined(_ first: Run, _ second: Run) -> Run {
    let checksum = CRC32.combined(
      first.checksum, second.checksum, secondByteCount: second.range.upperBound - second.range.lowerBound)
    return Run(range: first.range.lowerBound..<second.range.upperBound, checksum: checksum)
  }
}
