import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

/// A file with this header and so many zero bytes of data.
func file(_ json: String, data: Int = 0) -> [UInt8] {
  lengthField(json.utf8.count) + Array(json.utf8) + [UInt8](repeating: 0, count: data)
}

@Suite("Headers")
struct HeaderTests {
  /// safetensors 0.8.0 accepts 125 arrays inside an ignored field (127 containers with the two around it), refuses 126.
  @Test(arguments: [(124, true), (125, true), (126, false), (127, false), (100_000, false)])
  func nestingInAnIgnoredField(_ levels: Int, _ isAccepted: Bool) throws {
    for inner in ["", "1"] {
      let nest = String(repeating: "[", count: levels) + inner + String(repeating: "]", count: levels)
      let bytes = file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":\#(nest)}}"#, data: 4)
      if isAccepted {
        #expect(try parse(bytes).entries.count == 1)
      } else {
        #expect(#expect(throws: ParseFailure.self) { try parse(bytes) }?.message.contains("127 levels") == true)
      }
    }
  }

  @Test func failuresNameTensorAndPlace() throws {
    let good = #""g":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#
    let start = 8 + 1 + good.utf8.count + 1
    let cases: [(entry: String, offset: Int, message: String)] = [
      (#""b":{"dtype":"F99","shape":[1],"data_offsets":[4,8]}"#, start + 13, #"unknown dtype "F99""#),
      (#""b":{"shape":[1],"data_offsets":[4,8]}"#, start, "the field dtype is missing"),
      (
        #""b":{"dtype":"F32","shape":[2],"data_offsets":[4,8]}"#, start,
        "shape [2] in F32 takes 8 bytes, data_offsets [4, 8] give 4"
      ),
      (#""b":{"dtype":"F32","shape":[-1],"data_offsets":[4,8]}"#, start + 28, "-1 in shape is no integer from 0 to"),
      (
        #""b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}"#, start, "bytes that belong to no tensor lie before it"
      ),
      (#""b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}"#, start, "it overlaps the tensor before it"),
      (#""g":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#, start, "the tensor is listed twice"),
    ]
    for (entry, offset, message) in cases {
      let failure = try #require(throws: ParseFailure.self) { try parse(file("{\(good),\(entry)}", data: 8)) }
      #expect(failure.message.contains(message), "\(failure)")
      #expect(failure.offset == UInt64(offset), "\(failure)")
      #expect(failure.item == String(entry.dropFirst().prefix(1)), "\(failure)")
    }
  }

  @Test(arguments: [
    ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"), ("GGUF\u{3}\0\0\0\0\0\0\0", "GGUF"),
    ("PK\u{3}\u{4}\0\0\0\u{8}", "zip"), ("<!DOCTYPE html>", "web page"), ("\u{80}\u{2}}q\0X\u{4}\0", "damaged"),
  ])
  func otherFilesAreRecognised(_ content: String, _ word: String) {
    let failure = #expect(throws: ParseFailure.self) { try parse(Array(content.utf8)) }
    #expect(failure?.advice?.contains(word) == true)
  }

  @Test func theLengthIsNotBelievedBeforeTheFileIsAskedForItsSize() {
    // The announced header would fit the limit; the file has ten bytes.
    for announced in [3, 99_999_999, 100_000_000] {
      let bytes = lengthField(announced) + Array("{}".utf8)
      #expect(#expect(throws: ParseFailure.self) { try parse(bytes) }?.message.contains("has only 2") == true)
    }
  }

  @Test func aPrefixShorterThanTheHeaderIsAFailure() {
    let bytes = file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 4)
    #expect(throws: ParseFailure.self) {
      let prefix = Array(bytes.prefix(20))
      return try SafetensorsHeader(parsing: prefix.span.rawBytes, fileByteCount: UInt64(bytes.count))
    }
  }

  @Test func emptyTensorsOfOneOffsetKeepTheirOrder() throws {
    let names = ["z", "b", "y", "a"]
    let members = names.map { #""\#($0)":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"# }
    #expect(try parse(file("{" + members.joined(separator: ",") + "}")).entries.map(\.info.name) == names)
  }

  /// A table of 20,000 tensors and a lookup of each: with a search per name this would take minutes, not a second.
  @Test(.timeLimit(.minutes(1)))
  func manyTensors() throws {
    let layout = try SafetensorsLayout(
      try (0..<20_000).map { try tensor("model.layers.\($0).self_attn.q_proj.weight", .u8, [1]) })
    let header = try parse(layout.headerBytes + [UInt8](repeating: 0, count: 20_000))
    #expect(header.entries == layout.entries)
    for entry in header.entries { #expect(header.entry(entry.info.name) == entry) }
  }

  /// Random edits of valid headers: a valid table or a failure, never a trap.
  @Test(.timeLimit(.minutes(2)))
  func damagedHeadersNeverTrap() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let pieces = [
      "\"", "{", "}", "[", "]", ",", ":", "0", "9", "18446744073709551615", "-", "1e9", "\\u", "\\ud800", "null", " ",
      "__metadata__", "shape", "\u{E9}", "4611686018427387904",
    ].map { Array($0.utf8) }
    var accepted = 0
    for round in 0..<20_000 {
      var (bytes, dataCount) = try Self.randomFile(&random, round)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(contentsOf: pieces.randomElement(using: &random) ?? [], at: place)
        default:
          bytes.replaceSubrange(place..<min(place + 3, bytes.count), with: pieces.randomElement(using: &random) ?? [])
        }
        if bytes.isEmpty { bytes = [0] }
      }
      if round % 4 != 0 && bytes.count >= 8 + dataCount {
        // Most files get a length that fits again, or the damage would rarely reach the JSON.
        bytes.replaceSubrange(0..<8, with: lengthField(bytes.count - 8 - dataCount))
      }
      do throws(ParseFailure) {
        let header = try parse(bytes)
        accepted += 1
        Self.expectSound(header, bytes.count, Comment(rawValue: "LLAMA_TEST_SEED=\(seed) round \(round)"))
      } catch {
        #expect(!error.message.isEmpty)
      }
    }
    // Edits inside names and padding leave files valid; the reference accepts those too.
    #expect(accepted > 500 && accepted < 15_000, "\(accepted) accepted, LLAMA_TEST_SEED=\(seed)")
  }

  private static func randomFile(_ random: inout SeededRandom, _ round: Int) throws -> ([UInt8], dataCount: Int) {
    let metadata: SafetensorsMetadata = round % 3 == 0 ? [:] : ["format": "pt"]
    let layout = try SafetensorsLayout(Array(try WriterTests.randomTensors(&random).prefix(4)), metadata: metadata)
    let data = [UInt8](repeating: 0, count: Int(layout.tensorByteCount))
    return (layout.headerBytes + data, data.count)
  }

  /// The ranges touch, cover the data and have the sizes of their shapes.
  private static func expectSound(_ header: SafetensorsHeader, _ count: Int, _ note: Comment) {
    var end: UInt64 = 0
    for entry in header.entries {
      #expect(entry.dataRange.lowerBound == end, note)
      #expect(entry.dataRange.count == entry.info.byteCount, note)
      #expect((try? entry.info.shape.byteCount(of: entry.info.elementType)) == entry.info.byteCount, note)
      end = entry.dataRange.upperBound
    }
    #expect(header.dataOffset + end == UInt64(count), note)
  }
}
