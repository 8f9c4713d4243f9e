internal import Foundation

/// What rounding did to a tensor, or to some of its rows.
///
/// Energies are sums of squares in the weights' units. They are computed from the quotient x/scale in binary32, so errors
/// below about 2⁻²⁴ of a value are not seen, and rows whose quotients all underflow count as zero energy.
public struct QuantizationStatistics: Sendable, Equatable {
  public var rows: Int
  /// Rows that hold nothing but ±0.
  public var zeroRows: Int
  /// Elements whose quotient x/scale passed ±448 and were stored as ±448.
  public var saturated: Int
  /// Σ x²
  public var signalEnergy: Double
  /// Σ (x − code · scale)²
  public var errorEnergy: Double

  public init(
    rows: Int = 0, zeroRows: Int = 0, saturated: Int = 0, signalEnergy: Double = 0, errorEnergy: Double = 0
  ) {
    self.rows = rows
    self.zeroRows = zeroRows
    self.saturated = saturated
    self.signalEnergy = signalEnergy
    self.errorEnergy = errorEnergy
  }

  /// The sum with the statistics of the rows that follow. Floating-point sums depend on the order: merge tiles in row
  /// order, and cut tiles by a rule that knows neither threads nor memory, to get the same digits every time.
  public func merged(with next: Self) -> Self {
    Self(
      rows: rows + next.rows, zeroRows: zeroRows + next.zeroRows, saturated: saturated + next.saturated,
      signalEnergy: signalEnergy + next.signalEnergy, errorEnergy: errorEnergy + next.errorEnergy)
  }

  /// Signal to quantization noise, 10 · log₁₀(signal / error) in dB; +∞ when there is no error.
  public var sqnrDecibels: Double {
    errorEnergy == 0 ? .infinity : 10 * log10(signalEnergy / errorEnergy)
  }
}
