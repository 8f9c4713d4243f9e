internal import ByteIO

/// Members of an object of the facts, each with the kind of value that it must have.
struct SubjectReader {
  let value: JSONValue
  let path: String

  private func wrong(_ key: String, _ expected: String) -> ParseFailure {
    ParseFailure("expected \(expected)", item: "\(path).\(key)")
  }

  func member(_ key: String) throws(ParseFailure) -> SubjectReader {
    guard let member = value[key], member.object != nil else { throw wrong(key, "an object") }
    return SubjectReader(value: member, path: "\(path).\(key)")
  }

  func list(_ key: String) throws(ParseFailure) -> [SubjectReader] {
    guard let list = value[key]?.array, list.allSatisfy({ $0.object != nil }) else {
      throw wrong(key, "a list of objects")
    }
    return list.map { SubjectReader(value: $0, path: "\(path).\(key)") }
  }

  func string(_ key: String) throws(ParseFailure) -> String {
    guard let text = value[key]?.string else { throw wrong(key, "a text") }
    return text
  }

  func optionalString(_ key: String) throws(ParseFailure) -> String? {
    value[key] == nil ? nil : try string(key)
  }

  func strings(_ key: String) throws(ParseFailure) -> [String] {
    guard let list = value[key]?.array, list.allSatisfy({ $0.string != nil }) else { throw wrong(key, "texts") }
    return list.compactMap(\.string)
  }

  func bool(_ key: String) throws(ParseFailure) -> Bool {
    guard let bool = value[key]?.bool else { throw wrong(key, "true or false") }
    return bool
  }

  func unsigned(_ key: String) throws(ParseFailure) -> UInt64 {
    guard case .number(let number)? = value[key], let count = number.unsigned else {
      throw wrong(key, "a whole number")
    }
    return count
  }

  /// A count that other counts may be computed from.
  func count(_ key: String) throws(ParseFailure) -> Int {
    let count = try unsigned(key)
    guard count <= 1 << 48 else { throw wrong(key, "a number below 2^48") }
    return Int(count)
  }

  /// A double; JSON has no names for those that are not finite.
  static func spelled(_ value: Double) -> JSONValue {
    value.isFinite ? .number(JSONNumber(value)) : .string(value.isNaN ? "nan" : value > 0 ? "infinity" : "-infinity")
  }

  /// Nil for null and for a member that is not there.
  func optionalNumber(_ key: String) throws(ParseFailure) -> Double? {
    value[key] == nil || value[key] == .null ? nil : try spelledNumber(key)
  }

  func spelledNumber(_ key: String) throws(ParseFailure) -> Double {
    switch value[key] {
    case .number(let number)?:
      if let double = number.double { return double }
    case .string("nan")?: return .nan
    case .string("infinity")?: return .infinity
    case .string("-infinity")?: return -.infinity
    default: break
    }
    throw wrong(key, "a number, nan, infinity or -infinity")
  }
}
