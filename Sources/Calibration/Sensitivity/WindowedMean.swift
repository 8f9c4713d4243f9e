internal import Foundation

/// A mean over tokens and its standard error, windows being what is sampled: with window sums s and sizes n, m = Σs/Σn and
/// variance G/(G − 1) · Σ(s − m·n)²/(Σn)² for G windows (Cochran, Sampling Techniques, 3rd ed., §6.3).
package struct WindowedMean {
  package let mean: Double
  /// Nil below two windows.
  package let standardError: Double?
  private let windows: Int

  package init(sums: [Double], sizes: [Int]) {
    let total = Double(max(1, sizes.reduce(0, +)))
    let mean = sums.reduce(0, +) / total
    self.mean = mean
    windows = sums.count
    guard sums.count > 1 else {
      standardError = nil
      return
    }
    let squares = zip(sums, sizes).reduce(0) { sum, window in
      let off = window.0 - mean * Double(window.1)
      return sum + off * off
    }
    let count = Double(sums.count)
    standardError = (count / (count - 1) * squares).squareRoot() / total
  }

  /// One-sided 95 % upper bound of the mean, by Student's t for windows less one; nil below two windows.
  package var upperBound: Double? { standardError.map { mean + Self.quantile95(degrees: windows - 1) * $0 } }

  /// The sum over each of `count` windows.
  /// - Parameter windows: for each value the number of its window.
  static func sums(_ values: [Double], windows: [Int], count: Int) -> [Double] {
    var sums = [Double](repeating: 0, count: count)
    for (value, window) in zip(values, windows) { sums[window] += value }
    return sums
  }

  /// The 0.95 quantile of Student's t. Below three degrees of freedom in closed form, else the expansion in 1/degrees
  /// (Abramowitz and Stegun 26.7.5), which is 0.001 too small at three and better beyond.
  package static func quantile95(degrees: Int) -> Double {
    switch degrees {
    case ...0: return .infinity
    case 1: return tan(.pi * 0.45)
    case 2: return 0.9 * (2 / (4 * 0.95 * 0.05)).squareRoot()
    default:
      let z = 1.6448536269514722
      func power(_ exponent: Int) -> Double { pow(z, Double(exponent)) }
      let terms = [
        (power(3) + z) / 4,
        (5 * power(5) + 16 * power(3) + 3 * z) / 96,
        (3 * power(7) + 19 * power(5) + 17 * power(3) - 15 * z) / 384,
        (79 * power(9) + 776 * power(7) + 1482 * power(5) - 1920 * power(3) - 945 * z) / 92_160,
      ]
      return terms.reversed().reduce(0) { ($0 + $1) / Double(degrees) } + z
    }
  }
}
