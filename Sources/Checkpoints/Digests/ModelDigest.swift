public import ByteIO
internal import Kernels
public import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// Digests that do not depend on the layout: equal for two checkpoints exactly when their tensors, configuration and
/// tokenizer mean the same, whatever the container, the row order of queries and keys, or the sharding.
public struct ModelDigest: Sendable, Equatable {
  public struct Tensor: Sendable, Equatable {
    public let role: TensorRole
    /// SHA-256 over role, element type, shape and canonical bytes.
    public let digest: String
  }

  /// In canonical role order.
  public let tensors: [Tensor]
  public let configuration: String
  /// Nil when the checkpoint holds no tokenizer.
  public let tokenizer: String?

  public init(tensors: [Tensor], configuration: String, tokenizer: String?) {
    self.tensors = tensors
    self.configuration = configuration
    self.tokenizer = tokenizer
  }

  /// The digest of the whole: over the tensors' digests sorted by role text, the configuration's and the tokenizer's.
  public var model: String {
    var sum = SHA256Sum()
    sum.update("llama-model/1\n")
    for line in tensors.map({ "\($0.role.canonicalText) \($0.digest)\n" }).sorted(by: Self.byteOrder) {
      sum.update(line)
    }
    sum.update("configuration \(configuration)\ntokenizer \(tokenizer ?? "none")\n")
    return sum.hexadecimal()
  }

  private static func byteOrder(_ left: String, _ right: String) -> Bool {
    left.utf8.lexicographicallyPrecedes(right.utf8)
  }
}

extension LogicalTensor {
  /// SHA-256 over role, element type, shape and canonical bytes; for a quantized weight over codes and scales.
  /// - Parameters:
  ///   - rowsPerVisit: how many rows `visit` is lent at a time, the last ones apart; nil for about a MiB of them.
  ///   - progress: told the bytes read; may throw to stop.
  ///   - visit: lent the stored rows of the weight, in canonical order, while they are in the processor's cache.
  public func digest(
    rowsPerVisit: Int? = nil,
    progress: (_ bytes: Int) throws -> Void = { _ in },
    visit: (_ rows: Range<Int>, _ bytes: ArraySlice<UInt8>) throws -> Void = { _, _ in }
  ) throws -> String {
    var digest = TensorDigest(self)
    try TensorDigest.forEachTile(of: rows, rowsPerVisit: rowsPerVisit) { range, bytes in
      digest.take(bytes)
      try visit(range, bytes)
      try progress(bytes.count)
    }
    return try digest.finished(progress: progress)
  }
}

/// The digest of one tensor in the making, for those who read its rows anyway.
public struct TensorDigest {
  /// Bytes hashed at a time.
  private static let tileByteCount = 1 << 20
  /// Rows of a tile where they are long: those of a head, which are reordered among themselves, are then read once.
  private static let tileRows = 128
  private static let longTileByteCount = 8 << 20
  private let tensor: LogicalTensor
  private var sum = SHA256Sum()

  public init(_ tensor: LogicalTensor) {
    self.tensor = tensor
    let extents = tensor.shape.dimensions.map(String.init).joined(separator: "x")
    sum.update("llama-tensor/1\n\(tensor.role.canonicalText)\n\(tensor.elementType) \(extents)\n")
  }

  /// Takes the next stored rows, in canonical order and as `rows` of the tensor gives them.
  public mutating func take(_ bytes: ArraySlice<UInt8>) { sum.update(bytes) }

  /// Reads what belongs to the rows (scales above all) and gives the digest, hexadecimal. All rows have been taken.
  /// - Parameter progress: told the bytes read; may throw to stop.
  public consuming func finished(progress: (_ bytes: Int) throws -> Void = { _ in }) throws -> String {
    if let quantization = tensor.quantization {
      let extents = quantization.scaleShape.dimensions.map(String.init).joined(separator: "x")
      sum.update("\nscale \(quantization.scheme.canonicalText) \(quantization.scaleType) \(extents)\n")
      try add(quantization.scales, progress)
      if let zeroPoints = quantization.zeroPoints {
        sum.update("\nzero points\n")
        try add(zeroPoints, progress)
      }
      if let groups = quantization.columnGroups {
        sum.update("\ngroups \(groups.map(String.init).joined(separator: " "))\n")
      }
      for companion in quantization.companions {
        let tensor = companion.tensor
        let kind = tensor.name.split(separator: ".").last ?? ""
        sum.update(
          "\n\(kind) \(tensor.elementType) \(tensor.shape.dimensions.map(String.init).joined(separator: "x"))\n")
        try add(.stored(companion), progress)
      }
      if let adapter = quantization.adapter {
        sum.update("\nadapter \(adapter.factor) \(adapter.rank) \(adapter.a.tensor.elementType) \(adapter.bType)\n")
        try add(.stored(adapter.a), progress)
        try add(adapter.b, progress)
      }
      if quantization.isRotated { sum.update("\nrotated\n") }
    }
    return sum.hexadecimal()
  }

  private mutating func add(_ rows: RowExpression, _ progress: (Int) throws -> Void) throws {
    try Self.forEachTile(of: rows, rowsPerVisit: nil) { _, bytes in
      sum.update(bytes)
      try progress(bytes.count)
    }
  }

  fileprivate static func forEachTile(
    of rows: RowExpression, rowsPerVisit: Int?, _ body: (Range<Int>, ArraySlice<UInt8>) throws -> Void
  ) throws {
    guard rows.rowByteCount > 0 else { return }
    let rowsPerTile =
      rowsPerVisit
      ?? max(1, tileByteCount / rows.rowByteCount, min(tileRows, longTileByteCount / rows.rowByteCount))
    var buffer = [UInt8](repeating: 0, count: min(rowsPerTile, rows.rowCount) * rows.rowByteCount)
    var row = 0
    while row < rows.rowCount {
      let end = min(row + rowsPerTile, rows.rowCount)
      let count = (end - row) * rows.rowByteCount
      var span = buffer.mutableSpan
      var part = span.part(0..<count)
      try rows.read(rows: row..<end, into: &part)
      try body(row..<end, buffer[0..<count])
      row = end
    }
  }
}

extension Checkpoint {
  /// All digests, computed on `threads` threads. Tensors are read once.
  /// - Parameters:
  ///   - rowsPerVisit: for a tensor, how many rows `visit` is lent at a time.
  ///   - beside: called once, by a thread of its own where there are several; told whether tensors are left to be begun.
  ///   - visit: lent the rows of each tensor as they are read, as `LogicalTensor.digest` lends them; called from several
  ///     threads.
  public func digest(
    threads: Int, progress: @Sendable (_ bytes: Int) throws -> Void = { _ in },
    rowsPerVisit: @Sendable (_ tensor: Int) -> Int? = { _ in nil },
    beside: @Sendable (_ isBusy: () -> Bool) throws -> Void = { _ in },
    visit: @Sendable (_ tensor: Int, _ rows: Range<Int>, _ bytes: ArraySlice<UInt8>) throws -> Void = { _, _, _ in }
  ) throws -> ModelDigest {
    // Large tensors first, so that no thread is left alone with the embedding at the end.
    let order = tensors.indices.sorted {
      (tensors[$1].storedByteCount, $0) < (tensors[$0].storedByteCount, $1)
    }
    let digests = Mutex<[Int: String]>([:])
    let tokenizer = Mutex<String?>(nil)
    let begun = Atomic<Int>(0)
    try Parallel.forEach(count: 2 + order.count, threads: threads) { position in
      if position == 0 { return try beside { threads > 1 && begun.load(ordering: .relaxed) < order.count } }
      if position == 1 {
        let digest = try tokenizerDigest()
        return tokenizer.withLock { $0 = digest }
      }
      let index = order[position - 2]
      begun.add(1, ordering: .relaxed)
      let digest = try tensors[index].digest(rowsPerVisit: rowsPerVisit(index), progress: progress) {
        try visit(index, $0, $1)
      }
      digests.withLock { $0[index] = digest }
    }
    let found = digests.withLock { $0 }
    return ModelDigest(
      tensors: tensors.enumerated().map { .init(role: $1.role, digest: found[$0] ?? "") },
      configuration: SHA256Sum.hexadecimal(of: Array(configuration.canonicalText.utf8)),
      tokenizer: tokenizer.withLock { $0 })
  }
}

extension Checkpoint {
  /// Whether both have a tokenizer in a GGUF's keys, and the same: then both digests of it are equal without being computed.
  public func hasTokenizerKeys(of other: Checkpoint) -> Bool {
    tokenizerKeys.map { $0 == other.tokenizerKeys } ?? false
  }
}

extension Checkpoint {
  /// The model's digest from those of its tensors, computed elsewhere.
  /// - Parameter digests: of every tensor.
  public func digest(of digests: [TensorRole: String]) throws -> ModelDigest {
    ModelDigest(
      tensors: tensors.map { tensor in
        guard let digest = digests[tensor.role] else { preconditionFailure("every tensor has a digest") }
        return .init(role: tensor.role, digest: digest)
      },
      configuration: SHA256Sum.hexadecimal(of: Array(configuration.canonicalText.utf8)),
      tokenizer: try tokenizerDigest())
  }
}

extension LogicalTensor {
  /// Tells the system what becomes of the tensor's bytes and its scales'.
  /// - Parameter range: all rows when nil.
  public func advise(_ advice: ReadingAdvice, rows range: Range<Int>? = nil) {
    rows.advise(advice, rows: range ?? 0..<rowCount)
    guard let quantization else { return }
    quantization.scales.advise(
      advice, rows: range.map { quantization.scheme.scaleRows(for: $0) } ?? 0..<quantization.scales.rowCount)
  }

  /// Bytes that the tensor and its scales take in the checkpoint.
  public var storedByteCount: Int {
    rows.rowCount * rows.rowByteCount
      + (quantization.map { $0.scales.rowCount * $0.scales.rowByteCount } ?? 0)
  }
}

extension ModelDigest {
  /// For `digest --json`.
  public var document: JSONValue {
    [
      "schema": "llama-digest/1",
      "model": .string(model),
      "configuration": .string(configuration),
      "tokenizer": tokenizer.map { .string($0) } ?? .null,
      "tensors": .array(
        tensors.map { ["role": .string($0.role.canonicalText), "sha256": .string($0.digest)] }),
    ]
  }

  /// One line per digest, the model's first.
  public func summary(withTensors: Bool) -> String {
    var lines = ["\(model)  model", "\(configuration)  configuration", "\(tokenizer ?? "none")  tokenizer"]
    if withTensors { lines += tensors.map { "\($0.digest)  \($0.role.canonicalText)" } }
    return lines.joined(separator: "\n") + "\n"
  }
}
