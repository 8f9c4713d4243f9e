internal import Foundation

/// Whether neighbouring windows of a text are alike, and the error of a mean that allows for it.
///
/// Windows that follow one another in a text share its subject; as independent clusters they give intervals that are too
/// narrow. The long-run variance of a series of residuals r_0 … r_(G−1) is estimated from its ν slowest waves,
/// Ω = 1/ν Σ_j Λ_j², Λ_j = √(2/G) Σ_t r_t cos(πj(t + ½)/G), j = 1 … ν, and the mean's error √(Ω·G) / tokens goes with
/// Student's t at ν degrees of freedom: the equal-weighted cosine estimator with ν = 0.4·G^⅔ that Lazarus, Lewis, Stock
/// and Watson recommend (HAR Inference: Recommendations for Practice, JBES 36, 2018), at least 4, and at most 128: Student's t
/// is nearly normal then, and the work stays in proportion to G.
///
/// It costs width where windows are independent, so it is used where dependence is seen, by either of two tests that are
/// sensitive rather than sure (level 12 % each: missing dependence is worse than a wider interval): the lag-1
/// correlation, with its bias of −1/G taken out, beyond 1.175/√G; or Ω beyond the windows' own variance by the F test with
/// ν and G − 1 degrees of freedom. Few windows hardly show dependence, so where they follow one another in the text a smaller
/// correlation suffices below 40 of them, and any positive one at 16 or fewer. Below 10 windows neither test says anything, and none is made.
public struct WindowDependence: Sendable, Equatable {
  /// Σ r_t·r_(t+1) / Σ r_t².
  public let lag1Correlation: Double
  /// √Ω, in the unit of the residuals.
  package let longRunDeviation: Double
  /// ν.
  public let degreesOfFreedom: Int
  /// Ω over the variance that independent windows would have: how many times as many windows are needed.
  public let varianceRatio: Double
  /// Whether the error allows for dependence.
  public let isSeen: Bool
  /// Whether it is seen as clearly as many windows would show it, and not only because few neighbours are easily taken for
  /// alike.
  public let isClear: Bool

  static let minimumWindows = 10
  /// Each test's one-sided level, and the normal quantile that belongs to it, for as many windows as show dependence.
  static let level = 0.12
  static let quantile = 1.175
  static let few = 16.0
  static let many = 40.0

  /// Nil for few windows or residuals without spread.
  /// - Parameters:
  ///   - residuals: in text order, about their mean.
  ///   - areNeighbours: whether the windows follow one another in the text.
  package init?(_ residuals: [Double], areNeighbours: Bool) {
    let count = Double(residuals.count)
    let squares = residuals.reduce(0) { $0 + $1 * $1 }
    guard residuals.count >= Self.minimumWindows, squares > 0, squares.isFinite else { return nil }
    let products = zip(residuals, residuals.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }
    lag1Correlation = products / squares
    let waves = min(128, max(4, Int(0.4 * pow(count, 2.0 / 3))))
    degreesOfFreedom = waves
    var power = 0.0
    for wave in 1...waves {
      let step = Double.pi * Double(wave) / count
      var amplitude = 0.0
      for (index, residual) in residuals.enumerated() { amplitude += residual * cos(step * (Double(index) + 0.5)) }
      power += amplitude * amplitude
    }
    let longRun = 2 / count * power / Double(waves)
    longRunDeviation = longRun.squareRoot()
    varianceRatio = longRun / (squares / (count - 1))
    let correlation = (lag1Correlation + 1 / count) * count.squareRoot()
    let probability = Distributions.fisherCDF(varianceRatio, Double(waves), count - 1)
    isClear = correlation > Self.quantile || probability > 1 - Self.level
    let sureness = areNeighbours ? min(1, max(0, (count - Self.few) / (Self.many - Self.few))) : 1
    isSeen = isClear || correlation > sureness * Self.quantile
  }
}
