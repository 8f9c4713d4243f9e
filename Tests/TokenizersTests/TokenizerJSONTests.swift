import ByteIO
import Support
import Testing
import Tokenizers

struct HostileJSON: Sendable, CustomTestStringConvertible {
  let name: String
  let item: String?
  let says: String
  let bytes: [UInt8]
  var testDescription: String { name }

  init(_ name: String, item: String?, says: String, _ json: SmallJSON) {
    (self.name, self.item, self.says, self.bytes) = (name, item, says, json.bytes)
  }
}

private let good = SmallJSON()
private let hostileVocabulary: [HostileJSON] = [
  HostileJSON(
    "an id twice", item: "model.vocab", says: "id 256 of \"abc\" for the second time",
    good.with("model", "vocab", "abc", value: 256)),
  HostileJSON("a negative id", item: "model.vocab", says: "no integer", good.with("model", "vocab", "abc", value: -1)),
  HostileJSON("a fraction", item: "model.vocab", says: "no integer", good.with("model", "vocab", "abc", value: 1.5)),
  HostileJSON(
    "an id beyond the limit", item: "model.vocab", says: "no integer in 0 to 2097151",
    good.with("model", "vocab", "abc", value: 2_097_152)),
  HostileJSON(
    "an id beyond 64 bits", item: "model.vocab", says: "no integer",
    good.with("model", "vocab", "abc", value: 1e300)),
  HostileJSON(
    "a foreign scalar", item: "model.vocab", says: "alphabet", good.with("model", "vocab", "日", value: 280)),
  HostileJSON("a plain space", item: "model.vocab", says: "alphabet", good.with("model", "vocab", "a b", value: 280)),
  HostileJSON("an empty token", item: "model.vocab", says: "alphabet", good.with("model", "vocab", "", value: 280)),
  HostileJSON(
    "a token of 513 bytes", item: "model.vocab", says: "513 bytes",
    good.with("model", "vocab", String(repeating: "a", count: 513), value: 280)),
  HostileJSON("no byte Ġ", item: nil, says: "single byte 0x20", good.with("model", "vocab", "Ġ", value: nil)),
  HostileJSON("no vocabulary", item: "model.vocab", says: "object", good.with("model", "vocab", value: [])),
  HostileJSON(
    "an added token on a vocabulary id", item: "model.vocab", says: "also the id of an added token",
    good.with("added_tokens", "0", "id", value: 5)),
  HostileJSON(
    "two added tokens with one id", item: "added_tokens", says: "id 300",
    good.with("added_tokens", value: [["id": 300, "content": "x"], ["id": 300, "content": "y"]])),
  HostileJSON(
    "two ids of one added token", item: "added_tokens", says: "second time",
    good.with("added_tokens", value: [["id": 300, "content": "x"], ["id": 301, "content": "x"]])),
  HostileJSON(
    "an added token out of range", item: "added_tokens", says: "not in 0 to",
    good.with("added_tokens", "0", "id", value: 4_000_000_000)),
  HostileJSON(
    "an added token without content", item: "added_tokens", says: "content", good.with("added_tokens", value: [7])),
]

private let hostileMerges: [HostileJSON] = [
  HostileJSON(
    "an unknown left part", item: "model.merges", says: "rule 0", good.with("model", "merges", value: ["ax b"])),
  HostileJSON(
    "an unknown right part", item: "model.merges", says: "lacks", good.with("model", "merges", value: [["a", "bx"]])),
  HostileJSON(
    "an unknown result", item: "model.merges", says: "makes a token", good.with("model", "merges", value: ["x y"])),
  HostileJSON("one part", item: "model.merges", says: "not two tokens", good.with("model", "merges", value: ["ab"])),
  HostileJSON(
    "three parts", item: "model.merges", says: "not two tokens", good.with("model", "merges", value: ["a b c"])),
  HostileJSON(
    "a list of three", item: "model.merges", says: "not two tokens",
    good.with("model", "merges", value: [["a", "b", "c"]])),
  HostileJSON(
    "an empty part", item: "model.merges", says: "not two tokens", good.with("model", "merges", value: [["", "b"]])),
  HostileJSON("a number", item: "model.merges", says: "not two tokens", good.with("model", "merges", value: [5])),
  HostileJSON(
    "a rule twice", item: "model.merges", says: "second time",
    good.with("model", "merges", value: ["a b", ["a", "b"]])),
  HostileJSON("no list", item: "model.merges", says: "list", good.with("model", "merges", value: nil)),
]

private let hostilePipeline: [HostileJSON] = [
  HostileJSON("Unigram", item: "model.type", says: "Unigram", good.with("model", "type", value: "Unigram")),
  HostileJSON("WordPiece", item: "model.type", says: "WordPiece", good.with("model", "type", value: "WordPiece")),
  HostileJSON("no type", item: "model.type", says: "without a type", good.with("model", "type", value: nil)),
  HostileJSON("no model", item: "model", says: "object", good.with("model", value: nil)),
  HostileJSON("dropout", item: "model.dropout", says: "dropout", good.with("model", "dropout", value: 0.1)),
  HostileJSON(
    "byte fallback", item: "model.byte_fallback", says: "SentencePiece",
    good.with("model", "byte_fallback", value: true)),
  HostileJSON(
    "subword prefix", item: "model.continuing_subword_prefix", says: "##",
    good.with("model", "continuing_subword_prefix", value: "##")),
  HostileJSON(
    "word suffix", item: "model.end_of_word_suffix", says: "</w>",
    good.with("model", "end_of_word_suffix", value: "</w>")),
  HostileJSON(
    "ignore_merges as text", item: "model.ignore_merges", says: "true or false",
    good.with("model", "ignore_merges", value: "yes")),
  HostileJSON("a normalizer", item: "normalizer", says: "NFC", good.with("normalizer", value: ["type": "NFC"])),
  HostileJSON("no split", item: "pre_tokenizer", says: "none", good.with("pre_tokenizer", value: nil)),
  HostileJSON(
    "Metaspace", item: "pre_tokenizer", says: "Metaspace", good.with("pre_tokenizer", value: ["type": "Metaspace"])),
  HostileJSON(
    "another pattern", item: "pre_tokenizer", says: "[a-z]+",
    good.with("pre_tokenizer", "pretokenizers", "0", "pattern", "Regex", value: "[a-z]+")),
  HostileJSON(
    "a plain string as pattern", item: "pre_tokenizer", says: "regular expression",
    good.with("pre_tokenizer", "pretokenizers", "0", "pattern", value: ["String": " "])),
  HostileJSON(
    "split removes", item: "pre_tokenizer", says: "isolate",
    good.with("pre_tokenizer", "pretokenizers", "0", "behavior", value: "Removed")),
  HostileJSON(
    "split inverted", item: "pre_tokenizer", says: "isolate",
    good.with("pre_tokenizer", "pretokenizers", "0", "invert", value: true)),
  HostileJSON(
    "prefix space", item: "pre_tokenizer", says: "add_prefix_space",
    good.with("pre_tokenizer", "pretokenizers", "1", "add_prefix_space", value: true)),
  HostileJSON(
    "prefix space by default", item: "pre_tokenizer", says: "add_prefix_space",
    good.with("pre_tokenizer", "pretokenizers", "1", "add_prefix_space", value: nil)),
  HostileJSON(
    "GPT-2's own pattern", item: "pre_tokenizer", says: "use_regex",
    good.with("pre_tokenizer", "pretokenizers", "1", "use_regex", value: true)),
  HostileJSON(
    "another decoder", item: "decoder", says: "Metaspace", good.with("decoder", value: ["type": "Metaspace"])),
  HostileJSON(
    "another post-processor", item: "post_processor", says: "BertProcessing",
    good.with("post_processor", value: ["type": "BertProcessing"])),
  HostileJSON(
    "a template with an unknown token", item: "post_processor", says: "<s>",
    good.with("post_processor", value: ["type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>"]]]])),
  HostileJSON(
    "a template with another id", item: "post_processor", says: "agree",
    good.with(
      "post_processor",
      value: [
        "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<|begin_of_text|>"]]],
        "special_tokens": ["<|begin_of_text|>": ["ids": [299]]],
      ])),
]

@Suite("tokenizer.json")
struct TokenizerJSONTests {
  @Test("rejects", arguments: hostileVocabulary + hostileMerges + hostilePipeline)
  func rejects(hostile: HostileJSON) {
    let failure = #expect(throws: ParseFailure.self) { try BytePairTokenizer(tokenizerJSON: hostile.bytes) }
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.message ?? "")")
    #expect(failure?.item == hostile.item)
  }

  @Test("says what is supported when a tokenizer is another kind", arguments: hostilePipeline)
  func advice(hostile: HostileJSON) {
    let failure = #expect(throws: ParseFailure.self) { try BytePairTokenizer(tokenizerJSON: hostile.bytes) }
    #expect(hostile.item == "model" || failure?.advice?.contains("Llama 3 split pattern") == true)
  }

  @Test("rejects what is no object, and what is cut short")
  func rejectsFragments() {
    let whole = good.bytes
    for bytes in [Array("[]".utf8), Array("{}".utf8), Array("{".utf8)]
      + [100, 1000, whole.count - 1].map({ Array(whole[..<$0]) })
    {
      #expect(throws: ParseFailure.self) { try BytePairTokenizer(tokenizerJSON: bytes) }
    }
  }

  @Test("rejects a token that the vocabulary names twice")
  func rejectsDoubledNames() throws {
    let text = String(decoding: good.bytes, as: UTF8.self).replacing(#""abc":257"#, with: #""ab":257"#)
    #expect(text.utf8.count < good.bytes.count)
    let failure = #expect(throws: ParseFailure.self) { try BytePairTokenizer(tokenizerJSON: Array(text.utf8)) }
    #expect(failure?.message.contains("\"ab\" appears twice") == true)
  }

  @Test("both spellings of merges", arguments: [true, false])
  func spellings(asPairs: Bool) throws {
    let tokenizer = try SmallJSON(asPairs: asPairs).tokenizer()
    #expect(tokenizer.encode(Array("abcab".utf8)) == [257, 256])
    #expect(tokenizer.mergeCount == 2)
    #expect(tokenizer.canonicalForm == (try good.tokenizer().canonicalForm))
  }

  /// With the rules b·c, then a·b: the second is the lower id, the first the lower rank. tokenizers goes by rank, so
  /// "abc" becomes a·bc; going by the tokens' ids would give ab·c.
  @Test("the rank of a rule is its place in the list, not its token's id")
  func ranksOfRules() throws {
    let json = SmallJSON(merges: [("a", "b"), ("b", "c")], wholePieces: false)
      .with("model", "merges", value: ["b c", "a b"])
    #expect(try json.tokenizer().encode(Array("abc".utf8)) == [97, 257])
    #expect(
      try SmallJSON(merges: [("a", "b"), ("b", "c")], wholePieces: false).tokenizer().encode(Array("abc".utf8)) == [
        256, 99,
      ])
    #expect(
      try json.tokenizer().canonicalForm
        != SmallJSON(merges: [("a", "b"), ("b", "c")], wholePieces: false).tokenizer().canonicalForm)
  }

  /// a·bc makes "abc" too, but no rule says so: a pair merges by its own rule, not because its text is a token.
  @Test("a pair without a rule does not merge, though its text is a token")
  func pairsWithoutRule() throws {
    let json = SmallJSON(merges: [("b", "c"), ("a", "b"), ("ab", "c")], wholePieces: false)
    #expect(try json.tokenizer().encode(Array("abc".utf8)) == [97, 256])
  }

  @Test(
    "ignore_merges takes whole pieces, and only that",
    arguments: [(true, [280]), (false, [97, 120])] as [(Bool, [Int32])])
  func wholePieces(ignoresMerges: Bool, expected: [Int32]) throws {
    let tokenizer = try SmallJSON(wholePieces: ignoresMerges).with("model", "vocab", "ax", value: 280).tokenizer()
    #expect(tokenizer.encode(Array("ax".utf8)) == expected)
    #expect(tokenizer.takesWholePieces == ignoresMerges)
  }

  @Test("ignore_merges is false when absent")
  func wholePiecesByDefault() throws {
    #expect(try good.with("model", "ignore_merges", value: nil).tokenizer().takesWholePieces == false)
  }

  @Test("the begin of text is the template's token, else the one of that name")
  func beginOfText() throws {
    #expect(try good.tokenizer().beginOfText == 300)
    let template: JSONValue = [
      "type": "Sequence",
      "processors": [
        ["type": "ByteLevel"],
        [
          "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>"]], ["Sequence": ["id": "A"]]],
          "special_tokens": ["<s>": ["ids": [301]]],
        ],
      ],
    ]
    let added: JSONValue = [["id": 301, "content": "<s>"], ["id": 302, "content": "<|eot_id|>"]]
    let tokenizer = try good.with("post_processor", value: template).with("added_tokens", value: added).tokenizer()
    #expect(tokenizer.beginOfText == 301)
    #expect(tokenizer.endOfText == [302])
    #expect(tokenizer.vocabularySize == 303)
    #expect(try good.with("added_tokens", value: []).tokenizer().beginOfText == nil)
  }

  @Test("an added token that the vocabulary repeats is one token")
  func repeatedAddedToken() throws {
    let tokenizer = try good.with("model", "vocab", "<|begin_of_text|>", value: 300).tokenizer()
    #expect(tokenizer.canonicalForm == (try good.tokenizer().canonicalForm))
    #expect(!tokenizer.encode(Array("<|begin_of_text|>".utf8)).contains(300))
  }

  @Test("ids need not be dense, and decoding one that is not in use fails")
  func holes() throws {
    let tokenizer = try good.tokenizer()
    #expect(tokenizer.vocabularySize == 301)
    #expect(throws: ParseFailure.self) { try tokenizer.decode([290]) }
  }

  @Test("the file's form is told by its content")
  func recognition() throws {
    #expect(try TokenizerFile(recognising: good.bytes) == .tokenizerJSON)
    #expect(try TokenizerFile(recognising: file(ranks())) == .tiktoken)
    #expect(throws: ParseFailure.self) { try TokenizerFile(recognising: []) }
    let failure = #expect(throws: ParseFailure.self) { try TokenizerFile.tokenizer(good.bytes, vocabularySize: 300) }
    #expect(failure?.message.contains("only 300 vocabulary rows") == true)
    #expect(try TokenizerFile.tokenizer(good.bytes, vocabularySize: 301).vocabularySize == 301)
  }

  @Test("byte flips never crash the readers", arguments: Form.allCases)
  func byteFlips(form: Form) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let whole = form == .json ? good.bytes : file(ranks([Array("ab".utf8)]))
    var failures = 0
    for _ in 0..<2000 {
      var bytes = whole
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      do {
        let tokenizer = try TokenizerFile.tokenizer(bytes)
        let text = Array("abc ab\n".utf8)
        #expect(try tokenizer.decode(tokenizer.encode(text)) == text, "seed \(seed)")
      } catch {
        failures += 1
      }
    }
    #expect(failures > 0, "seed \(seed)")
  }
}
