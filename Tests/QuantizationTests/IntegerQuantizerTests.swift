import ByteIO
import Kernels
import Quantization
import Support
import Tensors
import Testing

/// Codes, scales and zero points of a matrix.
private struct Quantized: Equatable {
  var codes: [Int8]
  var scales: [Float]
  var zeroPoints: [Int8]
  var statistics: QuantizationStatistics

  init(
    _ values: [Float], columns: Int, _ grid: IntegerGrid, _ method: IntegerMethod, type: ElementType = .bf16,
    layout: IntegerLayout? = .compressedTensors, weights: [Float] = []
  ) throws {
    let quantizer = IntegerQuantizer(grid: grid, method: method, layout: layout)
    let groups = values.count / grid.groupSize(columns: columns)
    let scaleType = quantizer.scaleType(forWeight: type)
    var codes = [UInt8](repeating: 0, count: values.count)
    var scales = [UInt8](repeating: 0, count: groups * scaleType.bits / 8)
    var zeroPoints = [UInt8](repeating: 0, count: groups)
    var codeSpan = codes.mutableSpan
    var scaleSpan = scales.mutableSpan
    var zeroSpan = zeroPoints.mutableSpan
    var scratch = IntegerQuantizer.Scratch()
    statistics = try quantizer.quantize(
      values.span, columns: columns, weightType: type, weights: weights, codes: &codeSpan, scales: &scaleSpan,
      zeroPoints: &zeroSpan, scratch: &scratch)
    self.codes = codes.map { Int8(bitPattern: $0) }
    self.zeroPoints = zeroPoints.map { Int8(bitPattern: $0) }
    self.scales = NumberFormat.widened(scales.span.rawBytes, from: scaleType.floatFormat)
  }

  func value(_ index: Int, columns: Int) -> Float {
    let size = codes.count / scales.count
    return (Float(codes[index]) - Float(zeroPoints[index / size])) * scales[index / size]
  }
}

private let symmetric4 = IntegerGrid(bits: 4, isSymmetric: true, groupSize: 4)
private let asymmetric4 = IntegerGrid(bits: 4, isSymmetric: false, groupSize: 4)

@Suite("Rounding to integers")
struct IntegerQuantizerTests {
  /// A file of golden/pack_quantized: the library's own output for its input.
  struct Golden: Sendable, CustomTestStringConvertible {
    let file: String
    let grid: IntegerGrid
    var type = ElementType.bf16
    var testDescription: String { file }

    static func int4(_ name: String, _ isSymmetric: Bool, _ groupSize: Int?, _ type: ElementType = .bf16) -> Golden {
      Golden(
        file: "pack_quantized/int4_\(name).safetensors",
        grid: IntegerGrid(bits: 4, isSymmetric: isSymmetric, groupSize: groupSize), type: type)
    }

    static let all = [
      int4("sym_g32", true, 32), int4("sym_g128", true, 128), int4("sym_g128_f32", true, 128, .f32),
      int4("sym_channel_cols37", true, nil), int4("asym_g32", false, 32), int4("asym_g32_rows13", false, 32),
      int4("asym_g128", false, 128), int4("asym_g128_f16", false, 128, .f16),
      Golden(
        file: "pack_quantized/int8_sym_channel.safetensors",
        grid: IntegerGrid(bits: 8, isSymmetric: true, groupSize: nil)),
      Golden(
        file: "formats/int8_w8a8.safetensors", grid: IntegerGrid(bits: 8, isSymmetric: true, groupSize: nil)),
    ]
  }

  /// Origin: compressed-tensors itself (golden/manifest.json).
  @Test("rtn gives the library's bytes", arguments: Golden.all)
  func rtnIsTheLibrarys(_ golden: Golden) throws {
    let file = try GoldenFile(golden.file)
    let shape = try file.shape("input")
    let input = try file.bytes("input")
    let values = NumberFormat.widened(input.span.rawBytes, from: golden.type.floatFormat)
    let found = try Quantized(values, columns: shape[1], golden.grid, .rtn, type: golden.type)
    let scaleBytes = try file.bytes("weight_scale")
    #expect(found.scales == NumberFormat.widened(scaleBytes.span.rawBytes, from: golden.type.floatFormat))
    guard golden.file.contains("pack") else {
      #expect(found.codes == (try file.bytes("weight").map { Int8(bitPattern: $0) }))
      return
    }
    let packed = PackedWeight(
      layout: .compressedTensors, bits: golden.grid.bits, rows: shape[0], columns: shape[1],
      groupCount: golden.grid.groupCount(columns: shape[1]), hasZeroPoints: !golden.grid.isSymmetric,
      hasGroupIndex: false)
    var stored = MemoryWords()
    let codes = found.codes.map { UInt8(bitPattern: $0) }
    try packed.write(.codes, rows: 0..<shape[0], codes.span, scaleType: .bf16) {
      stored.put($0, $1, $2)
    }
    #expect(stored["weight_packed"] == (try file.bytes("weight_packed")))
    guard !golden.grid.isSymmetric else { return }
    let zeroPoints = found.zeroPoints.map { UInt8(bitPattern: $0) }
    try packed.write(.zeroPoints, rows: 0..<shape[0], zeroPoints.span, scaleType: .bf16) { stored.put($0, $1, $2) }
    #expect(stored["weight_zero_point"] == (try file.bytes("weight_zero_point")))
  }

  // MARK: By hand

  @Test("A group of zeros has scale 1 and codes 0", arguments: [IntegerMethod.mse, .hqq, .imse])
  func zeros(_ method: IntegerMethod) throws {
    for grid in [symmetric4, asymmetric4] {
      let found = try Quantized([0, -0.0, 0, 0], columns: 4, grid, method)
      #expect(found.codes == [0, 0, 0, 0] && found.scales == [1] && found.zeroPoints == [0])
      #expect(found.statistics.zeroRows == 1 && found.statistics.errorEnergy == 0)
    }
  }

  /// Multiples of a power of two that span the codes: the only scale without error is that power.
  @Test("What the codes hold exactly is held exactly", arguments: [IntegerMethod.mse, .imse])
  func exact(_ method: IntegerMethod) throws {
    let found = try Quantized([-2, 1.75, 0.25, -0.75], columns: 4, symmetric4, method)
    #expect(found.scales == [0.25] && found.codes == [-8, 7, 1, -3])
    #expect(found.statistics.errorEnergy == 0 && found.statistics.largestError == 0)
    #expect(found.statistics.sqnrDecibels == .infinity && found.statistics.saturated == 0)
  }

  /// All of one sign, 8 … 23 steps of 1/8 from zero: zero points reach −8 at most, so that zero stays among the values, and
  /// the step is at least a fifteenth of the largest: 23/8/15 = 0.19.
  @Test("A one-sided group has its zero point at the end of the codes")
  func oneSided() throws {
    let found = try Quantized([2.875, 2, 1.5, 1], columns: 4, asymmetric4, .rtn, type: .f32)
    #expect(found.zeroPoints == [-8])
    #expect(found.scales == [Float(2.875) / 15])
    // x/0.19167 − 8 = 7, 2.43, −0.17, −2.78
    #expect(found.codes == [7, 2, 0, -3])
    let best = try Quantized([2.875, 2, 1.5, 1], columns: 4, asymmetric4, .mse)
    #expect(best.statistics.errorEnergy <= found.statistics.errorEnergy)
    #expect((-8...7).contains(Int(best.zeroPoints[0])))
  }

  /// A constant c = s · k with k among the codes: rtn puts a positive one between codes (7.5 → 7), a negative one, where c/7.5
  /// is a power of two and the quotient exactly −7.5, on −8; the search finds a scale without error in the BF16 grid.
  @Test("A constant group is held exactly by the search", arguments: [Float(0.875), -0.9375, 3.5])
  func constant(_ value: Float) throws {
    let group = [Float](repeating: value, count: 4)
    let rounded = try Quantized(group, columns: 4, symmetric4, .rtn, type: .f32)
    #expect(rounded.codes == Array(repeating: value > 0 ? 7 : -8, count: 4))
    #expect(rounded.scales == [abs(value) / 7.5])
    let found = try Quantized(group, columns: 4, symmetric4, .mse)
    #expect(found.statistics.errorEnergy == 0)
    #expect(found.value(0, columns: 4) == value)
  }

  /// 10 among 63 values of ±1. A scale that spans it, 10/7, makes the others 1.43: an error of 63 · 0.18 = 11.6; a scale of
  /// 1 clips it to 7: 9; in between, at 1.2, it is 8.4 and the others 1.2: 2.6 + 2.5. Where it does not matter, 1 or 1/2
  /// hold the others without error.
  @Test("An outlier is kept where it matters and clipped where it does not")
  func outliers() throws {
    let grid = IntegerGrid(bits: 4, isSymmetric: true, groupSize: 64)
    var values = (0..<64).map { Float($0 % 2 == 0 ? 1 : -1) }
    values[5] = 10
    let kept = try Quantized(values, columns: 64, grid, .mse)
    #expect(kept.codes[5] == 7 && kept.statistics.errorEnergy < 5.2)
    #expect((1.15...1.25).contains(kept.scales[0]))
    var weights = [Float](repeating: 1, count: 64)
    weights[5] = 0
    let clipped = try Quantized(values, columns: 64, grid, .imse, weights: weights)
    #expect(clipped.codes[5] == 7 && clipped.statistics.saturated == 1)
    #expect((0..<64).allSatisfy { $0 == 5 || clipped.value($0, columns: 64) == values[$0] })
  }

  @Test("The search is never worse than rounding to nearest", arguments: [3, 4, 5], [true, false])
  func neverWorse(_ seed: UInt64, _ isSymmetric: Bool) throws {
    var random = SeededRandom(seed: seed)
    let values = (0..<16 * 256).map { _ in Float(random.normal()) * 0.02 }
    let grid = IntegerGrid(bits: 4, isSymmetric: isSymmetric, groupSize: 128)
    let nearest = try Quantized(values, columns: 256, grid, .rtn)
    let best = try Quantized(values, columns: 256, grid, .mse)
    let half = try Quantized(values, columns: 256, grid, .hqq)
    #expect(best.statistics.errorEnergy < nearest.statistics.errorEnergy, "seed \(seed)")
    #expect(half.statistics.errorEnergy < nearest.statistics.errorEnergy * 1.2, "seed \(seed)")
    #expect(best.statistics.elements == values.count && best.statistics.rmsError > 0)
    // Every scale is a BF16 number.
    #expect(best.scales.allSatisfy { $0.bitPattern & 0xFFFF == 0 })
  }

  /// Scales that both BF16 and F16 hold, however small the weights.
  @Test("Scales for F16 layouts fit F16", arguments: [Float(1), 1e-3, 1e-5, 3e-7])
  func fitsF16(_ size: Float) throws {
    var random = SeededRandom(seed: 9)
    let values = (0..<256).map { _ in Float(random.normal()) * size }
    for layout in [IntegerLayout.gptq, .awq] {
      let grid = IntegerGrid(bits: 4, isSymmetric: layout == .gptq, groupSize: 32)
      let found = try Quantized(values, columns: 256, grid, .mse, layout: layout)
      #expect(found.scales.allSatisfy { $0 > 0 && $0.bitPattern & 0xFFFF == 0 && Float(Float16($0)) == $0 })
      // Stored less one, the lowest zero point would wrap around.
      if layout == .gptq { #expect(found.zeroPoints.allSatisfy { $0 > -8 }) }
    }
  }

  @Test("The same codes on every instruction set", arguments: InstructionSet.available)
  func sameBytes(_ instructionSet: InstructionSet) throws {
    var random = SeededRandom(seed: 21)
    for columns in [37, 96, 1100] {
      let values = (0..<columns).map { _ in Float(random.normal()) }
      let weights = (0..<columns).map { _ in abs(Float(random.normal())) }
      for (method, isSymmetric) in [
        (IntegerMethod.mse, true), (.mse, false), (.hqq, true), (.hqq, false), (.imse, true),
      ] {
        let quantizer = IntegerQuantizer(
          grid: IntegerGrid(bits: 4, isSymmetric: isSymmetric, groupSize: nil), method: method,
          layout: .compressedTensors)
        let used = method == .imse ? weights : []
        let one = try quantizer.row(values.span, weightType: .f32, weights: used, instructionSet: .scalar)
        let other = try quantizer.row(values.span, weightType: .f32, weights: used, instructionSet: instructionSet)
        #expect(one.codes == other.codes && one.scales == other.scales && one.zeroPoints == other.zeroPoints)
      }
    }
  }

  @Test("Every code of a rounding to nearest passes the check, and a changed one does not")
  func firstViolation() throws {
    var random = SeededRandom(seed: 2)
    let values = (0..<128).map { _ in Float(random.normal()) }
    let quantizer = IntegerQuantizer(
      grid: IntegerGrid(bits: 4, isSymmetric: false, groupSize: 32), method: .mse, layout: .compressedTensors)
    let row = try quantizer.row(values.span, weightType: .bf16, weights: [])
    let scales = NumberFormat.widened(row.scales.span.rawBytes, from: .bf16)
    let zeroPoints = row.zeroPoints.map { Int8(bitPattern: $0) }
    #expect(
      quantizer.firstViolation(values.span, codes: row.codes.span, scales: scales, zeroPoints: zeroPoints) == nil)
    var changed = row.codes
    changed[77] = changed[77] == 7 ? 6 : changed[77] &+ 1
    #expect(
      quantizer.firstViolation(values.span, codes: changed.span, scales: scales, zeroPoints: zeroPoints) == 77)
  }
}

/// Stored tensors in memory, of any size.
struct MemoryWords {
  private var tensors: [String: [UInt8]] = [:]

  subscript(suffix: String) -> [UInt8]? {
    get { tensors[suffix] }
    set { tensors[suffix] = newValue }
  }

  mutating func put(_ suffix: String, _ offset: Int, _ bytes: Span<UInt8>) {
    var tensor = tensors[suffix] ?? []
    let end = offset + bytes.count
    if tensor.count < end { tensor += Array(repeating: 0, count: end - tensor.count) }
    for index in bytes.indices { tensor[offset + index] = bytes[index] }
    tensors[suffix] = tensor
  }

  func get(_ suffix: String, _ offset: Int, _ bytes: inout MutableSpan<UInt8>) {
    let tensor = tensors[suffix] ?? []
    for index in bytes.indices { bytes[index] = tensor[offset + index] }
  }
}
