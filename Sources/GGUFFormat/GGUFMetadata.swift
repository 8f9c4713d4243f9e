public import ByteIO

/// The keys and values of a file, in its order. Keys are unique, compared by UTF-8 bytes.
public struct GGUFMetadata: Sendable {
  public struct Entry: Sendable, Equatable {
    public let key: String
    public fileprivate(set) var value: GGUFValue
    /// Where the key is in the file that it was read from.
    public fileprivate(set) var offset: UInt64?

    public static func == (left: Self, right: Self) -> Bool {
      left.key.utf8.elementsEqual(right.key.utf8) && left.value == right.value
    }
  }

  public private(set) var entries: [Entry] = []
  private var places: [UTF8Key: Int] = [:]
  /// The file that the metadata was read from, for messages.
  public internal(set) var file: String?

  public init() {}

  public var isEmpty: Bool { entries.isEmpty }

  /// The value of `key`, whatever its type.
  public subscript(key: String) -> GGUFValue? { entry(key)?.value }

  public func entry(_ key: String) -> Entry? { places[UTF8Key(key)].map { entries[$0] } }

  /// Replaces the value of `key` at its place, or appends it.
  public mutating func set(_ key: String, to value: GGUFValue) {
    if let place = places[UTF8Key(key)] {
      entries[place].value = value
      entries[place].offset = nil
    } else {
      append(key, value, offset: nil)
    }
  }

  /// Removes `key` if it is there; the others keep their order.
  public mutating func remove(_ key: String) {
    guard let place = places.removeValue(forKey: UTF8Key(key)) else { return }
    entries.remove(at: place)
    for (index, entry) in entries.enumerated().dropFirst(place) { places[UTF8Key(entry.key)] = index }
  }

  /// False, with nothing done, when the key is there already.
  @discardableResult
  mutating func append(_ key: String, _ value: GGUFValue, offset: UInt64?) -> Bool {
    guard places[UTF8Key(key)] == nil else { return false }
    places[UTF8Key(key)] = entries.count
    entries.append(Entry(key: key, value: value, offset: offset))
    return true
  }
}

extension GGUFMetadata: Equatable {
  /// Equal entries in equal order; where they came from does not matter.
  public static func == (left: Self, right: Self) -> Bool { left.entries == right.entries }
}

/// Values of the type that the caller needs. llama.cpp loads no file in which a key has another type than it asks for,
/// so nothing is converted here either.
extension GGUFMetadata {
  /// - Returns: nil when the key is absent.
  /// - Throws: `ParseFailure` with key, found and expected type when the value has another type.
  public func scalar<T: GGUFScalar>(_ key: String, as type: T.Type = T.self) throws(ParseFailure) -> T? {
    guard let entry = entry(key) else { return nil }
    guard entry.value.type == T.valueType, let bits = entry.value.bits else {
      throw wrongType(entry, expected: T.valueType.description)
    }
    return T(valueBits: bits)
  }

  /// - Throws: `ParseFailure` also when the key is absent.
  public func requiredScalar<T: GGUFScalar>(_ key: String, as type: T.Type = T.self) throws(ParseFailure) -> T {
    guard let value = try scalar(key, as: type) else { throw missing(key, expected: T.valueType.description) }
    return value
  }

  /// - Returns: nil when the key is absent.
  /// - Throws: `ParseFailure` when the value has another type or is no UTF-8.
  public func string(_ key: String) throws(ParseFailure) -> String? {
    guard let entry = entry(key) else { return nil }
    guard case .string(let string) = entry.value else { throw wrongType(entry, expected: "STRING") }
    guard let text = string.text else {
      throw ParseFailure("the string is no UTF-8", file: file, item: key, offset: entry.offset)
    }
    return text
  }

  /// - Throws: `ParseFailure` also when the key is absent.
  public func requiredString(_ key: String) throws(ParseFailure) -> String {
    guard let value = try string(key) else { throw missing(key, expected: "STRING") }
    return value
  }

  /// An array of strings; nil when the key is absent.
  /// - Throws: `ParseFailure` when the value is anything else.
  public func strings(_ key: String) throws(ParseFailure) -> GGUFArray? {
    guard let entry = entry(key) else { return nil }
    guard case .array(let array) = entry.value, array.elementType == .string else {
      throw wrongType(entry, expected: "array of STRING")
    }
    return array
  }

  /// An array of INT32 or UINT32, which llama.cpp takes for one another; nil when the key is absent.
  /// - Throws: `ParseFailure` when the value is anything else.
  public func integers(_ key: String) throws(ParseFailure) -> [Int]? {
    guard let entry = entry(key) else { return nil }
    if case .array(let array) = entry.value {
      if let values = array.values(as: Int32.self) { return values.map(Int.init) }
      if let values = array.values(as: UInt32.self) { return values.map(Int.init) }
    }
    throw wrongType(entry, expected: "array of INT32 or UINT32")
  }

  /// An array of FLOAT32; nil when the key is absent.
  /// - Throws: `ParseFailure` when the value is anything else.
  public func floats(_ key: String) throws(ParseFailure) -> [Float]? {
    guard let entry = entry(key) else { return nil }
    guard case .array(let array) = entry.value, let values = array.values(as: Float.self) else {
      throw wrongType(entry, expected: "array of FLOAT32")
    }
    return values
  }

  private func wrongType(_ entry: Entry, expected: String) -> ParseFailure {
    ParseFailure(
      "the value is \(entry.value.typeText), expected is \(expected)", file: file, item: entry.key,
      offset: entry.offset, advice: "llama.cpp refuses other types too: write the file again with its producer")
  }

  private func missing(_ key: String, expected: String) -> ParseFailure {
    ParseFailure("the key is missing, expected is a value of type \(expected)", file: file, item: key)
  }
}
