import Foundation
import Kernels
import Support
import Testing

private let levels = InstructionSet.available
/// Around the vectors' sixteen lanes, and a long one.
private let lengths = [1, 15, 16, 17, 31, 32, 33, 1003]

private func randoms(_ count: Int, _ random: inout SeededRandom, deviation: Float = 1) -> [Float] {
  (0..<count).map { _ in random.normal(deviation) }
}

@Suite("Row arithmetic")
struct RowMathTests {
  @Test(arguments: lengths)
  func normalizesByTheRootMeanSquare(_ width: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let x = randoms(3 * width, &random, deviation: 5)
    let weight = randoms(width, &random)
    var truth: [UInt32]?
    for level in levels {
      for threads in 1...2 {
        var out = [Float](repeating: 0, count: x.count)
        var span = out.mutableSpan
        RowMath.rmsNorm(
          x.span, weight: weight.span, epsilon: 1e-5, into: &span, threads: threads, instructionSet: level)
        truth = truth ?? out.map(\.bitPattern)
        #expect(out.map(\.bitPattern) == truth, "\(level), seed \(seed)")
        for row in 0..<3 {
          let values = x[row * width..<(row + 1) * width].map(Double.init)
          let mean = values.reduce(0) { $0 + $1 * $1 } / Double(width)
          for (index, value) in values.enumerated() {
            let expected = value / (mean + 1e-5).squareRoot() * Double(weight[index])
            // A sum of squares in sixteen lanes, a root, a quotient, two products: 1003/16 + 8 roundings of 2^-24 at most.
            #expect(abs(Double(out[row * width + index]) - expected) <= abs(expected) * 72 * 0x1p-24, "seed \(seed)")
          }
        }
      }
    }
  }

  @Test(arguments: [1, 4, 16, 32, 33])
  func rotatesInterleavedPairs(_ pairs: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let positions = [0, 1, 2, 0, 5]
    let heads = 3
    let x = randoms(positions.count * heads * 2 * pairs, &random)
    let angles = (0..<6 * pairs).map { _ in Double.random(in: -4...4, using: &random) }
    let cosines = angles.map { Float(cos($0)) }
    let sines = angles.map { Float(sin($0)) }
    for level in levels {
      var out = x
      var span = out.mutableSpan
      RowMath.rotate(
        &span, positions: positions, heads: heads, pairs: pairs, cosines: cosines.span, sines: sines.span, threads: 2,
        instructionSet: level)
      for row in positions.indices {
        for head in 0..<heads {
          for pair in 0..<pairs {
            let at = (row * heads + head) * 2 * pairs + 2 * pair
            let (a, b) = (Double(x[at]), Double(x[at + 1]))
            let (c, s) = (Double(cosines[positions[row] * pairs + pair]), Double(sines[positions[row] * pairs + pair]))
            // Two products and a sum in binary32.
            let bound = (abs(a) + abs(b)) * 3 * 0x1p-24
            #expect(abs(Double(out[at]) - (a * c - b * s)) <= bound, "\(level), seed \(seed)")
            #expect(abs(Double(out[at + 1]) - (a * s + b * c)) <= bound, "\(level), seed \(seed)")
          }
        }
      }
    }
  }

  @Test(arguments: lengths)
  func multipliesBySiLU(_ count: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    var gate = randoms(count, &random, deviation: 6)
    gate[0] = -200  // exp(200) overflows binary32: the result is next to zero, not a NaN.
    let up = randoms(count, &random)
    var truth: [UInt32]?
    for level in levels {
      var out = gate
      var span = out.mutableSpan
      RowMath.siluMultiply(&span, up.span, threads: 2, instructionSet: level)
      truth = truth ?? out.map(\.bitPattern)
      #expect(out.map(\.bitPattern) == truth, "\(level), seed \(seed)")
      for index in 0..<count {
        let z = Double(gate[index])
        let expected = z / (1 + exp(-z)) * Double(up[index])
        // The exponential is good to two units in the last place, and four roundings follow. It is cut off at e^87.
        let bound = abs(expected) * 16 * 0x1p-24 + abs(z * Double(up[index])) * exp(-87) * (1 + 16 * 0x1p-24)
        #expect(abs(Double(out[index]) - expected) <= bound, "\(z), seed \(seed)")
      }
    }
  }

  @Test(arguments: lengths)
  func sumsDifferencesInAnyGrouping(_ width: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let a = randoms(5 * width, &random)
    let b = randoms(5 * width, &random)
    let off = zip(a, b).reduce(0.0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    let whole = a.reduce(0.0) { $0 + Double($1) * Double($1) }
    var truth: [UInt64]?
    for level in levels {
      for cut in [0, 2, 5] {
        var sums = (off: 0.0, whole: 0.0)
        for range in [0..<cut, cut..<5] {
          let left = Array(a[range.lowerBound * width..<range.upperBound * width])
          let right = Array(b[range.lowerBound * width..<range.upperBound * width])
          RowMath.addDifference(left.span, right.span, width: width, to: &sums, threads: 2, instructionSet: level)
        }
        let bits = [sums.off.bitPattern, sums.whole.bitPattern]
        truth = truth ?? bits
        #expect(bits == truth, "\(level), cut at \(cut), seed \(seed)")
        // Positive terms with three roundings each, in sixteen binary32 lanes of at most 1024/16 terms.
        let bound = 70 * 0x1p-24
        #expect(abs(sums.off - off) <= off * bound && abs(sums.whole - whole) <= whole * bound, "seed \(seed)")
      }
    }
  }
}

@Suite("Logit sweep")
struct LogitSweepTests {
  private func summaries(
    _ base: [[Float]], _ candidate: [[Float]]?, block: Int, level: InstructionSet, threads: Int
  ) -> [LogitSummary] {
    var out = [LogitSummary](repeating: LogitSummary(), count: base.count)
    let vocabulary = base[0].count
    for first in stride(from: 0, to: vocabulary, by: block) {
      let range = first..<min(first + block, vocabulary)
      let left = base.flatMap { $0[range] }
      let right = candidate.map { rows in rows.flatMap { $0[range] } }
      var span = out.mutableSpan
      if let right {
        LogitSweep.take(
          base: left.span, candidate: right.span, firstIndex: first, into: &span, threads: threads,
          instructionSet: level)
      } else {
        LogitSweep.take(
          base: left.span, candidate: nil, firstIndex: first, into: &span, threads: threads, instructionSet: level)
      }
    }
    return out
  }

  @Test(arguments: [1, 5, 17, 700, 4096])
  func equalsTheDefinitionsInBinary64(_ vocabulary: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let base = (0..<3).map { _ in randoms(vocabulary, &random, deviation: 4) }
    let candidate = base.map { row in row.map { $0 + random.normal(0.1) } }
    for summary in zip(0..<3, summaries(base, candidate, block: 2048, level: .best, threads: 2)) {
      let (p, q) = (base[summary.0].map(Double.init), candidate[summary.0].map(Double.init))
      let (sumP, sumQ) = (log(p.reduce(0) { $0 + exp($1) }), log(q.reduce(0) { $0 + exp($1) }))
      let divergence = zip(p, q).reduce(0.0) { $0 + exp($1.0 - sumP) * (($1.0 - sumP) - ($1.1 - sumQ)) }
      // Exponentials in binary32 (2 units in the last place), sums in binary64.
      #expect(abs(summary.1.baseLogSum - sumP) < 1e-6, "seed \(seed)")
      #expect(abs(summary.1.candidateLogSum - sumQ) < 1e-6, "seed \(seed)")
      #expect(abs(summary.1.divergence - divergence) < 1e-6, "seed \(seed)")
      let top = { (row: [Double]) in row.indices.sorted { (-row[$0], $0) < (-row[$1], $1) }.prefix(5) }
      #expect(Int(summary.1.baseTop1) == top(p).first)
      #expect(Int(summary.1.candidateTop1) == top(q).first)
      #expect(summary.1.top5Overlap == Set(top(p)).intersection(top(q)).count)
    }
  }

  @Test("Identical logits diverge by exactly zero, on every level with the same bits")
  func identicalLogits() {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let rows = (0..<4).map { _ in randoms(777, &random, deviation: 10) }
    let other = rows.map { row in row.map { $0 * 1.01 } }
    var truth: [UInt64]?
    for level in levels {
      for threads in 1...2 {
        #expect(summaries(rows, rows, block: 256, level: level, threads: threads).allSatisfy { $0.divergence == 0 })
        let bits = summaries(rows, other, block: 256, level: level, threads: threads).flatMap {
          [$0.baseLogSum.bitPattern, $0.candidateLogSum.bitPattern, $0.divergence.bitPattern]
        }
        truth = truth ?? bits
        #expect(bits == truth, "\(level), seed \(seed)")
        // One model alone is scored as beside another.
        let alone = summaries(rows, nil, block: 256, level: level, threads: threads).map(\.baseLogSum.bitPattern)
        #expect(alone == stride(from: 0, to: bits.count, by: 3).map { bits[$0] }, "\(level), seed \(seed)")
      }
    }
  }

  @Test("A NaN among the candidate's logits is seen in its score and in the divergence", arguments: levels)
  func keepsNaN(_ level: InstructionSet) {
    let base: [Float] = [1, 2, 3]
    let summary = summaries([base], [[1, .nan, 3]], block: 2, level: level, threads: 1)[0]
    #expect(summary.divergence.isNaN)
    #expect(summary.candidateLogSum.isNaN)
  }
}
