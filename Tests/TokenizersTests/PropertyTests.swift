import ByteIO
import Support
import Testing
import Tokenizers

/// Byte pair encoding as its definition says, without any thought for speed.
private struct PlainEncoder {
  let ranks: [[UInt8]: Int32]

  init(_ tokenizer: BytePairTokenizer, count: Int32) {
    var ranks: [[UInt8]: Int32] = [:]
    for id in 0..<count { ranks[tokenizer.bytes(of: id) ?? []] = id }
    self.ranks = ranks
  }

  func encode(_ text: [UInt8]) -> [Int32] {
    var position = 0
    return Llama3Splitter().pieceLengths(of: text).flatMap { length in
      defer { position += length }
      return encode(piece: Array(text[position..<position + length]))
    }
  }

  private func encode(piece: [UInt8]) -> [Int32] {
    if let id = ranks[piece] { return [id] }
    var parts = piece.map { [$0] }
    while parts.count > 1 {
      let merged = (0..<parts.count - 1).map { ranks[parts[$0] + parts[$0 + 1]] ?? .max }
      guard let best = merged.min(), best != .max, let place = merged.firstIndex(of: best) else { break }
      parts[place] += parts.remove(at: place + 1)
    }
    return parts.compactMap { ranks[$0] }
  }
}

@Suite("Properties")
struct PropertyTests {
  @Test("decoding undoes encoding, both forms agree")
  func roundTrip() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let (model, json) = (try tiny(.model), try tiny(.json))
    for _ in 0..<10_000 {
      let text = randomText(&random, scalars: Int.random(in: 0...60, using: &random))
      let ids = model.encode(text)
      guard ids == json.encode(text), try model.decode(ids) == text, ids.allSatisfy({ (0..<1792).contains($0) }) else {
        Issue.record("seed \(seed), text \(text)")
        return
      }
    }
  }

  /// The split of an arbitrary text and all three ways to encode a piece, against the definition. Pieces just under
  /// and over the length where the heap takes over occur often.
  @Test("ids as the definition gives them")
  func definition() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let tokenizer = try BytePairTokenizer(tiktoken: Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.model")))
    let plain = PlainEncoder(tokenizer, count: 1792)
    let letters = Array("aeinorstabcdeeing".utf8)
    for round in 0..<600 {
      let text =
        round % 2 == 0
        ? randomText(&random, scalars: Int.random(in: 1...40, using: &random))
        : (0..<Int.random(in: 80...300, using: &random)).map { _ in letters[Int.random(in: 0..<17, using: &random)] }
      guard tokenizer.encode(text) == plain.encode(text) else {
        Issue.record("seed \(seed), text \(text)")
        return
      }
    }
  }

  @Test("ill-formed input is repaired as the standard library repairs it")
  func repair() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let tokenizer = try tiny(.model)
    let leads: [UInt8] = [
      0xC0, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF, 0x80, 0xBF, 0x9F, 0xA0, 0x41, 0x8F, 0x90,
    ]
    for _ in 0..<10_000 {
      let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        Bool.random(using: &random)
          ? leads[Int.random(in: 0..<leads.count, using: &random)] : UInt8.random(in: 0...255, using: &random)
      }
      // String(decoding:) replaces maximal subparts too, and is not our code.
      let expected = Array(String(decoding: bytes, as: UTF8.self).utf8)
      let repaired = RepairedText(repairing: bytes)
      let isFaulty = expected != bytes
      guard repaired.bytes == expected, (repaired.firstFault != nil) == isFaulty,
        (repaired.replacements > 0) == isFaulty, tokenizer.encode(bytes) == tokenizer.encode(expected)
      else {
        Issue.record("seed \(seed), bytes \(bytes)")
        return
      }
      if let fault = repaired.firstFault {
        #expect(Array(bytes[..<fault]) == Array(expected[..<fault]), "seed \(seed)")
      }
    }
  }

  /// Unicode Standard 15.0, table 3-8: 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64.
  @Test("the standard's example of maximal subparts")
  func maximalSubparts() {
    let bytes: [UInt8] = [0x61, 0xF1, 0x80, 0x80, 0xE1, 0x80, 0xC2, 0x62, 0x80, 0x63, 0x80, 0xBF, 0x64]
    let repaired = RepairedText(repairing: bytes)
    #expect(String(decoding: repaired.bytes, as: UTF8.self) == "a\u{FFFD}\u{FFFD}\u{FFFD}b\u{FFFD}c\u{FFFD}\u{FFFD}d")
    #expect(repaired.firstFault == 1)
    #expect(repaired.replacements == 6)
  }

  /// Merging one long piece by scanning would take hours here.
  @Test("a megabyte of one character", .timeLimit(.minutes(1)), arguments: [97, 32, 10, 61, 0xC3] as [UInt8])
  func longRuns(byte: UInt8) throws {
    let tokenizer = try tiny(.model)
    let text = [UInt8](repeating: byte, count: 1 << 20)
    let expected = byte < 0x80 ? text : RepairedText(repairing: text).bytes
    #expect(try tokenizer.decode(tokenizer.encode(text)) == expected)
  }

  @Test("ids outside the vocabulary", arguments: [-1, 2048, Int32.max, Int32.min] as [Int32])
  func unknownIDs(id: Int32) throws {
    let tokenizer = try tiny(.model)
    let failure = #expect(throws: ParseFailure.self) { try tokenizer.decode([5, id]) }
    #expect(failure?.offset == 1)
    #expect(failure?.message.contains("\(id)") == true)
  }

  @Test("a special token decodes to its name")
  func specialTokenText() throws {
    let tokenizer = try tiny(.json)
    #expect(try tokenizer.decode([1792]) == Array("<|begin_of_text|>".utf8))
    #expect(!tokenizer.encode(Array("<|begin_of_text|>".utf8)).contains(1792))
  }
}
