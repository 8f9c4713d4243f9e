import Foundation
import Kernels
import Support
import Testing

struct AttentionCase: Sendable, CustomTestStringConvertible {
  let queries: Int
  let keysAndValues: Int
  let dimension: Int
  let slidingWindow: Int?
  let windows: [Int]
  var testDescription: String {
    "\(queries)/\(keysAndValues) heads of \(dimension), window \(slidingWindow.map(String.init) ?? "none"), \(windows)"
  }

  static let all = [
    AttentionCase(queries: 1, keysAndValues: 1, dimension: 2, slidingWindow: nil, windows: [1]),
    AttentionCase(queries: 4, keysAndValues: 4, dimension: 32, slidingWindow: nil, windows: [7, 16, 17]),
    AttentionCase(queries: 8, keysAndValues: 2, dimension: 24, slidingWindow: nil, windows: [33, 5]),
    AttentionCase(queries: 6, keysAndValues: 3, dimension: 64, slidingWindow: 9, windows: [40]),
    AttentionCase(queries: 2, keysAndValues: 1, dimension: 128, slidingWindow: 1, windows: [20]),
    AttentionCase(queries: 2, keysAndValues: 1, dimension: 16, slidingWindow: nil, windows: [530]),
    AttentionCase(queries: 1, keysAndValues: 1, dimension: 300, slidingWindow: nil, windows: [12]),
    AttentionCase(queries: 2, keysAndValues: 2, dimension: 40, slidingWindow: 300, windows: [700]),
    AttentionCase(queries: 2, keysAndValues: 1, dimension: 8, slidingWindow: 100, windows: [3, 800, 257]),
    AttentionCase(queries: 1, keysAndValues: 1, dimension: 1100, slidingWindow: nil, windows: [5]),
  ]
}

private struct Operands {
  let shape: AttentionCase
  let queries: [Float]
  let keys: [Float]
  let values: [Float]
  let ranges: [Range<Int>]

  init(_ shape: AttentionCase, seed: UInt64) {
    self.shape = shape
    var random = SeededRandom(seed: seed)
    let tokens = shape.windows.reduce(0, +)
    var start = 0
    ranges = shape.windows.map { count in
      defer { start += count }
      return start..<start + count
    }
    queries = (0..<tokens * shape.queries * shape.dimension).map { _ in random.normal() }
    keys = (0..<tokens * shape.keysAndValues * shape.dimension).map { _ in random.normal() }
    values = (0..<tokens * shape.keysAndValues * shape.dimension).map { _ in random.normal() }
  }

  func attention(threads: Int, _ kernel: ProductKernel, _ level: InstructionSet = .best) -> [Float] {
    var out = queries
    var span = out.mutableSpan
    let heads = Attention.Heads(
      queries: shape.queries, keysAndValues: shape.keysAndValues, dimension: shape.dimension,
      slidingWindow: shape.slidingWindow)
    Attention.apply(
      queries: &span, keys: keys.span, values: values.span, windows: ranges, heads: heads, threads: threads,
      kernel: kernel, instructionSet: level)
    return out
  }

  /// The rows of one window, computed without the others.
  func attention(threads: Int, _ kernel: ProductKernel, window: Range<Int>) -> [Float] {
    let (q, kv) = (shape.queries * shape.dimension, shape.keysAndValues * shape.dimension)
    var out = Array(queries[window.lowerBound * q..<window.upperBound * q])
    let k = Array(keys[window.lowerBound * kv..<window.upperBound * kv])
    let v = Array(values[window.lowerBound * kv..<window.upperBound * kv])
    var span = out.mutableSpan
    Attention.apply(
      queries: &span, keys: k.span, values: v.span, windows: [0..<window.count],
      heads: Attention.Heads(
        queries: shape.queries, keysAndValues: shape.keysAndValues, dimension: shape.dimension,
        slidingWindow: shape.slidingWindow), threads: threads, kernel: kernel)
    return out
  }

  /// The definition, softmax(q·kᵀ/√d)·v over the keys that a position sees, in binary64.
  var reference: [Double] {
    let d = shape.dimension
    var out = [Double](repeating: 0, count: queries.count)
    for window in ranges {
      for token in window {
        let lowest = max(window.lowerBound, token + 1 - (shape.slidingWindow ?? shape.windows.reduce(0, +)))
        for head in 0..<shape.queries {
          let keyHead = head / (shape.queries / shape.keysAndValues)
          let query = (token * shape.queries + head) * d
          let scores = (lowest...token).map { key in
            (0..<d).reduce(0.0) {
              $0 + Double(queries[query + $1]) * Double(keys[(key * shape.keysAndValues + keyHead) * d + $1])
            } / Double(d).squareRoot()
          }
          let largest = scores.max() ?? 0
          let weights = scores.map { exp($0 - largest) }
          let total = weights.reduce(0, +)
          for (weight, key) in zip(weights, lowest...token) {
            for i in 0..<d {
              out[query + i] += weight / total * Double(values[(key * shape.keysAndValues + keyHead) * d + i])
            }
          }
        }
      }
    }
    return out
  }
}

@Suite("Attention")
struct AttentionTests {
  /// Values are of order 1 and scores of order √d: binary32 keeps a score to about d·2^-24·√d < 1e-4 at worst, typically
  /// a hundredth of that, and a weight to the same relative error; two terms of BF16 are as good for these sizes. In one
  /// term a query's or key's error is 2^-9 at most, a score's about √d·2^-8·2/√d: a weight is off by 3 %, a value by 2^-9.
  @Test(arguments: NamedKernel.all, AttentionCase.all)
  func equalsTheDefinitionInBinary64(_ named: NamedKernel, _ shape: AttentionCase) {
    let seed = SeededRandom.freshSeed()
    let operands = Operands(shape, seed: seed)
    let worst = zip(operands.attention(threads: 2, named.kernel), operands.reference).map { abs(Double($0) - $1) }.max()
    #expect((worst ?? .nan) < (named.kernel.compute == .exact ? 1e-4 : 0.15), "seed \(seed)")
  }

  @Test(arguments: [Compute.exact, .bf16], AttentionCase.all)
  func hasTheSameBitsOnAllKernelsOfFloat32(_ compute: Compute, _ shape: AttentionCase) {
    let seed = SeededRandom.freshSeed()
    let operands = Operands(shape, seed: seed)
    let truth = operands.attention(threads: 1, ProductKernel(.scalar, compute: compute), .scalar).map(\.bitPattern)
    for level in InstructionSet.available {
      for named in NamedKernel.all(compute) where named.isFloat32 {
        #expect(
          operands.attention(threads: 2, named.kernel, level).map(\.bitPattern) == truth,
          "\(level), \(named.name), seed \(seed)")
      }
    }
  }

  @Test("A window's result depends neither on threads nor on the windows beside it", arguments: NamedKernel.all)
  func isIndependentOfGrouping(_ named: NamedKernel) {
    let seed = SeededRandom.freshSeed()
    let shape = AttentionCase(queries: 6, keysAndValues: 2, dimension: 32, slidingWindow: nil, windows: [130, 300, 7])
    let operands = Operands(shape, seed: seed)
    let whole = operands.attention(threads: 1, named.kernel).map(\.bitPattern)
    for threads in 2...3 {
      #expect(operands.attention(threads: threads, named.kernel).map(\.bitPattern) == whole, "seed \(seed)")
    }
    let alone = operands.ranges.flatMap { operands.attention(threads: 2, named.kernel, window: $0) }.map(\.bitPattern)
    #expect(alone == whole, "seed \(seed)")
  }
}
