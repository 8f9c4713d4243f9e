/// What a JSON document may contain beyond or short of RFC 8259. Strictness is a value: each caller states its own.
public struct JSONRules: Sendable {
  /// Arrays and objects that may be open at the same time, the outermost included.
  public var maximumDepth = 64
  public var duplicateKeys = DuplicateKeys.refused
  /// Refuse numbers beyond the range of a double, such as `1e999`, even where nobody asks for their value.
  public var numbersMustBeFinite = false

  public enum DuplicateKeys: Sendable { case refused, lastWins }

  public init(
    maximumDepth: Int = 64, duplicateKeys: DuplicateKeys = .refused, numbersMustBeFinite: Bool = false
  ) {
    self.maximumDepth = maximumDepth
    self.duplicateKeys = duplicateKeys
    self.numbersMustBeFinite = numbersMustBeFinite
  }
}

extension JSONValue {
  /// Parses one UTF-8 document (RFC 8259): no byte order mark, no comments, no trailing commas, nothing behind it but
  /// white space. Lone surrogate escapes, raw control characters and invalid UTF-8 are refused.
  /// - Parameter base: offset of `bytes` in the file, for the failure's offset.
  public init(parsing bytes: RawSpan, base: UInt64 = 0, rules: JSONRules = JSONRules()) throws(ParseFailure) {
    var parser = JSONParser(bytes, base: base, rules: rules)
    self = try parser.value()
    try parser.end()
  }

  public init(parsing text: String, rules: JSONRules = JSONRules()) throws(ParseFailure) {
    let bytes = Array(text.utf8)
    try self.init(parsing: bytes.span.bytes, rules: rules)
  }
}

/// Reads a JSON document front to back, either whole (`value()`) or part by part, so that a large document with a known
/// structure never becomes a tree. Recursive descent over bytes with a depth limit; strings are checked for UTF-8 where
/// they are cut out. After a failure the position is undefined.
public struct JSONParser: ~Escapable {
  private let bytes: RawSpan
  private let base: UInt64
  private let rules: JSONRules
  private var position = 0
  private var depth = 0

  /// - Parameter base: offset of `bytes` in the file, for the failures' offsets.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan, base: UInt64 = 0, rules: JSONRules = JSONRules()) {
    self.bytes = bytes
    self.base = base
    self.rules = rules
  }

  /// What kind of value comes next.
  public enum Kind: Sendable, Equatable { case null, bool, number, string, array, object }

  /// Offset in the file of the next byte that is not white space.
  public var offset: UInt64 {
    mutating get {
      skipSpace()
      return base + UInt64(position)
    }
  }

  private func byte(at index: Int) -> UInt8? {
    index < bytes.byteCount ? unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) : nil
  }

  private var current: UInt8? { byte(at: position) }

  private func failure(_ message: String, at index: Int? = nil) -> ParseFailure {
    ParseFailure("not valid JSON: \(message)", offset: base + UInt64(index ?? position))
  }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  // MARK: Values

  /// The kind of the next value, told from its first byte.
  public mutating func kind() throws(ParseFailure) -> Kind {
    skipSpace()
    switch current {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
    case UInt8(ascii: "n"): return .null
    case .some(let byte) where byte == UInt8(ascii: "-") || isDigit(byte): return .number
    case .some(let byte): throw failure("a value cannot start with byte \(byte)")
    case nil: throw failure("the document ends where a value is expected")
    }
  }

  /// The next value with all that is in it.
  public mutating func value() throws(ParseFailure) -> JSONValue {
    switch try kind() {
    case .null: return try literal("null", .null)
    case .bool:
      return current == UInt8(ascii: "t") ? try literal("true", .bool(true)) : try literal("false", .bool(false))
    case .number: return .number(try number())
    case .string: return .string(try string())
    case .array:
      var elements: [JSONValue] = []
      try readArray { (parser) throws(ParseFailure) in elements.append(try parser.value()) }
      return .array(elements)
    case .object: return .object(try objectValue())
    }
  }

  /// Reads the next value, checks it as strictly as any other, and forgets it.
  public mutating func skipValue() throws(ParseFailure) {
    switch try kind() {
    case .null: _ = try literal("null", .null)
    case .bool: _ = try literal(current == UInt8(ascii: "t") ? "true" : "false", .null)
    case .number: try numberToken()
    case .string: _ = try string()
    case .array: try readArray { (parser) throws(ParseFailure) in try parser.skipValue() }
    case .object: try readObject { (_, _, parser) throws(ParseFailure) in try parser.skipValue() }
    }
  }

  /// Checks that nothing but white space follows.
  public mutating func end() throws(ParseFailure) {
    skipSpace()
    guard position == bytes.byteCount else { throw failure("more bytes behind the document") }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(ParseFailure) -> JSONValue {
    let text = word.description.utf8
    for (index, expected) in text.enumerated() where byte(at: position + index) != expected {
      throw failure("expected \(word)")
    }
    position += text.count
    return value
  }

  private mutating func objectValue() throws(ParseFailure) -> JSONObject {
    var members: [(key: String, value: JSONValue)] = []
    var seen: [UTF8Key: Int] = [:]
    let start = base
    let lastWins = rules.duplicateKeys == .lastWins
    try readObject { (key, offset, parser) throws(ParseFailure) in
      let value = try parser.value()
      let earlier = seen.updateValue(members.count, forKey: UTF8Key(key))
      guard let earlier else { return members.append((key, value)) }
      guard lastWins else { throw parser.failure("the name \"\(key)\" appears twice", at: Int(offset - start)) }
      seen[UTF8Key(key)] = earlier
      members[earlier].value = value
    }
    return JSONObject(members)
  }

  // MARK: Containers

  /// Reads the next value, which must be an object. `member` is called for each member in order with its name and the
  /// offset of the name in the file, and must read exactly its value. Repeated names are the caller's business.
  public mutating func readObject(
    _ member: (_ key: String, _ offset: UInt64, _ parser: inout JSONParser) throws(ParseFailure) -> Void
  ) throws(ParseFailure) {
    try enter(UInt8(ascii: "{"), "an object")
    var isFirst = true
    while try !leave(UInt8(ascii: "}"), "}", isFirst: isFirst) {
      isFirst = false
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw failure("expected a member name") }
      let start = base + UInt64(position)
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw failure("expected ':' after a member name") }
      position += 1
      try member(key, start, &self)
    }
  }

  /// Reads the next value, which must be an array. `element` is called for each element and must read exactly it.
  public mutating func readArray(
    _ element: (_ parser: inout JSONParser) throws(ParseFailure) -> Void
  ) throws(ParseFailure) {
    try enter(UInt8(ascii: "["), "an array")
    var isFirst = true
    while try !leave(UInt8(ascii: "]"), "]", isFirst: isFirst) {
      isFirst = false
      try element(&self)
    }
  }

  private mutating func enter(_ open: UInt8, _ what: String) throws(ParseFailure) {
    skipSpace()
    guard current == open else { throw failure("expected \(what)") }
    guard depth < rules.maximumDepth else { throw failure("nested deeper than \(rules.maximumDepth) levels") }
    depth += 1
    position += 1
  }

  /// True when the container ends here; else the comma, if one is due, has been passed.
  private mutating func leave(_ close: UInt8, _ name: String, isFirst: Bool) throws(ParseFailure) -> Bool {
    skipSpace()
    if current == close {
      position += 1
      depth -= 1
      return true
    }
    if isFirst { return false }
    guard current == UInt8(ascii: ",") else { throw failure("expected ',' or '\(name)'") }
    position += 1
    return false
  }
}

// MARK: - Numbers

extension JSONParser {
  private func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 >= 0x30 && $0 <= 0x39 } ?? false }

  private mutating func digits() throws(ParseFailure) {
    guard isDigit(current) else { throw failure("expected a digit") }
    while isDigit(current) { position += 1 }
  }

  /// The next value, which must be a number, as it is spelled.
  public mutating func number() throws(ParseFailure) -> JSONNumber {
    skipSpace()
    let start = position
    try numberToken()
    return JSONNumber(text: try text(start..<position))
  }

  private mutating func numberToken() throws(ParseFailure) {
    skipSpace()
    let start = position
    if current == UInt8(ascii: "-") { position += 1 }
    if current == UInt8(ascii: "0") {
      position += 1
      if isDigit(current) { throw failure("a number cannot start with 0") }
    } else {
      try digits()
    }
    if current == UInt8(ascii: ".") {
      position += 1
      try digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      try digits()
    }
    if rules.numbersMustBeFinite, Double(try text(start..<position))?.isFinite != true {
      throw failure("the number is beyond the range of a double", at: start)
    }
  }

  private func text(_ range: Range<Int>) throws(ParseFailure) -> String {
    let part = Span<UInt8>(_bytes: bytes.extracting(range))
    do {
      return String(copying: try UTF8Span(validating: part))
    } catch {
      throw failure("invalid UTF-8", at: range.lowerBound)
    }
  }
}

// MARK: - Strings

extension JSONParser {
  /// The next value, which must be a string, with its escapes resolved.
  public mutating func string() throws(ParseFailure) -> String {
    skipSpace()
    guard current == UInt8(ascii: "\"") else { throw failure("expected a string") }
    position += 1
    let start = position
    var result = ""
    var plainStart = start
    while true {
      guard let byte = current else { throw failure("a string has no end", at: start) }
      if byte == UInt8(ascii: "\"") {
        let tail = try text(plainStart..<position)
        position += 1
        if plainStart == start { return tail }
        result += tail
        return result
      }
      if byte < 0x20 { throw failure("raw control character in a string") }
      if byte == UInt8(ascii: "\\") {
        // Appending in place keeps a string that is all escapes linear in its length.
        if plainStart < position { result += try text(plainStart..<position) }
        position += 1
        result.unicodeScalars.append(try escape())
        plainStart = position
      } else {
        position += 1
      }
    }
  }

  private mutating func escape() throws(ParseFailure) -> Unicode.Scalar {
    guard let byte = current else { throw failure("a string has no end") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{08}"
    case UInt8(ascii: "f"): return "\u{0C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try unicodeEscape()
    default: throw failure("unknown escape", at: position - 1)
    }
  }

  private mutating func unicodeEscape() throws(ParseFailure) -> Unicode.Scalar {
    let start = position - 2
    let first = try hexadecimal()
    if let scalar = Unicode.Scalar(first) { return scalar }
    guard first < 0xDC00, current == UInt8(ascii: "\\"), byte(at: position + 1) == UInt8(ascii: "u") else {
      throw failure("lone surrogate escape", at: start)
    }
    position += 2
    let second = try hexadecimal()
    guard (0xDC00...0xDFFF).contains(second),
      let scalar = Unicode.Scalar(0x10000 + (UInt32(first & 0x3FF) << 10) + UInt32(second & 0x3FF))
    else { throw failure("lone surrogate escape", at: start) }
    return scalar
  }

  private mutating func hexadecimal() throws(ParseFailure) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = current, byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw failure("expected four hexadecimal digits")
      }
      value = value << 4 | UInt16(digit)
      position += 1
    }
    return value
  }
}
