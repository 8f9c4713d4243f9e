import ByteIO
import Support
import Testing
import Tokenizers

/// Llama 3 in small: 256 bytes, "ab" and "abc", and ten special tokens by their names.
private func goodKeys() throws -> TokenizerKeys {
  try TokenizerKeys(tiktoken: file(ranks([Array("ab".utf8), Array("abc".utf8)])), vocabularySize: 268)
}

extension TokenizerKeys {
  fileprivate func with(_ change: (inout TokenizerKeys) -> Void) -> TokenizerKeys {
    var copy = self
    change(&copy)
    return copy
  }

  /// One token's text is replaced.
  fileprivate func with(_ id: Int, _ text: some Sequence<UInt8>, type: TokenKind? = nil) -> TokenizerKeys {
    with { keys in
      var texts = tokens.map { Array($0) }
      texts[id] = Array(text)
      keys.tokens = ByteStrings(texts)
      if let type { keys.types[id] = type.rawValue }
    }
  }

  fileprivate func with(merges: [String]) -> TokenizerKeys { with { $0.merges = ByteStrings(merges) } }
}

struct HostileKeys: Sendable, CustomTestStringConvertible {
  let name: String
  /// The end of the key's name.
  let key: String
  let says: String
  let change: @Sendable (TokenizerKeys) -> TokenizerKeys
  var testDescription: String { name }

  init(_ name: String, _ key: String, _ says: String, _ change: @escaping @Sendable (TokenizerKeys) -> TokenizerKeys) {
    (self.name, self.key, self.says, self.change) = (name, key, says, change)
  }
}

private let hostileKeys: [HostileKeys] = [
  HostileKeys("WordPiece", "model", "\"bert\"") { $0.with { $0.model = "bert" } },
  HostileKeys("another split", "pre", "\"qwen2\"") { $0.with { $0.pre = "qwen2" } },
  HostileKeys("no split", "pre", "missing") { $0.with { $0.pre = nil } },
  HostileKeys("fewer types", "token_type", "267 elements, there are 268") { $0.with { $0.types.removeLast() } },
  HostileKeys("no tokens", "tokens", "0 tokens") { $0.with { ($0.tokens, $0.types) = (ByteStrings(), []) } },
  HostileKeys("too many tokens", "tokens", "2097153 tokens") {
    $0.with { keys in
      keys.tokens = ByteStrings((0...TokenizerLimits.vocabularySize).lazy.map { _ in EmptyCollection<UInt8>() })
      keys.types = Array(repeating: 5, count: keys.tokens.count)
    }
  },
  HostileKeys("a type that does not exist", "token_type", "type 7") { $0.with { $0.types[3] = 7 } },
  HostileKeys("a type below all", "token_type", "type -2147483648") { $0.with { $0.types[3] = .min } },
  HostileKeys("a byte token", "token_type", "type 6") { $0.with { $0.types[3] = 6 } },
  HostileKeys("a plain space in a normal token", "tokens", "alphabet") { $0.with(256, "a b".utf8) },
  HostileKeys("a letter beyond the alphabet", "tokens", "alphabet") { $0.with(256, "日".utf8) },
  HostileKeys("no UTF-8", "tokens", "256 is not UTF-8") { $0.with(256, [0xC4]) },
  HostileKeys("an overlong spelling", "tokens", "256 is not UTF-8") { $0.with(256, [0xC1, 0xA1]) },
  HostileKeys("a special token that is no UTF-8", "tokens", "260 is not UTF-8") { $0.with(260, [0xFF]) },
  HostileKeys("an empty token", "tokens", "257 is empty") { $0.with(257, []) },
  HostileKeys("an empty special token", "tokens", "260 is empty") { $0.with(260, []) },
  HostileKeys("513 bytes", "tokens", "more than 512") { $0.with(257, [UInt8](repeating: 97, count: 513)) },
  HostileKeys("a megabyte", "tokens", "more than 512") { $0.with(257, [UInt8](repeating: 97, count: 1 << 20)) },
  HostileKeys("a special token of 513 bytes", "tokens", "513 bytes") {
    $0.with(260, [UInt8](repeating: 97, count: 513))
  },
  HostileKeys("a normal token twice", "tokens", "same as that with id 256") { $0.with(257, "ab".utf8) },
  HostileKeys("a special token twice", "tokens", "second time") { $0.with(260, "<|begin_of_text|>".utf8) },
  HostileKeys("a special token like a normal one", "tokens", "id 256") { $0.with(260, "ab".utf8) },
  HostileKeys("an unused token like a normal one", "tokens", "id 32") { $0.with(260, "Ġ".utf8, type: .unused) },
  HostileKeys("an unused token like a special one", "tokens", "second time") {
    $0.with(260, "<|begin_of_text|>".utf8, type: .unused)
  },
  HostileKeys("a rule of an unknown token", "merges", "rule 0, \"ax b\", merges") { $0.with(merges: ["ax b"]) },
  HostileKeys("a rule without result", "merges", "makes a token") { $0.with(merges: ["a b", "b a"]) },
  HostileKeys("a rule of one part", "merges", "not two tokens") { $0.with(merges: ["ab"]) },
  HostileKeys("a rule of three parts", "merges", "not two tokens") { $0.with(merges: ["a b c"]) },
  HostileKeys("no left part", "merges", "not two tokens") { $0.with(merges: [" b"]) },
  HostileKeys("no right part", "merges", "not two tokens") { $0.with(merges: ["a "]) },
  HostileKeys("an empty rule", "merges", "not two tokens") { $0.with(merges: [""]) },
  HostileKeys("a rule of special tokens", "merges", "merges a token") {
    $0.with(merges: ["<|begin_of_text|> <|end_of_text|>"])
  },
  HostileKeys("a rule twice", "merges", "second time") { $0.with(merges: ["a b", "a b"]) },
  HostileKeys("a rule that is no UTF-8", "merges", "not UTF-8") {
    $0.with { $0.merges = ByteStrings([[97, 32, 0xFF]]) }
  },
  HostileKeys("an endless rule", "merges", "too long") { $0.with(merges: [String(repeating: "a", count: 1 << 20)]) },
  HostileKeys("begin out of range", "bos_token_id", "268 tokens") { $0.with { $0.special.beginOfText = 268 } },
  HostileKeys("begin at the end of all", "bos_token_id", "4294967295") { $0.with { $0.special.beginOfText = .max } },
  HostileKeys("end out of range", "eos_token_id", "id 268") { $0.with { $0.special.endOfText = 268 } },
  HostileKeys("end of turn out of range", "eot_token_id", "id 268") { $0.with { $0.special.endOfTurn = 268 } },
  HostileKeys("unknown out of range", "unknown_token_id", "id 268") { $0.with { $0.special.unknown = 268 } },
  HostileKeys("padding out of range", "padding_token_id", "id 268") { $0.with { $0.special.padding = 268 } },
  HostileKeys("begin is a normal token", "bos_token_id", "token 5, which starts") {
    $0.with { $0.special.beginOfText = 5 }
  },
]

private let unrankable: [HostileKeys] = [
  HostileKeys("a gap", "tokens", "ranks have no gaps") { $0.with(256, "<x>".utf8, type: .control).with(merges: []) },
  HostileKeys("a row without a token", "tokens", "row 262 has no token") { $0.with { $0.types[262] = 5 } },
  HostileKeys("a begin elsewhere", "tokens", "begin of text is token 261") { $0.with { $0.special.beginOfText = 261 } },
  HostileKeys("a turn that ends elsewhere", "tokens", "expects \"<|eot_id|>\"") { $0.with(267, "<|im_end|>".utf8) },
  HostileKeys("a rule too few", "merges", "no rule merges tokens 256 and 99 into 257") { $0.with(merges: ["a b"]) },
  HostileKeys("rules in another order", "merges", "order") { $0.with(merges: ["ab c", "a b"]) },
  HostileKeys("one special token", "tokens", "1 special tokens") {
    $0.with { keys in
      keys.tokens = ByteStrings(Array(keys.tokens[..<259]))
      keys.types.removeLast(9)
      keys.special.endOfText = 258
    }
  },
]

@Suite("Tokenizer keys that are wrong")
struct KeysHostileTests {
  @Test("rejects", arguments: hostileKeys)
  func rejects(hostile: HostileKeys) throws {
    let keys = hostile.change(try goodKeys())
    for make in [
      { _ = try BytePairTokenizer(keys) }, { _ = try keys.tokenizerJSON() }, { _ = try keys.tiktokenModel() },
      { _ = try keys.tokenizerConfiguration() },
    ] {
      let failure = #expect(throws: ParseFailure.self) { try make() }
      #expect(failure?.message.contains(hostile.says) == true, "\(failure?.message ?? "")")
      #expect(failure?.item == "tokenizer.ggml.\(hostile.key)")
    }
  }

  @Test("a missing byte is named, in every form")
  func missingByte() throws {
    let keys = try goodKeys().with(7, "<x>".utf8, type: .control)
    for make in [{ _ = try BytePairTokenizer(keys) }, { _ = try keys.tokenizerJSON() }] {
      let failure = #expect(throws: ParseFailure.self) { try make() }
      #expect(failure?.message.contains("single byte 0x07") == true)
    }
  }

  @Test("what a tokenizer.model cannot hold, a tokenizer.json can", arguments: unrankable)
  func noRanks(hostile: HostileKeys) throws {
    let keys = hostile.change(try goodKeys())
    let failure = #expect(throws: ParseFailure.self) { try keys.tiktokenModel() }
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.message ?? "")")
    #expect(failure?.item == "tokenizer.ggml.\(hostile.key)")
    let tokenizer = try BytePairTokenizer(keys)
    #expect(try BytePairTokenizer(tokenizerJSON: keys.tokenizerJSON()).canonicalForm == tokenizer.canonicalForm)
  }

  /// Rows that tokenizers would number through are listed in the vocabulary, where it looks for them first.
  @Test("the vocabulary lists special tokens only where their ids do not follow on")
  func listedTokens() throws {
    func vocabulary(_ keys: TokenizerKeys) throws -> [String] {
      let document = try JSONValue(parsing: keys.tokenizerJSON())
      return (document["model"]?["vocab"]?.object?.members ?? []).map(\.key)
    }
    let keys = try goodKeys()
    #expect(try vocabulary(keys).count == 258)
    let gap = try vocabulary(keys.with { $0.types[262] = 5 })
    #expect(gap.count == 267 && gap.last == "<|eot_id|>")
  }

  @Test("other names of the split, and the default of the begin of text")
  func tolerated() throws {
    let keys = try goodKeys()
    let form = try BytePairTokenizer(keys).canonicalForm
    for pre in ["llama-bpe", "llama3", "llama-v3"] {
      let other = keys.with { ($0.pre, $0.addsBeginOfText) = (pre, nil) }
      #expect(try BytePairTokenizer(other).canonicalForm == form)
    }
    // Nothing in front, and no token of the name: no begin of text.
    let other = keys.with(258, "<s>".utf8).with { $0.addsBeginOfText = false }
    #expect(try BytePairTokenizer(other).beginOfText == nil)
    #expect(try BytePairTokenizer(tokenizerJSON: other.tokenizerJSON()).beginOfText == nil)
    #expect(try BytePairTokenizer(keys.with(258, "<s>".utf8)).beginOfText == 258)
    let config = try JSONValue(parsing: other.tokenizerConfiguration())
    #expect(config["add_bos_token"] == false)
    #expect(try JSONValue(parsing: keys.tokenizerConfiguration())["add_bos_token"] == nil)
  }

  @Test("tokenizer_config.json names an end of text, or there is none")
  func endOfText() throws {
    let keys = try goodKeys()
    for (id, says) in [(nil, "no token ends"), (97, "token 97")] as [(UInt32?, String)] {
      let failure = #expect(throws: ParseFailure.self) {
        try keys.with { $0.special.endOfText = id }.tokenizerConfiguration()
      }
      #expect(failure?.message.contains(says) == true)
    }
    let plain = try JSONValue(parsing: keys.with { $0.special.padding = 0 }.tokenizerConfiguration(maximumLength: 8192))
    #expect(plain["pad_token"] == nil && plain["model_max_length"] == 8192)
    #expect(plain["bos_token"] == "<|begin_of_text|>" && plain["eos_token"] == "<|end_of_text|>")
  }

  @Test("random damage never crashes")
  func damage() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let good = try goodKeys()
    var failures = 0
    for _ in 0..<1500 {
      var keys = good
      let id = Int.random(in: 250..<268, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0: keys.types[id] = Int32.random(in: 0...7, using: &random)
      case 1: keys = keys.with(id, (0..<3).map { _ in UInt8.random(in: 90...200, using: &random) })
      case 2: keys = keys.with(merges: [String(decoding: randomText(&random, scalars: 4), as: UTF8.self)])
      default: keys.special.beginOfText = UInt32.random(in: 0...300, using: &random)
      }
      do {
        let tokenizer = try BytePairTokenizer(keys)
        let text = Array("abc ab\n".utf8)
        #expect(try tokenizer.decode(tokenizer.encode(text)) == text, "seed \(seed)")
        let json = try BytePairTokenizer(tokenizerJSON: keys.tokenizerJSON())
        #expect(json.canonicalForm == tokenizer.canonicalForm, "seed \(seed)")
        _ = try keys.tiktokenModel()
      } catch {
        failures += 1
      }
    }
    #expect(failures > 0, "seed \(seed)")
  }
}
