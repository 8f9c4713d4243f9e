/// Quantiles of per-token scores.
package enum Quantile {
  /// The quantile by linear interpolation between order statistics: position h = (n − 1)·p, counted from 0 (definition
  /// 7 of Hyndman and Fan 1996; NumPy's default).
  package static func linear(sorted values: [Double], _ p: Double) -> Double {
    precondition(!values.isEmpty && p >= 0 && p <= 1)
    let position = Double(values.count - 1) * p
    let low = Int(position.rounded(.down))
    let high = min(low + 1, values.count - 1)
    return values[low] + (values[high] - values[low]) * (position - Double(low))
  }
}

/// A quantile with one-sided 95 % bounds that respect windows.
///
/// Woodruff's interval (1952): the share of tokens at or below the estimated quantile is a clustered mean; its bounds,
/// read back through the empirical distribution, bound the quantile.
public struct ClusteredQuantile: Sendable, Equatable {
  public let value: Double
  private let sorted: [Double]
  private let probability: Double
  /// Share of tokens at or below `value`.
  private let share: ClusteredEstimate

  package init(_ values: [Double], sorted: [Double], windows: [ScoredWindow], probability: Double) {
    let quantile = Quantile.linear(sorted: sorted, probability)
    value = quantile
    self.sorted = sorted
    self.probability = probability
    share = ClusteredEstimate(values.map { $0 <= quantile ? 1 : 0 }, windows: windows)
  }

  /// The one-sided bound that the true quantile lies below with the given probability. Nil when not estimable: one
  /// window, no spread, or (above) too few tokens beyond the quantile.
  package func bound(_ confidence: Double) -> Double? {
    // All zero, as for a model against itself.
    if sorted[0] == 0, sorted[sorted.count - 1] == 0 { return value }
    guard sorted[0] < sorted[sorted.count - 1], let error = share.standardError, let t = share.quantile(confidence)
    else { return nil }
    let place = probability + t * error
    return place > 0 && place < 1 ? Quantile.linear(sorted: sorted, place) : nil
  }

  package func quantile(_ probability: Double) -> Double? { share.quantile(probability) }
  public var lowerBound95: Double? { bound(0.05) }
  public var upperBound95: Double? { bound(0.95) }
}

/// A share of tokens with a Wilson interval (1927) for the effective number of independent tokens, n / design effect,
/// where the design effect is the clustered variance over the binomial one, at least 1; Student's t stands for the
/// normal quantile (Korn and Graubard 1998, for complex samples). A bound is the wider one of this and of the mean's. Unlike the plain interval it stays inside 0…1 and has
/// width when every token agrees.
public struct ClusteredShare: Sendable, Equatable {
  public let estimate: ClusteredEstimate
  public var value: Double { estimate.mean }
  private static let fewestForSkewness = 16

  package init(_ values: [Double], windows: [ScoredWindow]) { estimate = ClusteredEstimate(values, windows: windows) }

  /// The one-sided bound that the true share lies below with the given probability; nil for one window.
  package func bound(_ probability: Double) -> Double? {
    guard let t = estimate.quantile(probability), let error = estimate.standardError else { return nil }
    let p = estimate.mean
    let tokens = Double(estimate.tokens)
    let binomial = p * (1 - p) / tokens
    let effective = binomial > 0 ? tokens / max(1, error * error / binomial) : tokens
    let square = t * t / effective
    let centre = (p + square / 2) / (1 + square)
    let half = abs(t) / (1 + square) * (p * (1 - p) / effective + square / (4 * effective)).squareRoot()
    // Where few windows hold most of what disagrees, the mean's own bound is wider; their skewness is noise below so many.
    let own = estimate.windows < Self.fewestForSkewness ? p : estimate.bound(probability) ?? p
    return min(1, max(0, t < 0 ? min(own, centre - half) : max(own, centre + half)))
  }

  public var interval95: ClosedRange<Double>? {
    guard let low = bound(0.025), let high = bound(0.975), low <= high else { return nil }
    return low...high
  }
  public var lowerBound95: Double? { bound(0.05) }
  public var upperBound95: Double? { bound(0.95) }
}
