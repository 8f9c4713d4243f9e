internal import ByteIO
internal import Synchronization

/// Checks a record's CRC-32 while its bytes are read for other reasons: pieces are checked as they come, in any order and
/// from any thread, and joined when they cover the record. Bytes read twice count once.
final class RecordGuard: Sendable {
  private struct Piece {
    let offset: UInt64
    let byteCount: UInt64
    let checksum: UInt32
  }

  private enum State {
    case open([UInt64: Piece], covered: UInt64)
    /// Pieces overlapped; the record has to be read once more.
    case unclear
    case proven
  }

  let byteCount: UInt64
  private let expected: UInt32
  private let state: Mutex<State>

  init(byteCount: UInt64, checksum: UInt32) {
    self.byteCount = byteCount
    expected = checksum
    state = Mutex(byteCount == 0 ? .proven : .open([:], covered: 0))
  }

  var isProven: Bool {
    state.withLock { if case .proven = $0 { true } else { false } }
  }

  /// Takes bytes that were read from `offset` on. Pieces that overlap others without being the same are left out; what
  /// they would have proven is read again in the end.
  /// - Throws: `ParseFailure` when the record is complete and its CRC is another.
  func take(_ bytes: Span<UInt8>, at offset: UInt64) throws(ParseFailure) {
    if bytes.count == 0 || isProven { return }
    let piece = Piece(offset: offset, byteCount: UInt64(bytes.count), checksum: CRC32.checksum(bytes))
    let found: UInt32? = state.withLock { state in
      guard case .open(var pieces, var covered) = state, pieces[offset] == nil else { return nil }
      pieces[offset] = piece
      covered += piece.byteCount
      state = .open(pieces, covered: covered)
      guard covered >= byteCount else { return nil }
      let whole = Self.joined(pieces, byteCount)
      state = whole == nil ? .unclear : .proven
      return whole
    }
    try compare(found)
  }

  private func compare(_ found: UInt32?) throws(ParseFailure) {
    guard let found, found != expected else { return }
    throw ParseFailure(
      "the record's CRC-32 is \(String(found, radix: 16)), the archive says \(String(expected, radix: 16))",
      advice: "the file is damaged: download it again")
  }

  private static func joined(_ pieces: [UInt64: Piece], _ byteCount: UInt64) -> UInt32? {
    var next: UInt64 = 0
    var checksum: UInt32 = 0
    for piece in pieces.values.sorted(by: { $0.offset < $1.offset }) {
      guard piece.offset == next else { return nil }
      checksum = CRC32.combined(checksum, piece.checksum, secondByteCount: piece.byteCount)
      next += piece.byteCount
    }
    return next == byteCount ? checksum : nil
  }

  /// Reads the whole record, unless it is proven already.
  func prove(_ read: (_ offset: UInt64, _ buffer: inout MutableSpan<UInt8>) throws -> Void) throws {
    if isProven { return }
    var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, 1 << 20)))
    var checksum: UInt32 = 0
    var offset: UInt64 = 0
    while offset < byteCount {
      let count = Int(min(UInt64(buffer.count), byteCount - offset))
      var span = buffer.mutableSpan
      var part = span.part(0..<count)
      try read(offset, &part)
      checksum = CRC32.checksum(buffer.span.extracting(0..<count), startingWith: checksum)
      offset += UInt64(count)
    }
    state.withLock { $0 = .proven }
    try compare(checksum)
  }
}
