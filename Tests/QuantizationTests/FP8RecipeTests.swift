import ByteIO
import Foundation
import Quantization
import Support
import Tensors
import Testing

private func hex(_ text: Substring, width: Int) -> [UInt8] {
  text.split(separator: " ").flatMap { word -> [UInt8] in
    let value = UInt64(word, radix: 16) ?? 0
    return (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }
}

private func quantize(
  _ recipe: FP8Recipe, _ rows: [UInt8], type: ElementType, columns: Int, firstRow: Int = 0
) throws -> (codes: [UInt8], scales: [UInt8], statistics: QuantizationStatistics) {
  let count = rows.count * 8 / type.bits
  var codes = [UInt8](repeating: 0, count: count)
  var scales = [UInt8](repeating: 0, count: count / columns * recipe.scaleType(forWeight: type).bits / 8)
  var codeSpan = codes.mutableSpan
  var scaleSpan = scales.mutableSpan
  let statistics = try recipe.quantize(
    rows.span.rawBytes, type: type, firstRow: firstRow, columns: columns, codes: &codeSpan, scales: &scaleSpan)
  return (codes, scales, statistics)
}

@Suite("FP8 recipes")
struct FP8RecipeTests {
  /// Reads the table of formats/quantization.md, checks it against the golden file it names, and quantizes its inputs.
  @Test func vectorsOfThePage() throws {
    let page = try String(contentsOf: Fixtures.root.appending(path: "formats/quantization.md"), encoding: .utf8)
    let golden = try GoldenFile("fp8_rowwise/rows.safetensors")
    let names = try goldenRowNames("fp8_rowwise/rows.safetensors")
    var checked = 0
    for line in page.split(separator: "\n") {
      let cells = line.split(separator: "|").map { $0.drop { $0 == " " } }
      guard cells.count == 7, let recipe = FP8Recipe(rawValue: cells[0].trimmingCharacters(in: .whitespaces)),
        let row = names.firstIndex(of: cells[2].trimmingCharacters(in: .whitespaces))
      else { continue }
      let key = cells[1].trimmingCharacters(in: .whitespaces)
      let columns = cells[3].split(separator: " ").compactMap { Int($0) }
      let width = recipe.scaleType(forWeight: .bf16).bits / 8
      let input = hex(cells[4], width: 2)
      let scale = hex(cells[5], width: width)
      let codes = hex(cells[6], width: 1)
      let goldenInput = try golden.bytes("input")
      var goldenInputs: [UInt8] = []
      for column in columns {
        let at = (row * 64 + column) * 2
        goldenInputs += [goldenInput[at], goldenInput[at + 1]]
      }
      #expect(input == goldenInputs)
      #expect(scale == Array(try golden.bytes("\(key).scale")[row * width..<(row + 1) * width]))
      let goldenCodes = try golden.bytes("\(key).q")
      #expect(codes == columns.map { goldenCodes[row * 64 + $0] })
      let found = try quantize(recipe, input, type: .bf16, columns: columns.count)
      #expect(found.codes == codes && found.scales == scale, "\(line)")
      checked += 1
    }
    #expect(checked == 21)
  }

  @Test(arguments: FP8Recipe.allCases)
  func namesTheFlatIndexOfNaN(_ recipe: FP8Recipe) {
    var rows = [UInt8](repeating: 0, count: 2 * 12)
    rows[2 * 7] = 0xC0
    rows[2 * 7 + 1] = 0x7F
    let error = #expect(throws: ParseFailure.self) {
      try quantize(recipe, rows, type: .bf16, columns: 4, firstRow: 10)
    }
    #expect(error?.message.contains("element 47 (row 11, column 3)") == true)
    #expect(throws: ParseFailure.self) { try quantize(recipe, [1, 2], type: .i8, columns: 1) }
    #expect(throws: ParseFailure.self) { try quantize(recipe, [1, 2], type: .f8e4m3, columns: 1) }
  }

  @Test func selectsLayers() {
    #expect(!FP8Recipe.fp8.selectsLinear(inLayer: nil, isFeedForward: false, layerCount: 4))
    #expect(FP8Recipe.fp8Compat.selectsLinear(inLayer: 0, isFeedForward: false, layerCount: 4))
    for recipe in [FP8Recipe.fp8Meta, .fp8FBGEMM] {
      let chosen = (0..<4).filter { recipe.selectsLinear(inLayer: $0, isFeedForward: true, layerCount: 4) }
      #expect(chosen == [1, 2])
      #expect(!recipe.selectsLinear(inLayer: 1, isFeedForward: false, layerCount: 4))
    }
    #expect(FP8Recipe.fp8.scaleType(forWeight: .f32) == .bf16)
    #expect(FP8Recipe.fp8Compat.scaleType(forWeight: .f16) == .f16)
    #expect(FP8Recipe.fp8Meta.scaleType(forWeight: .bf16) == .f32)
  }

  @Test func rejectsScalesThatAreNotPositiveAndFinite() throws {
    #expect(try WeightScheme.scales(from: [0x80, 0x3F, 0x01, 0x00], type: .bf16) == [1, Float(bitPattern: 0x10000)])
    for bad: [UInt8] in [[0, 0], [0, 0x80], [0x80, 0xBF], [0x80, 0x7F], [0xC0, 0x7F]] {
      let error = #expect(throws: ParseFailure.self) {
        try WeightScheme.scales(from: [0x80, 0x3F] + bad, type: .bf16)
      }
      #expect(error?.message.hasPrefix("scale 1 ") == true)
    }
    #expect(throws: ParseFailure.self) { try WeightScheme.scales(from: [1], type: .f8e8m0) }
    #expect(throws: ParseFailure.self) { try WeightScheme.scales(from: [1, 2, 3], type: .f16) }
  }

  @Test func statisticsAddUp() {
    let one = QuantizationStatistics(rows: 1, zeroRows: 0, saturated: 2, signalEnergy: 90, errorEnergy: 1)
    let two = one.merged(with: QuantizationStatistics(rows: 2, zeroRows: 1, signalEnergy: 10))
    #expect(two == QuantizationStatistics(rows: 3, zeroRows: 1, saturated: 2, signalEnergy: 100, errorEnergy: 1))
    #expect(two.sqnrDecibels == 20)
    #expect(QuantizationStatistics().sqnrDecibels == .infinity)
  }
}
