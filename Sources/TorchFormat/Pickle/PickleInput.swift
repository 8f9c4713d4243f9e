internal import ByteIO

/// The bytes of a pickle, read front to back; every read is one checked step.
struct PickleInput: Sendable {
  private let bytes: [UInt8]
  /// Offset of the bytes in the file, for failures.
  private let base: UInt64
  private(set) var offset: Int

  init(_ bytes: [UInt8], base: UInt64, startingAt offset: Int = 0) {
    self.bytes = bytes
    self.base = base
    self.offset = offset
  }

  mutating func read<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(ParseFailure) -> T {
    var value: T = 0
    var shift = 0
    for byte in try slice(UInt64(T.bitWidth / 8)) {
      value |= T(truncatingIfNeeded: byte) << shift
      shift += 8
    }
    return value
  }

  mutating func slice(_ count: UInt64) throws(ParseFailure) -> ArraySlice<UInt8> {
    guard count <= UInt64(bytes.count - offset) else {
      throw failure("the pickle is cut short: \(count) bytes expected, \(bytes.count - offset) left")
    }
    defer { offset += Int(count) }
    return bytes[offset..<offset + Int(count)]
  }

  /// A failure at `place` among the bytes, or where reading stopped.
  func failure(_ message: String, at place: Int? = nil) -> ParseFailure {
    ParseFailure(message, offset: base + UInt64(place ?? offset))
  }
}
