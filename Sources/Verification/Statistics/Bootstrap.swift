/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine, so a report can be repeated from its seed.
package struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// A whole number below `bound`: the high half of a 128-bit product. Its bias is below 2⁻³² for bounds below 2³².
  /// Written out because the standard library does not promise its own algorithm.
  package mutating func below(_ bound: Int) -> Int { Int(UInt64(bound).multipliedFullWidth(by: next()).high) }
}

public struct BootstrapSettings: Sendable, Equatable {
  public var seed: UInt64
  public var replicates: Int

  /// - Parameter replicates: at least 100; 2,000 hold the 95 % interval's ends still to about 3 % of its width.
  public init(seed: UInt64 = 1, replicates: Int = 2000) {
    precondition(replicates >= 100, "fewer than 100 replicates say nothing about a 2.5 % tail")
    self.seed = seed
    self.replicates = replicates
  }
}

/// The 95 % interval of the mean from resampled windows: bias-corrected and accelerated (BCa; Efron 1987, Better
/// Bootstrap Confidence Intervals), with the acceleration from the jackknife over windows. A second opinion beside
/// Student's interval, which assumes that window residuals are roughly normal. Where windows are seen to depend on their
/// neighbours, blocks of neighbouring windows are resampled and left out instead (circular blocks: Politis and Romano
/// 1992), of as many windows as the long-run variance's slowest wave takes to turn.
public struct BootstrapInterval: Sendable, Equatable {
  public let lower: Double
  public let upper: Double
  public let settings: BootstrapSettings
  /// Windows that are resampled together.
  public let blockLength: Int

  /// Nil below two windows or when a sum is not finite.
  /// - Parameter blockLength: 1 for independent windows.
  package init?(_ totals: WindowTotals, settings: BootstrapSettings, blockLength: Int = 1) {
    let estimate = totals.mean
    guard totals.sums.count > 1, estimate.isFinite else { return nil }
    self.settings = settings
    self.blockLength = blockLength
    let replicates = Self.replicates(totals, settings: settings, blockLength: blockLength)
    guard replicates[0] < replicates[replicates.count - 1] else {
      (lower, upper) = (replicates[0], replicates[0])
      return
    }
    // Ties count half, so that a lattice of values leaves no bias.
    let below = replicates.reduce(0.0) { $0 + ($1 < estimate ? 1 : $1 == estimate ? 0.5 : 0) }
    let count = Double(replicates.count)
    let share = min(max(below / count, 0.5 / count), 1 - 0.5 / count)
    let bias = Distributions.normalQuantile(share)
    let acceleration = Self.acceleration(totals, blockLength: blockLength)
    func end(_ probability: Double) -> Double {
      let shifted = bias + Distributions.normalQuantile(probability)
      let adjusted = Distributions.normalCDF(bias + shifted / (1 - acceleration * shifted))
      return Quantile.linear(sorted: replicates, adjusted)
    }
    (lower, upper) = (end(0.025), end(0.975))
  }

  /// Means of resamples of as many windows as there are, sorted.
  private static func replicates(
    _ totals: WindowTotals, settings: BootstrapSettings, blockLength: Int
  ) -> [Double] {
    var random = SplitMix64(seed: settings.seed)
    let windows = totals.sums.count
    var means: [Double] = []
    means.reserveCapacity(settings.replicates)
    for _ in 0..<settings.replicates {
      var sum = 0.0
      var size = 0.0
      var pick = 0
      for position in 0..<windows {
        pick = position % blockLength == 0 ? random.below(windows) : (pick + 1) % windows
        sum += totals.sums[pick]
        size += totals.sizes[pick]
      }
      means.append(sum / size)
    }
    return means.sorted()
  }

  /// Σ d³ / (6·(Σ d²)^1.5) with d = mean of the leave-one-block-out means − each of them.
  private static func acceleration(_ totals: WindowTotals, blockLength: Int) -> Double {
    let sum = totals.sums.reduce(0, +)
    let size = totals.sizes.reduce(0, +)
    let leftOut = stride(from: 0, to: totals.sums.count, by: blockLength).map { first in
      let block = first..<min(first + blockLength, totals.sums.count)
      return (sum - totals.sums[block].reduce(0, +)) / (size - totals.sizes[block].reduce(0, +))
    }
    let centre = leftOut.reduce(0, +) / Double(leftOut.count)
    let squares = leftOut.reduce(0) { $0 + (centre - $1) * (centre - $1) }
    let cubes = leftOut.reduce(0) { $0 + (centre - $1) * (centre - $1) * (centre - $1) }
    return squares > 0 ? cubes / (6 * squares * squares.squareRoot()) : 0
  }
}
