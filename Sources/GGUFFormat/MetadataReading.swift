internal import ByteIO

extension HeaderInput {
  /// `count` keys with their values.
  mutating func metadata(count: UInt64) throws -> GGUFMetadata {
    var metadata = GGUFMetadata()
    for _ in 0..<count {
      let start = offset
      let key = try name("a key", limit: GGUFLimits.keyByteCount)
      do {
        let value = try value()
        guard metadata.append(key, value, offset: start) else {
          throw ParseFailure("the key appears twice, which leaves open which value is meant", offset: start)
        }
      } catch var failure as ParseFailure {
        failure.item = failure.item ?? key
        throw failure
      }
    }
    return metadata
  }

  private mutating func value() throws -> GGUFValue {
    let type = try valueType("the value's type")
    switch type {
    case .string: return .string(try string())
    case .array: return .array(try array())
    default:
      let bits = try bits(byteCount: type.byteCount ?? 0, "a value of type \(type)")
      guard let value = GGUFValue(type, bits: bits) else { preconditionFailure("all other types have a fixed size") }
      return value
    }
  }

  private mutating func valueType(_ what: String) throws -> GGUFValueType {
    let start = offset
    let number: UInt32 = try integer(what)
    guard let type = GGUFValueType(rawValue: number) else {
      throw ParseFailure(
        "\(what) has the number \(number), known are 0 to 12", offset: start,
        advice: "the size of such a value is unknown: the file is damaged or from a later version")
    }
    return type
  }

  private mutating func stringLength() throws -> UInt64 {
    let start = offset
    let count: UInt64 = try integer("the length of a string")
    guard count <= GGUFLimits.stringByteCount else {
      throw ParseFailure(
        "a string has \(count) bytes, at most \(GGUFLimits.stringByteCount) are allowed", offset: start)
    }
    return count
  }

  private mutating func string() throws -> GGUFString {
    var bytes: [UInt8] = []
    try take(try stringLength(), into: &bytes, "a string")
    return GGUFString(bytes: bytes)
  }

  /// Elements of one fixed size, or strings. Arrays of arrays are refused as in llama.cpp, so depth is one.
  private mutating func array() throws -> GGUFArray {
    let start = offset
    let type = try valueType("the type of an array's elements")
    guard type != .array else {
      throw ParseFailure("an array of arrays, which llama.cpp refuses too", offset: start)
    }
    let countOffset = offset
    let count: UInt64 = try integer("the number of an array's elements")
    guard count <= GGUFLimits.arrayCount else {
      throw ParseFailure(
        "an array has \(count) elements, at most \(GGUFLimits.arrayCount) are allowed", offset: countOffset)
    }
    // A string has at least its length.
    try require(count * UInt64(type.byteCount ?? 8), "an array of \(count) \(type)")
    return type == .string ? try strings(Int(count)) : try scalars(Int(count), type)
  }

  private mutating func scalars(_ count: Int, _ type: GGUFValueType) throws -> GGUFArray {
    var bytes: [UInt8] = []
    let size = UInt64(count) * UInt64(type.byteCount ?? 0)
    bytes.reserveCapacity(Int(min(size, GGUFLimits.pieceByteCount)))
    try take(size, into: &bytes, "an array")
    if type == .bool { for index in bytes.indices { bytes[index] = bytes[index] == 0 ? 0 : 1 } }
    return GGUFArray(elementType: type, count: count, bytes: bytes)
  }

  private mutating func strings(_ count: Int) throws -> GGUFArray {
    var bytes: [UInt8] = []
    var ends: [Int] = []
    // Memory grows with what was read: a sparse file has room for any count.
    ends.reserveCapacity(min(count, Int(GGUFLimits.pieceByteCount)))
    for _ in 0..<count {
      let length = try stringLength()
      bytes.append(littleEndian: length, byteCount: 8)
      try take(length, into: &bytes, "a string of an array")
      ends.append(bytes.count)
    }
    return GGUFArray(stringBytes: bytes, ends: ends)
  }
}
