internal import Foundation

extension RoPEParameters {
  /// Inverse frequencies θ^(−2j/D) for j = 0 ..< D/2 in binary32, scaled where the model asks for it (Llama 3.1: `rope_type`
  /// llama3). The powers are taken in binary32 as transformers does (base ** (arange/dim), reciprocal), because the
  /// angles of late positions magnify the last bit.
  /// - Parameter headDimension: D, even.
  public func inverseFrequencies(headDimension: Int) -> [Float] {
    (0..<headDimension / 2).map { pair in
      let exponent = Float(2 * pair) / Float(headDimension)
      let frequency = 1 / Foundation.pow(Float(base), exponent)
      return scaled(frequency)
    }
  }

  private func scaled(_ frequency: Float) -> Float {
    switch scaling {
    case .none: return frequency
    case .linear(let factor): return frequency / Float(factor)
    case .llama3(let factor, let low, let high, let original):
      let wavelength = 2 * Float.pi / frequency
      let lowWavelength = Float(Double(original) / low)
      let highWavelength = Float(Double(original) / high)
      if wavelength < highWavelength { return frequency }
      if wavelength > lowWavelength { return frequency / Float(factor) }
      let smooth = (Float(original) / wavelength - Float(low)) / Float(high - low)
      return (1 - smooth) * frequency / Float(factor) + smooth * frequency
    }
  }
}
