internal import CKernels

/// What the machine's arithmetic gives at most, and what matrix products make of it, measured.
public enum ProductSpeed {
  /// Units that products are made on.
  public enum Arithmetic: String, CaseIterable, Sendable {
    /// Fused multiply-adds of float32 vectors.
    case float32
    /// Dot products of BF16 pairs into float32, of vectors or tiles.
    case bf16

    fileprivate var native: ck_arithmetic { self == .float32 ? .float32 : .bf16 }
  }

  /// Operations per second (a multiplication and an addition are two) of independent products on registers, on all threads
  /// at once; nil when the instruction set has no such unit.
  public static func peak(_ arithmetic: Arithmetic, threads: Int, instructionSet: InstructionSet = .best) -> Double? {
    let level = Int32(instructionSet.rawValue)
    let perRound = ck_peak_operations(level, arithmetic.native)
    guard perRound > 0 else { return nil }
    var rounds = 1 << 12
    while true {
      let count = rounds
      let seconds = timed {
        try? Parallel.forEach(count: threads, threads: threads) { _ in
          _ = ck_peak_run(level, arithmetic.native, count)
        }
      }
      // Long enough that the start of the threads does not count.
      if seconds > 0.2 { return perRound * Double(rounds) * Double(threads) / seconds }
      rounds *= seconds > 0.02 ? Int(0.3 / seconds) + 1 : 8
    }
  }

  /// The unit that a kernel multiplies on, and how many products it makes of one where BF16 holds the weights.
  public static func arithmetic(
    _ compute: Compute, _ instructionSet: InstructionSet
  ) -> (unit: Arithmetic, terms: Int) {
    if instructionSet == .amx { return (.bf16, compute == .exact ? 2 : 1) }
    return (compute == .bf16 && instructionSet == .avx512BF16 ? .bf16 : .float32, 1)
  }

  /// Useful operations per second, 2 · tokens · outputs · inputs each time, of a product with BF16 weights; packing of the
  /// activations and of the weights is part of it. The fastest of `repetitions`.
  public static func product(
    tokens: Int, outputs: Int, inputs: Int, kernel: ProductKernel, threads: Int, repetitions: Int = 3
  ) -> Double {
    // Any numbers do, but zeros and powers of two would draw less power, and ask less of the clock.
    var state: UInt32 = 1
    func next() -> UInt32 {
      state = state &* 1_664_525 &+ 1_013_904_223
      return state >> 8
    }
    let x = (0..<tokens * inputs).map { _ in Float(next()) * 0x1p-24 - 0.5 }
    let weights = (0..<outputs * inputs).flatMap { _ -> [UInt8] in
      let bits = (Float(next()) * 0x1p-24 - 0.5).bitPattern
      return [UInt8(truncatingIfNeeded: bits >> 16), UInt8(truncatingIfNeeded: bits >> 24)]
    }
    let rows = WeightRows(
      bytes: weights.span.bytes, format: .bf16, outputs: outputs, inputs: inputs, rowScales: nil, blockScales: nil,
      blockRows: 1, blockColumns: 1)
    var best = Double.infinity
    for _ in 0..<repetitions {
      let span = x.span
      let clock = ContinuousClock.now
      let packed = PackedActivations(span, tokens: tokens, inputs: inputs, threads: threads, kernel: kernel)
      _ = MatrixProduct.product(packed, rows, threads: threads)
      best = min(best, seconds(since: clock))
    }
    return 2 * Double(tokens) * Double(outputs) * Double(inputs) / best
  }

  private static func timed(_ body: () -> Void) -> Double {
    let clock = ContinuousClock.now
    body()
    return seconds(since: clock)
  }

  private static func seconds(since start: ContinuousClock.Instant) -> Double {
    let elapsed = start.duration(to: .now)
    return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
  }
}
