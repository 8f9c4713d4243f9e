import ByteIO
import Foundation
import Support
import Testing
import Verification

@Suite struct StatisticsTests {
  let report = Sample.report()

  @Test("perplexities and the paired ratio equal the oracle's")
  func ratio() throws {
    let base = try #require(report.base)
    let drift = try #require(report.drift)
    #expect(isClose(base.perplexity, 12.272811439334165))
    // Clustered it is 0.035001; but twelve windows that follow one another are easily taken for alike. NumPy's long-run one
    // from four waves, as in `DependenceTests.longRunVariance`.
    #expect(isClose(base.nllPerToken.standardError, 0.04297412622105243))
    #expect(base.nllPerToken.dependence?.isSeen == true && base.nllPerToken.degreesOfFreedom == 4)
    #expect(isClose(drift.candidate.perplexity, 12.33157001558615))
    #expect(isClose(drift.lnRatio.mean, 0.0047762784090909114))
    #expect(isClose(drift.lnRatio.standardError, 0.0005575610786494617))
    #expect(isClose(drift.ratio, 1.004787703008592))
    #expect(isClose(drift.ratioInterval95?.lowerBound, 1.0035554002433))
    // The upper bounds are wider than Student's, 1.0060215 and 0.0057776: see `DependenceTests.hall`.
    #expect(isClose(drift.ratioInterval95?.upperBound, 1.0063823243455694))
    #expect(isClose(drift.lnRatio.lowerBound95, 0.0037749629324440918))
    #expect(isClose(drift.lnRatio.upperBound95, 0.0060059371214836385))
    #expect(isClose(drift.minimumDetectableLnRatio, 0.0014894769156116323))
    #expect(isClose(drift.windowAutocorrelation, -0.33789095003636777))
    #expect(isClose(base.nllPerCharacter, 0.5910267857142857))
    #expect(isClose(drift.candidate.bitsPerByte, 0.7973426088288085))
  }

  @Test("KLD and agreement equal the oracle's")
  func kldAndAgreement() throws {
    let drift = try #require(report.drift)
    #expect(isClose(drift.kld.mean.mean, 0.04010629364938448))
    #expect(isClose(drift.kld.mean.standardError, 0.0015193769049394908))
    #expect(isClose(drift.kld.p50, 0.0308990478515625))
    #expect(isClose(drift.kld.p90, 0.09765625))
    #expect(isClose(drift.kld.p95, 0.107666015625))
    #expect(isClose(drift.kld.p99.value, 0.11645507812499996))
    #expect(drift.kld.p999 == 0.1181640625 && drift.kld.max == 0.1181640625)
    #expect(isClose(drift.agreement.top1.value, 0.896969696969697))
    #expect(isClose(drift.agreement.top1.estimate.standardError, 0.009438846072274888))
    // Wilson's formula with t₀.₉₇₅ at 11 degrees of freedom; the design effect is below 1 and held at 1.
    #expect(isClose(drift.agreement.top1.interval95?.lowerBound, 0.8330727294601622))
    #expect(isClose(drift.agreement.top1.interval95?.upperBound, 0.9382217589866835))
    #expect(isClose(drift.agreement.top5.mean, 0.29818181818181816))
    #expect(drift.agreement.flipsWorse == 10 && drift.agreement.flipsBetter == 5)
    #expect(isClose(drift.agreement.flipsP, 0.30175781249999994))
  }

  @Test("position bins cut the context in eight and equal the oracle's means")
  func positions() throws {
    let bins = try #require(report.drift).positions
    #expect(bins.map(\.from) == [0, 2, 4, 6, 8, 10, 12, 14])
    #expect(bins.map(\.to) == [2, 4, 6, 8, 10, 12, 14, 17])
    let expected = [
      0.0029296875, 0.0078125, 0.014322916666666666, 0.0002848307291666667, 0.0025745738636363635, 0.000830078125,
      0.00764016544117647, 0.0005326704545454545,
    ]
    for (bin, value) in zip(bins, expected) { #expect(isClose(bin.lnRatio.mean, value)) }
    #expect(bins.reduce(0) { $0 + $1.lnRatio.tokens } == 165)
  }

  @Test("a clustered error that can be computed by hand")
  func byHand() {
    // Sums 1, 3, 4 over sizes 1, 1, 2: mean 8/4 = 2, residuals −1, 1, 0; 3/2 · 2 = 3; SE = √3/4.
    let windows = [1, 1, 2].enumerated().map { ScoredWindow(index: $0, firstPosition: 1, count: $1) }
    let estimate = ClusteredEstimate([1, 3, 2, 2], windows: windows)
    #expect(estimate.mean == 2)
    #expect(isClose(estimate.standardError, 3.0.squareRoot() / 4, 1e-15))
    // t₀.₉₇₅ with 2 degrees of freedom.
    #expect(isClose(estimate.interval95?.upperBound, 2 + 4.302652729749462 * 3.0.squareRoot() / 4, 1e-11))
  }

  @Test("tokens that repeat within windows do not shrink the error")
  func duplicates() {
    // Every token ten times: an error that took tokens as independent would fall by √10.
    let once = ClusteredEstimate(
      [1, 5, 2, 4], windows: (0..<4).map { ScoredWindow(index: $0, firstPosition: 1, count: 1) })
    let tenfold = ClusteredEstimate(
      [1.0, 5, 2, 4].flatMap { Array(repeating: $0, count: 10) },
      windows: (0..<4).map { ScoredWindow(index: $0, firstPosition: 1, count: 10) })
    #expect(isClose(tenfold.standardError, once.standardError ?? 0))
  }

  @Test("one window has a mean but no error")
  func oneWindow() {
    let estimate = ClusteredEstimate([1, 2, 3], windows: [ScoredWindow(index: 0, firstPosition: 1, count: 3)])
    #expect(estimate.mean == 2)
    #expect(estimate.standardError == nil && estimate.interval95 == nil && estimate.upperBound95 == nil)
  }

  @Test("a model against itself is exactly the same", arguments: [Sample.sizes, [20], [1, 1]])
  func identical(_ sizes: [Int]) throws {
    let drift = try #require(Sample.report(Sample.identical(sizes: sizes)).drift)
    #expect(drift.isIdentical)
    #expect(drift.ratio == 1 && drift.lnRatio.mean == 0 && drift.lnRatio.standardError == 0)
    #expect(drift.ratioInterval95 == 1...1)
    #expect(drift.kld.mean.mean == 0 && drift.kld.p99.value == 0 && drift.kld.max == 0)
    #expect(drift.agreement.top1.value == 1 && drift.agreement.top5.mean == 1 && drift.agreement.flipsP == 1)
  }

  @Test("p99 of the KLD has bounds that enclose it and tighten with more windows")
  func woodruff() throws {
    func bounds(_ windows: Int) throws -> ClusteredQuantile {
      let sizes = Array(repeating: 50, count: windows)
      return try #require(
        Sample.report(Sample.scores(sizes: sizes, drift: Sample.drift) { Double($0 * 7919 % 10_007) }).drift
      )
      .kld.p99
    }
    let (few, many) = (try bounds(30), try bounds(300))
    for quantile in [few, many] {
      let low = try #require(quantile.lowerBound95)
      #expect(low < quantile.value)
      if let high = quantile.upperBound95 { #expect(high > quantile.value) }
    }
    let width = { (q: ClusteredQuantile) in (q.value) - (q.lowerBound95 ?? -.infinity) }
    #expect(width(many) < width(few))
  }
}

@Suite struct BootstrapTests {
  /// SciPy's BCa with 200,000 resamples. Ours has 20,000: an end of the interval, a quantile near 2.5 %, then has a
  /// standard error near √(0.025·0.975/20,000)/density ≈ 2 % of the interval's width; four of them are 8 %.
  @Test(
    "BCa equals SciPy's within the error of resampling",
    arguments: [
      (
        [0.1, 0.2, 0.1, 0.3, 0.15, 0.25, 4.0, 0.2, 0.1, 2.0, 0.3, 0.2, 0.1, 0.05, 0.2, 0.3],
        [10, 12, 9, 10, 11, 10, 14, 10, 10, 12, 9, 10, 10, 10, 8, 10], 0.019426751592356687, 0.12647
      )
    ] as [([Double], [Double], Double, Double)])
  func bca(_ sums: [Double], _ sizes: [Double], _ low: Double, _ high: Double) throws {
    let settings = BootstrapSettings(seed: 7, replicates: 20_000)
    let interval = try #require(BootstrapInterval(WindowTotals(sums: sums, sizes: sizes), settings: settings))
    #expect(abs(interval.lower - low) < 0.08 * (high - low))
    #expect(abs(interval.upper - high) < 0.08 * (high - low))
    // The plain percentile interval of these skewed data ends at 0.101 in SciPy: BCa must reach further right.
    #expect(interval.upper > 0.11)
  }

  @Test("BCa of the sample equals SciPy's")
  func sample() throws {
    let drift = try #require(Sample.report().drift)
    let interval = try #require(drift.bootstrap)
    // 2,000 replicates: 6 % of the width per standard error, four of them.
    #expect(abs(interval.lower - 0.0038849282893653673) < 0.25 * 0.0021458)
    #expect(abs(interval.upper - 0.00603073617354337) < 0.25 * 0.0021458)
  }

  @Test("the same seed gives the same interval, another seed another")
  func seeds() {
    let totals = WindowTotals(sums: [1, 4, 2, 8, 5, 7], sizes: [2, 3, 2, 4, 3, 3])
    let first = BootstrapInterval(totals, settings: BootstrapSettings(seed: 1, replicates: 500))
    #expect(first == BootstrapInterval(totals, settings: BootstrapSettings(seed: 1, replicates: 500)))
    #expect(first?.lower != BootstrapInterval(totals, settings: BootstrapSettings(seed: 2, replicates: 500))?.lower)
    #expect(BootstrapInterval(WindowTotals(sums: [1], sizes: [2]), settings: BootstrapSettings()) == nil)
  }

  @Test("the generator is SplitMix64")
  func splitMix() {
    // First outputs for seed 1234567 from the reference implementation (Vigna, splitmix64.c).
    var random = SplitMix64(seed: 1_234_567)
    #expect(
      (0..<3).map { _ in random.next() } == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
      ])
  }
}

/// Simulated windows with a known truth: window effects (tokens of a window move together), unequal sizes, and skewed
/// window noise. The seeds are fixed, so the outcome is; the tolerance is what other seeds may do.
@Suite struct CoverageTests {
  static let runs = 4000
  /// Mean drift, and windows per run.
  static func totals(_ windows: Int, truth: Double, random: inout SeededRandom) -> WindowTotals {
    var sums: [Double] = []
    var sizes: [Double] = []
    for _ in 0..<windows {
      let size = Double(Int.random(in: 300...512, using: &random))
      // A window effect of 0.004 beside token noise of 0.06/√n ≈ 0.003: a design effect near 3.
      let effect = 0.004 * Double(random.normal())
      let noise = 0.06 * size.squareRoot() * Double(random.normal())
      sums.append(size * (truth + effect) + noise)
      sizes.append(size)
    }
    return WindowTotals(sums: sums, sizes: sizes, areNeighbours: false)
  }

  @Test("the 95 % interval covers the truth in 95 % of runs", arguments: [8, 40], [1, 2] as [UInt64])
  func coverage(_ windows: Int, _ seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var covered = 0
    for _ in 0..<Self.runs {
      let estimate = ClusteredEstimate(totals: Self.totals(windows, truth: 0.002, random: &random), allZero: false)
      if estimate.interval95?.contains(0.002) == true { covered += 1 }
    }
    let share = Double(covered) / Double(Self.runs)
    // Four standard errors of a share of 0.95 in 4,000 runs: 4·√(0.95·0.05/4000) = 0.0138.
    #expect(abs(share - 0.95) < 0.0138, "covered \(share) with seed \(seed)")
  }

  @Test("a candidate exactly at the limit passes in 5 % of runs, and fails in 5 %", arguments: [3, 4] as [UInt64])
  func errorRates(_ seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let limit = 0.01
    var (passes, fails) = (0, 0)
    for _ in 0..<Self.runs {
      let estimate = ClusteredEstimate(totals: Self.totals(24, truth: limit, random: &random), allZero: false)
      if let upper = estimate.upperBound95, upper <= limit { passes += 1 }
      if let lower = estimate.lowerBound95, lower > limit { fails += 1 }
    }
    // Four standard errors of a share of 0.05 in 4,000 runs: 0.0138.
    for (name, count) in [("passed", passes), ("failed", fails)] {
      let share = Double(count) / Double(Self.runs)
      #expect(abs(share - 0.05) < 0.0138, "\(name) \(share) with seed \(seed)")
    }
  }

  @Test("errors that take tokens as independent would not cover: the simulation has clusters")
  func negativeControl() {
    var random = SeededRandom(seed: 5)
    var covered = 0
    for _ in 0..<1000 {
      let totals = Self.totals(40, truth: 0, random: &random)
      // What a token-wise error would be: 0.06/√tokens.
      let naive = 0.06 / Double(totals.tokens).squareRoot()
      if abs(totals.mean) <= 1.96 * naive { covered += 1 }
    }
    #expect(covered < 850)
  }

  @Test("the tokens asked for decide in about 80 % of the runs that use them")
  func power() throws {
    var random = SeededRandom(seed: 6)
    // True drift 0.006, limit 0.01, per-window sd 0.005: the exact answer is about ((1.7 + 0.87)·0.005/0.004)² ≈ 11.
    let test = BoundTest(value: 0.006, lower: nil, upper: nil, limit: 0.01, error: 0.005 / 20.0.squareRoot())
    let needed = Int(try #require(test.windowsToDecide(windows: 20)))
    var decided = 0
    for _ in 0..<2000 {
      let estimate = ClusteredEstimate(totals: Self.totals(needed, truth: 0.006, random: &random), allZero: false)
      if let upper = estimate.upperBound95, upper <= 0.01 { decided += 1 }
    }
    // The approximation by a shifted central t is good to a few points; far off means a wrong formula.
    #expect((0.72...0.88).contains(Double(decided) / 2000), "\(decided) of 2000 with \(needed) windows")
  }
}

/// Per-token scores that transformers computed in float32 for the bundled model and text.
@Suite struct ReferenceScoreTests {
  @Test("mean NLL and perplexity of transformers' per-token scores are the ones it reports")
  func transformers() throws {
    let nll = try NumpyFloats(Fixtures.bundled("tiny.ref.eval.txt.nll.npy")).values
    let document = try JSONValue(
      parsing: String(decoding: Fixtures.bytes(Fixtures.bundled("tiny.ref.json")), as: UTF8.self))
    let reference = try #require(document["eval.txt"])
    var scores = TokenScores(hasCandidate: false)
    for (index, start) in stride(from: 0, to: nll.count, by: 511).enumerated() {
      let window = Array(nll[start..<min(start + 511, nll.count)])
      scores.append(
        ScoredWindow(index: index, firstPosition: 1, count: window.count), nll: window,
        flags: window.map { _ in TokenFlags(baseIsRight: false) })
    }
    let report = VerificationReport(Sample.subject(candidate: nil), scores: scores)
    let fit = try #require(report.base)
    #expect(report.tokens == reference["tokens"]?.integer)
    // The reference summed the same float32 scores in double precision, pairwise; 1e-9 leaves room for the order.
    #expect(isClose(fit.nllPerToken.mean, reference["mean_nll"]?.double ?? 0, 1e-9))
    #expect(isClose(fit.perplexity, reference["perplexity"]?.double ?? 0, 1e-8))
  }
}
