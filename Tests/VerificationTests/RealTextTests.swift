import ByteIO
import Foundation
import Support
import Testing
import Verification

/// Drift of a real model over a megabyte of mixed text (Tests/Interop/window_sums.py): 3,882 windows of 127 tokens. The
/// correlation of neighbours is 0.27 (fp8), 0.41 (int4), 0.27 (int4's KL divergence).
@Suite struct RealTextTests {
  static let series: [String: WindowTotals] = {
    guard let bytes = try? Fixtures.bytes(Fixtures.bundled("window_sums.json")),
      let document = try? JSONValue(parsing: String(decoding: bytes, as: UTF8.self)),
      let last = document["last_window"]?.integer
    else { return [:] }
    var series: [String: WindowTotals] = [:]
    for key in ["fp8_drift", "int4_drift", "int4_kld"] {
      let sums = (document[key]?.array ?? []).compactMap(\.double).map { $0 * 1e-6 }
      series[key] = WindowTotals(sums: sums, sizes: Array(repeating: 127, count: sums.count - 1) + [Double(last)])
    }
    return series
  }()

  /// How often the text's own mean is within the interval, below its upper bound, above its lower bound.
  struct Tally {
    var samples = 0
    var covered = 0
    var tooLow = 0
    var tooHigh = 0

    mutating func add(_ totals: WindowTotals, _ windows: [Int]) {
      let sample = WindowTotals(
        sums: windows.map { totals.sums[$0] }, sizes: windows.map { totals.sizes[$0] },
        areNeighbours: zip(windows, windows.dropFirst()).allSatisfy { $1 == $0 + 1 })
      let estimate = ClusteredEstimate(totals: sample, allZero: false)
      samples += 1
      if estimate.interval95?.contains(totals.mean) == true { covered += 1 }
      if (estimate.upperBound95 ?? .infinity) < totals.mean { tooLow += 1 }
      if (estimate.lowerBound95 ?? -.infinity) > totals.mean { tooHigh += 1 }
    }

    func share(_ count: Int) -> Double { Double(count) / Double(samples) }
  }

  /// The drift of real windows is neither normal nor symmetric: the interval must hold for their distribution. Windows are
  /// drawn at random, so that they are independent.
  @Test(
    "random windows: the 95 % interval covers in 93.5 to 96.5 %, and each error is at most 5 %",
    arguments: ["fp8_drift", "int4_drift", "int4_kld"])
  func random(_ key: String) throws {
    let totals = try #require(Self.series[key])
    #expect(totals.sums.count == 3882)
    var random = SeededRandom(seed: 31)
    var tally = Tally()
    for count in [20, 40, 80] {
      for _ in 0..<1000 {
        let windows = (0..<count).map { _ in Int.random(in: 0..<totals.sums.count, using: &random) }
        tally.add(totals, windows)
      }
    }
    let share = tally.share(tally.covered)
    #expect((0.935...0.965).contains(share), "\(key): \(share)")
    // Three standard errors of a share of 0.05 in 3,000 samples: 0.012.
    #expect(tally.share(tally.tooLow) < 0.062 && tally.share(tally.tooHigh) < 0.062)
  }

  /// As `--tokens` draws them: one window from the same place of each of as many equal stretches. Neighbouring stretches
  /// differ, so the sample knows the text better than independent windows would, and the interval is too wide rather than
  /// too narrow.
  @Test("windows spread evenly over the text: the interval covers at least 93.5 %, and each error is at most 5 %")
  func spread() throws {
    var all = Tally()
    for (key, totals) in Self.series.sorted(by: { $0.key < $1.key }) {
      for count in [12, 20, 40, 80, 160] {
        var tally = Tally()
        for offset in 0..<100 {
          let windows = (0..<count).map { ($0 * 100 + offset) * totals.sums.count / (100 * count) }
          tally.add(totals, windows)
          all.add(totals, windows)
        }
        // Samples at neighbouring offsets share none of their windows but much of their text: one size alone swings more.
        #expect(tally.share(tally.covered) >= 0.9, "\(key), \(count) windows: \(tally.share(tally.covered))")
      }
    }
    #expect(all.samples == 1500)
    #expect(all.share(all.covered) >= 0.935, "\(all.share(all.covered))")
    #expect(all.share(all.tooLow) <= 0.05 && all.share(all.tooHigh) <= 0.05)
  }

  @Test("as many windows in a row from one place do not speak for the text")
  func negativeControl() throws {
    var tally = Tally()
    for totals in Self.series.values {
      for first in stride(from: 0, to: totals.sums.count - 80, by: 40) { tally.add(totals, Array(first..<first + 80)) }
    }
    #expect(tally.samples > 200 && tally.share(tally.covered) < 0.9, "\(tally.share(tally.covered))")
  }
}
