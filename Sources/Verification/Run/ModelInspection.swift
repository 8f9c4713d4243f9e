internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// The digests of both models and the signal-to-quantization-noise ratio of every tensor that both have, on dequantized
/// values. Both are found in one reading, layer by layer just behind the forward pass, whose bytes are then still in the
/// system's page cache: a model that is larger than memory is fetched from the disk once and not three times.
final class ModelInspection: Sendable {
  private let base: Checkpoint
  private let candidate: Checkpoint?
  private let threads: Int
  private let check: @Sendable () throws -> Void
  private let found = Mutex(Found())

  private struct Found {
    var base: [TensorRole: String] = [:]
    var candidate: [TensorRole: String] = [:]
    /// Decibels.
    var ratios: [TensorRole: Double] = [:]
  }

  private static let tileElements = 1 << 18

  init(_ base: Checkpoint, _ candidate: Checkpoint?, threads: Int, check: @escaping @Sendable () throws -> Void) {
    self.base = base
    self.candidate = candidate
    self.threads = threads
    self.check = check
  }

  /// Inspects the tensors of a layer, or with nil those that belong to none.
  func inspect(layer: Int?) throws {
    var pairs = base.tensors.filter { $0.role.layer == layer }.map {
      ($0 as LogicalTensor?, candidate?.tensor($0.role))
    }
    pairs += (candidate?.tensors ?? []).filter { $0.role.layer == layer && base.tensor($0.role) == nil }.map {
      (nil, $0)
    }
    func size(_ pair: (LogicalTensor?, LogicalTensor?)) -> Int {
      (pair.0?.storedByteCount ?? 0) + (pair.1?.storedByteCount ?? 0)
    }
    // Large ones first, so that no thread is left alone with one at the end.
    let order = pairs.sorted { size($0) > size($1) }
    try Parallel.forEach(count: order.count, threads: threads) { index in
      let (left, right) = order[index]
      if let left, let right, left.shape == right.shape { return try compare(left, right) }
      let one = try left.map { tensor in try tensor.digest { _ in try check() } }
      let other = try right.map { tensor in try tensor.digest { _ in try check() } }
      found.withLock { found in
        if let left { found.base[left.role] = one }
        if let right { found.candidate[right.role] = other }
      }
    }
  }

  private func compare(_ left: LogicalTensor, _ right: LogicalTensor) throws {
    var (one, other) = (TensorDigest(left), TensorDigest(right))
    var sums = (off: 0.0, whole: 0.0)
    let step = max(1, Self.tileElements / max(left.columnCount, 1))
    for start in stride(from: 0, to: left.rowCount, by: step) {
      try check()
      let rows = start..<min(start + step, left.rowCount)
      func values(_ tensor: LogicalTensor, _ digest: inout TensorDigest) throws -> [Float] {
        let bytes = try tensor.rows.bytes(rows: rows)
        digest.take(bytes[...])
        return try tensor.values(of: bytes, rows: rows)
      }
      let (a, b) = (try values(left, &one), try values(right, &other))
      RowMath.addDifference(a.span, b.span, width: left.columnCount, to: &sums, threads: 1)
    }
    let ratio = sums.off == 0 ? .infinity : 10 * Logarithms.decimal(sums.whole / sums.off)
    let digests = (try one.finished(), try other.finished())
    found.withLock { found in
      found.base[left.role] = digests.0
      found.candidate[left.role] = digests.1
      found.ratios[left.role] = ratio
    }
  }

  // MARK: Results

  /// The models' names in the report. All tensors have been inspected.
  func identities() throws -> (base: ModelIdentity, candidate: ModelIdentity?) {
    let found = found.withLock { $0 }
    func identity(_ model: Checkpoint, _ digests: [TensorRole: String]) throws -> ModelIdentity {
      ModelIdentity(
        path: model.path, layout: model.layout.rawValue, digest: try model.digest(of: digests).model)
    }
    return (try identity(base, found.base), try candidate.map { try identity($0, found.candidate) })
  }

  /// In model order; tensors that both models have in the same shape.
  var errors: [TensorError] {
    let ratios = found.withLock { $0.ratios }
    return base.tensors.compactMap { tensor in
      ratios[tensor.role].map {
        TensorError(name: NamingDialect.huggingFace.name(for: tensor.role), sqnrDecibels: $0)
      }
    }
  }
}
