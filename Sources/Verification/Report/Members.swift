internal import ByteIO

/// Members in order; a number that is not finite becomes null.
struct Members {
  private(set) var list: [(key: String, value: JSONValue)] = []

  mutating func set(_ key: String, _ value: JSONValue) { list.append((key, value)) }
  mutating func set(_ key: String, _ value: Double?) { list.append((key, Self.number(value))) }
  mutating func set(_ key: String, _ value: Int) { list.append((key, .number(JSONNumber(value)))) }
  mutating func set(_ key: String, _ value: UInt64) { list.append((key, .number(JSONNumber(value)))) }
  mutating func set(_ key: String, _ value: String) { list.append((key, .string(value))) }
  var object: JSONValue { .object(JSONObject(list)) }

  static func number(_ value: Double?) -> JSONValue {
    value.flatMap { $0.isFinite ? .number(JSONNumber($0)) : nil } ?? .null
  }
  static func pair(_ range: ClosedRange<Double>?) -> JSONValue {
    .array([number(range?.lowerBound), number(range?.upperBound)])
  }
}
