internal import ByteIO
internal import Synchronization

/// Checks a record's CRC-32 while its bytes are read for other reasons: pieces are checked as they come, in any order and
/// from any thread, and joined to runs until one run is the record. What pieces left out, or brought in a way that does
/// not join, is read once more by `prove`.
final class RecordGuard: Sendable {
  private struct Run {
    var range: Range<UInt64>
    var checksum: UInt32
  }

  private struct State {
    /// By offset; neither overlapping nor touching.
    var runs: [Run] = []
    /// CRC of the whole record, once it is known.
    var found: UInt32?
  }

  private let byteCount: UInt64
  private let name: String
  /// Of the record in the file.
  private let offset: UInt64
  private let expected: UInt32
  private let state: Mutex<State>

  /// So many runs are remembered, half a mebibyte of them: enough to read a matrix of 16,384 columns column by column.
  /// Further pieces are left to `prove`.
  private static let runLimit = 16_384
  private static let chunkByteCount: UInt64 = 1 << 20

  init(_ entry: ZipEntry) {
    (name, byteCount, offset) = (entry.name, entry.byteCount, entry.dataOffset)
    expected = entry.checksum
    state = Mutex(State(found: byteCount == 0 ? 0 : nil))
  }

  /// Takes bytes that were read from `offset` on.
  /// - Throws: `ParseFailure` when the record is complete and its CRC is another, then and ever after.
  func take(_ bytes: Span<UInt8>, at offset: UInt64) throws(ParseFailure) {
    if try isProven() || bytes.count == 0 { return }
    let run = Run(range: offset..<offset + UInt64(bytes.count), checksum: CRC32.checksum(bytes))
    state.withLock { state in
      guard state.found == nil else { return }
      Self.insert(run, into: &state.runs)
      guard let first = state.runs.first, first.range == 0..<byteCount else { return }
      state = State(found: first.checksum)
    }
    _ = try isProven()
  }

  /// Reads what has not been checked yet.
  func prove(_ read: (_ offset: UInt64, _ buffer: inout MutableSpan<UInt8>) throws -> Void) throws {
    if try isProven() { return }
    var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, Self.chunkByteCount)))
    while let gap = firstGap() {
      let count = Int(min(gap.upperBound - gap.lowerBound, UInt64(buffer.count)))
      var span = buffer.mutableSpan
      var part = span.part(0..<count)
      try read(gap.lowerBound, &part)
      try take(buffer.span.extracting(0..<count), at: gap.lowerBound)
    }
    _ = try isProven()
  }

  private func isProven() throws(ParseFailure) -> Bool {
    guard let found = state.withLock({ $0.found }) else { return false }
    guard found == expected else {
      throw ParseFailure(
        "the record's CRC-32 is \(String(found, radix: 16)), the archive says \(String(expected, radix: 16))",
        item: name, offset: offset, advice: "the file is damaged: download it again")
    }
    return true
  }

  /// The first bytes that no run covers. What is read from its start on joins the run before it.
  private func firstGap() -> Range<UInt64>? {
    state.withLock { state in
      guard state.found == nil else { return nil }
      guard let first = state.runs.first else { return 0..<byteCount }
      if first.range.lowerBound > 0 { return 0..<first.range.lowerBound }
      return first.range.upperBound..<(state.runs.count > 1 ? state.runs[1].range.lowerBound : byteCount)
    }
  }

  /// A run that overlaps another is left out: what it has that is new is read again in the end.
  private static func insert(_ run: Run, into runs: inout [Run]) {
    var (low, high) = (0, runs.count)
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].range.lowerBound < run.range.lowerBound { low = middle + 1 } else { high = middle }
    }
    let previous = low > 0 ? runs[low - 1] : nil
    let next = low < runs.count ? runs[low] : nil
    guard (previous?.range.upperBound ?? 0) <= run.range.lowerBound,
      run.range.upperBound <= next?.range.lowerBound ?? .max
    else { return }
    let followsPrevious = previous?.range.upperBound == run.range.lowerBound
    let precedesNext = next?.range.lowerBound == run.range.upperBound
    switch (followsPrevious, precedesNext) {
    case (true, true):
      runs[low - 1] = joined(joined(runs[low - 1], run), runs[low])
      runs.remove(at: low)
    case (true, false): runs[low - 1] = joined(runs[low - 1], run)
    case (false, true): runs[low] = joined(run, runs[low])
    case (false, false):
      if runs.count < runLimit || run.range.lowerBound == 0 { runs.insert(run, at: low) }
    }
  }

  private static func joined(_ first: Run, _ second: Run) -> Run {
    let checksum = CRC32.combined(
      first.checksum, second.checksum, secondByteCount: second.range.upperBound - second.range.lowerBound)
    return Run(range: first.range.lowerBound..<second.range.upperBound, checksum: checksum)
  }
}
