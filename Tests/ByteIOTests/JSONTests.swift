import ByteIO
import Support
import Testing

private func parse(_ text: String, rules: JSONRules = JSONRules()) throws(ParseFailure) -> JSONValue {
  try JSONValue(parsing: text, rules: rules)
}

private func parse(bytes: [UInt8]) throws(ParseFailure) -> JSONValue { try JSONValue(parsing: bytes.span.rawBytes) }

@Suite("JSON parser")
struct JSONParserTests {
  /// The grammar of RFC 8259, section by section: what it allows, …
  @Test(
    "accepts",
    arguments: [
      "null", "true", "false", "0", "-0", "1", "-1", "10", "0.5", "-0.5", "1e5", "1E5", "1e+5", "1e-5", "1.25e-05",
      "1e999",
      "123456789012345678901234567890", "\"\"", "\"a\"", "\" \"", "\"\u{7F}\"", "\"/\"", #""\/""#, #""\"\\\b\f\n\r\t""#,
      #""\u0041""#, #""\uD83D\uDE00""#, #""\ud83d\ude00""#, #""\u0000""#, "[]", "[ ]", "[1]", "[1,2]", "[ 1 , 2 ]",
      "[[]]",
      "{}", "{ }", #"{"a":1}"#, #"{ "a" : 1 , "b" : 2 }"#, #"{"":0}"#, " null ", "\t\r\n null", "null\n",
    ])
  func accepts(_ text: String) throws { _ = try parse(text) }

  /// …and what it does not.
  @Test(
    "refuses",
    arguments: [
      "", " ", "nul", "nulll", "True", "NaN", "Infinity", "-Infinity", "-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e",
      "1e+",
      "0x10", "1_000", "--1", "\"", "\"a", "'a'", "\"\n\"", "\"\t\"", "\"\u{0}\"", "\"\u{1F}\"", #""\x""#, #""\""#,
      #""\u12""#,
      #""\u12G4""#, #""\uD800""#, #""\uDC00""#, #""\uD800\u0041""#, #""\uD800\uD800""#, #""\uD800x""#, #""\uD83D\"#,
      #""\u+041""#,
      "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}",
      "{,}",
      "{a:1}", "{1:1}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{null:1}", "}", "[}", "{]", "null null", "{}{}", "[]]", "1,",
      "//\n1",
      "/**/1", "\u{FEFF}1", "\u{A0}1", "\u{C}1", "1\0",
    ])
  func refuses(_ text: String) {
    let failure = #expect(throws: ParseFailure.self) { try parse(text) }
    #expect(failure?.offset != nil)
  }

  @Test(
    "refuses invalid UTF-8",
    arguments: [
      [0x80], [0xC0, 0x80], [0xC3], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80],
      [0xF0, 0x9F, 0x98],
      [0xFF], [0xFE],
    ])
  func invalidUTF8(_ bytes: [UInt8]) {
    #expect(throws: ParseFailure.self) { try parse(bytes: [0x22] + bytes + [0x22]) }
    #expect(throws: ParseFailure.self) { try parse(bytes: bytes) }
  }

  @Test func escapes() throws {
    #expect(
      try parse(#""\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\ude00x""#).string
        == "\"\\/\u{8}\u{C}\n\r\t\u{E9}\u{20AC}\u{1F600}x")
    #expect(try parse(#""\u0000""#).string?.unicodeScalars.map(\.value) == [0])
    // U+FFFE and U+FFFF are valid in strings; only surrogates are not.
    #expect(
      try parse(#""\uFFFE\uffff\uD7FF\uE000""#).string?.unicodeScalars.map(\.value) == [0xFFFE, 0xFFFF, 0xD7FF, 0xE000])
  }

  @Test func combiningCharactersAfterEscapesStaySeparateScalars() throws {
    // The first scalar joins the escaped one to a single Character; the bytes must not change.
    let text = try parse("\"\\u0065\u{301}\\u0301\"").string
    #expect(text.map { Array($0.utf8) } == Array("e\u{301}\u{301}".utf8))
  }

  @Test(arguments: [
    "1e-05", "1E+2", "0.10", "-0", "-0.0", "500000.0", "1e5", "123456789012345678901234567890", "0.30000000000000004",
  ])
  func numbersKeepTheirSpelling(_ text: String) throws {
    #expect(try parse(text) == .number(try #require(try number(text))))
    #expect(try parse("[\(text)]").serialized(.compact) == "[\(text)]")
  }

  private func number(_ text: String) throws -> JSONNumber? {
    guard case .number(let number) = try parse(text) else { return nil }
    #expect(number.text == text)
    return number
  }

  @Test func integersAndDoubles() throws {
    #expect(try parse("9223372036854775807").integer == Int.max)
    #expect(try parse("9223372036854775808").integer == nil)
    #expect(try number("18446744073709551615")?.unsigned == UInt64.max)
    #expect(try parse("1.0").integer == nil)
    #expect(try parse("1e2").integer == nil)
    #expect(try parse("1e2").double == 100)
    #expect(try parse("0.1").double == 0.1)
    #expect(try parse("\"1\"").integer == nil)
  }

  @Test func duplicateNames() throws {
    let text = #"{"a":1,"b":2,"\u0061":3}"#
    let failure = #expect(throws: ParseFailure.self) { try parse(text) }
    #expect(failure?.offset == 13)
    #expect(failure?.message.contains("\"a\" appears twice") == true)
    // The first place, the last value: as Python's dict and serde_json's maps do.
    let value = try parse(text, rules: JSONRules(duplicateKeys: .lastWins))
    #expect(value.serialized(.compact) == #"{"a":3,"b":2}"#)
    // Different normal forms are different names.
    #expect(try parse("{\"\u{E9}\":1,\"e\u{301}\":2}")["e\u{301}"]?.integer == 2)
  }

  @Test(arguments: [1, 2, 64])
  func depthCountsOpenContainers(_ limit: Int) throws {
    let rules = JSONRules(maximumDepth: limit)
    for inner in ["", "1", "\"a\""] {
      let fitting = String(repeating: "[", count: limit) + inner + String(repeating: "]", count: limit)
      _ = try parse(fitting, rules: rules)
      #expect(throws: ParseFailure.self) { try parse("[\(fitting)]", rules: rules) }
      #expect(throws: ParseFailure.self) { try parse("{\"a\":\(fitting)}", rules: rules) }
    }
    // Closed containers do not count.
    _ = try parse("[" + String(repeating: limit > 1 ? "[]," : "0,", count: 100) + "0]", rules: rules)
  }

  @Test func deepNestingDoesNotOverflowTheStack() {
    for open in ["[", "{\"a\":"] {
      #expect(throws: ParseFailure.self) { try parse(String(repeating: open, count: 1_000_000)) }
    }
  }

  /// A megabyte of escapes: appending each to a copy of the string would take hours.
  @Test(.timeLimit(.minutes(1)))
  func manyEscapes() throws {
    let text = try parse("\"" + String(repeating: "\\n", count: 500_000) + "\"").string
    #expect(text?.utf8.count == 500_000)
  }

  @Test(.timeLimit(.minutes(1)))
  func manyMembers() throws {
    let text = "{" + (0..<200_000).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
    #expect(try parse(text).object?.members.count == 200_000)
  }

  @Test func numbersBeyondDoubles() throws {
    let rules = JSONRules(numbersMustBeFinite: true)
    #expect(throws: ParseFailure.self) { try parse("[1e999]", rules: rules) }
    #expect(throws: ParseFailure.self) { try parse("[-1e309]", rules: rules) }
    #expect(throws: ParseFailure.self) { try parse("1" + String(repeating: "0", count: 400), rules: rules) }
    _ = try parse("[1e308, 1e-999, 123456789012345678901234567890]", rules: rules)
  }

  @Test func offsetsCountFromTheBase() {
    let bytes = Array("[1,x]".utf8)
    let failure = #expect(throws: ParseFailure.self) { try JSONValue(parsing: bytes.span.rawBytes, base: 1000) }
    #expect(failure?.offset == 1003)
  }

  @Test func partByPart() throws {
    let bytes = Array(#" {"a":[1,2,{"x":[3]}],"b":"t","c":{"d":null}} "#.utf8)
    var parser = JSONParser(bytes.span.rawBytes)
    var log: [String] = []
    try parser.readObject { (key, offset, parser) throws(ParseFailure) in
      switch key {
      case "a":
        try parser.readArray { (parser) throws(ParseFailure) in
          if try parser.kind() == .number {
            log.append(try parser.number().text)
          } else {
            try parser.skipValue()
          }
        }
      case "b": log.append("\(offset) \(try parser.string())")
      default: log.append("\(try parser.kind()) \(try parser.value().serialized(.compact))")
      }
    }
    try parser.end()
    #expect(log == ["1", "2", "22 t", #"object {"d":null}"#])
  }

  @Test func skippedValuesAreCheckedAsStrictly() {
    for text in ["[1,]", "{\"a\":tru}", "\"\\x\"", "\"\\ud800\"", "01", "[[[[", "{\"a\" 1}", "1 2"] {
      #expect(throws: ParseFailure.self, "\(text)") { try skip(text) }
    }
    #expect(throws: Never.self) { try skip(#"{"a":[1,"b\n",null,true,{}]} "#) }
  }

  private func skip(_ text: String) throws {
    let bytes = Array(text.utf8)
    var parser = JSONParser(bytes.span.rawBytes)
    try parser.skipValue()
    try parser.end()
  }

  @Test(arguments: [JSONParser.Kind.string, .number, .array, .object])
  func aWrongKindIsAFailureNotATrap(_ kind: JSONParser.Kind) {
    #expect(throws: ParseFailure.self) { try read(kind, from: "null") }
    #expect(throws: ParseFailure.self) { try read(kind, from: "") }
  }

  private func read(_ kind: JSONParser.Kind, from text: String) throws {
    let bytes = Array(text.utf8)
    var parser = JSONParser(bytes.span.rawBytes)
    switch kind {
    case .string: _ = try parser.string()
    case .number: _ = try parser.number()
    case .array: try parser.readArray { (parser) throws(ParseFailure) in try parser.skipValue() }
    default: try parser.readObject { (_, _, parser) throws(ParseFailure) in try parser.skipValue() }
    }
  }
}

@Suite("JSON writer")
struct JSONWriterTests {
  static let sample: JSONValue = [
    "name": "a\"\\\n\u{1}\u{E9}/\u{1F600}", "list": [1, 2.5, true, nil], "empty": [:], "none": [],
    "nested": ["a": ["b": []]],
  ]

  @Test func compact() {
    #expect(
      Self.sample.serialized(.compact)
        == #"{"name":"a\"\\\n\u0001é/😀","list":[1,2.5,true,null],"empty":{},"none":[],"nested":{"a":{"b":[]}}}"#)
  }

  /// As `json.dumps(value, indent=2, ensure_ascii=False) + "\n"` of Python 3 writes it.
  @Test func indented() {
    let text = #"""
      {
        "name": "a\"\\\n\u0001é/😀",
        "list": [
          1,
          2.5,
          true,
          null
        ],
        "empty": {},
        "none": [],
        "nested": {
          "a": {
            "b": []
          }
        }
      }

      """#
    #expect(Self.sample.serialized() == text)
  }

  /// Python: `json.dumps("".join(map(chr, range(32))) + '"\\\x7f')`.
  @Test func everyControlCharacter() {
    let text = String(String.UnicodeScalarView((0..<32).compactMap { Unicode.Scalar($0) })) + "\"\\\u{7F}"
    #expect(
      JSONValue.string(text).serialized(.compact)
        == #""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014"#
        + #"\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\"\\"# + "\u{7F}\"")
  }

  @Test func membersKeepTheirOrder() throws {
    var object = try #require(try JSONValue(parsing: #"{"z":1,"a":2,"m":3}"#).object)
    object["a"] = "new"
    object["b"] = 4
    object["z"] = nil
    object["nothing"] = nil
    #expect(JSONValue.object(object).serialized(.compact) == #"{"a":"new","m":3,"b":4}"#)
  }

  @Test func doublesReadBack() {
    for value in [0.1, 1e-300, .leastNonzeroMagnitude, 1.7976931348623157e308, -0.0, 1.0 / 3, 1e16, 500_000] {
      #expect(Double(JSONNumber(value).text)?.bitPattern == value.bitPattern)
    }
  }

  @Test func randomDocumentsComeBack() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<500 {
      let value = Self.random(&random, levels: 4)
      for layout in [JSONLayout.compact, .indented] {
        #expect(try parse(value.serialized(layout)) == value, "LLAMA_TEST_SEED=\(seed)")
      }
    }
  }

  private static func random(_ random: inout SeededRandom, levels: Int) -> JSONValue {
    switch Int.random(in: 0..<(levels > 0 ? 7 : 5), using: &random) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &random))
    case 2: return .number(JSONNumber(Int64.random(in: .min ... .max, using: &random)))
    case 3: return .number(JSONNumber(Double(bitPattern: UInt64.random(in: 0..<0x7FF0 << 48, using: &random))))
    case 4: return .string(text(&random))
    case 5:
      return .array((0..<Int.random(in: 0..<4, using: &random)).map { _ in Self.random(&random, levels: levels - 1) })
    default:
      let members = (0..<Int.random(in: 0..<4, using: &random)).map { index in
        (key: text(&random) + "\(index)", value: Self.random(&random, levels: levels - 1))
      }
      return .object(JSONObject(members))
    }
  }

  /// Scalars of all planes, the control characters and what needs an escape more often.
  private static func text(_ random: inout SeededRandom) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 0..<8, using: &random) {
      let limit: UInt32 = Bool.random(using: &random) ? 0x80 : 0x110000
      text.unicodeScalars.append(Unicode.Scalar(UInt32.random(in: 0..<limit, using: &random)) ?? "\\")
    }
    return text
  }
}
