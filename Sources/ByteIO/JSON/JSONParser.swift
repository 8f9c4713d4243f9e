/// What a JSON document may contain beyond or short of RFC 8259. Strictness is a value: each caller states its own.
public struct JSONRules: Sendable {
  /// Nesting of arrays and objects.
  public var maximumDepth = 64
  public var duplicateKeys = DuplicateKeys.refused

  public enum DuplicateKeys: Sendable { case refused, lastWins }

  public init(maximumDepth: Int = 64, duplicateKeys: DuplicateKeys = .refused) {
    self.maximumDepth = maximumDepth
    self.duplicateKeys = duplicateKeys
  }
}

extension JSONValue {
  /// Parses one UTF-8 document (RFC 8259): no byte order mark, no comments, no trailing commas, nothing behind it but
  /// white space. Lone surrogate escapes, raw control characters and invalid UTF-8 are refused.
  /// - Parameter base: offset of `bytes` in the file, for the failure's offset.
  public init(parsing bytes: RawSpan, base: UInt64 = 0, rules: JSONRules = JSONRules()) throws(ParseFailure) {
    var parser = JSONParser(bytes: bytes, base: base, rules: rules)
    self = try parser.document()
  }

  public init(parsing text: String, rules: JSONRules = JSONRules()) throws(ParseFailure) {
    let bytes = Array(text.utf8)
    try self.init(parsing: bytes.span.bytes, rules: rules)
  }
}

/// Recursive descent with a depth limit. Works on bytes; strings are checked for UTF-8 where they are cut out.
struct JSONParser: ~Escapable {
  let bytes: RawSpan
  let base: UInt64
  let rules: JSONRules
  var position = 0

  @_lifetime(copy bytes)
  init(bytes: RawSpan, base: UInt64, rules: JSONRules) {
    self.bytes = bytes
    self.base = base
    self.rules = rules
  }

  private func byte(at index: Int) -> UInt8? {
    index < bytes.byteCount ? unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) : nil
  }

  private var current: UInt8? { byte(at: position) }

  private func failure(_ message: String, at index: Int? = nil) -> ParseFailure {
    ParseFailure("not valid JSON: \(message)", offset: base + UInt64(index ?? position))
  }

  mutating func document() throws(ParseFailure) -> JSONValue {
    let value = try value(depth: 0)
    skipSpace()
    guard position == bytes.byteCount else { throw failure("more bytes behind the document") }
    return value
  }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  private mutating func value(depth: Int) throws(ParseFailure) -> JSONValue {
    guard depth <= rules.maximumDepth else { throw failure("nested deeper than \(rules.maximumDepth) levels") }
    skipSpace()
    switch current {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case .some(let byte) where byte == UInt8(ascii: "-") || isDigit(byte): return .number(try number())
    case .some(let byte): throw failure("a value cannot start with byte \(byte)")
    case nil: throw failure("the document ends where a value is expected")
    }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(ParseFailure) -> JSONValue {
    let text = word.description.utf8
    for (index, expected) in text.enumerated() where byte(at: position + index) != expected {
      throw failure("expected \(word)")
    }
    position += text.count
    return value
  }

  private mutating func object(depth: Int) throws(ParseFailure) -> JSONValue {
    position += 1
    var members: [(key: String, value: JSONValue)] = []
    var seen: [[UInt8]: Int] = [:]
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return .object(JSONObject())
    }
    while true {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw failure("expected a member name") }
      let start = position
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw failure("expected ':' after a member name") }
      position += 1
      let value = try value(depth: depth + 1)
      if let earlier = seen.updateValue(members.count, forKey: Array(key.utf8)) {
        guard rules.duplicateKeys == .lastWins else { throw failure("the name \"\(key)\" appears twice", at: start) }
        seen[Array(key.utf8)] = earlier
        members[earlier].value = value
      } else {
        members.append((key, value))
      }
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        return .object(JSONObject(members))
      default: throw failure("expected ',' or '}' in an object")
      }
    }
  }

  private mutating func array(depth: Int) throws(ParseFailure) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return .array([])
    }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        return .array(elements)
      default: throw failure("expected ',' or ']' in an array")
      }
    }
  }
}

// MARK: - Numbers

extension JSONParser {
  private func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 >= 0x30 && $0 <= 0x39 } ?? false }

  private mutating func digits() throws(ParseFailure) {
    guard isDigit(current) else { throw failure("expected a digit") }
    while isDigit(current) { position += 1 }
  }

  private mutating func number() throws(ParseFailure) -> JSONNumber {
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
    return JSONNumber(text: try text(start..<position))
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
  private mutating func string() throws(ParseFailure) -> String {
    position += 1
    let start = position
    var result: String?
    var plainStart = start
    while true {
      guard let byte = current else { throw failure("a string has no end", at: start) }
      if byte == UInt8(ascii: "\"") {
        let tail = try text(plainStart..<position)
        position += 1
        return result.map { $0 + tail } ?? tail
      }
      if byte < 0x20 { throw failure("raw control character in a string") }
      if byte == UInt8(ascii: "\\") {
        var text = (result ?? "") + (try text(plainStart..<position))
        position += 1
        text.unicodeScalars.append(try escape())
        result = text
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
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw failure("expected four hexadecimal digits")
      }
      value = value << 4 | UInt16(digit)
      position += 1
    }
    return value
  }
}
