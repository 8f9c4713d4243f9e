/// A JSON document that keeps the order of members and the spelling of numbers, so that `1e-05` in a configuration is
/// still `1e-05` after it was read, changed elsewhere and written.
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  case number(JSONNumber)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)
}

/// A number as it was spelled.
public struct JSONNumber: Sendable, Equatable {
  /// A valid JSON number (RFC 8259).
  public let text: String

  /// `text` must be a valid JSON number.
  init(text: String) { self.text = text }
  public init(_ value: some BinaryInteger) { text = String(value) }
  /// The shortest spelling that reads back as the same double. Traps on NaN and infinities, which JSON cannot hold.
  public init(_ value: Double) {
    precondition(value.isFinite, "JSON has no NaN or infinity")
    text = "\(value)"
  }

  /// The value when it is an integer spelled without fraction and exponent, and fits.
  public var integer: Int? { Int(text) }
  public var unsigned: UInt64? { UInt64(text) }
  public var double: Double? { Double(text) }
}

/// Members in their written order. Keys are compared by their UTF-8 bytes: Swift's `String` equality would take two
/// different normal forms of one character for the same key.
public struct JSONObject: Sendable, Equatable {
  public private(set) var members: [(key: String, value: JSONValue)] = []

  public init() {}
  public init(_ members: [(key: String, value: JSONValue)]) { self.members = members }

  public static func == (left: Self, right: Self) -> Bool {
    left.members.count == right.members.count
      && zip(left.members, right.members).allSatisfy {
        $0.key.utf8.elementsEqual($1.key.utf8) && $0.value == $1.value
      }
  }

  private func index(of key: String) -> Int? {
    members.firstIndex { $0.key.utf8.elementsEqual(key.utf8) }
  }

  /// The member `key`; setting nil removes it, setting a new one appends it. Looks through all members in order.
  public subscript(key: String) -> JSONValue? {
    get { index(of: key).map { members[$0].value } }
    set {
      switch (index(of: key), newValue) {
      case (let index?, let value?): members[index].value = value
      case (let index?, nil): members.remove(at: index)
      case (nil, let value?): members.append((key, value))
      case (nil, nil): break
      }
    }
  }
}

extension JSONValue {
  public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
  public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var integer: Int? { if case .number(let value) = self { value.integer } else { nil } }
  public var double: Double? { if case .number(let value) = self { value.double } else { nil } }
  public var isNull: Bool { self == .null }

  /// Members of an object; nil elsewhere.
  public subscript(key: String) -> JSONValue? { object?[key] }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int) { self = .number(JSONNumber(value)) }
  public init(floatLiteral value: Double) { self = .number(JSONNumber(value)) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(JSONObject(elements.map { (key: $0.0, value: $0.1) }))
  }
  public init(nilLiteral: ()) { self = .null }
}
