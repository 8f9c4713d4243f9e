/// Rotary position embedding: the base and the scaling of its frequencies.
public struct RoPEParameters: Sendable, Equatable {
  /// The base θ of the frequencies θ^(−2j/D) (`rope_theta`).
  public var base: Double
  public var scaling: Scaling

  public enum Scaling: Sendable, Equatable {
    case none
    /// Position interpolation: every frequency divided by `factor`.
    case linear(factor: Double)
    /// Llama 3.1's wavelength-dependent scaling.
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalPositions: Int)
  }

  public init(base: Double, scaling: Scaling = .none) {
    self.base = base
    self.scaling = scaling
  }
}
