import Kernels
import Support
import Testing

private let levels = InstructionSet.available
private let int4 = IntegerGroups.Arithmetic(codes: -8...7, divisor: 7.5, leastScale: 0x1p-23)

private func quantize(
  _ values: [Float], size: Int, _ arithmetic: IntegerGroups.Arithmetic, _ level: InstructionSet
) -> (codes: [Int8], scales: [Float], measures: IntegerGroups.Measures) {
  var codes = [UInt8](repeating: 0xAA, count: values.count)
  var scales = [Float](repeating: -1, count: values.count / size)
  var measures = IntegerGroups.Measures()
  var codeSpan = codes.mutableSpan
  var scaleSpan = scales.mutableSpan
  IntegerGroups.quantize(
    values.span, size: size, arithmetic: arithmetic, codes: &codeSpan, scales: &scaleSpan, measures: &measures,
    instructionSet: level)
  return (codes.map { Int8(bitPattern: $0) }, scales, measures)
}

@Suite("Integer groups")
struct IntegerGroupsTests {
  /// By hand: A = 7.5 gives scale 1; halves go to the even neighbour, and 7.5 itself past the largest code.
  @Test(arguments: levels)
  func codesByHand(_ level: InstructionSet) {
    let values: [Float] = [7.5, -7.5, 0.5, 1.5, -0.5, -2.5, 6.49, 0, 3, -3]
    let found = quantize(values, size: 10, int4, level)
    #expect(found.scales == [1] && found.codes == [7, -8, 0, 2, 0, -2, 6, 0, 3, -3])
    let off: [Float] = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.49, 0, 0, 0]
    #expect(abs(found.measures.errorEnergy - Double(off.reduce(0) { $0 + $1 * $1 })) < 1e-6)
  }

  @Test("A group of zeros has the least scale and zero codes", arguments: levels)
  func zeros(_ level: InstructionSet) {
    let found = quantize([0, -0, 0, 0, 1, 0, 0, 0], size: 4, int4, level)
    #expect(found.scales == [0x1p-23, 1 / 7.5] && found.codes == [0, 0, 0, 0, 7, 0, 0, 0])
    #expect(quantize([.leastNonzeroMagnitude, 0], size: 2, int4, level).codes == [0, 0])
  }

  /// Against the definition in binary64 where it is far from a tie, and every level against the scalar one.
  @Test(arguments: levels, [1, 5, 16, 31, 32, 33, 128, 1003])
  func equalsTheDefinition(_ level: InstructionSet, _ size: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let values = (0..<9 * size).map { random.normal(Float(sign: .plus, exponent: $0 / size * 9 - 40, significand: 1)) }
    let found = quantize(values, size: size, int4, level)
    let scalar = quantize(values, size: size, int4, .scalar)
    #expect(found.codes == scalar.codes && found.scales == scalar.scales, "seed \(seed)")
    #expect(found.measures == scalar.measures, "seed \(seed)")
    for (index, value) in values.enumerated() {
      let group = values[index / size * size..<(index / size + 1) * size]
      let scale = max(Double(group.map(\.magnitude).max() ?? 0) / 7.5, 0x1p-23)
      let quotient = Double(value) / scale
      let isTie = abs(abs(quotient - quotient.rounded(.down)) - 0.5) < 1e-5
      if !isTie {
        #expect(Double(found.codes[index]) == min(max(quotient.rounded(.toNearestOrEven), -8), 7), "seed \(seed)")
      }
    }
  }

  @Test("Int8 codes widen and dequantize exactly", arguments: levels)
  func dequantizes(_ level: InstructionSet) {
    let codes = (-128...127).map { UInt8(bitPattern: Int8($0)) }
    var values = [Float](repeating: 0, count: 256)
    var span = values.mutableSpan
    NumberFormat.widen(codes.span.bytes, from: .i8, into: &span, instructionSet: level)
    #expect(values == (-128...127).map(Float.init))
    #expect(NumberFormat.firstNonFinite(codes.span.bytes, format: .i8, instructionSet: level) == nil)
    let scales: [Float] = [0.1, 3, 0x1p-30, 7, 1, 2, 3, 4]
    var products = [Float](repeating: 0, count: 256)
    var productSpan = products.mutableSpan
    CodeRows.dequantizeBlocks(
      codes.span.bytes, format: .i8, firstRow: 0, columns: 64, blockRows: 1, blockColumns: 32, scales: scales.span,
      into: &productSpan, instructionSet: level)
    #expect(products == (0..<256).map { Float($0 - 128) * scales[$0 / 32] })
  }

  /// Sylvester's matrix by its definition: entry (i, j) is −1 to the number of ones in i & j.
  @Test(arguments: levels, [1, 2, 8, 64, 512])
  func hadamard(_ level: InstructionSet, _ size: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let values = (0..<3 * size).map { _ in random.normal(1) }
    var found = values
    var span = found.mutableSpan
    RowTransforms.hadamard(&span, columns: size, instructionSet: level)
    for row in 0..<3 {
      for i in 0..<size {
        var sum = 0.0
        for j in 0..<size { sum += Double(values[row * size + j]) * ((i & j).nonzeroBitCount % 2 == 0 ? 1 : -1) }
        // log₂ n additions and one product, each rounded once, of terms whose magnitudes sum up to at most n · 5.
        let bound = 5 * Double(size).squareRoot() * 12 * 0x1p-24
        #expect(abs(Double(found[row * size + i]) - sum / Double(size).squareRoot()) <= bound, "seed \(seed)")
      }
    }
    var again = found.mutableSpan
    RowTransforms.hadamard(&again, columns: size, instructionSet: level)
    #expect(zip(found, values).allSatisfy { abs($0 - $1) < 1e-4 }, "its own inverse, seed \(seed)")
  }

  @Test(arguments: levels)
  func addsALowRankProduct(_ level: InstructionSet) {
    let (left, right): ([Float], [Float]) = ([1, 2, 3, 4], [1, 10, 100, 5, 50, 500])
    var rows: [Float] = [1, 1, 1, 0, 0, 0]
    var span = rows.mutableSpan
    RowTransforms.addProduct(
      left.span, right.span, rank: 2, factor: 0.5, to: &span, columns: 3, instructionSet: level)
    #expect(rows == [6.5, 56, 551, 11.5, 115, 1150])
  }
}
