/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same numbers everywhere. Print the seed in a failing test.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// A float from a normal distribution (Box–Muller) with the given standard deviation.
  public mutating func normal(_ deviation: Float = 1) -> Float {
    let u = Double.random(in: Double.leastNonzeroMagnitude..<1, using: &self)
    let v = Double.random(in: 0..<1, using: &self)
    return Float((-2 * logarithm(u)).squareRoot() * cosine(2 * .pi * v)) * deviation
  }

  /// A seed that changes from run to run unless `LLAMA_TEST_SEED` fixes it.
  public static func freshSeed() -> UInt64 { environmentSeed() ?? UInt64.random(in: 0...UInt64.max) }
}
