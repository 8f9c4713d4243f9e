internal import ByteIO
internal import Checkpoints
internal import Tokenizers

/// Whether base and candidates read the same tokens: drift is only defined on the same ones. A wrong pre-tokenizer shows in
/// texts that nobody scores, so a set of hard ones is compared too.
struct TokenizerParity {
  private let base: any Tokenizer
  /// Nil for a candidate that has none: it is given the base's ids.
  private let candidates: [(any Tokenizer)?]
  /// What each candidate reads differently, a sentence for each text.
  private(set) var problems: [[String]]

  /// - Parameter base: the tokenizer that reads the text.
  init(_ request: VerificationRequest, _ base: any Tokenizer) throws {
    self.base = base
    candidates = try request.candidates.map { try $0.tokenizer() }
    problems = candidates.map { _ in [] }
  }

  mutating func check(_ texts: [String]) {
    guard candidates.contains(where: { $0 != nil }) else { return }
    for text in texts {
      let bytes = Array(text.utf8)
      let ids = base.encode(bytes)
      compareAll("the text \(Self.quoted(text))", ids) { $0.encode(bytes) }
    }
  }

  /// - Parameter ids: of the text, by the base.
  mutating func check(_ ids: [Int32], of text: [UInt8]) { compareAll("the text", ids) { $0.encode(text) } }

  mutating func check(_ chat: ChatTranscripts) {
    for (number, candidate) in candidates.enumerated() {
      guard let candidate else { continue }
      do {
        for (index, (own, other)) in zip(chat.texts, try chat.rendered(with: candidate)).enumerated() {
          compare(own.ids, other, "conversation \(index + 1)", number)
        }
      } catch {
        problems[number].append("conversations cannot be rendered with the candidate's tokenizer: \(error)")
      }
    }
  }

  private mutating func compareAll(_ what: String, _ ids: [Int32], _ encode: (any Tokenizer) -> [Int32]) {
    for (number, candidate) in candidates.enumerated() {
      if let candidate { compare(ids, encode(candidate), what, number) }
    }
  }

  private mutating func compare(_ ids: [Int32], _ theirs: [Int32], _ what: String, _ number: Int) {
    guard theirs != ids else { return }
    let index =
      zip(ids, theirs).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(ids.count, theirs.count)
    problems[number].append(
      "base and candidate tokenize \(what) differently from token \(index) on"
        + (problems[number].isEmpty ? " (--each-its-own-tokenizer compares per byte)" : ""))
  }

  private static func quoted(_ text: String) -> String {
    let start = String(text.unicodeScalars.prefix(24).map { Character($0.value < 0x20 ? "\u{FFFD}" : $0) })
    return "\"\(start)\"" + (text.unicodeScalars.count > 24 ? "…" : "")
  }
}

/// Texts in which tokenizers that are nearly the same differ: splits at digits, contractions and white space, scripts,
/// bytes that no token spells, names of special tokens, long runs.
enum AdversarialTexts {
  static let all: [String] =
    [
      " leading", "  two", "trailing ", "trailing  ", "a  b   c    d", "\n", "\n\n", "\n\n\n x", " \n \n", "\r\n\r\n",
      "\t\ttab\t",
      "\u{A0}no-break\u{A0}", "\u{3000}ideographic\u{3000}", "\u{2028}line\u{2029}paragraph",
      "\u{200B}zero\u{200D}width\u{FEFF}",
      "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "2024-01-31T23:59:59Z", "0x1F4A9",
      "١٢٣٤", "①②③",
      "I'm you're he's we've they'll I'd", "I'M YOU'RE HE'S WE'VE THEY'LL I'D", "'s 't 're 've 'm 'll 'd", "don’t",
      "rock'n'roll",
      "camelCaseHTTPRequest2JSON", "snake_case_name", "kebab-case", "CONSTANT_NAME", "__init__", "a.b->c::d[e]{f}(g);",
      "if (x != y && !z) { return x ^ ~y; } // why?", "<html><body class=\"x\">&amp;</body></html>",
      "SELECT * FROM t WHERE a='b';",
      "https://example.org/path?query=1&x=%20#frag", "name@example.org", "C:\\Users\\x", "\\n\\t\\\\",
      "$x^2 + \\frac{1}{2}$",
      "Ünïcödé Ångström naïve façade", "e\u{301}e\u{301}", "\u{E9}", "ﬁ ligature ﬂ", "Straße STRASSE", "ǅ ǆ",
      "İstanbul ı", "Ω Ω Å Å",
      "Привет, мир!", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "こんにちは世界", "안녕하세요 세계",
      "你好，世界！",
      "𝒳𝓎𝓏 𝟙𝟚𝟛", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☃️☃", "\u{FFFD}", "\u{0}", "\u{1}\u{7F}\u{80}", "\u{E000}\u{10FFFF}",
      "<s>", "</s>", "<unk>", "[INST] x [/INST]", "<<SYS>>", "<0x0A>", "<|begin_of_text|>", "<|end_of_text|>",
      "<|eot_id|>",
      "<|start_header_id|>user<|end_header_id|>", "<|reserved_special_token_0|>", "<|endoftext|>", "▁", "▁▁x", "Ġ",
      "ĠĊ",
      "!!!", "?!?!", "...", "…", "--- ===", "*** ###", "- a\n- b\n  - c\n", "| a | b |\n|---|---|\n",
      "```swift\nlet x = 1\n```\n",
    ]
    + [" ", "a", "1", "\n", "=", "ab", "é", "漢", "😀"].flatMap { unit in
      [2, 3, 7, 16, 33, 100].map { String(repeating: unit, count: $0) }
    }
}
