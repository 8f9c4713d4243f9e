import Foundation
import Llama
import Testing

@Suite struct RoPEFrequencyTests {
  @Test("frequencies are those of transformers", arguments: ReferenceFrequencies.all)
  func equalsTransformers(_ reference: ReferenceFrequencies) {
    let found = reference.parameters.inverseFrequencies(headDimension: reference.headDimension)
    #expect(found.count == reference.headDimension / 2 && found.count == reference.patterns.count)
    for (index, (value, pattern)) in zip(found, reference.patterns).enumerated() {
      let expected = Float(bitPattern: pattern)
      // Two implementations of the power function differ in the last bit.
      let tolerance = 2 * expected.ulp * Float(reference.parameters.magnification)
      #expect(abs(value - expected) <= tolerance, "frequency \(index): \(value), transformers has \(expected)")
    }
  }

  /// The definition in binary64, with the wavelength's three ranges written apart.
  private func definition(_ parameters: RoPEParameters, _ size: Int) -> [Double] {
    (0..<size / 2).map { pair in
      let frequency = pow(parameters.base, -2 * Double(pair) / Double(size))
      switch parameters.scaling {
      case .none: return frequency
      case .linear(let factor): return frequency / factor
      case .llama3(let factor, let low, let high, let original):
        let turns = Double(original) * frequency / (2 * .pi)
        if turns > high { return frequency }
        if turns < low { return frequency / factor }
        let share = (turns - low) / (high - low)
        return frequency * (share + (1 - share) / factor)
      }
    }
  }

  @Test("frequencies follow the definition", arguments: ReferenceFrequencies.all)
  func followsTheDefinition(_ reference: ReferenceFrequencies) {
    let found = reference.parameters.inverseFrequencies(headDimension: reference.headDimension)
    for (value, expected) in zip(found, definition(reference.parameters, reference.headDimension)) {
      // The exponent is rounded to binary32 before the power, which magnifies its error by the logarithm of the base
      // (at most 14): 14 · 2^-24, and a few roundings more.
      #expect(abs(Double(value) - expected) <= 2e-6 * expected * reference.parameters.magnification)
    }
  }

  @Test func llama3ScalingLeavesFastPairsAndDividesSlowOnes() {
    let plain = RoPEParameters(base: 500_000).inverseFrequencies(headDimension: 128)
    let scaled = RoPEParameters(
      base: 500_000,
      scaling: .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
    ).inverseFrequencies(headDimension: 128)
    for (before, after) in zip(plain, scaled) {
      let wavelength = 2 * Float.pi / before
      if wavelength < 2048 { #expect(after == before) }
      if wavelength > 8192 { #expect(after == before / 8) }
      if wavelength > 2048 && wavelength < 8192 { #expect(after < before && after > before / 8) }
    }
    #expect(Set(zip(plain, scaled).map { $0 / $1 }).count > 3, "all three ranges are there")
  }
}

extension RoPEParameters {
  /// By how much llama3's smooth range magnifies a relative error of the frequency f: its factor (1−s)/F + s has
  /// s = (turns − 1)/3, turns proportional to f, so near s = 0 a relative error e becomes e · (1 + F/3).
  fileprivate var magnification: Double {
    if case .llama3(let factor, _, _, _) = scaling { 1 + factor / 3 } else { 1 }
  }
}
