import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

struct HostileModel: Sendable, CustomTestStringConvertible {
  let name: String
  let item: String?
  let says: String
  let offset: UInt64?
  let bytes: @Sendable () -> [UInt8]
  var testDescription: String { name }

  init(
    _ name: String, item: String? = nil, says: String, offset: UInt64? = nil, bytes: @escaping @Sendable () -> [UInt8]
  ) {
    (self.name, self.item, self.says, self.offset, self.bytes) = (name, item, says, offset, bytes)
  }

  init(_ name: String, item: String = "pieces", says: String, _ change: @escaping @Sendable (inout SmallModel) -> Void)
  {
    self.init(name, item: item, says: says) { SmallModel().with(change).bytes }
  }
}

private typealias Piece = SmallModel.Piece

private let hostileModels: [HostileModel] = [
  HostileModel("unigram", item: "trainer_spec.model_type", says: "the kind unigram") { $0.trainer = [(3, 1)] },
  HostileModel("word", item: "trainer_spec.model_type", says: "the kind word") { $0.trainer = [(3, 3)] },
  HostileModel("char", item: "trainer_spec.model_type", says: "the kind char") { $0.trainer = [(3, 4)] },
  HostileModel("a kind that does not exist", item: "trainer_spec.model_type", says: "the kind 9") {
    $0.trainer = [(3, 9)]
  },
  HostileModel("no kind", item: "trainer_spec.model_type", says: "the kind unigram") { $0.trainer = [] },
  HostileModel("spaces behind words", item: "trainer_spec.treat_whitespace_as_suffix", says: "the word before") {
    $0.trainer.append((24, 1))
  },
  HostileModel("a normalizer", item: "normalizer_spec.precompiled_charsmap", says: "expected the identity") {
    $0.table = [1, 2, 3]
  },
  HostileModel("plain spaces", item: "normalizer_spec.escape_whitespaces", says: "U+2581") {
    $0.normalizer.append((5, 0))
  },
  HostileModel("a denormalizer", item: "denormalizer_spec.precompiled_charsmap", says: "changed by a table") {
    $0.rest = SmallModel.field(5, SmallModel.field(2, [7]))
  },
  HostileModel("two trainers", item: "trainer_spec", says: "2 times") {
    $0.rest = SmallModel.field(2, SmallModel.field(3, 2))
  },
  HostileModel("no unknown piece", says: "unknown text") { $0.pieces.removeFirst() },
  HostileModel("two unknown pieces", says: "second unknown") { $0.pieces.append(Piece("<u>", type: 2)) },
  HostileModel("a doubled piece", says: "same as that with id 3") { $0.pieces.append(Piece("a", -9)) },
  HostileModel("a control piece's text again", says: "same as that with id 1") { $0.pieces.append(Piece("<s>", -9)) },
  HostileModel("an empty piece", says: "no text") { $0.pieces.append(Piece("")) },
  HostileModel("a piece that is not UTF-8", says: "not UTF-8") { $0.pieces[3].text = [0xC3] },
  HostileModel("a surrogate", says: "not UTF-8") { $0.pieces[3].text = [0xED, 0xA0, 0x80] },
  HostileModel("a long piece", says: "513 bytes") { $0.pieces[3].text = Array(repeating: 0x61, count: 513) },
  HostileModel("a score that is no number", says: "NaN") { $0.pieces[3].score = .nan },
  HostileModel("a type that does not exist", says: "type 7") { $0.pieces[3].type = 7 },
  HostileModel("a type below all", says: "type -1") { $0.pieces[3].type = UInt64(bitPattern: -1) },
  HostileModel("byte pieces without fallback", item: "trainer_spec.byte_fallback", says: "false") {
    $0.pieces.append(Piece("<0x41>", type: 6))
  },
  HostileModel("fallback without byte pieces", item: "trainer_spec.byte_fallback", says: "true") {
    $0.trainer.append((SmallModel.byteFallback, 1))
  },
  HostileModel("a byte missing", item: "pieces", says: "255 byte pieces, none for 0x07") {
    SmallModel.withBytes.with { $0.pieces.remove(at: 3 + 7) }.bytes
  },
  HostileModel("a byte piece that spells none", item: "pieces", says: "\"<0x0g>\"") {
    SmallModel.withBytes.with { $0.pieces[3 + 7].text = Array("<0x0g>".utf8) }.bytes
  },
  HostileModel("a byte piece in small digits", item: "pieces", says: "\"<0xab>\"") {
    SmallModel.withBytes.with { $0.pieces[3 + 0xAB].text = Array("<0xab>".utf8) }.bytes
  },
  HostileModel("no pieces", item: "pieces", says: "0 pieces") {
    SmallModel().with { $0.pieces = [] }.bytes
  },
  HostileModel("more pieces than the limit, of two bytes each", item: "pieces", says: "2097153 pieces") {
    [UInt8]((0...TokenizerLimits.vocabularySize).lazy.flatMap { _ in [0x0A, 0x00] })
  },
  // 2 MB of pieces that would cost hours to look at from all sides.
  HostileModel("long pieces beyond the limit", item: "pieces", says: "squared lengths") {
    var model = SmallModel()
    model.pieces += (0..<16_400).map { index in
      Piece("\(index)" + String(repeating: "a", count: 512 - "\(index)".count))
    }
    return model.bytes
  },
  HostileModel("cut short", says: "beyond the file's end", offset: 0) { Array(SmallModel().bytes.prefix(7)) },
  HostileModel("a length of 2^63", says: "beyond the file's end", offset: 0) {
    [0x0A] + SmallModel.varint(1 << 63) + [0x0A, 0x01, 0x61]
  },
  HostileModel("a varint without an end", says: "cut short", offset: UInt64(SmallModel().bytes.count)) {
    SmallModel().bytes + Array(repeating: 0xFF, count: 20)
  },
  HostileModel("a group", says: "wire type 3", offset: UInt64(SmallModel().bytes.count)) {
    SmallModel().bytes + [0x4B]
  },
  HostileModel("a damaged piece", says: "damaged") { SmallModel.field(1, [0x0A, 0x05, 0x61]) },
]

@Suite("SentencePiece models that are wrong")
struct SentencePieceHostileTests {
  @Test("rejects", arguments: hostileModels)
  func rejects(hostile: HostileModel) throws {
    let bytes = hostile.bytes()
    let failure = #expect(throws: ParseFailure.self) { try SentencePieceTokenizer(sentencePiece: bytes) }
    #expect(failure?.item == hostile.item)
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.description ?? "")")
    if hostile.offset != nil { #expect(failure?.offset == hostile.offset) }
    #expect(throws: ParseFailure.self) { try TokenizerKeys(sentencePiece: SentencePieceFiles(model: bytes)) }
  }

  @Test("the model that they were made of is sound", arguments: [SmallModel(), .withBytes])
  func sound(model: SmallModel) throws {
    #expect(
      try model.tokenizer().encode(Array("ab".utf8)).last
        == Int32(model.pieces.firstIndex { $0.text == [97, 98] } ?? 0))
  }

  @Test("models of other kinds, as the library makes them", arguments: ["unigram", "word", "char", "nmt_nfkc"])
  func otherKinds(name: String) throws {
    let vectors = try #require(SentencePieceVectors.shared)
    let text = try #require(vectors.refused[name])
    let bytes = [UInt8](try #require(Data(base64Encoded: text)))
    let failure = #expect(throws: ParseFailure.self) { try TokenizerFile.tokenizer(bytes) }
    #expect(failure?.message.contains(name) == true, "\(failure?.description ?? "")")
    #expect(failure?.advice?.contains("supported are BPE models") == true)
  }

  @Test("fields that are not known are no matter")
  func unknownFields() throws {
    let more = SmallModel().with { $0.rest = SmallModel.field(4, [1, 2]) + SmallModel.field(200, 7) }
    #expect(try more.tokenizer().canonicalForm == SmallModel().tokenizer().canonicalForm)
  }

  @Test("more pieces than the model has rows")
  func rows() throws {
    let failure = #expect(throws: ParseFailure.self) {
      try SentencePieceTokenizer(sentencePiece: SmallModel().bytes, vocabularySize: 6)
    }
    #expect(failure?.message.contains("7 ids, but the model only 6 vocabulary rows") == true)
    #expect(try SentencePieceTokenizer(sentencePiece: SmallModel().bytes, vocabularySize: 9).vocabularySize == 7)
  }

  @Test("a file that is neither names both forms", arguments: [[0x00, 0x01, 0x02], [0x50, 0x4B, 0x03, 0x04], [0xFF]])
  func neither(bytes: [UInt8]) {
    let failure = #expect(throws: ParseFailure.self) { try TokenizerFile.tokenizer(bytes) }
    #expect(failure?.message.contains("SentencePiece") == true && failure?.message.contains("tiktoken") == true)
  }

  @Test("random damage never crashes")
  func damage() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    print("seed \(seed)")
    let good = SmallModel.withBytes.bytes
    for _ in 0..<3000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: place)
        case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        default: bytes.removeSubrange(place...)
        }
        if bytes.isEmpty { bytes = [0x0A] }
      }
      guard let tokenizer = try? SentencePieceTokenizer(sentencePiece: bytes) else { continue }
      _ = tokenizer.encode(Array("abab \u{2581}ab\n".utf8))
      _ = tokenizer.canonicalForm
    }
  }
}

// MARK: - Keys and tokenizer.json

struct HostileSentencePieceKeys: Sendable, CustomTestStringConvertible {
  let name: String
  let key: String
  let says: String
  let change: @Sendable (inout TokenizerKeys) -> Void
  var testDescription: String { name }

  init(_ name: String, _ key: String, _ says: String, _ change: @escaping @Sendable (inout TokenizerKeys) -> Void) {
    (self.name, self.key, self.says, self.change) = (name, key, says, change)
  }
}

private let hostileKeys: [HostileSentencePieceKeys] = [
  .init("no scores", "scores", "missing") { $0.scores = nil },
  .init("fewer scores", "scores", "6 elements, there are 7") { $0.scores?.removeLast() },
  .init("fewer types", "token_type", "6 elements, there are 7") { $0.types.removeLast() },
  .init("a type that does not exist", "token_type", "type 0") { $0.types[3] = 0 },
  .init("a score that is no number", "tokens", "NaN") { $0.scores?[3] = .nan },
  .init("a byte token that spells none", "tokens", "\"a\"; expected <0x00>") { $0.types[3] = 6 },
  .init("two unknown tokens", "tokens", "second unknown") { $0.types[3] = 2 },
  .init("begin out of range", "bos_token_id", "id 7 where") { $0.special.beginOfText = 7 },
  .init("end out of range", "eos_token_id", "id 4294967295") { $0.special.endOfText = .max },
  .init("another model", "model", "\"gpt-2\"") { $0.model = "gpt-2" },
]

@Suite("SentencePiece keys and tokenizer.json that are wrong")
struct SentencePieceFormsHostileTests {
  private func keys() throws -> TokenizerKeys {
    try TokenizerKeys(sentencePiece: SentencePieceFiles(model: SmallModel().bytes))
  }

  @Test("rejects", arguments: hostileKeys)
  func rejects(hostile: HostileSentencePieceKeys) throws {
    var keys = try keys()
    hostile.change(&keys)
    let broken = keys
    let failure = #expect(throws: ParseFailure.self) { try broken.tokenizer() }
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.description ?? "")")
    #expect(failure?.item == "tokenizer.ggml.\(hostile.key)")
    #expect(throws: ParseFailure.self) { try broken.tokenizerJSON() }
    if hostile.key != "model" { #expect(throws: ParseFailure.self) { try broken.sentencePieceModel() } }
  }

  @Test("llama.cpp's converter calls the unknown token a control token, and its defaults hold")
  func defaults() throws {
    var keys = try keys()
    let expected = try keys.tokenizer()
    keys.types[0] = 3
    keys.special = SpecialTokenIDs()
    let tokenizer = try keys.tokenizer()
    #expect(tokenizer.canonicalForm == expected.canonicalForm)
    #expect(tokenizer.beginOfText == 1 && tokenizer.endOfText == [2])
  }

  @Test("a model without a begin of text has none in its keys, whatever other files say")
  func noBegin() throws {
    let model = SmallModel().with { $0.pieces[1].text = Array("<x>".utf8) }
    let keys = try TokenizerKeys(
      sentencePiece: SentencePieceFiles(model: model.bytes), special: SpecialTokenIDs(beginOfText: 1, endOfText: 4))
    #expect(keys.special.beginOfText == nil && keys.addsBeginOfText == false && keys.special.endOfText == 4)
    #expect(try keys.tokenizer().canonicalForm == model.tokenizer().canonicalForm)
  }

  @Test("the files disagree about the begin of text")
  func begin() throws {
    let config = Array(#"{"bos_token": "</s>", "eos_token": "</s>"}"#.utf8)
    let json = try keys().tokenizerJSON()
    let failure = #expect(throws: ParseFailure.self) {
      try TokenizerKeys(tokenizerJSON: json, tokenizerConfig: config)
    }
    #expect(failure?.message.contains("1 in the tokenizer and 2 in the files beside it") == true)
    // Of a model, the file beside it decides, for keys and tokenizer alike.
    let files = SentencePieceFiles(model: SmallModel().bytes, tokenizerConfig: config)
    let keys = try TokenizerKeys(sentencePiece: files)
    #expect(keys.special.beginOfText == 2)
    #expect(try keys.tokenizer().canonicalForm == SentencePieceTokenizer(files).canonicalForm)
  }

  private static let json: [(change: @Sendable (inout JSONObject) -> Void, item: String, says: String)] = [
    ({ $0["merges"] = [] }, "model.merges", "0 rules make the token 5"),
    ({ $0["merges"] = ["a b", "a b"] }, "model.merges", "second time"),
    ({ $0["merges"] = ["a b", "b a"] }, "model.merges", "lacks"),
    ({ $0["merges"] = ["ab"] }, "model.merges", "two tokens"),
    ({ $0["merges"] = [["a", "b", ""]] }, "model.merges", "two tokens"),
    ({ $0["merges"] = [7] }, "model.merges", "two tokens"),
    ({ $0["merges"] = nil }, "model.merges", "expected a list"),
    ({ $0["unk_token"] = nil }, "model.unk_token", "no unknown token"),
    ({ $0["ignore_merges"] = true }, "model.ignore_merges", "expected false"),
    ({ $0["fuse_unk"] = false }, "model.fuse_unk", "expected true"),
    ({ $0["dropout"] = 0.5 }, "model.dropout", "expected none"),
    ({ $0["byte_fallback"] = true }, "model.vocab", "no token <0x00>"),
    ({ $0["type"] = "Unigram" }, "model.type", "expected BPE"),
    ({ $0["vocab"] = ["<unk>": 0, "a": 0] }, "model.vocab", "second time"),
    ({ $0["vocab"] = ["<unk>": -1] }, "model.vocab", "no integer"),
    ({ $0["vocab"] = ["<unk>": 2_097_152] }, "model.vocab", "no integer"),
    ({ $0["vocab"] = ["<unk>": 5] }, "model.vocab", "another id"),
  ]

  @Test("a tokenizer.json's model", arguments: json.indices)
  func models(index: Int) throws {
    let (change, item, says) = Self.json[index]
    var document = try JSONValue(parsing: try keys().tokenizerJSON()).object ?? JSONObject()
    var model = document["model"]?.object ?? JSONObject()
    change(&model)
    document["model"] = .object(model)
    let bytes = Array(JSONValue.object(document).serialized(.compact).utf8)
    let failure = #expect(throws: ParseFailure.self) { try SentencePieceTokenizer(tokenizerJSON: bytes) }
    #expect(failure?.item == item && failure?.message.contains(says) == true, "\(failure?.description ?? "")")
  }

  private static let steps: [(name: String, value: JSONValue, item: String, says: String)] = [
    ("normalizer", nil, "normalizer", "neither"), ("normalizer", ["type": "NFC"], "normalizer", "NFC"),
    ("normalizer", ["type": "Prepend", "prepend": "x"], "normalizer", "Prepend"),
    ("normalizer", ["type": "Prepend", "prepend": "\u{2581}"], "normalizer", "other replacements"),
    (
      "normalizer", ["type": "Replace", "pattern": ["String": "a"], "content": "\u{2581}"], "normalizer",
      "other replacements"
    ),
    ("pre_tokenizer", ["type": "ByteLevel"], "pre_tokenizer", "both"),
    ("decoder", ["type": "WordPiece"], "decoder", "WordPiece"),
  ]

  @Test("a tokenizer.json's steps", arguments: steps.indices)
  func rules(index: Int) throws {
    let (name, value, item, says) = Self.steps[index]
    var document = try JSONValue(parsing: try keys().tokenizerJSON()).object ?? JSONObject()
    document[name] = value
    let bytes = Array(JSONValue.object(document).serialized(.compact).utf8)
    let failure = #expect(throws: ParseFailure.self) { try SentencePieceTokenizer(tokenizerJSON: bytes) }
    #expect(failure?.item == item && failure?.message.contains(says) == true, "\(failure?.description ?? "")")
  }

  private static let metaspace: [JSONValue] = [
    ["type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": false],
    ["type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": true],
    ["type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "last", "split": false],
    ["type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"],
  ]

  @Test("a Metaspace of another kind", arguments: metaspace.indices)
  func spaces(index: Int) throws {
    var document = try JSONValue(parsing: try keys().tokenizerJSON()).object ?? JSONObject()
    document["normalizer"] = nil
    document["pre_tokenizer"] = Self.metaspace[index]
    let bytes = Array(JSONValue.object(document).serialized(.compact).utf8)
    let failure = #expect(throws: ParseFailure.self) { try TokenizerFile.tokenizer(bytes) }
    #expect(failure?.item == "pre_tokenizer")
  }
}
