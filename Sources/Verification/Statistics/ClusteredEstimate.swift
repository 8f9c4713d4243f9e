internal import Foundation

/// A mean over tokens with the error that its windows show.
///
/// Tokens of one window share their context, so they are not independent; windows are the sampling units. With window
/// sums s_w and sizes n_w the mean is the ratio m = Σ s_w / Σ n_w, and its variance (linearized, cluster-robust, with the
/// small-sample factor) is G/(G − 1) · Σ (s_w − m·n_w)² / (Σ n_w)² for G windows (Cochran, Sampling Techniques,
/// 3rd ed., §6.3, §9A; Miller 2024, arXiv 2411.00640). Bounds use Student's t with G − 1 degrees of freedom. Where the
/// windows themselves are seen to depend on one another, the long-run variance takes its place (`WindowDependence`).
///
/// Student's t takes the residuals as symmetric. A mean that lives on a few large windows is low exactly when its error is
/// estimated too low, so its plain upper bound is passed too often. Every bound is therefore the wider one of Student's and
/// of Hall's (On the removal of skewness by transformation, JRSS B 54, 1992): with k = Σ r³ / (Σ r²)^1.5, which is the
/// skewness over √G, T + k·T²/3 + k²·T³/27 + k/6 of the studentized mean T has the quantile t, so that
/// T = 3/k · (∛(1 + k·(t − k/6)) − 1). Hall's bounds alone are too narrow where tails are heavy, for k is then noise.
public struct ClusteredEstimate: Sendable, Equatable {
  public let mean: Double
  /// Nil when it cannot be estimated: one window only, or a value that is not finite.
  public let standardError: Double?
  public let windows: Int
  public let tokens: Int
  /// What the windows' order says about their independence; nil for few windows, or without spread.
  public let dependence: WindowDependence?
  /// Of Student's t.
  public let degreesOfFreedom: Double
  /// Σ r³ / (Σ r²)^1.5 of the windows' residuals r: their skewness over √windows. 0 without spread.
  public let skewness: Double

  package init(mean: Double, standardError: Double?, windows: Int, tokens: Int) {
    self.mean = mean
    self.standardError = standardError
    self.windows = windows
    self.tokens = tokens
    dependence = nil
    degreesOfFreedom = Double(max(windows - 1, 0))
    skewness = 0
  }

  /// The mean of `values`, which stand in the windows' order; both hold the same number of tokens.
  /// Sums are formed in that order, in double precision. Values that are all exactly zero have error zero, whatever the
  /// number of windows: nothing varied.
  public init(_ values: [Double], windows: [ScoredWindow]) {
    self.init(totals: WindowTotals(values, windows: windows), allZero: values.allSatisfy { $0 == 0 })
  }

  /// - Parameter totals: in text order.
  package init(totals: WindowTotals, allZero: Bool) {
    mean = totals.mean
    windows = totals.sums.count
    tokens = totals.tokens
    guard !allZero, windows > 1, mean.isFinite else {
      standardError = allZero ? 0 : nil
      dependence = nil
      degreesOfFreedom = Double(max(windows - 1, 0))
      skewness = 0
      return
    }
    let residuals = totals.residuals
    let count = Double(windows)
    let squares = residuals.reduce(0) { $0 + $1 * $1 }
    let cubes = residuals.reduce(0) { $0 + $1 * $1 * $1 }
    skewness = squares > 0 ? cubes / (squares * squares.squareRoot()) : 0
    let clustered = (count / (count - 1) * squares).squareRoot() / Double(tokens)
    let dependence = WindowDependence(residuals, areNeighbours: totals.areNeighbours)
    self.dependence = dependence
    if let dependence, dependence.isSeen {
      standardError = max(clustered, dependence.longRunDeviation * count.squareRoot() / Double(tokens))
      degreesOfFreedom = Double(dependence.degreesOfFreedom)
    } else {
      standardError = clustered
      degreesOfFreedom = count - 1
    }
  }

  /// Student's t quantile for this error's degrees of freedom; nil for one window. An early look at very many windows may
  /// spend less than a double near 1 can say; nothing is decided at such levels anyway.
  package func quantile(_ probability: Double) -> Double? {
    let least = 1e-12
    let level = min(max(probability, least), 1 - least)
    return windows > 1 ? Distributions.studentQuantile(level, degreesOfFreedom: degreesOfFreedom) : nil
  }

  /// The one-sided bound that the true mean lies below with the given probability.
  package func bound(_ probability: Double) -> Double? {
    guard let standardError else { return nil }
    if standardError == 0 { return mean }
    return quantile(1 - probability).map { mean - wider($0) * standardError }
  }

  /// The wider one of a quantile of Student's t and of the studentized mean's that it stands for by Hall's transformation.
  private func wider(_ t: Double) -> Double {
    // ∛(1 + u) − 1 = u / (c² + c + 1) with c = ∛(1 + u), without cancellation.
    let shifted = t - skewness / 6
    let root = cbrt(1 + skewness * shifted)
    let hall = 3 * shifted / (root * root + root + 1)
    return t < 0 ? min(t, hall) : max(t, hall)
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
