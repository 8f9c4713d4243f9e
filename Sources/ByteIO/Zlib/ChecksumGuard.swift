internal import Synchronization

/// Checks the CRC-32 of stored content while its bytes are read for other reasons: pieces are checked as they come, in any
/// order and from any thread, and joined until they are the whole. What pieces left out, or brought in a way that does not
/// join, is read once more by `prove`.
public final class ChecksumGuard: Sendable {
  private struct State {
    var runs: ChecksumRuns
    /// CRC of the whole, once it is known.
    var found: UInt32?
  }

  private let byteCount: UInt64
  private let name: String
  /// Of the content in the file.
  private let offset: UInt64
  /// CRC-32 of the content as the file states it.
  public let expected: UInt32
  private let state: Mutex<State>

  /// So many runs are remembered, half a mebibyte of them: enough to read a matrix of 16,384 columns column by column.
  /// Further pieces are left to `prove`.
  private static let runLimit = 16_384
  private static let chunkByteCount: UInt64 = 1 << 20

  /// - Parameters:
  ///   - name: what the bytes are, for messages.
  ///   - byteCount: of the content.
  ///   - offset: where it is in the file, for messages.
  ///   - expected: CRC-32 of the content as the file states it.
  public init(_ name: String, byteCount: UInt64, offset: UInt64, expected: UInt32) {
    (self.name, self.byteCount, self.offset, self.expected) = (name, byteCount, offset, expected)
    state = Mutex(
      State(runs: ChecksumRuns(byteCount: byteCount, limit: Self.runLimit), found: byteCount == 0 ? 0 : nil))
  }

  /// Takes bytes that were read from `offset` of the content on.
  /// - Throws: `ParseFailure` when the content is complete and its CRC is another, then and ever after.
  public func take(_ bytes: Span<UInt8>, at offset: UInt64) throws(ParseFailure) {
    if try isProven() || bytes.count == 0 { return }
    let checksum = CRC32.checksum(bytes)
    state.withLock { state in
      guard state.found == nil else { return }
      state.runs.insert(offset..<offset + UInt64(bytes.count), checksum: checksum)
      guard let found = state.runs.checksum else { return }
      state = State(runs: ChecksumRuns(byteCount: byteCount), found: found)
    }
    _ = try isProven()
  }

  /// Reads what has not been checked yet.
  public func prove(_ read: (_ offset: UInt64, _ buffer: inout MutableSpan<UInt8>) throws -> Void) throws {
    if try isProven() { return }
    var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, Self.chunkByteCount)))
    while let gap = state.withLock({ $0.found == nil ? $0.runs.firstGap : nil }) {
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
        "the content's CRC-32 is \(String(found, radix: 16)), the file says \(String(expected, radix: 16))",
        item: name, offset: offset, advice: "the file is damaged: download it again")
    }
    return true
  }
}
