internal import ByteIO
internal import Foundation
internal import GGUFFormat
internal import Llama

/// Llama 3.1's scaling of RoPE as GGUF has it: a divisor for each frequency instead of the four numbers that they come
/// from.
enum RoPEFactors {
  /// The divisors in binary32, `[headDimension / 2]`. Source: `formats/gguf.md`.
  static func factors(_ rope: RoPEParameters, headDimension: Int) -> [Float]? {
    guard case .llama3(let factor, let low, let high, let original) = rope.scaling else { return nil }
    return (0..<headDimension / 2).map { pair in
      let frequency = 1 / Foundation.pow(Float(rope.base), Float(2 * pair) / Float(headDimension))
      let wavelength = 2 * Float.pi / frequency
      if wavelength < Float(Double(original) / high) { return 1 }
      if wavelength > Float(Double(original) / low) { return Float(factor) }
      let smooth = (Float(original) / wavelength - Float(low)) / Float(high - low)
      return 1 / ((1 - smooth) / Float(factor) + smooth)
    }
  }

  /// The numbers that the divisors come from: low 1, high 4 and original length 8192, as every published model has, or what
  /// was said under our own keys; the factor is the largest divisor.
  /// - Throws: `ParseFailure` when no such numbers give the divisors.
  static func scaling(
    of factors: [Float], _ configuration: LlamaConfiguration, _ metadata: GGUFMetadata
  ) throws(ParseFailure) -> RoPEParameters.Scaling {
    let file = metadata.file
    func failure(_ message: String) -> ParseFailure {
      ParseFailure(message, file: file, item: GGUFKeys.ropeFactors, advice: "the file may be another model's")
    }
    guard factors.count == configuration.headDimension / 2 else {
      throw failure("there are \(factors.count) divisors, expected \(configuration.headDimension / 2)")
    }
    guard let largest = factors.max(), largest.isFinite, factors.allSatisfy({ $0 >= 1 }) else {
      throw failure("a divisor is below 1 or no number")
    }
    func gives(_ scaling: RoPEParameters.Scaling) -> Bool {
      let rope = RoPEParameters(base: configuration.rope.base, scaling: scaling)
      guard let expected = self.factors(rope, headDimension: configuration.headDimension) else { return false }
      // Powers are taken in different ways by different writers.
      return zip(factors, expected).allSatisfy { abs($0 - $1) <= 1e-5 * $1 }
    }
    if case .array(let array) = metadata[GGUFKeys.ownRoPEScaling], let numbers = array.values(as: Double.self),
      numbers.count == 4, numbers.allSatisfy({ $0.isFinite && $0 > 0 && $0 <= 1e9 }), numbers[2] > numbers[1]
    {
      let scaling = RoPEParameters.Scaling.llama3(
        factor: numbers[0], lowFrequencyFactor: numbers[1], highFrequencyFactor: numbers[2],
        originalPositions: Int(numbers[3]))
      if gives(scaling) { return scaling }
    }
    // A scaling that reaches no frequency of these heads leaves no trace but ones.
    for original in [8192, 4096, 2048, 16384, 32768] {
      for factor in [GGUFKeys.shortest(largest), 8, 32] {
        let scaling = RoPEParameters.Scaling.llama3(
          factor: factor, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: original)
        if gives(scaling) { return scaling }
      }
    }
    throw failure("the divisors are those of no known scaling")
  }
}
