internal import Foundation

/// Quantiles and tails of the few distributions the report needs.
package enum Distributions {
  /// Φ(x) of the standard normal distribution.
  package static func normalCDF(_ x: Double) -> Double { 0.5 * erfc(-x / 2.0.squareRoot()) }

  /// 1 − Φ(x), with its digits far out.
  package static func normalTail(_ x: Double) -> Double { 0.5 * erfc(x / 2.0.squareRoot()) }

  /// Φ⁻¹(p), 0 < p < 1.
  package static func normalQuantile(_ p: Double) -> Double {
    precondition(p > 0 && p < 1, "a probability strictly between 0 and 1")
    return invert(p, normalCDF)
  }

  /// P(T ≤ t) for Student's t. Through the incomplete beta function: P(|T| > t) = I_x(ν/2, 1/2), x = ν/(ν + t²)
  /// (Abramowitz and Stegun 26.7.1).
  package static func studentCDF(_ t: Double, degreesOfFreedom: Double) -> Double {
    let tail = 0.5 * incompleteBeta(degreesOfFreedom / (degreesOfFreedom + t * t), degreesOfFreedom / 2, 0.5)
    return t > 0 ? 1 - tail : tail
  }

  /// The quantile of Student's t, 0 < p < 1. Solved in the lower half, where the tail keeps its digits.
  package static func studentQuantile(_ p: Double, degreesOfFreedom: Double) -> Double {
    precondition(p > 0 && p < 1 && degreesOfFreedom > 0, "a probability strictly between 0 and 1")
    if p > 0.5 { return -studentQuantile(1 - p, degreesOfFreedom: degreesOfFreedom) }
    if p == 0.5 { return 0 }
    return invert(p) { studentCDF($0, degreesOfFreedom: degreesOfFreedom) }
  }

  /// P(F ≤ x) of Fisher's F with the given degrees of freedom (Abramowitz and Stegun 26.6.2).
  package static func fisherCDF(_ x: Double, _ numerator: Double, _ denominator: Double) -> Double {
    incompleteBeta(numerator * x / (numerator * x + denominator), numerator / 2, denominator / 2)
  }

  /// The two-sided exact McNemar test: of `worse + better` discordant pairs each falls either way with probability
  /// one half under the hypothesis of no change; p = 2·P(X ≤ min), at most 1 (McNemar 1947, exact form).
  package static func mcNemar(worse: Int, better: Int) -> Double {
    precondition(worse >= 0 && better >= 0)
    let smaller = Double(min(worse, better))
    let total = Double(worse + better)
    if smaller == total - smaller { return 1 }
    // P(X ≤ k) of a binomial with probability 1/2 is I_{1/2}(n − k, k + 1).
    return min(1, 2 * incompleteBeta(0.5, total - smaller, smaller + 1))
  }

  /// The regularized incomplete beta function I_x(a, b), by its continued fraction with Lentz's method
  /// (Numerical Recipes §6.4; DLMF 8.17.22).
  package static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
    if x <= 0 { return 0 }
    if x >= 1 { return 1 }
    let front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    // The fraction converges fast below the mean of the distribution; above it the mirrored one does.
    return x < (a + 1) / (a + b + 2)
      ? front * betaFraction(x, a, b) / a : 1 - front * betaFraction(1 - x, b, a) / b
  }

  private static func betaFraction(_ x: Double, _ a: Double, _ b: Double) -> Double {
    let tiny = 1e-300
    func guarded(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
    var c = 1.0
    var d = 1 / guarded(1 - (a + b) * x / (a + 1))
    var result = d
    // About √max(a, b) steps are needed; the bound only guards against a loop without end.
    for step in 1...100_000 {
      let m = Double(step)
      let even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
      d = 1 / guarded(1 + even * d)
      c = guarded(1 + even / c)
      result *= d * c
      let odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
      d = 1 / guarded(1 + odd * d)
      c = guarded(1 + odd / c)
      result *= d * c
      if abs(d * c - 1) < 1e-16 { break }
    }
    return result
  }

  /// The x at which a rising function reaches `p`: the bracket is doubled, then halved until it cannot be.
  private static func invert(_ p: Double, _ cumulative: (Double) -> Double) -> Double {
    var low = -1.0
    var high = 1.0
    while cumulative(low) > p && low > -1e300 { low *= 2 }
    while cumulative(high) < p && high < 1e300 { high *= 2 }
    while true {
      let middle = low + (high - low) / 2
      if middle <= low || middle >= high { return middle }
      if cumulative(middle) < p { low = middle } else { high = middle }
    }
  }
}
