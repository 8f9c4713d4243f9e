import Foundation
import Support
import Testing
import Verification

/// Windows that follow one another in a text.
@Suite struct DependenceTests {
  static let runs = 4000

  /// The band is issue 8's; beside it four standard errors of a share of 0.95 in 4,000 runs, 4·√(0.95·0.05/4000) = 0.0138,
  /// is as wide; the seed is fixed. In 16,000 runs the shares are 94.6 to 96.1 %.
  @Test(
    "the 95 % interval covers the truth in 93.5 to 96.5 % of runs, errors clustered, heavy-tailed or alike from window to window",
    arguments: WindowSeries.allCases, [40, 128])
  func coverage(_ series: WindowSeries, _ windows: Int) {
    var random = SeededRandom(seed: 11)
    var covered = 0
    for _ in 0..<Self.runs {
      let estimate = ClusteredEstimate(totals: series.totals(windows, &random), allZero: false)
      if estimate.interval95?.contains(0) == true { covered += 1 }
    }
    let share = Double(covered) / Double(Self.runs)
    #expect((0.935...0.965).contains(share), "\(series), \(windows) windows: covered \(share)")
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
    let dependence = try #require(WindowDependence(totals.residuals))
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
    #expect(WindowDependence([1, -1, 1, -1, 1, -1, 1, -1, 0]) == nil)
    #expect(WindowDependence(Array(repeating: 0, count: 40)) == nil)
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
