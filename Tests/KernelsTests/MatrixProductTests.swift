import Kernels
import Support
import Testing

/// A kernel with its name: of every instruction set that the machine has, and the one of tiles written out in C.
struct NamedKernel: Sendable, CustomTestStringConvertible {
  let name: String
  let kernel: ProductKernel
  /// Whether values are multiplied in binary32, in the one order that all such kernels share.
  let isFloat32: Bool
  var testDescription: String { name }

  static func all(_ compute: Compute) -> [NamedKernel] {
    InstructionSet.available.map {
      NamedKernel(
        name: "\($0), \(compute.rawValue)", kernel: ProductKernel($0, compute: compute),
        isFloat32: compute == .exact ? $0.multipliesInFloat32 : $0 < .avx512BF16 || $0 == .neon)
    } + [
      NamedKernel(
        name: "model of tiles, \(compute.rawValue)", kernel: .tileModel(compute: compute), isFloat32: false)
    ]
  }

  static let all = all(.exact) + all(.bf16)
}

/// A matrix product to be tried: sizes around the kernel's tiles, blocks of 256 inputs, pieces of 64 outputs.
struct ProductCase: Sendable, CustomTestStringConvertible {
  let tokens: Int
  let outputs: Int
  let inputs: Int
  var testDescription: String { "\(tokens)×\(inputs)·\(outputs)" }

  static let all = [
    ProductCase(tokens: 1, outputs: 1, inputs: 1), ProductCase(tokens: 5, outputs: 17, inputs: 31),
    ProductCase(tokens: 6, outputs: 16, inputs: 256), ProductCase(tokens: 13, outputs: 65, inputs: 257),
    ProductCase(tokens: 31, outputs: 130, inputs: 515), ProductCase(tokens: 300, outputs: 33, inputs: 100),
    ProductCase(tokens: 64, outputs: 64, inputs: 64), ProductCase(tokens: 33, outputs: 31, inputs: 1059),
    ProductCase(tokens: 7, outputs: 300, inputs: 512),
  ]
}

/// Random operands of one product, and the product by other means.
private struct Operands {
  let shape: ProductCase
  let x: [Float]
  let weights: [UInt8]
  let format: FloatFormat
  let rowScales: [Float]?
  let blockScales: [Float]?
  /// One per token where the activations are FP8 codes.
  let tokenScales: [Float]?
  var hasCodes: Bool { tokenScales != nil }
  static let blockRows = 20
  static let blockColumns = 24

  init(
    _ shape: ProductCase, _ format: FloatFormat, rowScaled: Bool = false, blockScaled: Bool = false,
    hasCodes: Bool = false, seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    self.shape = shape
    self.format = format
    let normal = (0..<shape.tokens * shape.inputs).map { _ in random.normal() }
    x = hasCodes ? normal.map { Self.rounded($0, to: .e4m3) } : normal
    tokenScales = hasCodes ? (0..<shape.tokens).map { _ in abs(random.normal()) + 0.1 } : nil
    let values = (0..<shape.outputs * shape.inputs).map { _ in random.normal() }
    var bytes = [UInt8](repeating: 0, count: values.count * format.byteCount)
    var span = bytes.mutableSpan
    _ = NumberFormat.narrow(values.span, to: format, into: &span, instructionSet: .scalar)
    weights = bytes
    rowScales = rowScaled ? (0..<shape.outputs).map { _ in abs(random.normal()) + 0.1 } : nil
    let blocks =
      ((shape.outputs + Self.blockRows - 1) / Self.blockRows)
      * ((shape.inputs + Self.blockColumns - 1) / Self.blockColumns)
    blockScales = blockScaled ? (0..<blocks).map { _ in abs(random.normal()) + 0.1 } : nil
  }

  func product(threads: Int, _ kernel: ProductKernel, tokens range: Range<Int>? = nil) -> [Float] {
    let range = range ?? 0..<shape.tokens
    let part = Array(x[range.lowerBound * shape.inputs..<range.upperBound * shape.inputs])
    let packed = PackedActivations(
      part.span, tokens: range.count, inputs: shape.inputs,
      tokenScales: tokenScales.map { Array($0[range]) } ?? [], isBF16: hasCodes, threads: threads, kernel: kernel)
    var out = [Float](repeating: .nan, count: range.count * shape.outputs)
    var span = out.mutableSpan
    let empty: [Float] = []
    let rowFactors = rowScales ?? empty
    let blockFactors = blockScales ?? empty
    let rows = WeightRows(
      bytes: weights.span.bytes, format: format, outputs: shape.outputs, inputs: shape.inputs,
      rowScales: rowScales == nil ? nil : rowFactors.span, blockScales: blockScales == nil ? nil : blockFactors.span,
      blockRows: Self.blockRows, blockColumns: Self.blockColumns)
    MatrixProduct.multiply(packed, rows, into: &span, rowStride: shape.outputs, threads: threads)
    return out
  }

  static func rounded(_ value: Float, to format: FloatFormat) -> Float {
    var bytes = [UInt8](repeating: 0, count: format.byteCount)
    var target = bytes.mutableSpan
    let values = [value]
    _ = NumberFormat.narrow(values.span, to: format, into: &target, instructionSet: .scalar)
    var out: [Float] = [0]
    var span = out.mutableSpan
    NumberFormat.widen(bytes.span.bytes, from: format, into: &span, instructionSet: .scalar)
    return out[0]
  }

  /// Each output in binary64, with the sum of the magnitudes of its terms.
  /// - Parameter rounds: both sides are rounded to BF16 first, weights with their blocks' factors applied in binary32.
  func reference(rounds: Bool) -> [(value: Double, magnitude: Double)] {
    var values = [Float](repeating: 0, count: shape.outputs * shape.inputs)
    var span = values.mutableSpan
    NumberFormat.widen(weights.span.bytes, from: format, into: &span, instructionSet: .scalar)
    let blocksPerRow = (shape.inputs + Self.blockColumns - 1) / Self.blockColumns
    let factor = { (output: Int, input: Int) in
      blockScales?[output / Self.blockRows * blocksPerRow + input / Self.blockColumns] ?? 1
    }
    let w = values.indices.map { index -> Double in
      let scale = factor(index / shape.inputs, index % shape.inputs)
      return rounds ? Double(Self.rounded(values[index] * scale, to: .bf16)) : Double(values[index]) * Double(scale)
    }
    let a = x.map { Double(rounds ? Self.rounded($0, to: .bf16) : $0) }
    var results: [(Double, Double)] = []
    for token in 0..<shape.tokens {
      for output in 0..<shape.outputs {
        var (sum, magnitude) = (0.0, 0.0)
        for input in 0..<shape.inputs {
          let term = w[output * shape.inputs + input] * a[token * shape.inputs + input]
          sum += term
          magnitude += abs(term)
        }
        let scale = Double(rowScales?[output] ?? 1) * Double(tokenScales?[token] ?? 1)
        results.append((sum * scale, magnitude * scale))
      }
    }
    return results
  }
}

@Suite("Matrix product")
struct MatrixProductTests {
  /// What may be multiplied: a format of weights with factors of rows, of blocks, or none, and FP8 activations.
  private static let kinds: [(rows: Bool, blocks: Bool, codes: Bool)] = [
    (false, false, false), (true, false, false), (false, true, false), (true, false, true),
  ]
  private static let formats = FloatFormat.allCases.filter { $0 != .i8 }

  /// The bound is that of recursive summation (Higham, Accuracy and Stability, 3.1): n·u·Σ|terms| with u = 2^-24, and
  /// four more roundings for scales. BF16 has 8 bits: the second term is 2^-8 of a value at most, and what is left behind
  /// it 2^-17; that may happen on either side. Where both are split, the product of both second terms, 2^-16, is left out.
  @Test(arguments: NamedKernel.all, ProductCase.all)
  func equalsBinary64WithinSummationError(_ named: NamedKernel, _ shape: ProductCase) {
    let seed = SeededRandom.freshSeed()
    for format in Self.formats {
      for kind in Self.kinds {
        let operands = Operands(
          shape, format, rowScaled: kind.rows, blockScaled: kind.blocks, hasCodes: kind.codes, seed: seed)
        let rounds = named.kernel.compute == .bf16
        let product = operands.product(threads: 2, named.kernel)
        let weightsAreExact = !kind.blocks && (format == .bf16 || format == .e4m3)
        let splits = rounds || named.isFloat32 ? 0 : (kind.codes ? 0.0 : 1) + (weightsAreExact ? 0 : 1)
        let bound = Double(shape.inputs + 4) * 0x1p-24 + splits * 0x1p-17 + (splits == 2 ? 0x1p-16 : 0)
        let worst = zip(product, operands.reference(rounds: rounds)).map { value, expected in
          abs(Double(value) - expected.value) / max(expected.magnitude, 1e-300)
        }.max()
        #expect((worst ?? .nan) <= bound, "\(format), \(kind), seed \(seed)")
      }
    }
  }

  @Test(arguments: [Compute.exact, .bf16], ProductCase.all)
  func hasTheSameBitsOnAllKernelsOfFloat32(_ compute: Compute, _ shape: ProductCase) {
    let seed = SeededRandom.freshSeed()
    for format in Self.formats {
      for kind in Self.kinds {
        let operands = Operands(
          shape, format, rowScaled: kind.rows, blockScaled: kind.blocks, hasCodes: kind.codes, seed: seed)
        let truth = operands.product(threads: 1, ProductKernel(.scalar, compute: compute)).map(\.bitPattern)
        for named in NamedKernel.all(compute) where named.isFloat32 {
          #expect(
            operands.product(threads: 2, named.kernel).map(\.bitPattern) == truth,
            "\(format), \(kind) on \(named.name), seed \(seed)")
        }
      }
    }
  }

  @Test("The tiles of AMX give what their model gives", .enabled(if: InstructionSet.available.contains(.amx)))
  func tilesEqualTheirModel() {
    let seed = SeededRandom.freshSeed()
    for shape in ProductCase.all {
      for compute in Compute.allCases {
        let operands = Operands(shape, .f32, seed: seed)
        let tiles = operands.product(threads: 2, ProductKernel(.amx, compute: compute))
        let model = operands.product(threads: 2, .tileModel(compute: compute))
        // No value is subnormal: the instruction's documented operations are the model's.
        #expect(tiles.map(\.bitPattern) == model.map(\.bitPattern), "\(shape), \(compute), seed \(seed)")
      }
    }
  }

  @Test("A token's result depends neither on the tokens beside it nor on threads", arguments: NamedKernel.all)
  func isIndependentOfGrouping(_ named: NamedKernel) {
    let seed = SeededRandom.freshSeed()
    let shape = ProductCase(tokens: 101, outputs: 140, inputs: 1100)
    for format in [FloatFormat.bf16, .f32] {
      let operands = Operands(shape, format, seed: seed)
      let whole = operands.product(threads: 1, named.kernel).map(\.bitPattern)
      for threads in 2...3 {
        #expect(operands.product(threads: threads, named.kernel).map(\.bitPattern) == whole, "seed \(seed)")
      }
      var parts: [UInt32] = []
      for range in [0..<1, 1..<8, 8..<20, 20..<60, 60..<101] {
        parts += operands.product(threads: 2, named.kernel, tokens: range).map(\.bitPattern)
      }
      #expect(parts == whole, "seed \(seed)")
    }
  }

  /// Where both sides are split, an infinity meets the zero of a second term: it comes through as a NaN.
  @Test("Infinities and NaN come through", arguments: NamedKernel.all, [FloatFormat.bf16, .f32])
  func nonFinite(_ named: NamedKernel, _ format: FloatFormat) {
    let x: [Float] = [.infinity, 1, .nan, 1, -.infinity, 2]
    let packed = PackedActivations(x.span, tokens: 3, inputs: 2, threads: 1, kernel: named.kernel)
    let one: [UInt8] = format == .bf16 ? [0x80, 0x3F] : [0, 0, 0x80, 0x3F]
    let weights = one + one
    let rows = WeightRows(
      bytes: weights.span.bytes, format: format, outputs: 1, inputs: 2, rowScales: nil, blockScales: nil, blockRows: 1,
      blockColumns: 1)
    let out = MatrixProduct.product(packed, rows, threads: 1)
    if format == .f32 && !named.isFloat32 && named.kernel.compute == .exact {
      #expect(out.allSatisfy { !$0.isFinite })
    } else {
      #expect(out[0] == .infinity && out[1].isNaN && out[2] == -.infinity)
    }
  }
}
