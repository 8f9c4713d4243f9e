internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// The digests of all models and the signal-to-quantization-noise ratio of every tensor that a candidate has as the base
/// has it, on dequantized values. Both are found in one reading, layer by layer just behind the forward pass, whose bytes
/// are then still in the system's page cache: a model that is larger than memory is fetched from the disk once and not three times.
final class ModelInspection: Sendable {
  private let base: Checkpoint
  private let candidates: [Checkpoint]
  private let threads: Int
  private let check: @Sendable () throws -> Void
  private let found: Mutex<Found>

  private struct Found {
    var base: [TensorRole: String] = [:]
    /// Of each candidate.
    var candidates: [[TensorRole: String]]
    /// Decibels, of each candidate.
    var ratios: [[TensorRole: Double]]
  }

  private static let tileElements = 1 << 18

  init(_ base: Checkpoint, _ candidates: [Checkpoint], threads: Int, check: @escaping @Sendable () throws -> Void) {
    self.base = base
    self.candidates = candidates
    self.threads = threads
    self.check = check
    found = Mutex(
      Found(
        candidates: Array(repeating: [:], count: candidates.count),
        ratios: Array(repeating: [:], count: candidates.count)))
  }

  /// Inspects all tensors, for those who do not go through the layers first.
  func inspectAll() throws {
    let layers = ([base] + candidates).flatMap { $0.tensors.compactMap(\.role.layer) }
    for layer in 0..<((layers.max() ?? -1) + 1) { try inspect(layer: layer) }
    try inspect(layer: nil)
  }

  /// What keeps a candidate from being the base: tensors with other values, or that only one has; the tokenizer. Structure
  /// is compared elsewhere.
  /// - Parameter number: of the candidate.
  func losses(of number: Int) throws -> [String] {
    let found = found.withLock { $0 }
    let candidate = candidates[number]
    var losses: [String] = []
    for tensor in base.tensors {
      let role = tensor.role
      guard let other = found.candidates[number][role] else {
        if role != .outputHead { losses.append("\(role.canonicalText) is missing from the candidate") }
        continue
      }
      // Equal values in another element type lose nothing.
      if found.base[role] != other, found.ratios[number][role] != .infinity {
        losses.append("\(role.canonicalText) differs")
      }
    }
    for tensor in candidate.tensors where base.tensor(tensor.role) == nil && tensor.role != .outputHead {
      losses.append("\(tensor.role.canonicalText) is not in the base")
    }
    if let one = try base.tokenizerDigest(), let other = try candidate.tokenizerDigest(), one != other {
      losses.append("the tokenizer differs")
    }
    return losses
  }

  /// Tensors of a candidate, or of the base beside it, that hold a value that is not finite.
  /// - Parameter number: of the candidate.
  func damage(of number: Int) -> [String] {
    errors(of: number).filter { $0.sqnrDecibels.isNaN }.map { "\($0.name) holds values that are NaN or infinite" }
  }

  /// Inspects the tensors of a layer, or with nil those that belong to none.
  func inspect(layer: Int?) throws {
    let models = [base] + candidates
    var roles: [TensorRole] = []
    for model in models {
      for tensor in model.tensors where tensor.role.layer == layer && !roles.contains(tensor.role) {
        roles.append(tensor.role)
      }
    }
    let size = Dictionary(
      roles.map { role in (role, models.reduce(0) { $0 + ($1.tensor(role)?.storedByteCount ?? 0) }) }
    ) { first, _ in first }
    // Large ones first, so that no thread is left alone with one at the end.
    let order = roles.sorted { size[$0, default: 0] > size[$1, default: 0] }
    try Parallel.forEach(count: order.count, threads: threads) { index in
      let role = order[index]
      let left = base.tensor(role)
      let compared = candidates.indices.filter { candidates[$0].tensor(role)?.shape == left?.shape && left != nil }
      if let left { try compare(left, with: compared) }
      for number in candidates.indices where !compared.contains(number) {
        guard let tensor = candidates[number].tensor(role) else { continue }
        let digest = try tensor.digest { _ in try check() }
        found.withLock { $0.candidates[number][role] = digest }
      }
    }
  }

  /// Reads a tensor of the base and those of candidates, all of one shape, tile by tile.
  private func compare(_ left: LogicalTensor, with numbers: [Int]) throws {
    let others = numbers.compactMap { candidates[$0].tensor(left.role) }
    var one = TensorDigest(left)
    var digests = others.map { TensorDigest($0) }
    var sums = others.map { _ in (off: 0.0, whole: 0.0) }
    let step = max(1, Self.tileElements / max(left.columnCount, 1))
    for start in stride(from: 0, to: left.rowCount, by: step) {
      try check()
      let rows = start..<min(start + step, left.rowCount)
      let bytes = try left.rows.bytes(rows: rows)
      one.take(bytes[...])
      guard !others.isEmpty else { continue }
      let a = try left.values(of: bytes, rows: rows)
      for (index, tensor) in others.enumerated() {
        let bytes = try tensor.rows.bytes(rows: rows)
        digests[index].take(bytes[...])
        let b = try tensor.values(of: bytes, rows: rows)
        RowMath.addDifference(a.span, b.span, width: left.columnCount, to: &sums[index], threads: 1)
      }
    }
    let digest = try one.finished()
    let theirs = try digests.indices.map { try digests[$0].finished() }
    found.withLock { found in
      found.base[left.role] = digest
      for (index, number) in numbers.enumerated() {
        found.candidates[number][left.role] = theirs[index]
        found.ratios[number][left.role] =
          sums[index].off == 0 ? .infinity : 10 * Logarithms.decimal(sums[index].whole / sums[index].off)
      }
    }
  }

  // MARK: Results

  /// The models' names in the report. All tensors have been inspected.
  func identities() throws -> (base: ModelIdentity, candidates: [ModelIdentity]) {
    let found = found.withLock { $0 }
    func identity(_ model: Checkpoint, _ digests: [TensorRole: String]) throws -> ModelIdentity {
      ModelIdentity(
        path: model.path, layout: model.layout.rawValue, digest: try model.digest(of: digests).model)
    }
    return (
      try identity(base, found.base), try zip(candidates, found.candidates).map { try identity($0, $1) }
    )
  }

  /// Tensors of the base that a candidate has with other values, or not at all.
  func differing(from number: Int) -> Set<TensorRole> {
    let ratios = found.withLock { $0.ratios[number] }
    return Set(base.tensors.map(\.role).filter { ratios[$0] != .infinity })
  }

  /// In model order; tensors that both models have in the same shape.
  /// - Parameter number: of the candidate.
  func errors(of number: Int) -> [TensorError] {
    let ratios = found.withLock { $0.ratios[number] }
    return base.tensors.compactMap { tensor in
      ratios[tensor.role].map {
        TensorError(
          name: NamingDialect.huggingFace.name(for: tensor.role), sqnrDecibels: $0,
          storage: candidates[number].tensor(tensor.role)?.storageText)
      }
    }
  }
}
