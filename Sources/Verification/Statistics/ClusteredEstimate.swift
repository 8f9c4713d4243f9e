/// A mean over tokens with the error that its windows show.
///
/// Tokens of one window share their context, so they are not independent; windows are the sampling units. With window
/// sums s_w and sizes n_w the mean is the ratio m = Σ s_w / Σ n_w, and its variance (linearized, cluster-robust, with the
/// small-sample factor) is G/(G − 1) · Σ (s_w − m·n_w)² / (Σ n_w)² for G windows (Cochran, Sampling Techniques,
/// 3rd ed., §6.3, §9A; Miller 2024, arXiv 2411.00640). Bounds use Student's t with G − 1 degrees of freedom.
public struct ClusteredEstimate: Sendable, Equatable {
  public let mean: Double
  /// Nil when it cannot be estimated: one window only, or a value that is not finite.
  public let standardError: Double?
  public let windows: Int
  public let tokens: Int

  package init(mean: Double, standardError: Double?, windows: Int, tokens: Int) {
    self.mean = mean
    self.standardError = standardError
    self.windows = windows
    self.tokens = tokens
  }

  /// The mean of `values`, which stand in the windows' order; both hold the same number of tokens.
  /// Sums are formed in that order, in double precision. Values that are all exactly zero have error zero, whatever the
  /// number of windows: nothing varied.
  public init(_ values: [Double], windows: [ScoredWindow]) {
    self.init(totals: WindowTotals(values, windows: windows), allZero: values.allSatisfy { $0 == 0 })
  }

  package init(totals: WindowTotals, allZero: Bool) {
    mean = totals.mean
    windows = totals.sums.count
    tokens = totals.tokens
    if allZero {
      standardError = 0
    } else if windows > 1, mean.isFinite {
      var squares = 0.0
      for index in 0..<windows {
        let residual = totals.sums[index] - mean * totals.sizes[index]
        squares += residual * residual
      }
      let count = Double(windows)
      standardError = (count / (count - 1) * squares).squareRoot() / Double(tokens)
    } else {
      standardError = nil
    }
  }

  /// Student's t quantile for this number of windows; nil for one window.
  package func quantile(_ probability: Double) -> Double? {
    windows > 1 ? Distributions.studentQuantile(probability, degreesOfFreedom: Double(windows - 1)) : nil
  }

  private func bound(_ probability: Double) -> Double? {
    guard let standardError else { return nil }
    if standardError == 0 { return mean }
    return quantile(probability).map { mean + $0 * standardError }
  }

  /// The two-sided 95 % interval.
  public var interval95: ClosedRange<Double>? {
    guard let low = bound(0.025), let high = bound(0.975), low <= high else { return nil }
    return low...high
  }

  /// The one-sided 95 % lower bound: a true mean below it would give such data at most once in twenty runs.
  public var lowerBound95: Double? { bound(0.05) }
  /// The one-sided 95 % upper bound.
  public var upperBound95: Double? { bound(0.95) }
}

/// Sums over windows: all that a clustered mean needs.
package struct WindowTotals: Sendable, Equatable {
  package var sums: [Double] = []
  package var sizes: [Double] = []

  package init(sums: [Double], sizes: [Double]) {
    precondition(sums.count == sizes.count)
    self.sums = sums
    self.sizes = sizes
  }

  package init(_ values: [Double], windows: [ScoredWindow]) {
    var start = 0
    var last: Int?
    for window in windows {
      var sum = 0.0
      for index in start..<start + window.count { sum += values[index] }
      start += window.count
      // Parts of one window are one cluster.
      if last == window.index {
        sums[sums.count - 1] += sum
        sizes[sizes.count - 1] += Double(window.count)
      } else {
        sums.append(sum)
        sizes.append(Double(window.count))
      }
      last = window.index
    }
    precondition(start == values.count, "the windows hold \(start) tokens, \(values.count) values came")
  }

  package var tokens: Int { Int(sizes.reduce(0, +)) }
  /// Σ sums / Σ sizes; NaN without tokens.
  package var mean: Double { sums.reduce(0, +) / sizes.reduce(0, +) }

  /// Correlation of neighbouring windows' mean values about the overall mean; nil below three windows or without
  /// spread.
  package var lag1Autocorrelation: Double? {
    guard sums.count > 2 else { return nil }
    let mean = mean
    let residuals = zip(sums, sizes).map { $0 / $1 - mean }
    let spread = residuals.reduce(0) { $0 + $1 * $1 }
    guard spread > 0, spread.isFinite else { return nil }
    return zip(residuals, residuals.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 } / spread
  }
}
