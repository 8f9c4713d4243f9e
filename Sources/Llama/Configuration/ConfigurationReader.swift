internal import ByteIO

/// Reads typed, bounded values out of a configuration object; failures name the key.
struct ConfigurationReader {
  let object: JSONObject

  /// Larger than any dimension of any Llama by a factor of more than ten, and small enough that products of three
  /// dimensions fit 64 bits.
  static let largestDimension = 1 << 21

  private func failure(_ key: String, _ expected: String) -> ParseFailure {
    let found = object[key]?.serialized(.compact) ?? "nothing"
    return ParseFailure("\(key) is \(found.prefix(80)), expected \(expected)")
  }

  /// The member, unless it is absent or null.
  func value(_ key: String) -> JSONValue? {
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  func integer(_ key: String, in range: ClosedRange<Int>, default preset: Int? = nil) throws(ParseFailure) -> Int {
    guard let value = value(key) else {
      guard let preset else { throw failure(key, "an integer") }
      return preset
    }
    // Some tools write integers as 4096.0.
    guard let number = value.integer ?? value.double.flatMap({ Int(exactly: $0) }), range.contains(number) else {
      throw failure(key, "an integer from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// The integer; nil when the key is absent or null.
  func integer(ifPresent key: String, in range: ClosedRange<Int>) throws(ParseFailure) -> Int? {
    value(key) == nil ? nil : try integer(key, in: range)
  }

  /// The number, above zero; nil when the key is absent or null.
  func number(ifPresent key: String) throws(ParseFailure) -> Double? {
    value(key) == nil ? nil : try number(key, above: 0)
  }

  func dimension(_ key: String, default preset: Int? = nil) throws(ParseFailure) -> Int {
    try integer(key, in: 1...Self.largestDimension, default: preset)
  }

  func number(_ key: String, above bound: Double, default preset: Double? = nil) throws(ParseFailure) -> Double {
    guard let value = value(key) else {
      guard let preset else { throw failure(key, "a number") }
      return preset
    }
    guard let number = value.double, number.isFinite, number > bound, number < 1e12 else {
      throw failure(key, "a number above \(bound) and below 1e12")
    }
    return number
  }

  func flag(_ key: String, default preset: Bool) throws(ParseFailure) -> Bool {
    guard let value = value(key) else { return preset }
    guard let flag = value.bool else { throw failure(key, "true or false") }
    return flag
  }

  func text(_ key: String) throws(ParseFailure) -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.string else { throw failure(key, "a string") }
    return text
  }

  /// One id or a list of them; absent or null gives none. Negative ids mean "none".
  func identifiers(_ key: String) throws(ParseFailure) -> [Int] {
    guard let value = value(key) else { return [] }
    let list = value.array ?? [value]
    var ids: [Int] = []
    for element in list {
      guard let id = element.integer, id < Self.largestDimension else { throw failure(key, "token ids") }
      if id >= 0 { ids.append(id) }
    }
    return ids
  }
}
