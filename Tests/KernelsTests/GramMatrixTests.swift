import Kernels
import Support
import Testing

/// Sizes around tiles of 4, 6, 32 and 64, regions of 256, blocks of 256 tokens and passes of 512.
private let shapes = [(1, 1), (5, 17), (256, 64), (257, 130), (600, 193), (1100, 65), (33, 515), (520, 300)]

/// Activations of which some channels are much larger than others, as Llama's are.
private func activations(tokens: Int, size: Int, seed: UInt64) -> [Float] {
  var random = SeededRandom(seed: seed)
  let scales = (0..<size).map { abs(random.normal(1)) + ($0 % 50 == 7 ? 20 : 0.01) }
  return (0..<tokens * size).map { random.normal(scales[$0 % size]) }
}

private func gram(
  _ x: [Float], size: Int, cuts: [Int] = [], threads: Int, _ kernel: ProductKernel
) -> GramMatrix {
  var gram = GramMatrix(size: size)
  let ends = cuts + [x.count / size]
  for (first, end) in zip([0] + ends, ends) {
    let part = Array(x[first * size..<end * size])
    gram.add(part.span, tokens: end - first, threads: threads, kernel: kernel)
  }
  return gram
}

private func bits(_ gram: GramMatrix) -> [UInt32] {
  var gram = gram
  return gram.withValues(threads: 2) { span in span.indices.map { span[$0].bitPattern } }
}

@Suite("Gram matrix")
struct GramMatrixTests {
  /// The bound of a matrix product: recursive summation's n·u·Σ|terms| (Higham, Accuracy and Stability, 3.1), and what two
  /// terms of BF16 leave of either side and of their product.
  @Test(arguments: NamedKernel.all(.exact), shapes)
  func equalsBinary64WithinSummationError(_ named: NamedKernel, _ shape: (tokens: Int, size: Int)) {
    let seed = SeededRandom.freshSeed()
    let x = activations(tokens: shape.tokens, size: shape.size, seed: seed)
    var found = gram(x, size: shape.size, threads: 2, named.kernel)
    #expect(found.tokens == shape.tokens)
    let bound = Double(shape.tokens + 4) * 0x1p-24 + (named.isFloat32 ? 0 : 0x1p-15)
    let values = found.withValues(threads: 2) { span in span.indices.map { span[$0] } }
    var worst = 0.0
    for row in 0..<shape.size {
      for column in 0...row {
        var (sum, magnitude) = (0.0, 0.0)
        for token in 0..<shape.tokens {
          let term = Double(x[token * shape.size + row]) * Double(x[token * shape.size + column])
          sum += term
          magnitude += abs(term)
        }
        worst = max(worst, abs(Double(values[row * shape.size + column]) - sum) / magnitude)
      }
    }
    #expect(worst <= bound, "seed \(seed)")
    for row in 0..<shape.size {
      for column in 0..<row where values[row * shape.size + column] != values[column * shape.size + row] {
        Issue.record("not symmetric at \(row), \(column), seed \(seed)")
      }
    }
    #expect(found.diagonal == (0..<shape.size).map { values[$0 * shape.size + $0] })
  }

  @Test("The same bits on any number of threads, cut at blocks of tokens, and on kernels of float32", arguments: shapes)
  func bitsDependOnNothing(_ shape: (tokens: Int, size: Int)) {
    let seed = SeededRandom.freshSeed()
    let x = activations(tokens: shape.tokens, size: shape.size, seed: seed)
    let truth = bits(gram(x, size: shape.size, threads: 1, ProductKernel(.scalar)))
    for named in NamedKernel.all(.exact) {
      let found = bits(gram(x, size: shape.size, threads: 1, named.kernel))
      if named.isFloat32 { #expect(found == truth, "\(named.name), seed \(seed)") }
      let cuts = [256, 512].filter { $0 < shape.tokens }
      for threads in 2...3 {
        #expect(
          bits(gram(x, size: shape.size, cuts: cuts, threads: threads, named.kernel)) == found,
          "\(named.name), seed \(seed)")
      }
    }
  }

  /// Powers of two scale without rounding.
  @Test func scalingRowsAndColumnsIsScalingInputs() {
    let seed = SeededRandom.freshSeed()
    let size = 130
    let x = activations(tokens: 70, size: size, seed: seed)
    let factors = (0..<size).map { Float(sign: .plus, exponent: $0 % 7 - 3, significand: 1) }
    let scaled = x.indices.map { x[$0] * factors[$0 % size] }
    var found = gram(x, size: size, threads: 2, ProductKernel(.scalar))
    let before = found
    found.scale(by: factors, threads: 2)
    #expect(bits(found) == bits(gram(scaled, size: size, threads: 2, ProductKernel(.scalar))), "seed \(seed)")
    #expect(bits(before) == bits(gram(x, size: size, threads: 2, ProductKernel(.scalar))), "a copy keeps its values")
  }

  @Test func blocksAndElements() {
    let x = activations(tokens: 9, size: 40, seed: 1)
    let found = gram(x, size: 40, threads: 1, ProductKernel())
    let block = found.block(10..<14)
    for row in 0..<4 {
      for column in 0..<4 {
        #expect(block[row * 4 + column] == found[10 + row, 10 + column])
        #expect(found[10 + row, 10 + column] == found[10 + column, 10 + row])
      }
    }
  }

  /// Against the squared outputs themselves, in binary64. H and Δ·H are rounded to binary32: u times as many terms of Σ|δHδ|,
  /// which is a few hundred times the sum for random errors of this size.
  @Test func energyIsTheSquaredErrorOfOutputs() {
    let seed = SeededRandom.freshSeed()
    let (tokens, size, rows) = (90, 130, 300)
    let x = activations(tokens: tokens, size: size, seed: seed)
    var random = SeededRandom(seed: seed &+ 1)
    let errors = (0..<rows * size).map { _ in random.normal(0.01) }
    var expected = 0.0
    for row in 0..<rows {
      for token in 0..<tokens {
        var sum = 0.0
        for column in 0..<size { sum += Double(errors[row * size + column]) * Double(x[token * size + column]) }
        expected += sum * sum
      }
    }
    var found = gram(x, size: size, threads: 2, ProductKernel())
    let energy = found.energy(ofErrors: errors.span, rows: rows, threads: 2)
    #expect(abs(energy - expected) <= 1e-4 * expected, "seed \(seed)")
  }
}
