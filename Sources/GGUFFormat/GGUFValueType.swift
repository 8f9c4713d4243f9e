/// The types of metadata values, with the numbers that files have.
public enum GGUFValueType: UInt32, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case uint8 = 0
  case int8 = 1
  case uint16 = 2
  case int16 = 3
  case uint32 = 4
  case int32 = 5
  case float32 = 6
  case bool = 7
  case string = 8
  case array = 9
  case uint64 = 10
  case int64 = 11
  case float64 = 12

  /// Bytes of a value; nil for strings and arrays, which have no fixed size.
  public var byteCount: Int? {
    switch self {
    case .uint8, .int8, .bool: 1
    case .uint16, .int16: 2
    case .uint32, .int32, .float32: 4
    case .uint64, .int64, .float64: 8
    case .string, .array: nil
    }
  }

  public var description: String {
    switch self {
    case .uint8: "UINT8"
    case .int8: "INT8"
    case .uint16: "UINT16"
    case .int16: "INT16"
    case .uint32: "UINT32"
    case .int32: "INT32"
    case .float32: "FLOAT32"
    case .bool: "BOOL"
    case .string: "STRING"
    case .array: "ARRAY"
    case .uint64: "UINT64"
    case .int64: "INT64"
    case .float64: "FLOAT64"
    }
  }
}

/// Swift's types for metadata values of a fixed size.
public protocol GGUFScalar: Sendable {
  static var valueType: GGUFValueType { get }
  /// The value's bits as the file has them, in the low bytes.
  var valueBits: UInt64 { get }
  init(valueBits: UInt64)
}

extension GGUFScalar where Self: FixedWidthInteger {
  public var valueBits: UInt64 { UInt64(truncatingIfNeeded: self) }
  public init(valueBits: UInt64) { self.init(truncatingIfNeeded: valueBits) }
}

extension UInt8: GGUFScalar { public static var valueType: GGUFValueType { .uint8 } }
extension Int8: GGUFScalar { public static var valueType: GGUFValueType { .int8 } }
extension UInt16: GGUFScalar { public static var valueType: GGUFValueType { .uint16 } }
extension Int16: GGUFScalar { public static var valueType: GGUFValueType { .int16 } }
extension UInt32: GGUFScalar { public static var valueType: GGUFValueType { .uint32 } }
extension Int32: GGUFScalar { public static var valueType: GGUFValueType { .int32 } }
extension UInt64: GGUFScalar { public static var valueType: GGUFValueType { .uint64 } }
extension Int64: GGUFScalar { public static var valueType: GGUFValueType { .int64 } }

extension Float: GGUFScalar {
  public static var valueType: GGUFValueType { .float32 }
  public var valueBits: UInt64 { UInt64(bitPattern) }
  public init(valueBits: UInt64) { self.init(bitPattern: UInt32(truncatingIfNeeded: valueBits)) }
}

extension Double: GGUFScalar {
  public static var valueType: GGUFValueType { .float64 }
  public var valueBits: UInt64 { bitPattern }
  public init(valueBits: UInt64) { self.init(bitPattern: valueBits) }
}

extension Bool: GGUFScalar {
  public static var valueType: GGUFValueType { .bool }
  public var valueBits: UInt64 { self ? 1 : 0 }
  /// Any other value than zero is true, as in llama.cpp.
  public init(valueBits: UInt64) { self = valueBits & 0xFF != 0 }
}
