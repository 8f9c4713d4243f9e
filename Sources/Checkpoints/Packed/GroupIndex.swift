/// The list of each input's group as layouts store it: I32, little-endian.
public enum GroupIndex {
  public static func parsed(_ bytes: [UInt8]) -> [Int32] {
    stride(from: 0, to: bytes.count - 3, by: 4).map { start in
      Int32(bitPattern: (0..<4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[start + $1]) })
    }
  }

  public static func bytes(of index: [Int32]) -> [UInt8] {
    index.flatMap { group in (0..<4).map { UInt8(truncatingIfNeeded: group >> (8 * $0)) } }
  }
}
