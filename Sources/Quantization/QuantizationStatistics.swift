internal import Foundation

/// What rounding did to a tensor, or to some of its rows.
///
/// Energies are sums of squares in the weights' units. They are computed from the quotient x/scale in binary32, so errors
/// below about 2⁻²⁴ of a value are not seen, and rows whose quotients all underflow count as zero energy.
public struct QuantizationStatistics: Sendable, Equatable {
  public var rows: Int
  /// Rows that hold nothing but ±0.
  public var zeroRows: Int
  /// Elements beyond the codes: of FP8 those whose quotient x/scale passed ±448, of integers those more than half a step
  /// beyond the outermost code.
  public var saturated: Int
  /// Σ x²
  public var signalEnergy: Double
  /// Σ (x − code · scale)²
  public var errorEnergy: Double
  /// Elements that the energies are sums over.
  public var elements: Int
  /// The largest |x − code · scale|.
  public var largestError: Float

  public init(
    rows: Int = 0, zeroRows: Int = 0, saturated: Int = 0, signalEnergy: Double = 0, errorEnergy: Double = 0,
    elements: Int = 0, largestError: Float = 0
  ) {
    self.rows = rows
    self.zeroRows = zeroRows
    self.saturated = saturated
    self.signalEnergy = signalEnergy
    self.errorEnergy = errorEnergy
    self.elements = elements
    self.largestError = largestError
  }

  /// The sum with the statistics of the rows that follow. Floating-point sums depend on the order: merge tiles in row
  /// order, and cut tiles by a rule that knows neither threads nor memory, to get the same digits every time.
  public func merged(with next: Self) -> Self {
    Self(
      rows: rows + next.rows, zeroRows: zeroRows + next.zeroRows, saturated: saturated + next.saturated,
      signalEnergy: signalEnergy + next.signalEnergy, errorEnergy: errorEnergy + next.errorEnergy,
      elements: elements + next.elements, largestError: max(largestError, next.largestError))
  }

  /// Root of the mean square of x − code · scale; 0 where there are no elements.
  public var rmsError: Double { elements == 0 ? 0 : (errorEnergy / Double(elements)).squareRoot() }

  /// Signal to quantization noise, 10 · log₁₀(signal / error) in dB; +∞ when there is no error.
  public var sqnrDecibels: Double {
    errorEnergy == 0 ? .infinity : 10 * log10(signalEnergy / errorEnergy)
  }
}
