import Kernels
import Support
import Testing

private let levels = InstructionSet.available

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
  static let blockRows = 20
  static let blockColumns = 24

  init(_ shape: ProductCase, _ format: FloatFormat, rowScaled: Bool, blockScaled: Bool, seed: UInt64) {
    var random = SeededRandom(seed: seed)
    self.shape = shape
    self.format = format
    x = (0..<shape.tokens * shape.inputs).map { _ in random.normal() }
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

  func product(threads: Int, level: InstructionSet, tokens range: Range<Int>? = nil) -> [Float] {
    let range = range ?? 0..<shape.tokens
    let part = Array(x[range.lowerBound * shape.inputs..<range.upperBound * shape.inputs])
    let packed = MatrixProduct.PackedActivations(
      part.span, tokens: range.count, inputs: shape.inputs, threads: threads, instructionSet: level)
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

  /// Each output in binary64, with the sum of the magnitudes of its terms.
  var reference: [(value: Double, magnitude: Double)] {
    var values = [Float](repeating: 0, count: shape.outputs * shape.inputs)
    var span = values.mutableSpan
    NumberFormat.widen(weights.span.bytes, from: format, into: &span, instructionSet: .scalar)
    let blocksPerRow = (shape.inputs + Self.blockColumns - 1) / Self.blockColumns
    var results: [(Double, Double)] = []
    for token in 0..<shape.tokens {
      for output in 0..<shape.outputs {
        var (sum, magnitude) = (0.0, 0.0)
        for input in 0..<shape.inputs {
          var weight = Double(values[output * shape.inputs + input])
          weight *= Double(
            blockScales?[output / Self.blockRows * blocksPerRow + input / Self.blockColumns] ?? 1)
          let term = weight * Double(x[token * shape.inputs + input])
          sum += term
          magnitude += abs(term)
        }
        let scale = Double(rowScales?[output] ?? 1)
        results.append((sum * scale, magnitude * scale))
      }
    }
    return results
  }
}

@Suite("Matrix product")
struct MatrixProductTests {
  /// The bound is that of recursive summation (Higham, Accuracy and Stability, 3.1): n·u·Σ|terms| with u = 2^-24, and
  /// three more roundings for scales.
  @Test(arguments: ProductCase.all, FloatFormat.allCases.filter { $0 != .i8 })
  func equalsBinary64WithinSummationError(_ shape: ProductCase, _ format: FloatFormat) {
    let seed = SeededRandom.freshSeed()
    for (rows, blocks) in [(false, false), (true, false), (false, true)] {
      let operands = Operands(shape, format, rowScaled: rows, blockScaled: blocks, seed: seed)
      let product = operands.product(threads: 2, level: .best)
      let bound = Double(shape.inputs + 3) * 0x1p-24
      let worst = zip(product, operands.reference).map { value, expected in
        abs(Double(value) - expected.value) / max(expected.magnitude, 1e-300)
      }.max()
      #expect((worst ?? .nan) <= bound, "seed \(seed), scales \(rows) \(blocks)")
    }
  }

  @Test(arguments: ProductCase.all)
  func hasTheSameBitsOnEveryLevelAndNumberOfThreads(_ shape: ProductCase) {
    let seed = SeededRandom.freshSeed()
    for (format, rows, blocks) in [
      (FloatFormat.f32, false, false), (.bf16, false, false), (.f16, false, false), (.e4m3, true, false),
      (.e4m3, false, true),
    ] {
      let operands = Operands(shape, format, rowScaled: rows, blockScaled: blocks, seed: seed)
      let truth = operands.product(threads: 1, level: .scalar).map(\.bitPattern)
      for level in levels {
        for threads in 1...3 {
          let bits = operands.product(threads: threads, level: level).map(\.bitPattern)
          #expect(bits == truth, "\(format) on \(level) with \(threads) threads, seed \(seed)")
        }
      }
    }
  }

  @Test("A token's result does not depend on the tokens beside it")
  func isIndependentOfGrouping() {
    let seed = SeededRandom.freshSeed()
    let shape = ProductCase(tokens: 29, outputs: 40, inputs: 300)
    let operands = Operands(shape, .bf16, rowScaled: false, blockScaled: false, seed: seed)
    let whole = operands.product(threads: 2, level: .best).map(\.bitPattern)
    var parts: [UInt32] = []
    for range in [0..<1, 1..<8, 8..<20, 20..<29] {
      parts += operands.product(threads: 2, level: .best, tokens: range).map(\.bitPattern)
    }
    #expect(parts == whole, "seed \(seed)")
  }
}
