import Kernels
import Support
import Testing

private let levels = InstructionSet.available

private struct Quantized: Equatable {
  var codes: [UInt8]
  var scales: [UInt32]
  var measures: FP8Rows.Measures
  var fault: Int?
}

private func quantize(
  _ bytes: [UInt8], _ format: FloatFormat, columns: Int, _ arithmetic: FP8Rows.Arithmetic, _ level: InstructionSet
) -> Quantized {
  let count = bytes.count / format.byteCount
  var codes = [UInt8](repeating: 0xAA, count: count)
  var scales = [Float](repeating: -1, count: count / columns)
  var measures = FP8Rows.Measures()
  var codeSpan = codes.mutableSpan
  var scaleSpan = scales.mutableSpan
  let fault = FP8Rows.quantize(
    bytes.span.bytes, format: format, columns: columns, arithmetic: arithmetic, codes: &codeSpan, scales: &scaleSpan,
    measures: &measures, instructionSet: level)
  return Quantized(codes: codes, scales: scales.map(\.bitPattern), measures: measures, fault: fault)
}

private func bytes(_ values: [Float], _ format: FloatFormat) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: values.count * format.byteCount)
  var span = bytes.mutableSpan
  _ = NumberFormat.narrow(values.span, to: format, into: &span, instructionSet: .scalar)
  return bytes
}

private func floats(_ bytes: [UInt8], _ format: FloatFormat) -> [Float] {
  var values = [Float](repeating: 0, count: bytes.count / format.byteCount)
  var span = values.mutableSpan
  NumberFormat.widen(bytes.span.bytes, from: format, into: &span, instructionSet: .scalar)
  return values
}

/// A recipe of golden fp8_rowwise/rows.safetensors.
struct GoldenRecipe: Sendable, CustomTestStringConvertible {
  let key: String
  let format: FloatFormat
  let arithmetic: FP8Rows.Arithmetic
  var testDescription: String { key }

  static let all = [
    GoldenRecipe(key: "grid_bf16_scale", format: .bf16, arithmetic: .bf16Scale),
    GoldenRecipe(key: "ct_bf16", format: .bf16, arithmetic: .stepsRounded(to: .bf16)),
    GoldenRecipe(key: "ct_f32", format: .f32, arithmetic: .stepsRounded(to: .f32)),
    GoldenRecipe(key: "meta_cuda", format: .bf16, arithmetic: .flooredScale),
  ]
}

@Suite("FP8 rows")
struct FP8RowsTests {
  /// Origin: compressed-tensors 0.20 (ct_*), FBGEMM's formulas (meta_cuda), derived (grid_bf16_scale).
  @Test(arguments: GoldenRecipe.all, levels)
  func equalsGoldenRows(_ recipe: GoldenRecipe, _ level: InstructionSet) throws {
    let golden = try GoldenFile("fp8_rowwise/rows.safetensors")
    let names = try goldenRowNames("fp8_rowwise/rows.safetensors")
    let columns = try golden.shape("input")[1]
    let source = recipe.format == .f32 ? bytes(try golden.floats("input"), .f32) : try golden.bytes("input")
    let found = quantize(source, recipe.format, columns: columns, recipe.arithmetic, level)
    let codes = try golden.bytes("\(recipe.key).q")
    let scales = try golden.floats("\(recipe.key).scale")
    #expect(found.fault == nil)
    for (row, name) in names.enumerated() {
      #expect(found.scales[row] == scales[row].bitPattern, "\(name)")
      let range = row * columns..<(row + 1) * columns
      #expect(Array(found.codes[range]) == Array(codes[range]), "\(name)")
    }
    #expect(found.measures.zeroRows == 2)  // zeros, neg_zeros
  }

  /// Each row of golden nonfinite.safetensors holds one NaN or infinity somewhere: it is found, not spread.
  @Test(arguments: GoldenRecipe.all, levels)
  func reportsTheFirstNonFinite(_ recipe: GoldenRecipe, _ level: InstructionSet) throws {
    let golden = try GoldenFile("fp8_rowwise/nonfinite.safetensors")
    let columns = try golden.shape("input")[1]
    let values = try golden.floats("input")
    let expected = try #require(values.firstIndex { !$0.isFinite })
    let source = bytes(values, recipe.format)
    #expect(quantize(source, recipe.format, columns: columns, recipe.arithmetic, level).fault == expected)
    for (index, value) in values.enumerated() where !value.isFinite {
      var one = [Float](repeating: 0.25, count: 3 * columns)
      one[columns + index % columns] = value
      let fault = quantize(bytes(one, recipe.format), recipe.format, columns: columns, recipe.arithmetic, level).fault
      #expect(fault == columns + index % columns)
    }
  }

  /// The F16 arithmetic of compressed-tensors against Swift's Float16: every step rounded to F16.
  @Test(arguments: levels)
  func roundsEachStepToF16(_ level: InstructionSet) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let columns = 77
    var halves: [Float16] = []
    for row in 0..<40 {
      let size = Float(sign: .plus, exponent: row - 26, significand: 1)
      halves += (0..<columns).map { _ in Float16(random.normal(size / 8)) }
    }
    halves += [Float16](repeating: 0, count: columns)
    let found = quantize(bytes(halves.map(Float.init), .f16), .f16, columns: columns, .stepsRounded(to: .f16), level)
    for row in 0...40 {
      let part = halves[row * columns..<(row + 1) * columns]
      let largest = part.map(\.magnitude).max() ?? 0
      var scale = Float16(Float(largest) / 448)
      if scale == 0 { scale = 0x1p-10 }
      #expect(found.scales[row] == Float(scale).bitPattern, "row \(row), seed \(seed)")
      let quotients = part.map { min(max(Float(Float16(Float($0) / Float(scale))), -448), 448) }
      let expected = bytes(quotients, .e4m3)
      #expect(Array(found.codes[row * columns..<(row + 1) * columns]) == expected, "row \(row), seed \(seed)")
    }
  }

  /// Codes, scales and statistics are the same on every level, at every row length.
  @Test(arguments: levels.filter { $0 > .scalar }, [FloatFormat.f32, .f16, .bf16])
  func equalsTheScalarLevel(_ level: InstructionSet, _ format: FloatFormat) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for arithmetic in [FP8Rows.Arithmetic.bf16Scale, .stepsRounded(to: format), .flooredScale] {
      for columns in [1, 15, 16, 17, 31, 32, 33, 1003, 1024, 1025, 4096] {
        let sizes: [Float] = [0.02, 1, 1e-4, 2e-7, 60]
        let values = sizes.flatMap { size in (0..<columns).map { _ in random.normal(size) } }
        let source = bytes(values, format)
        let scalar = quantize(source, format, columns: columns, arithmetic, .scalar)
        let vector = quantize(source, format, columns: columns, arithmetic, level)
        #expect(vector == scalar, "\(arithmetic), \(columns) columns, seed \(seed)")
      }
    }
  }

  /// The statistics against binary64 sums over the codes. Tolerance: quotients are rounded to 2^-24 and sums of at most 64
  /// values per lane are in binary32, so 64 · 2^-24 ≈ 4e-6 bounds the relative error of both energies.
  @Test(arguments: GoldenRecipe.all)
  func measuresErrors(_ recipe: GoldenRecipe) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let columns = 3000
    let source = bytes((0..<4 * columns).map { _ in random.normal(0.05) }, recipe.format)
    let found = quantize(source, recipe.format, columns: columns, recipe.arithmetic, .best)
    let values = floats(source, recipe.format)
    let codes = floats(found.codes, .e4m3)
    var signal = 0.0
    var error = 0.0
    for index in values.indices {
      let scale = Double(Float(bitPattern: found.scales[index / columns]))
      signal += Double(values[index]) * Double(values[index])
      let off = Double(values[index]) - Double(codes[index]) * scale
      error += off * off
    }
    #expect(abs(found.measures.signalEnergy / signal - 1) < 4e-6, "seed \(seed)")
    #expect(abs(found.measures.errorEnergy / error - 1) < 4e-6, "seed \(seed)")
  }

  /// A scale rounded down makes the largest quotient pass 448: it saturates and is counted.
  @Test(arguments: levels)
  func countsSaturation(_ level: InstructionSet) throws {
    // 9968 is 22.25 · 448, golden row one_hot_1e4: scale 22.25, quotient 449.4.
    var values = [Float](repeating: 0, count: 100)
    values[7] = 9984
    let found = quantize(bytes(values, .bf16), .bf16, columns: 100, .bf16Scale, level)
    #expect(found.scales == [Float(22.25).bitPattern])
    #expect(found.codes[7] == 0x7E && found.measures.saturated == 1)
  }

  /// Rows whose scale would underflow get scale 1 and zero codes that keep their signs; never NaN.
  @Test(arguments: levels)
  func tinyRowsGiveFiniteCodes(_ level: InstructionSet) {
    for pattern in 1..<UInt32(0x400) {
      let value = Float(bitPattern: pattern << 16)
      let found = quantize(bytes([value, -value, 0], .bf16), .bf16, columns: 3, .bf16Scale, level)
      let scale = Float(bitPattern: found.scales[0])
      #expect(scale > 0 && scale.isFinite && found.measures.errorEnergy.isFinite)
      #expect(found.codes[0] & 0x7F != 0x7F && found.codes[1] == found.codes[0] | 0x80 && found.codes[2] == 0)
      if scale == 1 { #expect(found.codes[0] == 0) }
    }
  }

  /// Origin: compressed-tensors, golden formats: blocks of 128×128 with ragged edges, and one scale per tensor. The
  /// library rounds the product to BF16.
  @Test(arguments: levels)
  func dequantizesGoldenBlocks(_ level: InstructionSet) throws {
    for (file, size) in [("fp8_block128_ragged", 128), ("fp8_tensor", Int.max)] {
      let golden = try GoldenFile("formats/\(file).safetensors")
      let columns = try golden.shape("weight")[1]
      let codes = try golden.bytes("weight")
      let scales = try golden.floats("weight_scale")
      let expected = try golden.bytes("dequant")
      let rowCount = codes.count / columns
      for firstRow in [0, 5, rowCount - 1] {
        let part = Array(codes[(firstRow * columns)...])
        var values = [Float](repeating: 0, count: part.count)
        var span = values.mutableSpan
        CodeRows.dequantizeBlocks(
          part.span.bytes, format: .e4m3, firstRow: firstRow, columns: columns, blockRows: size, blockColumns: size,
          scales: scales.span, into: &span, instructionSet: level)
        #expect(bytes(values, .bf16) == Array(expected[(2 * firstRow * columns)...]), "\(file) from \(firstRow)")
      }
    }
  }

  @Test(arguments: levels)
  func dequantizesGoldenRows(_ level: InstructionSet) throws {
    let golden = try GoldenFile("fp8_rowwise/rows.safetensors")
    for key in ["ct_f32", "meta_cuda", "grid_bf16_scale"] {
      let codes = try golden.bytes("\(key).q")
      let scales = try golden.floats("\(key).scale")
      var values = [Float](repeating: 0, count: codes.count)
      var span = values.mutableSpan
      CodeRows.dequantize(
        codes.span.bytes, format: .e4m3, columns: codes.count / scales.count, scales: scales.span, into: &span,
        instructionSet: level)
      #expect(values.map(\.bitPattern) == (try golden.floats("\(key).dequant")).map(\.bitPattern), "\(key)")
    }
  }

  /// Origin: FBGEMM's formulas with and without the bound 1200 of Meta's flow, golden keys meta_cuda_ub1200, meta_cuda.
  @Test(arguments: levels)
  func quantizesActivations(_ level: InstructionSet) throws {
    let golden = try GoldenFile("fp8_rowwise/rows.safetensors")
    for (key, bound) in [("meta_cuda_ub1200", Float(1200)), ("meta_cuda", nil)] {
      var values = try golden.floats("input")
      var scales = [Float](repeating: 0, count: try golden.shape("input")[0])
      var span = values.mutableSpan
      var scaleSpan = scales.mutableSpan
      ActivationRows.roundToFP8(
        &span, columns: try golden.shape("input")[1], upperBound: bound, scales: &scaleSpan, instructionSet: level)
      #expect(scales.map(\.bitPattern) == (try golden.floats("\(key).scale")).map(\.bitPattern), "\(key)")
      #expect(
        values.map(\.bitPattern) == floats(try golden.bytes("\(key).q"), .e4m3).map(\.bitPattern), "\(key)")
    }
  }

  /// The self-check accepts what every recipe wrote and sees one wrong code.
  @Test(arguments: GoldenRecipe.all, levels)
  func seesWrongCodes(_ recipe: GoldenRecipe, _ level: InstructionSet) throws {
    let golden = try GoldenFile("fp8_rowwise/rows.safetensors")
    let columns = 64
    let source = bytes(try golden.floats("input"), recipe.format)
    var codes = try golden.bytes("\(recipe.key).q")
    let scales = try golden.floats("\(recipe.key).scale")
    let clean = FP8Rows.firstViolation(
      source.span.bytes, format: recipe.format, columns: columns, codes: codes.span.bytes, scales: scales.span,
      instructionSet: level)
    #expect(clean == nil)
    codes[9] = codes[9] ^ 0x80 | 0x40
    let broken = FP8Rows.firstViolation(
      source.span.bytes, format: recipe.format, columns: columns, codes: codes.span.bytes, scales: scales.span,
      instructionSet: level)
    #expect(broken == 9)
  }

  /// A scale that was damaged to far too small a value saturates its whole row: the codes 448 are wrong, and the check
  /// must say so wherever scales are normal numbers of the format that they are stored in.
  @Test(arguments: [FloatFormat.bf16, .f32], levels)
  func seesRowsSaturatedByAWrongScale(_ format: FloatFormat, _ level: InstructionSet) {
    let source = bytes((1...32).map { Float($0) * 0x1p-12 }, format)
    let codes = [UInt8](repeating: 0x7E, count: 32)
    let scales: [Float] = [0x1p-30]
    let index = FP8Rows.firstViolation(
      source.span.bytes, format: format, columns: 32, codes: codes.span.bytes, scales: scales.span,
      instructionSet: level)
    #expect(index == 0)
  }

  /// Rows of F16 subnormals under the library's arithmetic: scales are F16 subnormals with few bits, values beyond 448
  /// scales are saturated, and the check accepts what is written.
  @Test(arguments: levels)
  func acceptsSaturationBySubnormalScales(_ level: InstructionSet) {
    for exponent in 15...24 {
      let source = bytes(
        (1...64).map { Float($0) / 64 * Float(sign: .plus, exponent: -exponent, significand: 448) }, .f16)
      let result = quantize(source, .f16, columns: 64, .stepsRounded(to: .f16), level)
      let scales = result.scales.map(Float.init(bitPattern:))
      let index = FP8Rows.firstViolation(
        source.span.bytes, format: .f16, columns: 64, codes: result.codes.span.bytes, scales: scales.span,
        instructionSet: level)
      #expect(index == nil, "2^-\(exponent)")
    }
  }
}
