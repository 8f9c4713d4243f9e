internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// Signal-to-quantization-noise ratio of every tensor that both models have, on dequantized values.
enum TensorComparison {
  private static let tileElements = 1 << 18

  /// In model order, linear modules and embeddings only.
  static func run(
    _ base: Checkpoint, _ candidate: Checkpoint, threads: Int, _ check: @escaping @Sendable () throws -> Void
  ) throws -> [TensorError] {
    let pairs = base.tensors.compactMap { tensor in
      candidate.tensor(tensor.role).flatMap { $0.shape == tensor.shape ? (tensor, $0) : nil }
    }
    let found = Mutex<[Int: Double]>([:])
    try Parallel.forEach(count: pairs.count, threads: threads) { index in
      let (left, right) = pairs[index]
      var sums = (off: 0.0, whole: 0.0)
      let step = max(1, tileElements / max(left.columnCount, 1))
      for start in stride(from: 0, to: left.rowCount, by: step) {
        try check()
        let rows = start..<min(start + step, left.rowCount)
        let one = try left.values(rows: rows)
        let other = try right.values(rows: rows)
        RowMath.addDifference(one.span, other.span, width: left.columnCount, to: &sums, threads: 1)
      }
      let ratio = sums.off == 0 ? .infinity : 10 * Logarithms.decimal(sums.whole / sums.off)
      found.withLock { $0[index] = ratio }
    }
    let ratios = found.withLock { $0 }
    return pairs.enumerated().map {
      TensorError(name: NamingDialect.huggingFace.name(for: $1.0.role), sqnrDecibels: ratios[$0] ?? .infinity)
    }
  }
}
