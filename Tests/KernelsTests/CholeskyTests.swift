import Kernels
import Support
import Testing

/// Sizes around triangles of 32 and panels of 256.
private let sizes = [1, 2, 31, 32, 33, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513, 1000]

/// A positive definite matrix in the lower triangle, NaN in the upper one.
private func problem(_ size: Int, seed: UInt64) -> [Float] {
  var random = SeededRandom(seed: seed)
  let tokens = size / 2 + 3
  let x = (0..<tokens * size).map { _ in random.normal(1) }
  var gram = GramMatrix(size: size)
  gram.add(x.span, tokens: tokens, threads: 2, kernel: ProductKernel(.scalar))
  let damping = 0.02 * gram.diagonal.reduce(0, +) / Float(size)
  var values = gram.withValues(threads: 2) { span in span.indices.map { span[$0] } }
  for row in 0..<size {
    values[row * size + row] += damping
    for column in row + 1..<max(row + 1, size) { values[row * size + column] = .nan }
  }
  return values
}

private func factor(
  _ matrix: [Float], _ size: Int, threads: Int = 2, _ instructionSet: InstructionSet = .best
) -> (values: [Float], pivot: Int?) {
  var values = matrix
  var span = values.mutableSpan
  let pivot = Cholesky.factor(&span, size: size, threads: threads, instructionSet: instructionSet)
  return (values, pivot)
}

@Suite("Cholesky factors")
struct CholeskyTests {
  /// |A − L·Lᵀ| ≤ γ(n+1)·|L|·|Lᵀ| element by element (Higham, Accuracy and Stability, theorem 10.3), with u = 2⁻²⁴.
  @Test(arguments: sizes)
  func productIsTheMatrix(_ size: Int) {
    let seed = SeededRandom.freshSeed()
    let matrix = problem(size, seed: seed)
    let found = factor(matrix, size)
    #expect(found.pivot == nil, "seed \(seed)")
    let lower = found.values.map(Double.init)
    let bound = Double(size + 1) * 0x1p-24 * 1.01
    var worst = 0.0
    for row in 0..<size {
      for column in 0...row {
        var (sum, magnitude) = (0.0, 0.0)
        for k in 0...column {
          let term = lower[row * size + k] * lower[column * size + k]
          sum += term
          magnitude += abs(term)
        }
        worst = max(worst, abs(Double(matrix[row * size + column]) - sum) / magnitude)
      }
    }
    #expect(worst <= bound, "seed \(seed)")
    let upperIsLeft = (0..<size).allSatisfy { row in
      (row + 1..<max(row + 1, size)).allSatisfy { found.values[row * size + $0].isNaN }
    }
    #expect(upperIsLeft, "the upper triangle is neither read nor written")
  }

  @Test("The same bits on any number of threads and on all instruction sets", arguments: sizes)
  func bitsDependOnNothing(_ size: Int) {
    let seed = SeededRandom.freshSeed()
    let matrix = problem(size, seed: seed)
    let truth = factor(matrix, size, threads: 1, .scalar).values.map(\.bitPattern)
    for instructionSet in InstructionSet.available {
      for threads in 1...3 {
        #expect(
          factor(matrix, size, threads: threads, instructionSet).values.map(\.bitPattern) == truth,
          "\(instructionSet), \(threads) threads, seed \(seed)")
      }
    }
  }

  @Test(arguments: [0, 1, 31, 32, 127, 255, 256, 300, 511, 600], [0, -1, Float.nan, .infinity])
  func namesTheFailingPivot(_ index: Int, _ pivot: Float) {
    let size = 601
    var matrix = [Float](repeating: 0, count: size * size)
    for row in 0..<size { matrix[row * size + row] = row == index ? pivot : 2 }
    #expect(factor(matrix, size).pivot == index)
    // Not positive definite behind it either: the first one counts.
    matrix[600 * size + 600] = -3
    #expect(factor(matrix, size).pivot == index)
  }

  @Test("A value that is not a number fails its row's pivot", arguments: [(5, 3), (300, 3), (300, 299), (513, 256)])
  func namesTheRowOfNaN(_ place: (row: Int, column: Int)) {
    let size = 520
    var matrix = [Float](repeating: 0, count: size * size)
    for row in 0..<size { matrix[row * size + row] = 2 }
    matrix[place.row * size + place.column] = .nan
    #expect(factor(matrix, size).pivot == place.row)
  }

  @Test func nothingToFactor() {
    #expect(factor([], 0).pivot == nil)
    #expect(factor([9], 1).values == [3])
  }
}
