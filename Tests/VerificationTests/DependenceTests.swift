import Foundation
import Support
import Testing
import Verification

/// Windows that follow one another in a text.
@Suite struct DependenceTests {
  static let runs = 4000

  /// Shares of runs in which the interval holds the truth, and in which the truth lies above the upper bound and below the
  /// lower one, each of 95 %.
  private func errors(_ series: WindowSeries, _ windows: Int, seed: UInt64) -> (
    covered: Double, above: Double, below: Double
  ) {
    var random = SeededRandom(seed: seed)
    var (covered, above, below) = (0, 0, 0)
    for _ in 0..<Self.runs {
      let estimate = ClusteredEstimate(totals: series.totals(windows, &random), allZero: false)
      if estimate.interval95?.contains(0) == true { covered += 1 }
      if (estimate.upperBound95 ?? .infinity) < 0 { above += 1 }
      if (estimate.lowerBound95 ?? -.infinity) > 0 { below += 1 }
    }
    func share(_ count: Int) -> Double { Double(count) / Double(Self.runs) }
    return (share(covered), share(above), share(below))
  }

  /// The band is what is asked of clustered errors; beside it four standard errors of a share of 0.95 in 4,000 runs,
  /// 4·√(0.95·0.05/4000) = 0.0138, is as wide; the seed is fixed. In 16,000 runs the shares are 94.8 to 96.3 %.
  @Test(
    "the 95 % interval covers the truth in 93.5 to 96.5 % of runs, errors clustered, heavy-tailed or alike from window to window",
    arguments: WindowSeries.allCases.filter { !$0.isSkewed }, [40, 128])
  func coverage(_ series: WindowSeries, _ windows: Int) {
    let share = errors(series, windows, seed: 11).covered
    #expect((0.935...0.965).contains(share), "\(series), \(windows) windows: covered \(share)")
  }

  /// A wrong pass is a truth above the upper bound. In 16,000 runs 2.0 to 5.3 %, 5.9 % where windows are both skewed and alike;
  /// four standard errors of a share of 0.05 in 4,000 runs are 0.0138.
  @Test(
    "each bound is wrong in 5 % of runs at most, whatever the windows' distribution", arguments: WindowSeries.allCases,
    [40, 128])
  func bounds(_ series: WindowSeries, _ windows: Int) {
    let (covered, above, below) = errors(series, windows, seed: 15)
    #expect(
      covered >= 0.935 && above < 0.05 + 0.0138 && below < 0.05 + 0.0138, "\(series): \(covered), \(above), \(below)")
  }

  /// Few windows hardly show that they are alike, so they are easily taken for it; independent ones then pay with width.
  @Test("few windows cover the truth too", arguments: WindowSeries.allCases, [16, 24])
  func few(_ series: WindowSeries, _ windows: Int) {
    let covered = errors(series, windows, seed: 16).covered
    // Four standard errors below 93.5 % in 4,000 runs: 0.0156. Very alike windows, sixteen of them, cover in 93.0 %.
    #expect(covered > 0.935 - 0.0156, "\(series), \(windows) windows: covered \(covered)")
  }

  @Test("windows spread over a text are not taken for alike before it is seen")
  func spread() {
    // Correlation 0.1875; with 1/16 beside it more than nothing, less than 1.175/√16 = 0.29. The F test's probability is 0.76
    // (SciPy's `f.cdf`), less than 0.88.
    let residuals: [Double] = [1, -1, 1, 1, 1, 1, -1, -1, -1, -1, -1, 1, 1, -1, -1, 1]
    let together = WindowDependence(residuals, areNeighbours: true)
    let apart = WindowDependence(residuals, areNeighbours: false)
    #expect(together?.lag1Correlation == 0.1875)
    #expect(together?.isSeen == true && apart?.isSeen == false)
    func windows(_ indices: [Int]) -> [ScoredWindow] {
      indices.map { ScoredWindow(index: $0, firstPosition: 1, count: 1) }
    }
    #expect(WindowTotals([1, 2, 3, 4], windows: windows([0, 1, 2, 3])).areNeighbours)
    #expect(WindowTotals([1, 2, 3, 4], windows: windows([0, 1, 3, 4])).areNeighbours)
    #expect(!WindowTotals([1, 2, 3, 4], windows: windows([0, 2, 4, 6])).areNeighbours)
  }

  /// Origin of the bounds: the root of T + k·T²/3 + k²·T³/27 + k/6 = t by SciPy 1.17.1's `brentq`, t from `scipy.stats.t`, on
  /// the sums of `Sample.drift`; k = Σ r³ / (Σ r²)^1.5.
  @Test("skewed residuals widen the bound on the side of their tail, and never narrow the other")
  func hall() throws {
    let estimate = try #require(Sample.report().drift).lnRatio
    #expect(isClose(estimate.skewness, 0.24207455200531422))
    #expect(isClose(estimate.bound(0.975), 0.006362043560170484))
    #expect(isClose(estimate.bound(0.95), 0.0060059371214836385))
    // Student's own.
    #expect(isClose(estimate.bound(0.025), 0.003549094749138758))
    #expect(isClose(estimate.bound(0.05), 0.0037749629324440905))
  }

  @Test("windows taken as independent would cover far less where they are alike: the simulation has dependence")
  func negativeControl() {
    var random = SeededRandom(seed: 12)
    var covered = 0
    for _ in 0..<500 {
      let totals = WindowSeries.veryAlike.totals(128, &random)
      let squares = totals.residuals.reduce(0) { $0 + $1 * $1 }
      if abs(totals.mean) <= 1.98 * squares.squareRoot() / Double(totals.tokens) { covered += 1 }
    }
    #expect(Double(covered) / 500 < 0.85)
  }

  @Test("dependence is named where it is, and seldom where it is not")
  func seen() {
    func share(_ series: WindowSeries) -> Double {
      var random = SeededRandom(seed: 13)
      let seen = (0..<500).count { _ in
        ClusteredEstimate(totals: series.totals(128, &random), allZero: false).dependence?.isSeen == true
      }
      return Double(seen) / 500
    }
    // Two tests at 12 % each.
    #expect(share(.normal) < 0.24)
    #expect(share(.veryAlike) > 0.95)
  }

  /// Origin: NumPy 2.4.6, `c = sqrt(2/G)·cos(pi·j·(t + .5)/G)`, Ω = mean((c @ r)²) with r = 0 … 15 less 7.5; and SciPy
  /// 1.17.1's `f.cdf`.
  @Test("the long-run variance equals NumPy's")
  func longRunVariance() throws {
    let totals = WindowTotals(sums: (0..<16).map(Double.init), sizes: Array(repeating: 1, count: 16))
    let dependence = try #require(WindowDependence(totals.residuals, areNeighbours: true))
    #expect(dependence.degreesOfFreedom == 4 && dependence.isSeen)
    #expect(isClose(dependence.longRunDeviation * dependence.longRunDeviation, 84.8355846213248))
    #expect(isClose(dependence.lag1Correlation, 0.8125))
    #expect(isClose(dependence.varianceRatio, 3.7427463803525645))
    #expect(isClose(Distributions.fisherCDF(1.7, 4, 15), 0.7977280661624325, 1e-10))
    #expect(isClose(Distributions.fisherCDF(0.3, 10, 127), 0.019964413022128986, 1e-10))
    let estimate = ClusteredEstimate(totals: totals, allZero: false)
    #expect(estimate.degreesOfFreedom == 4)
    // √(Ω·16)/16
    #expect(isClose(estimate.standardError, 84.8355846213248.squareRoot() / 4))
  }

  @Test("fewer than ten windows, or none that differ, say nothing")
  func tooFew() {
    #expect(WindowDependence([1, -1, 1, -1, 1, -1, 1, -1, 0], areNeighbours: true) == nil)
    #expect(WindowDependence(Array(repeating: 0, count: 40), areNeighbours: true) == nil)
  }

  @Test("the bootstrap resamples blocks of neighbours where windows are alike, and widens")
  func blocks() throws {
    var random = SeededRandom(seed: 14)
    let totals = WindowSeries.veryAlike.totals(128, &random)
    let single = try #require(BootstrapInterval(totals, settings: BootstrapSettings()))
    let blocks = try #require(BootstrapInterval(totals, settings: BootstrapSettings(), blockLength: 12))
    #expect(single.blockLength == 1 && blocks.blockLength == 12)
    #expect(blocks.upper - blocks.lower > 1.2 * (single.upper - single.lower))
  }
}
