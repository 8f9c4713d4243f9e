import Foundation
import Support
import Testing
import Verification

/// Boundaries of the sequential test. Origin of the z values: roots of SciPy 1.17.1's `multivariate_normal.cdf` with
/// correlations √(t_i/t_j), good to about 1e-5; those of O'Brien–Fleming and Pocock type are also the published ones (Lan
/// and DeMets 1983 as tabulated in Jennison and Turnbull 2000 and by R's `ldbounds`: 4.877, 3.357, 2.680, 2.290, 2.031).
@Suite struct BoundaryTests {
  static let fifths = [0.2, 0.4, 0.6, 0.8, 1]

  func close(_ test: GroupSequential, _ expected: [Double]) -> Bool {
    zip(test.levels, expected).allSatisfy { abs(-Distributions.normalQuantile($0) - $1) < 1e-4 }
      && test.levels.count == expected.count
  }

  @Test("error spent as the cube of the share seen")
  func cube() {
    #expect(close(GroupSequential(fractions: [0.25, 0.5, 1], alpha: 0.05), [3.16281797, 2.52299849, 1.66609979]))
    #expect(
      close(
        GroupSequential(fractions: [0.125, 0.25, 0.5, 1], alpha: 0.05),
        [3.72500352, 3.18953467, 2.52380528, 1.66618329]))
  }

  @Test("O'Brien–Fleming and Pocock types")
  func classics() {
    let alpha = 0.025
    let fleming = GroupSequential(fractions: Self.fifths, alpha: alpha) {
      2 * Distributions.normalTail(-Distributions.normalQuantile(alpha / 2) / $0.squareRoot()) / alpha
    }
    #expect(close(fleming, [4.87688495, 3.35701189, 2.68028043, 2.28981633, 2.03103208]))
    let pocock = GroupSequential(fractions: Self.fifths, alpha: alpha) { log(1 + (M_E - 1) * $0) }
    #expect(close(pocock, [2.43797669, 2.42681383, 2.4101945, 2.39664978, 2.38600167]))
  }

  @Test("a first look at very many windows spends less than a double can say, and decides nothing")
  func vanishing() throws {
    let levels = DecisionLevels.looks(LookPlan(count: 1_000_000), gates: 5)
    #expect(levels[0].pass < 1e-15)
    let estimate = try #require(Sample.report().drift).lnRatio
    for level in [levels[0].pass, levels[0].fail, 0] {
      let (low, high) = (try #require(estimate.bound(level)), try #require(estimate.bound(1 - level)))
      #expect(low < estimate.mean && estimate.mean < high && low.isFinite && high.isFinite)
    }
  }

  @Test("one look is the plain test")
  func oneLook() {
    #expect(isClose(GroupSequential(fractions: [1], alpha: 0.05).levels[0], 0.05, 1e-9))
  }

  @Test("fails share their error among the limits, passes do not")
  func levels() {
    #expect(DecisionLevels(gates: 1) == DecisionLevels(pass: 0.05, fail: 0.05))
    #expect(DecisionLevels(gates: 4) == DecisionLevels(pass: 0.05, fail: 0.0125))
    let looks = DecisionLevels.looks(LookPlan(count: 128), gates: 4)
    #expect(looks.count == 4 && looks.allSatisfy { $0.fail < $0.pass && $0.pass <= 0.05 })
  }
}

@Suite struct LookPlanTests {
  @Test("looks double from 16 windows to all, without two that are nearly the same")
  func sizes() {
    #expect(LookPlan(count: 1).sizes == [1] && LookPlan(count: 20).sizes == [20])
    #expect(LookPlan(count: 24).sizes == [16, 24] && LookPlan(count: 67).sizes == [16, 32, 67])
    #expect(LookPlan(count: 128).sizes == [16, 32, 64, 128])
  }

  @Test("every look's windows spread evenly over the text and keep those before", arguments: [17, 67, 128, 1000, 4097])
  func spread(_ count: Int) {
    for seed in [1, 2, 99] as [UInt64] {
      let plan = LookPlan(count: count, seed: seed)
      #expect(plan.order.sorted() == Array(0..<count))
      var known: Set<Int> = []
      for look in plan.sizes.indices {
        known.formUnion(plan.added(atLook: look))
        let windows = plan.windows(atLook: look)
        #expect(Set(windows) == known && windows == windows.sorted())
        // A stretch of the text, going around its end, never lacks more than two windows' worth of its share: sets at
        // powers of two lie in equal steps, those between have the next power's steps partly filled.
        let step = 2 * Double(count) / Double(windows.count)
        let gaps = zip(windows, windows.dropFirst() + [windows[0] + count]).map { $1 - $0 }
        #expect(Double(gaps.max() ?? 0) <= step + 1, "\(count) windows, seed \(seed), look \(look)")
      }
    }
    #expect(LookPlan(count: count, seed: 1).order != LookPlan(count: count, seed: 2).order)
  }
}

/// Candidates exactly at the limit, looked at up to four times.
@Suite struct SequentialErrorTests {
  static let runs = 2000

  @Test("wrong passes and wrong fails over all looks stay at 5 %", arguments: WindowSeries.allCases)
  func errors(_ series: WindowSeries) {
    var random = SeededRandom(seed: 21)
    let plan = LookPlan(count: 128, seed: 5)
    let levels = DecisionLevels.looks(plan, gates: 1)
    var (passes, fails, early) = (0, 0, 0)
    for _ in 0..<Self.runs {
      let all = series.totals(128, &random)
      looks: for look in plan.sizes.indices {
        let windows = plan.windows(atLook: look)
        let totals = WindowTotals(sums: windows.map { all.sums[$0] }, sizes: windows.map { all.sizes[$0] })
        let estimate = ClusteredEstimate(totals: totals, allZero: false)
        let test = BoundTest(
          value: estimate.mean, lower: estimate.bound(levels[look].fail), upper: estimate.bound(1 - levels[look].pass),
          limit: 0, error: estimate.standardError)
        switch test.outcome {
        case .pass: passes += 1
        case .fail: fails += 1
        default: continue looks
        }
        if look < 3 { early += 1 }
        break
      }
    }
    // Three standard errors of a share of 0.05 in 2,000 runs: 3·√(0.05·0.95/2000) = 0.0146.
    for (name, count) in [("passed", passes), ("failed", fails)] {
      let share = Double(count) / Double(Self.runs)
      #expect(share < 0.05 + 0.0146, "\(series) \(name) \(share)")
    }
    // Looks before the last are used: otherwise nothing was tested.
    #expect(early > 0)
  }

  @Test("a plain test at every look would pass too often: the looks cost something")
  func negativeControl() {
    var random = SeededRandom(seed: 22)
    let plan = LookPlan(count: 128)
    var passes = 0
    for _ in 0..<1000 {
      let all = WindowSeries.normal.totals(128, &random)
      let passed = plan.sizes.indices.contains { look in
        let windows = plan.windows(atLook: look)
        let totals = WindowTotals(sums: windows.map { all.sums[$0] }, sizes: windows.map { all.sizes[$0] })
        return (ClusteredEstimate(totals: totals, allZero: false).upperBound95 ?? 1) <= 0
      }
      if passed { passes += 1 }
    }
    // Four looks at 5 % each, doubling: about 11 %.
    #expect(passes > 80)
  }
}
