import Foundation
import Support
import Verification

/// Simulated windows of a known mean of zero: sums and unequal sizes.
enum WindowSeries: String, Sendable, CaseIterable {
  case normal
  /// Student's t with 3 degrees of freedom: infinite kurtosis.
  case heavyTailed
  /// AR(1), normal, correlation of neighbours 0.2, 0.5.
  case alike
  case veryAlike
  /// Exponential less its mean: skewness 2, as where few windows hold most of the drift; and its mirror image.
  case skewed
  case skewedDown
  /// AR(1), 0.3, of exponential steps.
  case skewedAlike

  var isSkewed: Bool { self == .skewed || self == .skewedDown || self == .skewedAlike }

  private static func exponential(_ random: inout SeededRandom) -> Double {
    -log(1 - Double.random(in: 0..<1, using: &random)) - 1
  }

  private func values(_ count: Int, _ random: inout SeededRandom) -> [Double] {
    switch self {
    case .normal: return (0..<count).map { _ in Double(random.normal()) }
    case .heavyTailed:
      return (0..<count).map { _ in
        let squares = (0..<3).reduce(0.0) { sum, _ in
          let part = Double(random.normal())
          return sum + part * part
        }
        return Double(random.normal()) / (squares / 3).squareRoot()
      }
    case .skewed: return (0..<count).map { _ in Self.exponential(&random) }
    case .skewedDown: return (0..<count).map { _ in -Self.exponential(&random) }
    case .alike, .veryAlike, .skewedAlike:
      let correlation = self == .alike ? 0.2 : self == .veryAlike ? 0.5 : 0.3
      func step() -> Double { isSkewed ? Self.exponential(&random) : Double(random.normal()) }
      var value = step()
      // A series that starts anew forgets its start: 0.3²⁰ is nothing.
      let spare = isSkewed ? 20 : 0
      return (0..<count + spare).map { _ in
        defer { value = correlation * value + (1 - correlation * correlation).squareRoot() * step() }
        return value
      }.suffix(count)
    }
  }

  /// Windows of 300 to 511 tokens.
  func totals(_ count: Int, _ random: inout SeededRandom) -> WindowTotals {
    let values = values(count, &random)
    let sizes = values.map { _ in Double(Int.random(in: 300...511, using: &random)) }
    return WindowTotals(sums: zip(values, sizes).map { $0 * $1 }, sizes: sizes)
  }
}
