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
    case .alike, .veryAlike:
      let correlation = self == .alike ? 0.2 : 0.5
      var value = Double(random.normal())
      return (0..<count).map { _ in
        defer { value = correlation * value + (1 - correlation * correlation).squareRoot() * Double(random.normal()) }
        return value
      }
    }
  }

  /// Windows of 300 to 511 tokens.
  func totals(_ count: Int, _ random: inout SeededRandom) -> WindowTotals {
    let values = values(count, &random)
    let sizes = values.map { _ in Double(Int.random(in: 300...511, using: &random)) }
    return WindowTotals(sums: zip(values, sizes).map { $0 * $1 }, sizes: sizes)
  }
}
