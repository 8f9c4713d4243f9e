internal import CKernels

/// Numbers taken apart into planes of bytes, or of nibbles where a number is a byte: the plane with the exponents, which are
/// nearly the same all over a tensor, and those with mantissas and signs, which are noise.
///
/// Every number is rotated left by one bit, so that its sign comes behind the mantissa; its bytes from the highest on are
/// the planes. See `formats/compact.md`.
public enum BytePlanes {
  /// Bytes of each plane of `count` numbers of `width` bytes.
  public static func planeByteCount(_ count: Int, width: Int) -> Int { width == 1 ? (count + 1) / 2 : count }

  /// How many planes numbers of 1, 2 or 4 bytes have.
  public static func planeCount(width: Int) -> Int { max(2, width) }

  /// - Parameters:
  ///   - numbers: little-endian, a whole number of them.
  ///   - width: bytes of one: 1, 2 or 4.
  ///   - planes: takes all planes, one behind the other.
  public static func split(_ numbers: Span<UInt8>, width: Int, into planes: inout MutableSpan<UInt8>) {
    let count = check(numbers.count, width, planes.count)
    let size = planeByteCount(count, width: width)
    numbers.withUnsafeBufferPointer { source in
      planes.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        switch width {
        case 1: ck_planes_split_8(from, count, to, to + size)
        case 2: ck_planes_split_16(from, count, to, to + size)
        default: ck_planes_split_32(from, count, to)
        }
      }
    }
  }

  /// The inverse of `split`.
  public static func join(_ planes: Span<UInt8>, width: Int, into numbers: inout MutableSpan<UInt8>) {
    let count = check(numbers.count, width, planes.count)
    let size = planeByteCount(count, width: width)
    planes.withUnsafeBufferPointer { source in
      numbers.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        switch width {
        case 1: ck_planes_join_8(from, from + size, count, to)
        case 2: ck_planes_join_16(from, from + size, count, to)
        default: ck_planes_join_32(from, count, to)
        }
      }
    }
  }

  private static func check(_ numbers: Int, _ width: Int, _ planes: Int) -> Int {
    precondition([1, 2, 4].contains(width) && numbers % width == 0, "whole numbers of 1, 2 or 4 bytes")
    let count = numbers / width
    precondition(planes == planeCount(width: width) * planeByteCount(count, width: width), "all planes")
    return count
  }
}
