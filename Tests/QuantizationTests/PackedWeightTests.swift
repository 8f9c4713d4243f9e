import ByteIO
import Kernels
import Quantization
import Support
import Tensors
import Testing

@Suite("Integer codes in words")
struct PackedWeightTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let layout: IntegerLayout
    let bits: Int
    let rows: Int
    let columns: Int
    let groups: Int
    var testDescription: String { "\(layout.rawValue) int\(bits) [\(rows), \(columns)] in \(groups) groups" }

    static let all: [Case] = [
      Case(layout: .compressedTensors, bits: 4, rows: 13, columns: 96, groups: 3),
      Case(layout: .compressedTensors, bits: 4, rows: 9, columns: 37, groups: 1),
      Case(layout: .compressedTensors, bits: 8, rows: 10, columns: 41, groups: 1),
      Case(layout: .gptq, bits: 4, rows: 24, columns: 64, groups: 2),
      Case(layout: .gptq, bits: 8, rows: 12, columns: 64, groups: 4),
      Case(layout: .gptqV2, bits: 4, rows: 16, columns: 40, groups: 1),
      Case(layout: .awq, bits: 4, rows: 24, columns: 64, groups: 2),
    ]

    var weight: PackedWeight {
      PackedWeight(
        layout: layout, bits: bits, rows: rows, columns: columns, groupCount: groups, hasZeroPoints: true,
        hasGroupIndex: false)
    }
  }

  @Test("What is written is read again, whatever rows are taken together", arguments: Case.all)
  func roundTrip(_ item: Case) throws {
    let weight = item.weight
    var random = SeededRandom(seed: 5)
    let half = 1 << (item.bits - 1)
    for part in PackedWeight.Part.allCases {
      let width = part == .codes ? item.columns : part == .scales ? 2 * item.groups : item.groups
      let bytes = (0..<item.rows * width).map { _ -> UInt8 in
        part == .scales
          ? UInt8.random(in: 0...255, using: &random)
          : UInt8(truncatingIfNeeded: Int.random(in: -half..<half, using: &random))
      }
      var words = MemoryWords()
      let step = weight.rowAlignment(part)
      for first in stride(from: 0, to: item.rows, by: step) {
        let rows = first..<min(first + step, item.rows)
        try weight.write(
          part, rows: rows, bytes.span.extracting(rows.lowerBound * width..<rows.upperBound * width), scaleType: .f16
        ) { words.put($0, $1, $2) }
      }
      let stored = try #require(weight.stored(part))
      let byteCount = try stored.shape.byteCount(of: stored.elementType)
      #expect(words[stored.suffix]?.count == byteCount)
      for rows in [0..<item.rows, 3..<7, 1..<item.rows - 1] {
        var found = [UInt8](repeating: 0xEE, count: rows.count * width)
        var span = found.mutableSpan
        try weight.read(part, rows: rows, into: &span, scaleType: .f16) { words.get($0, $1, &$2) }
        #expect(found == Array(bytes[rows.lowerBound * width..<rows.upperBound * width]), "\(part) \(rows)")
      }
    }
  }

  /// Origin: golden/formats/gptq_layout.safetensors, written from the format's description with the library's code.
  @Test("GPTQ's words", arguments: [IntegerLayout.gptq, .gptqV2])
  func gptq(_ layout: IntegerLayout) throws {
    let file = try GoldenFile("formats/gptq_layout.safetensors")
    var words = MemoryWords()
    words["qweight"] = try file.bytes("qweight")
    words["qzeros"] = try file.bytes(layout == .gptq ? "qzeros_v1" : "qzeros_v2")
    words["scales"] = try file.bytes("scales")
    let weight = PackedWeight(
      layout: layout, bits: 4, rows: 16, columns: 64, groupCount: 2, hasZeroPoints: true, hasGroupIndex: false)
    try expectDequantized(weight, words, try file.floats("derived.dequant_out_in_sequential"), groups: nil)
    let order = try file.bytes("g_idx_act_order")
    let groups = (0..<64).map { Int32(order[4 * $0]) }
    try expectDequantized(weight, words, try file.floats("derived.dequant_out_in_act_order"), groups: groups)
  }

  /// Origin: golden/formats/awq_gemm_to_ct.safetensors: AWQ's words, and what compressed-tensors' own converter makes of
  /// them.
  @Test("AWQ's words") func awq() throws {
    let file = try GoldenFile("formats/awq_gemm_to_ct.safetensors")
    var words = MemoryWords()
    for suffix in ["qweight", "qzeros", "scales"] { words[suffix] = try file.bytes("m." + suffix) }
    let weight = PackedWeight(
      layout: .awq, bits: 4, rows: 24, columns: 64, groupCount: 2, hasZeroPoints: true, hasGroupIndex: false)
    try expectDequantized(weight, words, try file.floats("derived.dequant_out_in_f32"), groups: nil)
    var taken = MemoryWords()
    let other = PackedWeight(
      layout: .compressedTensors, bits: 4, rows: 24, columns: 64, groupCount: 2, hasZeroPoints: true,
      hasGroupIndex: false)
    for part in PackedWeight.Part.allCases {
      let width = part == .codes ? 64 : part == .scales ? 4 : 2
      var bytes = [UInt8](repeating: 0, count: 24 * width)
      var span = bytes.mutableSpan
      try weight.read(part, rows: 0..<24, into: &span, scaleType: .f16) { words.get($0, $1, &$2) }
      try other.write(part, rows: 0..<24, bytes.span, scaleType: .f16) { taken.put($0, $1, $2) }
    }
    for suffix in ["weight_packed", "weight_scale", "weight_zero_point"] {
      #expect(taken[suffix] == (try file.bytes("m." + suffix)), "\(suffix)")
    }
  }

  private func expectDequantized(
    _ weight: PackedWeight, _ words: MemoryWords, _ expected: [Float], groups: [Int32]?
  ) throws {
    func part(_ part: PackedWeight.Part, _ width: Int) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: weight.rows * width)
      var span = bytes.mutableSpan
      try weight.read(part, rows: 0..<weight.rows, into: &span, scaleType: .f16) { words.get($0, $1, &$2) }
      return bytes
    }
    let codes = try part(.codes, weight.columns)
    let scaleBytes = try part(.scales, 2 * weight.groupCount)
    let zeroPoints = try part(.zeroPoints, weight.groupCount)
    let scales = NumberFormat.widened(scaleBytes.span.rawBytes, from: .f16)
    var values = [Float](repeating: 0, count: codes.count)
    var span = values.mutableSpan
    GroupCodes.dequantize(
      rows: codes.span.rawBytes, columns: weight.columns, size: weight.columns / weight.groupCount, groups: groups,
      scales: scales.span, zeroPoints: zeroPoints.span, into: &span)
    #expect(values == expected)
  }
}
