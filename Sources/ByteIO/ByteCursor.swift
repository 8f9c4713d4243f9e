/// Reads little-endian values from borrowed bytes, front to back. Every read is one checked step, and every failure
/// carries the offset where it happened.
public struct ByteCursor: ~Escapable {
  private let bytes: RawSpan
  /// Offset of `bytes` in the file, added to the offsets in failures.
  private let base: UInt64
  /// Bytes consumed so far.
  public private(set) var offset = 0

  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan, base: UInt64 = 0) {
    self.bytes = bytes
    self.base = base
  }

  public var remaining: Int { bytes.byteCount - offset }

  /// The next integer, little-endian.
  public mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type = T.self) throws(ParseFailure) -> T {
    let size = MemoryLayout<T>.size
    guard remaining >= size else {
      throw ParseFailure("\(size) bytes expected, \(remaining) left", offset: base + UInt64(offset))
    }
    let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
    offset += size
    return T(littleEndian: value)
  }

  /// The next `count` bytes, lent. The count is checked against what remains before anything else happens.
  @_lifetime(copy self)
  public mutating func slice(_ count: UInt64) throws(ParseFailure) -> RawSpan {
    guard let size = Int(exactly: count), size <= remaining else {
      throw ParseFailure("\(count) bytes expected, \(remaining) left", offset: base + UInt64(offset))
    }
    let part = bytes.extracting(offset..<offset + size)
    offset += size
    return part
  }
}
