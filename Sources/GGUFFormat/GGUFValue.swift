/// One metadata value. Equal values have equal bytes in a file: floats are compared bit by bit.
public enum GGUFValue: Sendable {
  case uint8(UInt8)
  case int8(Int8)
  case uint16(UInt16)
  case int16(Int16)
  case uint32(UInt32)
  case int32(Int32)
  case float32(Float)
  case bool(Bool)
  case string(GGUFString)
  case array(GGUFArray)
  case uint64(UInt64)
  case int64(Int64)
  case float64(Double)

  /// A value of a fixed size from its bits; nil for strings and arrays.
  init?(_ type: GGUFValueType, bits: UInt64) {
    switch type {
    case .uint8: self = .uint8(UInt8(valueBits: bits))
    case .int8: self = .int8(Int8(valueBits: bits))
    case .uint16: self = .uint16(UInt16(valueBits: bits))
    case .int16: self = .int16(Int16(valueBits: bits))
    case .uint32: self = .uint32(UInt32(valueBits: bits))
    case .int32: self = .int32(Int32(valueBits: bits))
    case .float32: self = .float32(Float(valueBits: bits))
    case .bool: self = .bool(Bool(valueBits: bits))
    case .uint64: self = .uint64(bits)
    case .int64: self = .int64(Int64(valueBits: bits))
    case .float64: self = .float64(Double(valueBits: bits))
    case .string, .array: return nil
    }
  }

  public init(_ text: String) { self = .string(GGUFString(text)) }

  public var type: GGUFValueType {
    switch self {
    case .string: .string
    case .array: .array
    default: parts.type
    }
  }

  /// Type and bits of a value of a fixed size. Traps for strings and arrays.
  private var parts: (type: GGUFValueType, bits: UInt64) {
    func of<T: GGUFScalar>(_ value: T) -> (GGUFValueType, UInt64) { (T.valueType, value.valueBits) }
    return switch self {
    case .uint8(let value): of(value)
    case .int8(let value): of(value)
    case .uint16(let value): of(value)
    case .int16(let value): of(value)
    case .uint32(let value): of(value)
    case .int32(let value): of(value)
    case .float32(let value): of(value)
    case .bool(let value): of(value)
    case .uint64(let value): of(value)
    case .int64(let value): of(value)
    case .float64(let value): of(value)
    case .string, .array: preconditionFailure("strings and arrays have no bits of a fixed size")
    }
  }

  /// Bits of a value of a fixed size; nil for strings and arrays.
  var bits: UInt64? { type.byteCount == nil ? nil : parts.bits }

  /// The type as a reader of messages wants it: `UINT32`, `array of 3 STRING`.
  public var typeText: String {
    if case .array(let array) = self { "array of \(array.count) \(array.elementType)" } else { type.description }
  }

  /// Appends the value as a file has it, without its type.
  func append(to bytes: inout [UInt8]) {
    switch self {
    case .string(let string):
      bytes.append(littleEndian: UInt64(string.bytes.count), byteCount: 8)
      bytes += string.bytes
    case .array(let array):
      bytes.append(littleEndian: UInt64(array.elementType.rawValue), byteCount: 4)
      bytes.append(littleEndian: UInt64(array.count), byteCount: 8)
      bytes += array.bytes
    default:
      let (type, bits) = parts
      bytes.append(littleEndian: bits, byteCount: type.byteCount ?? 0)
    }
  }
}

extension GGUFValue: Equatable {
  public static func == (left: Self, right: Self) -> Bool {
    switch (left, right) {
    case (.string(let a), .string(let b)): a == b
    case (.array(let a), .array(let b)): a == b
    default: left.type == right.type && left.bits == right.bits && left.bits != nil
    }
  }
}

/// The bytes of a string value: UTF-8 by the format's rule, but kept as they are when a writer broke it.
public struct GGUFString: Sendable, Hashable {
  public let bytes: [UInt8]

  public init(_ text: String) { bytes = Array(text.utf8) }

  public init(bytes: [UInt8]) { self.bytes = bytes }

  /// The text; nil when the bytes are no UTF-8.
  public var text: String? { String(validating: bytes, as: UTF8.self) }
}

/// Many values of one type, stored as the file has them: two allocations, however many strings there are.
public struct GGUFArray: Sendable, Hashable {
  /// Never `.array`.
  public let elementType: GGUFValueType
  public let count: Int
  /// The elements back to back, little-endian; strings with their lengths in front.
  let bytes: [UInt8]
  /// Of strings: where the bytes of each end.
  private let ends: [Int]

  /// Values of a fixed size.
  public init<T: GGUFScalar>(_ values: [T]) {
    let size = T.valueType.byteCount ?? 0
    var bytes: [UInt8] = []
    bytes.reserveCapacity(values.count * size)
    for value in values { bytes.append(littleEndian: value.valueBits, byteCount: size) }
    self.init(elementType: T.valueType, count: values.count, bytes: bytes)
  }

  public init(_ strings: [String]) { self.init(strings.map { GGUFString($0) }) }

  public init(_ strings: [GGUFString]) {
    var bytes: [UInt8] = []
    var ends: [Int] = []
    for string in strings {
      bytes.append(littleEndian: UInt64(string.bytes.count), byteCount: 8)
      bytes += string.bytes
      ends.append(bytes.count)
    }
    self.init(stringBytes: bytes, ends: ends)
  }

  init(elementType: GGUFValueType, count: Int, bytes: [UInt8]) {
    self.elementType = elementType
    self.count = count
    self.bytes = bytes
    ends = []
  }

  init(stringBytes: [UInt8], ends: [Int]) {
    elementType = .string
    count = ends.count
    bytes = stringBytes
    self.ends = ends
  }

  /// The string at `index`. Traps when the elements are no strings or there are fewer.
  public func string(at index: Int) -> GGUFString {
    precondition(elementType == .string, "the elements are \(elementType)")
    return GGUFString(bytes: Array(bytes[(index == 0 ? 0 : ends[index - 1]) + 8..<ends[index]]))
  }

  /// All values as `T`; nil when the elements are of another type.
  public func values<T: GGUFScalar>(as type: T.Type) -> [T]? {
    guard elementType == T.valueType, let size = elementType.byteCount else { return nil }
    return (0..<count).map { T(valueBits: bytes.littleEndian(at: $0 * size, byteCount: size)) }
  }
}

extension [UInt8] {
  mutating func append(littleEndian value: UInt64, byteCount: Int) {
    for index in 0..<byteCount { append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))) }
  }

  func littleEndian(at offset: Int, byteCount: Int) -> UInt64 {
    self[offset..<offset + byteCount].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
