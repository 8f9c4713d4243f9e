internal import CZlib

/// The cyclic redundancy check of zip records (ISO 3309, as in zlib): of bytes, and of bytes put one behind the other.
public enum CRC32 {
  /// The check of `bytes`, or of what `start` is the check of followed by `bytes`.
  public static func checksum(_ bytes: Span<UInt8>, startingWith start: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBufferPointer { UInt32(crc32_z(uLong(start), $0.baseAddress, $0.count)) }
  }

  /// The check of two pieces, from the check of each and the length of the second in bytes.
  public static func combined(_ first: UInt32, _ second: UInt32, secondByteCount: UInt64) -> UInt32 {
    UInt32(crc32_combine(uLong(first), uLong(second), off_t(secondByteCount)))
  }
}
