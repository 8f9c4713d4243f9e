import Foundation
import Kernels
import Support
import Testing

private let levels = InstructionSet.available

/// A line of a fenced block of `formats/ggml-blocks.md`: a format and words.
private struct PageLine: Sendable, CustomTestStringConvertible {
  let testDescription: String

  var format: BlockFormat { BlockFormat(rawValue: String(words[0])) ?? .iq1_m }
  var words: [Substring] { testDescription.split(separator: " ") }
  /// The sides of the equals sign, each with its repetitions written out.
  var sides: [[String]] {
    words.dropFirst().split(separator: "=").map { side in
      side.flatMap { word in
        let parts = word.split(separator: "*")
        return [String](repeating: String(parts[0]), count: parts.count > 1 ? Int(parts[1]) ?? 0 : 1)
      }
    }
  }

  static func block(_ name: String) -> [PageLine] {
    let url = Fixtures.root.appending(path: "formats/ggml-blocks.md")
    guard let page = try? String(contentsOf: url, encoding: .utf8) else { return [] }
    let lines = page.components(separatedBy: "\n").drop { $0 != "```\(name)" }.dropFirst()
    return lines.prefix { $0 != "```" }.map(PageLine.init)
  }
}

private func bytes(_ words: [String]) throws -> [UInt8] { try words.map { try #require(UInt8($0, radix: 16)) } }
private func floats(_ words: [String]) throws -> [Float] { try words.map { try #require(Float($0)) } }

private func littleEndian(_ values: [Float]) -> [UInt8] {
  values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
}

@Suite("Vectors of ggml blocks")
struct BlockVectorTests {
  @Test func allLinesAreRead() {
    #expect(PageLine.block("dequantize").count == 19)
    #expect(PageLine.block("quantize").count == 24)
    #expect(PageLine.block("digests").count == 10)
    #expect(Set(PageLine.block("dequantize").map(\.format)) == Set(BlockFormat.allCases.filter(\.canDequantize)))
    #expect(Set(PageLine.block("quantize").map(\.format)) == Set(BlockFormat.allCases.filter(\.canQuantize)))
  }

  @Test(arguments: PageLine.block("dequantize"), levels)
  private func dequantizesThePage(_ line: PageLine, _ level: InstructionSet) throws {
    #expect(dequantize(try bytes(line.sides[0]), line.format, level) == (try floats(line.sides[1])))
  }

  @Test(arguments: PageLine.block("quantize"), levels)
  private func quantizesThePage(_ line: PageLine, _ level: InstructionSet) throws {
    let values = try floats(line.sides[0])
    #expect(quantize(values, columns: values.count, line.format, level) == (try bytes(line.sides[1])))
  }

  /// The page's sequence of 1024 numbers: digests of the bytes and of their values, made by ggml's library.
  @Test(arguments: PageLine.block("digests"), levels)
  private func digestsOfThePage(_ line: PageLine, _ level: InstructionSet) {
    var state: UInt32 = 12345
    let values = (0..<1024).map { index -> Float in
      state = state &* 1_664_525 &+ 1_013_904_223
      let unit = Float(Int(state >> 8) - 8_388_608) / 8_388_608
      return unit * Float(sign: .plus, exponent: -(index / 32 % 7), significand: 1)
    }
    let blocks = quantize(values, columns: 1024, line.format, level)
    #expect(sha256(blocks).prefix(16) == line.words[1])
    #expect(sha256(littleEndian(dequantize(blocks, line.format, level))).prefix(16) == line.words[2])
  }

  /// Origin: the gguf package and ggml's library, by `Tests/Interop/block_vectors.py`, which says what each tensor is.
  @Test(arguments: levels)
  func equalsOtherPrograms(_ level: InstructionSet) throws {
    let file = try SafetensorsBytes(Fixtures.bundled("ggml/blocks.safetensors"))
    let weights = try file["column_weights"].floats
    var compared = 0
    for (name, tensor) in file.tensors {
      guard let dot = name.firstIndex(of: "."), let format = BlockFormat(rawValue: String(name[..<dot])) else {
        continue
      }
      let kind = name[name.index(after: dot)...]
      let input = try file[kind == "quantized" ? "input" : "search_input"]
      let columns = input.shape[1]
      switch kind {
      case "values":
        let found = dequantize(try file["\(format).blocks"].bytes, format, level)
        #expect(found.map(\.bitPattern) == (try tensor.floats.map(\.bitPattern)), "\(name)")
      case "quantized", "searched":
        #expect(quantize(try input.floats, columns: columns, format, level) == tensor.bytes, "\(name)")
      case "weighted":
        let found = quantize(try input.floats, columns: columns, format, weights: weights, level)
        #expect(found == tensor.bytes, "\(name)")
      default: continue
      }
      compared += 1
    }
    #expect(compared == 16 + 6 + 11 + 11)
  }
}
