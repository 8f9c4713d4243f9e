import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

/// SentencePiece's merging as it is defined, one merge after the other over a plain list.
private struct PlainMerging {
  let scores: [[UInt8]: Float]
  let ids: [[UInt8]: Int32]

  init(_ model: SmallModel) {
    let normal = model.pieces.enumerated().filter { $0.element.type == 1 }
    ids = Dictionary(uniqueKeysWithValues: normal.map { ($0.element.text, Int32($0.offset)) })
    scores = Dictionary(uniqueKeysWithValues: normal.map { ($0.element.text, $0.element.score) })
  }

  /// Of text without spaces, with a dummy prefix; unknown characters give the id 0, runs of them one.
  func encode(_ text: String) -> [Int32] {
    var symbols = ("\u{2581}" + text).unicodeScalars.map { Array(String($0).utf8) }
    while true {
      var best: (score: Float, place: Int)?
      for place in symbols.indices.dropLast() {
        guard let score = scores[symbols[place] + symbols[place + 1]] else { continue }
        if best.map({ score > $0.score }) ?? true { best = (score, place) }
      }
      guard let place = best?.place else { break }
      symbols[place] += symbols.remove(at: place + 1)
    }
    var output: [Int32] = []
    for symbol in symbols {
      let id = ids[symbol] ?? 0
      if id != 0 || output.last != 0 { output.append(id) }
    }
    return output
  }
}

@Suite("SentencePiece properties")
struct SentencePiecePropertyTests {
  private func randomModel(_ random: inout SeededRandom) -> SmallModel {
    let letters = ["a", "b", "c", "\u{E9}", "\u{2581}"]
    var texts: Set<String> = Set(letters.filter { _ in Int.random(in: 0..<6, using: &random) > 0 })
    for _ in 0..<Int.random(in: 5...60, using: &random) {
      let length = Int.random(in: 2...6, using: &random)
      texts.insert((0..<length).map { _ in letters[Int.random(in: 0..<5, using: &random)] }.joined())
    }
    // Few distinct scores: ties are where orders differ.
    return SmallModel(
      texts.sorted().map { SmallModel.Piece($0, -Float(Int.random(in: 0...texts.count / 2, using: &random))) })
  }

  /// Stretches just under and over the length where the heap takes over occur often.
  @Test("ids as the definition gives them")
  func definition() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let letters = ["a", "b", "c", "\u{E9}", "a", "z", "\u{65E5}"]
    for _ in 0..<150 {
      let model = randomModel(&random)
      let (tokenizer, plain) = (try model.tokenizer(), PlainMerging(model))
      for _ in 0..<8 {
        let kinds = Int.random(in: 1...letters.count, using: &random)
        let length = Bool.random(using: &random) ? 8 : Int.random(in: 80...150, using: &random)
        let text = (0..<length).map { _ in letters[Int.random(in: 0..<kinds, using: &random)] }.joined()
        guard tokenizer.encode(Array(text.utf8)) == plain.encode(text) else {
          Issue.record("seed \(seed), text \(text), pieces \(model.pieces)")
          return
        }
      }
    }
  }

  /// A piece of this model has a space in front at most, so that each word is merged by itself; and a word alone is far too
  /// short for anything to be remembered.
  @Test("A long text has the ids of its words, which come again and again")
  func longTexts() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let tokenizer = try TokenizerFile.tokenizer(Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")))
    let syllables = [
      "ten", "sor", "quant", "ize", "the", "er", "\u{E9}", "\u{65E5}", "\u{1F389}", "x", "1", "=", "==", "\n",
    ]
    func word(_ random: inout SeededRandom) -> String {
      (0..<Int.random(in: 1...12, using: &random)).map { _ in
        syllables[Int.random(in: 0..<syllables.count, using: &random)]
      }.joined()
    }
    let common = (0..<300).map { _ in word(&random) }
    for _ in 0..<4 {
      let words = (0..<6000).map { _ in
        Int.random(in: 0..<4, using: &random) == 0
          ? word(&random) : common[Int.random(in: 0..<common.count, using: &random)]
      }
      let whole = tokenizer.encode(Array(words.joined(separator: " ").utf8))
      #expect(whole == words.flatMap { tokenizer.encode(Array($0.utf8)) }, "seed \(seed)")
    }
  }

  @Test("decoding undoes encoding, all forms agree")
  func roundTrip() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model"))
    let tokenizer = try TokenizerFile.tokenizer(file)
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: file), vocabularySize: 4100)
    let forms = [
      try keys.tokenizer(), try TokenizerFile.tokenizer(try keys.tokenizerJSON()),
      try TokenizerFile.tokenizer(try keys.sentencePieceModel()),
    ]
    for _ in 0..<500 {
      let text = randomText(&random, scalars: Int.random(in: 0...200, using: &random))
      let ids = tokenizer.encode(text)
      // U+2581 is a space to SentencePiece.
      let expected = String(decoding: text, as: UTF8.self).unicodeScalars.map { $0 == "\u{2581}" ? " " : String($0) }
      guard try tokenizer.decode(ids) == Array(expected.joined().utf8), forms.allSatisfy({ $0.encode(text) == ids })
      else {
        Issue.record("seed \(seed), text \(text)")
        return
      }
    }
  }

  /// What is put in front is in the first token, and nothing else is added.
  @Test("the bytes of all tokens are the text behind its prefix")
  func bytesOfTokens() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let tokenizer = try TokenizerFile.tokenizer(Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")))
    #expect(tokenizer.textPrefix == [0x20])
    for _ in 0..<200 {
      let text = randomText(&random, scalars: Int.random(in: 1...100, using: &random)).filter { $0 < 0x80 }
      guard !text.isEmpty else { continue }
      let bytes = tokenizer.encode(text).flatMap { tokenizer.bytes(of: $0) ?? [] }
      #expect(bytes == tokenizer.textPrefix + text, "seed \(seed)")
    }
  }

  @Test("a model of random scores comes back from its own tokenizer.json, unless scores are equal")
  func randomScores() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<40 {
      var model = randomModel(&random)
      // Characters must be pieces for merge rules to say it all.
      for letter in ["a", "b", "c", "\u{E9}", "\u{2581}"]
      where !model.pieces.contains(where: { $0.text == Array(letter.utf8) }) {
        model.pieces.append(SmallModel.Piece(letter))
      }
      let scores = (0..<model.pieces.count).map { -Float($0) }.shuffled(using: &random)
      for index in model.pieces.indices { model.pieces[index].score = scores[index] }
      let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: model.bytes))
      let json = try TokenizerFile.tokenizer(try keys.tokenizerJSON())
      #expect(json.canonicalForm == (try model.tokenizer().canonicalForm), "seed \(seed)")
    }
    let tied = SmallModel([.init("a"), .init("b"), .init("ab", -1), .init("ba", -1), .init("\u{2581}")])
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: tied.bytes))
    let failure = #expect(throws: ParseFailure.self) { try keys.tokenizerJSON() }
    #expect(failure?.message.contains("same score") == true)
  }

  private func spaces(_ lengths: [Int]) -> SmallModel {
    SmallModel(
      [.init("\u{2581}", -5), .init("a", -6), .init("\u{2581}a", -1)]
        + lengths.map { .init(String(repeating: "\u{2581}", count: $0), -1e9) })
  }

  /// The first are Llama 2's.
  @Test("pieces of spaces of one score", arguments: [[2, 4, 8, 16, 15], [2, 3, 4], [2, 3], [3, 5, 7], [2, 5, 6]])
  func piecesOfSpaces(lengths: [Int]) throws {
    let model = spaces(lengths)
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: model.bytes))
    let (own, json) = (try model.tokenizer(), try TokenizerFile.tokenizer(try keys.tokenizerJSON()))
    #expect(own.canonicalForm == json.canonicalForm)
    for length in 0..<200 {
      let text = Array(repeating: UInt8(ascii: " "), count: length) + [UInt8(ascii: "a")]
      #expect(own.encode(text) == json.encode(text))
    }
  }

  /// Five spaces are 2 + 3 by these rules, 4 + 1 by equal scores.
  @Test("rules for pieces of spaces that are not those of scores")
  func otherRules() throws {
    let keys = try TokenizerKeys(sentencePiece: SentencePieceFiles(model: spaces([2, 3, 4]).bytes))
    var document = try JSONValue(parsing: try keys.tokenizerJSON()).object ?? JSONObject()
    var model = document["model"]?.object ?? JSONObject()
    let rules = [("_", "a"), ("_", "_"), ("__", "_"), ("__", "__"), ("_", "__"), ("___", "_"), ("_", "___")]
    model["merges"] = .array(
      rules.map { .string("\($0.0) \($0.1)".replacingOccurrences(of: "_", with: "\u{2581}")) })
    document["model"] = .object(model)
    let bytes = Array(JSONValue.object(document).serialized(.compact).utf8)
    let failure = #expect(throws: ParseFailure.self) { try TokenizerFile.tokenizer(bytes) }
    #expect(failure?.message.contains("runs of spaces") == true, "\(failure?.description ?? "")")
  }

  @Test("scores in another order are another tokenizer")
  func order() throws {
    let model = SmallModel([
      .init("a", -9), .init("b", -9), .init("c", -9), .init("ab", -1), .init("bc", -2), .init("\u{2581}", -9),
    ])
    let swapped = model.with { ($0.pieces[6].score, $0.pieces[7].score) = (-2, -1) }
    #expect(try model.tokenizer().canonicalForm != swapped.tokenizer().canonicalForm)
    // Other scores in the same order are not.
    let scaled = model.with { model in for index in 3..<9 { model.pieces[index].score *= 3 } }
    #expect(try model.tokenizer().canonicalForm == scaled.tokenizer().canonicalForm)
  }

  /// Merging one long stretch by scanning would take hours here.
  @Test("a megabyte of one character", .timeLimit(.minutes(1)), arguments: [97, 32, 10, 61, 0xC3] as [UInt8])
  func longRuns(byte: UInt8) throws {
    let tokenizer = try TokenizerFile.tokenizer(Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")))
    let text = [UInt8](repeating: byte, count: 1 << 20)
    #expect(try tokenizer.decode(tokenizer.encode(text)) == RepairedText(repairing: text).bytes)
  }

  @Test("ids outside the vocabulary", arguments: [-1, 4096, Int32.max, Int32.min] as [Int32])
  func unknownIDs(id: Int32) throws {
    let tokenizer = try TokenizerFile.tokenizer(Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")))
    let failure = #expect(throws: ParseFailure.self) { try tokenizer.decode([5, id]) }
    #expect(failure?.offset == 1)
    #expect(tokenizer.bytes(of: id) == nil)
  }
}
