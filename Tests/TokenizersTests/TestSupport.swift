import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

struct ReferenceVector: Sendable, CustomTestStringConvertible {
  let name: String
  let text: [UInt8]
  /// Lengths in bytes.
  let pieces: [Int]
  let ids: [Int32]

  var testDescription: String { name }

  init(_ name: String, hex: String, pieces: [Int], ids: [Int32]) {
    self.name = name
    let digits = Array(hex).compactMap(\.hexDigitValue)
    text = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    self.pieces = pieces
    self.ids = ids
  }
}

/// The two forms of the bundled model's tokenizer.
enum Form: String, Sendable, CaseIterable, CustomTestStringConvertible {
  case model = "tokenizer.model"
  case json = "tokenizer.json"

  var testDescription: String { rawValue }

  func tokenizer(in folder: URL, rows: Int?) throws -> any Tokenizer {
    try TokenizerFile.tokenizer(try Fixtures.bytes(folder.appending(path: rawValue)), vocabularySize: rows)
  }
}

func tiny(_ form: Form) throws -> any Tokenizer { try form.tokenizer(in: Fixtures.bundled("tiny"), rows: 2048) }

/// Well-formed UTF-8 of all kinds that the split pattern tells apart.
func randomText(_ random: inout SeededRandom, scalars: Int) -> [UInt8] {
  let pool: [Unicode.Scalar] = [
    "a", "e", "S", "t", "l", "r", "v", "'", "'", " ", " ", " ", "\n", "\r", "\t", "1", "2", ".", "-", "<", "|", ">",
    "é",
    "日", "ſ", "\u{301}", "\u{85}", "\u{A0}", "\u{3000}", "\u{200B}", "½", "٣", "🙂", "\u{200D}", "𝔘",
  ]
  var text = String.UnicodeScalarView()
  for _ in 0..<scalars {
    if Int.random(in: 0..<8, using: &random) == 0 {
      let value = UInt32.random(in: 0...0x10FFFF, using: &random)
      text.append(Unicode.Scalar(value) ?? "\u{FFFD}")
    } else {
      text.append(pool[Int.random(in: 0..<pool.count, using: &random)])
    }
  }
  return Array(String(text).utf8)
}

/// A `tokenizer.json` as small as it can be: the 256 bytes and a few merges, made to be broken by tests.
struct SmallJSON {
  var document: JSONValue

  /// Byte → its scalar in GPT-2's alphabet, written down independently of the reader: printable ones stand for
  /// themselves, the others follow from U+0100.
  static let alphabet: [String] = {
    var next: UInt32 = 0x100
    return (UInt32(0)..<256).map { byte in
      let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      if !isPrintable { next += 1 }
      return String(Character(Unicode.Scalar(isPrintable ? byte : next - 1) ?? "?"))
    }
  }()

  /// - Parameter merges: pairs in the byte alphabet; each makes the next id from 256.
  init(merges: [(String, String)] = [("a", "b"), ("ab", "c")], wholePieces: Bool = true, asPairs: Bool = true) {
    var vocabulary = Self.alphabet.enumerated().map {
      (key: $0.element, value: JSONValue.number(JSONNumber($0.offset)))
    }
    for (index, merge) in merges.enumerated() where !vocabulary.contains(where: { $0.key == merge.0 + merge.1 }) {
      vocabulary.append((key: merge.0 + merge.1, value: .number(JSONNumber(256 + index))))
    }
    let split: JSONValue = [
      "type": "Split", "pattern": ["Regex": .string(Llama3Splitter.pattern)], "behavior": "Isolated", "invert": false,
    ]
    document = [
      "version": "1.0", "added_tokens": [["id": 300, "content": "<|begin_of_text|>", "special": true]],
      "normalizer": nil,
      "pre_tokenizer": [
        "type": "Sequence",
        "pretokenizers": [split, ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false]],
      ],
      "post_processor": nil, "decoder": ["type": "ByteLevel"],
      "model": [
        "type": "BPE", "unk_token": nil, "byte_fallback": false, "ignore_merges": .bool(wholePieces),
        "vocab": .object(JSONObject(vocabulary)),
        "merges": .array(
          merges.map { asPairs ? [.string($0.0), .string($0.1)] : .string($0.0 + " " + $0.1) }),
      ],
    ]
  }

  var bytes: [UInt8] { Array(document.serialized(.compact).utf8) }

  func tokenizer() throws -> BytePairTokenizer { try BytePairTokenizer(tokenizerJSON: bytes) }

  /// The value at a path of members is replaced; nil removes it.
  func with(_ path: String..., value: JSONValue?) -> SmallJSON {
    var copy = self
    copy.document = Self.replacing(document, path[...], value)
    return copy
  }

  private static func replacing(_ node: JSONValue, _ path: ArraySlice<String>, _ value: JSONValue?) -> JSONValue {
    guard let name = path.first else { return node }
    if let index = Int(name), var list = node.array {
      list[index] = path.count == 1 ? value ?? .null : replacing(list[index], path.dropFirst(), value)
      return .array(list)
    }
    guard var object = node.object else { return node }
    object[name] = path.count == 1 ? value : replacing(object[name] ?? .null, path.dropFirst(), value)
    return .object(object)
  }
}

/// Lines of a `tokenizer.model` with the 256 bytes and further tokens.
func ranks(_ tokens: [[UInt8]] = []) -> [String] {
  ((0..<256).map { [UInt8($0)] } + tokens).enumerated().map { "\(Data($0.element).base64EncodedString()) \($0.offset)" }
}

func file(_ lines: [String]) -> [UInt8] { Array((lines.joined(separator: "\n") + "\n").utf8) }
