import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

/// A model's folder with both forms of its tokenizer.
private struct Model: Sendable, CustomTestStringConvertible {
  let folder: URL
  let rows: Int
  var testDescription: String { folder.lastPathComponent }

  func file(_ name: String) throws -> [UInt8] { try Fixtures.bytes(folder.appending(path: name)) }

  func keys(_ form: Form, rows: Int? = nil, rules: ImpliedRules = .allCuts) throws -> TokenizerKeys {
    switch form {
    case .model: try TokenizerKeys(tiktoken: file(form.rawValue), vocabularySize: rows ?? self.rows, rules: rules)
    case .json:
      try TokenizerKeys(
        tokenizerJSON: file(form.rawValue), tokenizerConfig: file("tokenizer_config.json"),
        generationConfig: file("generation_config.json"), vocabularySize: rows ?? self.rows)
    }
  }

  static let tiny = Model(folder: Fixtures.bundled("tiny"), rows: 2048)
  /// The larger one is left out where it is not installed.
  static let all = [tiny] + (Fixtures.large("small3").map { [Model(folder: $0, rows: 4096)] } ?? [])
}

@Suite("Tokenizer keys")
struct KeysTests {
  /// Same meaning, same ids; `other` is what became of `tokenizer`.
  private func check(_ other: any Tokenizer, against tokenizer: any Tokenizer) throws {
    #expect(sha256(other.canonicalForm) == sha256(tokenizer.canonicalForm))
    #expect(other.vocabularySize == tokenizer.vocabularySize)
    #expect(other.beginOfText == tokenizer.beginOfText)
    #expect(other.specialTokens == tokenizer.specialTokens)
    let text = try Fixtures.bytes(Fixtures.bundled("eval.txt"))
    #expect(other.encode(text) == tokenizer.encode(text))
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<300 {
      let text = randomText(&random, scalars: Int.random(in: 0...60, using: &random))
      guard other.encode(text) == tokenizer.encode(text) else {
        Issue.record("seed \(seed), text \(text)")
        return
      }
    }
  }

  @Test("the tokenizer of the keys is the one they were made of", arguments: Model.all, Form.allCases)
  fileprivate func meaning(model: Model, form: Form) throws {
    let keys = try model.keys(form)
    let original = try form.tokenizer(in: model.folder, rows: model.rows)
    try check(try BytePairTokenizer(keys), against: original)
    try check(try BytePairTokenizer(tokenizerJSON: keys.tokenizerJSON()), against: original)
    let ranks = try keys.tiktokenModel()
    let names = form == .model ? original : try Form.model.tokenizer(in: model.folder, rows: model.rows)
    try check(try BytePairTokenizer(tiktoken: ranks, vocabularySize: model.rows), against: names)
    #expect(ranks == (try model.file("tokenizer.model")))
  }

  @Test("both forms give the same keys but for the names of reserved tokens", arguments: Model.all)
  fileprivate func forms(model: Model) throws {
    let (json, ranks) = (try model.keys(.json), try model.keys(.model, rules: .lastMerges))
    let normal = model.rows - 256
    #expect(json.tokens[..<normal].map { Array($0) } == ranks.tokens[..<normal].map { Array($0) })
    #expect(json.merges == ranks.merges)
    #expect(json.merges.count == normal - 256)
    #expect(json.types == ranks.types)
    #expect(json.special == ranks.special)
    #expect(json.addsBeginOfText == true && ranks.addsBeginOfText == true)
    #expect(json.tokens.text(at: normal + 11) == "<|reserved_special_token_2|>")
    #expect(ranks.tokens.text(at: normal + 11) == "<|image|>")
  }

  @Test("keys, files and keys again are the same", arguments: Model.all, Form.allCases)
  fileprivate func identity(model: Model, form: Form) throws {
    var keys = try model.keys(form)
    keys.chatTemplate = "{{ bos_token }}\n\"é\" \\"
    keys.namedChatTemplates = ["tool_use": "a", "rag": "b"]
    let json = try keys.tokenizerJSON()
    let again = try TokenizerKeys(
      tokenizerJSON: json, tokenizerConfig: keys.tokenizerConfiguration(maximumLength: 2048),
      vocabularySize: model.rows)
    #expect(again == keys)
    #expect(try again.tokenizerJSON() == json)
  }

  @Test("rows without a token become unused tokens, and no tokens again")
  func padding() throws {
    let keys = try Model.tiny.keys(.json, rows: 2051)
    #expect(keys.tokens.count == 2051)
    #expect((2047..<2051).map { keys.tokens.text(at: $0) }.dropFirst() == ["[PAD2048]", "[PAD2049]", "[PAD2050]"])
    #expect(keys.types.suffix(4) == [3, 5, 5, 5])
    try check(try BytePairTokenizer(keys), against: try tiny(.json))
    try check(try BytePairTokenizer(tokenizerJSON: keys.tokenizerJSON()), against: try tiny(.json))
  }

  /// Tokens of three letters in any order of ranks, so that many cannot be reached by merges, or only by way of tokens
  /// of higher rank.
  @Test("ranks in any order: either list of rules gives the ids that the ranks give", arguments: ImpliedRules.allCases)
  func anyRanks(rules: ImpliedRules) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    func letters(_ count: ClosedRange<Int>) -> [UInt8] {
      (0..<Int.random(in: count, using: &random)).map { _ in UInt8.random(in: 97...99, using: &random) }
    }
    for _ in 0..<60 {
      var tokens: Set<[UInt8]> = []
      for _ in 0..<Int.random(in: 1...60, using: &random) { tokens.insert(letters(2...6)) }
      let lines = file(ranks(tokens.sorted { $0.lexicographicallyPrecedes($1) }.shuffled(using: &random)))
      let original = try BytePairTokenizer(tiktoken: lines)
      let keys = try TokenizerKeys(tiktoken: lines, rules: rules)
      let others = [try BytePairTokenizer(keys), try BytePairTokenizer(tokenizerJSON: keys.tokenizerJSON())]
      for other in others { #expect(other.canonicalForm == original.canonicalForm, "seed \(seed)") }
      #expect(try keys.tiktokenModel() == lines, "seed \(seed)")
      for _ in 0..<40 {
        let text = letters(1...120)
        guard others.allSatisfy({ $0.encode(text) == original.encode(text) }) else {
          Issue.record("seed \(seed), text \(text), file \(String(decoding: lines, as: UTF8.self))")
          return
        }
      }
    }
  }

  /// "abc" is a·bc or ab·c; encoding it merges "bc", of the lower rank, first.
  @Test("rules listed for ranks")
  func implied() throws {
    let tokens = ["bc", "ab", "abc", "xyz"].map { Array($0.utf8) }
    func merges(_ rules: ImpliedRules, _ tokens: [[UInt8]]) throws -> [String?] {
      let keys = try TokenizerKeys(tiktoken: file(ranks(tokens)), rules: rules)
      return keys.merges.indices.map { keys.merges.text(at: $0) }
    }
    #expect(try merges(.lastMerges, tokens) == ["b c", "a b", "a bc"])
    #expect(try merges(.allCuts, tokens) == ["b c", "a b", "a bc", "ab c"])
    // "ab" has the higher rank, and still is the only way to "abc".
    #expect(try merges(.lastMerges, [Array("abc".utf8), Array("ab".utf8)]) == ["ab c", "a b"])
    let tiny = try TokenizerKeys(tiktoken: Model.tiny.file("tokenizer.model"), rules: .allCuts)
    let implied = try BytePairTokenizer(tiktoken: Model.tiny.file("tokenizer.model")).mergeCount
    #expect(tiny.merges.count == implied && implied > 1536)
  }

  @Test("the byte alphabet, both ways")
  func alphabet() throws {
    let keys = try TokenizerKeys(tiktoken: file(ranks([[32, 10, 200]])))
    #expect((0..<256).map { keys.tokens.text(at: $0) } == SmallJSON.alphabet)
    #expect(keys.tokens.text(at: 256) == "ĠĊÈ")
  }

  @Test("list of byte strings")
  func byteStrings() {
    let list = ByteStrings([[], [0xFF], Array("é".utf8)])
    #expect(list.count == 3 && list.byteCount == 3)
    #expect(list.map { Array($0) } == [[], [0xFF], [0xC3, 0xA9]])
    #expect(list.text(at: 0)?.isEmpty == true && list.text(at: 1) == nil && list.text(at: 2) == "é")
    #expect(list != ByteStrings([[0xFF], [], Array("é".utf8)]))
    #expect(ByteStrings(["a", "bc"]) == ByteStrings([[97], [98, 99]]))
  }
}
