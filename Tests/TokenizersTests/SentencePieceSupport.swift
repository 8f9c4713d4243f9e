import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

/// `Tests/Fixtures/sentencepiece.json`, which says where it comes from.
struct SentencePieceVectors: Decodable, Sendable {
  struct Model: Decodable, Sendable {
    /// Base64; empty for the bundled tiny2.
    let model: String
    /// Of `texts`.
    let encode: [[Int32]]
    let decode: [Decoded]
    /// Begin, end, padding, unknown; -1 for none.
    let special: [Int32]
  }

  struct Decoded: Decodable, Sendable {
    let ids: [Int32]
    let text: String

    init(from decoder: any Decoder) throws {
      var list = try decoder.unkeyedContainer()
      ids = try list.decode([Int32].self)
      text = try list.decode(String.self)
    }
  }

  struct Converted: Decodable, Sendable {
    let file: String
    let encode: [[Int32]]
  }

  struct Merges: Decodable, Sendable {
    let count: Int
    let sha256: String
  }

  struct Keys: Decodable, Sendable {
    let model: String
    let addedTokens: String
    let tokenizerConfig: String
    let rows: Int
    let tokens: [String]
    let scores: [Float]
    let types: [Int32]
    let special: [String: UInt32]

    enum CodingKeys: String, CodingKey {
      case addedTokens = "added_tokens.json"
      case tokenizerConfig = "tokenizer_config.json"
      case model, rows, tokens, scores, types, special
    }
  }

  let texts: [String]
  let models: [String: Model]
  let refused: [String: String]
  let tiny2: Model
  let merges: Merges
  let json: [String: Converted]
  let keys: Keys

  static let shared: SentencePieceVectors? = try? JSONDecoder().decode(
    SentencePieceVectors.self, from: Data(contentsOf: Fixtures.bundled("sentencepiece.json")))

  var textBytes: [[UInt8]] {
    texts.map { text in
      let digits = Array(text).compactMap(\.hexDigitValue)
      return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
  }
}

/// One of the models, by name.
struct NamedModel: Sendable, CustomTestStringConvertible {
  let name: String
  let vectors: SentencePieceVectors.Model
  var testDescription: String { name }

  var bytes: [UInt8] {
    get throws {
      if vectors.model.isEmpty { return try Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")) }
      return [UInt8](try #require(Data(base64Encoded: vectors.model)))
    }
  }

  static let all: [NamedModel] = {
    guard let vectors = SentencePieceVectors.shared else { return [] }
    return vectors.models.sorted { $0.key < $1.key }.map { NamedModel(name: $0.key, vectors: $0.value) }
      + [NamedModel(name: "tiny2", vectors: vectors.tiny2)]
  }()

  /// Merge rules cannot say the others.
  var hasJSON: Bool { !["unused", "missing", "ties"].contains { name.contains($0) } }
}

/// A model as bytes, put together here from what protobuf's documentation says, to be broken by tests.
struct SmallModel: Sendable {
  struct Piece: Sendable {
    var text: [UInt8]
    var score: Float
    var type: UInt64

    init(_ text: String, _ score: Float = 0, type: UInt64 = 1) {
      (self.text, self.score, self.type) = (Array(text.utf8), score, type)
    }
  }

  var pieces: [Piece]
  /// Field numbers and values of varints.
  var trainer: [(field: UInt64, value: UInt64)] = [(3, 2)]
  var normalizer: [(field: UInt64, value: UInt64)] = [(4, 0)]
  /// `precompiled_charsmap`.
  var table: [UInt8] = []
  /// Bytes behind everything else.
  var rest: [UInt8] = []

  /// Unknown, begin, end, then `more`.
  init(_ more: [Piece] = [Piece("a", -2), Piece("b", -3), Piece("ab", -1), Piece("\u{2581}", -4)]) {
    pieces = [Piece("<unk>", type: 2), Piece("<s>", type: 3), Piece("</s>", type: 3)] + more
  }

  func with(_ change: (inout SmallModel) -> Void) -> SmallModel {
    var copy = self
    change(&copy)
    return copy
  }

  static func varint(_ value: UInt64) -> [UInt8] {
    value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + varint(value >> 7)
  }

  static func field(_ number: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    varint(number << 3 | 2) + varint(UInt64(bytes.count)) + bytes
  }

  static func field(_ number: UInt64, _ value: UInt64) -> [UInt8] { varint(number << 3) + varint(value) }

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    for piece in pieces {
      let score = piece.score.bitPattern
      let scoreBytes = stride(from: 0, to: 32, by: 8).map { UInt8(truncatingIfNeeded: score >> UInt32($0)) }
      let type = piece.type == 1 ? [] : Self.field(3, piece.type)
      bytes += Self.field(1, Self.field(1, piece.text) + [0x15] + scoreBytes + type)
    }
    bytes += Self.field(2, trainer.flatMap { Self.field($0.field, $0.value) })
    bytes += Self.field(
      3, (table.isEmpty ? [] : Self.field(2, table)) + normalizer.flatMap { Self.field($0.field, $0.value) })
    return bytes + rest
  }

  static let byteFallback: UInt64 = 35

  /// With pieces for all 256 bytes.
  static var withBytes: SmallModel {
    let digits = Array("0123456789ABCDEF")
    let bytes = (0..<256).map { Piece("<0x\(digits[$0 / 16])\(digits[$0 % 16])>", type: 6) }
    return SmallModel(bytes + [Piece("a", -2), Piece("ab", -1)]).with { $0.trainer.append((byteFallback, 1)) }
  }

  func tokenizer() throws -> SentencePieceTokenizer { try SentencePieceTokenizer(sentencePiece: bytes) }
}
