internal import CKernels
internal import CZlib

/// The cyclic redundancy check of zip records (ISO 3309, as in zlib): of bytes, and of bytes put one behind the other.
public enum CRC32 {
  /// The check of `bytes`, or of what `start` is the check of followed by `bytes`; by
  /// carry-less multiplication where the processor has it (ten times zlib's speed), else by zlib.
  public static func checksum(_ bytes: Span<UInt8>, startingWith start: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress, buffer.count >= 128, canFold else {
        return UInt32(crc32_z(uLong(start), buffer.baseAddress, buffer.count))
      }
      // zlib complements the register before and after.
      let folded = buffer.count & ~63
      let checksum = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16) { reduced in
        ck_crc32_fold(~start, base, folded, reduced.baseAddress)
        return crc32_z(uLong(UInt32.max), reduced.baseAddress, 16)
      }
      return UInt32(crc32_z(checksum, base + folded, buffer.count - folded))
    }
  }

  private static let canFold = ck_has_crc32_fold() != 0

  /// The check of two pieces, from the check of each and the length of the second in bytes.
  public static func combined(_ first: UInt32, _ second: UInt32, secondByteCount: UInt64) -> UInt32 {
    UInt32(crc32_combine(uLong(first), uLong(second), off_t(secondByteCount)))
  }
}
