import Foundation
import Kernels
import Quantization
import Support
import Testing

/// Rounds each group of a row to sixteen codes, by the largest magnitude, and back.
private func rounded(_ values: [Float], columns: Int, groupSize: Int, shrink: Float = 1) -> [Float] {
  var result = values
  for start in stride(from: 0, to: values.count, by: columns) {
    for first in stride(from: start, to: start + columns, by: groupSize) {
      let group = first..<min(first + groupSize, start + columns)
      let scale = max(group.reduce(Float(0)) { max($0, values[$1].magnitude) } * shrink / 7.5, 1e-9)
      for index in group {
        result[index] = min(max((values[index] / scale).rounded(.toNearestOrEven), -8), 7) * scale
      }
    }
  }
  return result
}

/// Linears with a shared input of which some channels are far larger than the others.
private struct SharedInput {
  static let columns = 96
  static let tokens = 50
  static let outliers = [3, 40, 77]
  let x: [Float]
  let linears: [[Float]]

  init(gain: Float, seed: UInt64) {
    var random = SeededRandom(seed: seed)
    x = (0..<Self.tokens * Self.columns).map {
      random.normal(Self.outliers.contains($0 % Self.columns) ? gain : 1)
    }
    linears = [40, 700].map { rows in (0..<rows * Self.columns).map { _ in random.normal(0.05) } }
  }

  var meanMagnitudes: [Float] {
    (0..<Self.columns).map { column in
      (0..<Self.tokens).reduce(Float(0)) { $0 + x[$1 * Self.columns + column].magnitude } / Float(Self.tokens)
    }
  }

  func search(tie: [Int]? = nil, threads: Int = 2, kernel: ProductKernel = ProductKernel()) -> ChannelScaleSearch {
    ChannelScaleSearch(
      activations: x.span, tokens: Self.tokens, meanMagnitudes: meanMagnitudes, tie: tie, threads: threads,
      kernel: kernel)
  }

  func best(
    tie: [Int]? = nil, groupSize: Int?, threads: Int = 2, kernel: ProductKernel = ProductKernel()
  ) -> ChannelScaleSearch.Result {
    search(tie: tie, threads: threads, kernel: kernel).best(linears: linears, groupSize: groupSize) { values, _ in
      rounded(values, columns: Self.columns, groupSize: groupSize ?? Self.columns)
    }
  }

  /// The loss by its definition.
  func loss(scales: [Float], groupSize: Int) -> Double {
    let columns = Self.columns
    var total = 0.0
    for values in linears {
      let scaled = values.indices.map { values[$0] * scales[$0 % columns] }
      let found = rounded(scaled, columns: columns, groupSize: groupSize)
      let errors = values.indices.map { Double(values[$0] - found[$0] / scales[$0 % columns]) }
      for start in stride(from: 0, to: values.count, by: columns) {
        for token in 0..<Self.tokens {
          var sum = 0.0
          for column in 0..<columns { sum += Double(x[token * columns + column]) * errors[start + column] }
          total += sum * sum
        }
      }
    }
    return total
  }

  /// s by its formula, in binary64.
  func scales(ratio: Double, groupSize: Int) -> [Double] {
    let columns = Self.columns
    var relative = [Double](repeating: 0, count: columns)
    var rows = 0.0
    for values in linears {
      for start in stride(from: 0, to: values.count, by: columns) {
        rows += 1
        for column in 0..<columns {
          let first = start + column / groupSize * groupSize
          let largest = values[first..<min(first + groupSize, start + columns)].map(\.magnitude).max() ?? 0
          relative[column] += Double(values[start + column].magnitude) / (Double(largest) + 1e-6)
        }
      }
    }
    let raw = (0..<columns).map { column in
      max(pow(Double(meanMagnitudes[column]), ratio) / (pow(relative[column] / rows, 1 - ratio) + 1e-4), 1e-4)
    }
    let middle = ((raw.max() ?? 1) * (raw.min() ?? 1)).squareRoot()
    return raw.map { $0 / middle }
  }
}

@Suite("Channel scale search")
struct ChannelScaleSearchTests {
  /// An outlier's weights are rounded finer, at little cost for the rest of their group: AWQ's observation.
  @Test(arguments: [32, 48, nil])
  func findsPlantedOutliers(_ groupSize: Int?) throws {
    let seed = SeededRandom.freshSeed()
    let input = SharedInput(gain: 30, seed: seed)
    let found = input.best(groupSize: groupSize)
    let ratio = try #require(found.ratio, "seed \(seed)")
    #expect(ratio > 0 && found.loss < 0.7 * found.identityLoss, "\(found.loss), \(found.identityLoss), seed \(seed)")
    let others = found.scales.indices.filter { !SharedInput.outliers.contains($0) }.map { found.scales[$0] }
    for outlier in SharedInput.outliers {
      #expect(found.scales[outlier] > 1.5 * (others.max() ?? 0), "seed \(seed)")
    }
    // Some roundings of binary32 apart.
    for (scale, expected) in zip(found.scales, input.scales(ratio: ratio, groupSize: groupSize ?? SharedInput.columns))
    {
      #expect(abs(Double(scale) - expected) <= 1e-5 * expected, "seed \(seed)")
    }
    // Squares of sums of 96 terms rounded to binary32, of random signs.
    let size = groupSize ?? SharedInput.columns
    let loss = input.loss(scales: found.scales, groupSize: size)
    #expect(abs(found.loss - loss) <= 1e-4 * loss, "seed \(seed)")
    let ones = [Float](repeating: 1, count: SharedInput.columns)
    let identityLoss = input.loss(scales: ones, groupSize: size)
    #expect(abs(found.identityLoss - identityLoss) <= 1e-4 * identityLoss, "seed \(seed)")
  }

  @Test("Nothing is lost without quantization, so nothing can be better than no scales")
  func identityWinsWhenNothingHelps() {
    let input = SharedInput(gain: 30, seed: 5)
    let found = input.search().best(linears: input.linears, groupSize: 32) { values, _ in values }
    #expect(found.ratio == nil && found.loss == 0 && found.identityLoss == 0)
    #expect(found.scales.allSatisfy { $0 == 1 })
  }

  @Test func columnsOfAClassShareAScale() throws {
    let seed = SeededRandom.freshSeed()
    let input = SharedInput(gain: 30, seed: seed)
    // Two groups of three heads of 16 columns: as three query heads share a head of values.
    let tie = (0..<SharedInput.columns).map { $0 / 48 * 16 + $0 % 16 }
    let found = input.best(tie: tie, groupSize: 32)
    #expect(found.loss <= found.identityLoss)
    for column in tie.indices {
      #expect(found.scales[column] == found.scales[column / 48 * 48 + column % 16], "seed \(seed)")
    }
    let free = input.best(tie: Array(0..<SharedInput.columns), groupSize: 32)
    #expect(free == input.best(groupSize: 32), "classes of one column are none, seed \(seed)")
  }

  @Test func dependsNeitherOnThreadsNorOnKernelsOfFloat32() {
    let seed = SeededRandom.freshSeed()
    let input = SharedInput(gain: 10, seed: seed)
    let truth = input.best(groupSize: 32, threads: 1, kernel: ProductKernel(.scalar))
    for instructionSet in InstructionSet.available where instructionSet.multipliesInFloat32 {
      for threads in 1...3 {
        let found = input.best(groupSize: 32, threads: threads, kernel: ProductKernel(instructionSet))
        #expect(found == truth, "\(instructionSet), seed \(seed)")
      }
    }
  }

  @Test("A channel that is zero in the inputs and the weights gets a finite scale")
  func zeroChannels() {
    let columns = 8
    let x = (0..<4 * columns).map { $0 % columns == 2 ? 0 : Float($0 % 5) - 1.5 }
    let weights = (0..<6 * columns).map { $0 % columns == 2 ? 0 : Float($0 % 7) - 2.9 }
    let means = (0..<columns).map { $0 == 2 ? Float(0) : 1.2 }
    let search = ChannelScaleSearch(activations: x.span, tokens: 4, meanMagnitudes: means, threads: 1)
    let found = search.best(linears: [weights], groupSize: nil) { values, _ in
      rounded(values, columns: columns, groupSize: columns)
    }
    #expect(found.scales.allSatisfy { $0.isFinite && $0 > 0 } && found.loss <= found.identityLoss)
  }
}

@Suite("Group clip search")
struct GroupClipSearchTests {
  private static let shrinks: [Float] = [1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6]

  /// Every candidate by the definition, in binary64; losses that are equal within binary32's sums may change places.
  @Test(arguments: [(1, 1, 4), (17, 3, 32), (600, 2, 16), (40, 5, 33)])
  func equalsTryingAll(_ shape: (rows: Int, groups: Int, size: Int)) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let columns = shape.groups * shape.size
    let values = (0..<shape.rows * columns).map { _ in random.normal(1) }
    let tokens = 2 * shape.size
    let x = (0..<tokens * columns).map { random.normal($0 % 7 == 0 ? 5 : 1) }
    var gram = GramMatrix(size: columns)
    gram.add(x.span, tokens: tokens, threads: 1)
    let grams = (0..<shape.groups).map { gram.block($0 * shape.size..<($0 + 1) * shape.size) }
    let size = shape.size
    let found = (1...3).map { threads in
      GroupClipSearch.best(
        values, rows: shape.rows, size: size, grams: grams, shrinks: Self.shrinks, threads: threads
      ) { rounded($0, columns: size, groupSize: size, shrink: $1) }
    }
    #expect(found[0] == found[1] && found[0] == found[2], "threads change nothing, seed \(seed)")
    for row in 0..<shape.rows {
      for group in 0..<shape.groups {
        let start = row * columns + group * size
        let part = Array(values[start..<start + size])
        let losses = Self.shrinks.map { shrink -> Double in
          let near = rounded(part, columns: size, groupSize: size, shrink: shrink)
          let off = part.indices.map { Double(part[$0] - near[$0]) }
          var sum = 0.0
          for i in 0..<size { for j in 0..<size { sum += off[i] * Double(grams[group][i * size + j]) * off[j] } }
          return sum
        }
        let index = row * shape.groups + group
        let mine = Self.shrinks.firstIndex(of: found[0].shrinks[index]) ?? 0
        let least = losses.min() ?? 0
        #expect(losses[mine] <= least * 1.001 + 1e-9, "seed \(seed)")
        #expect(abs(Double(found[0].losses[index]) - losses[mine]) <= 1e-3 * losses[mine] + 1e-9, "seed \(seed)")
      }
    }
  }

  @Test("A large weight that nothing drives is clipped, one that counts is not")
  func clipsWhatDoesNotCount() {
    let size = 8
    let values: [Float] = [8, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    let diagonal = { (first: Float) in
      (0..<size * size).map { $0 % (size + 1) == 0 ? ($0 == 0 ? first : 1) : Float(0) }
    }
    let found = GroupClipSearch.best(
      values + values, rows: 1, size: size, grams: [diagonal(0), diagonal(1000)], shrinks: [1, 0.5, 0.25], threads: 1
    ) { rounded($0, columns: size, groupSize: size, shrink: $1) }
    #expect(found.shrinks[0] == 0.25)
    #expect(found.shrinks[1] == 1)
  }
}
