public import ByteIO
public import Checkpoints
internal import Kernels
public import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// The weights of an opened checkpoint, read when they are asked for.
public struct CheckpointWeights: ModelWeights {
  public let configuration: LlamaConfiguration
  private let path: String
  private let tensors: [TensorRole: LogicalTensor]
  private let precisions: [TensorRole: ActivationPrecision]
  private let threads: Int

  /// - Parameters:
  ///   - emulatingActivations: matrices say what serving does with their activations.
  ///   - threads: that read a matrix together.
  /// - Throws: with `emulatingActivations`, what `activationPrecisions` throws.
  public init(_ checkpoint: Checkpoint, emulatingActivations: Bool = false, threads: Int = 1) throws {
    self.threads = threads
    configuration = checkpoint.configuration
    path = checkpoint.path
    tensors = Dictionary(checkpoint.tensors.map { ($0.role, $0) }, uniquingKeysWith: { first, _ in first })
    precisions = emulatingActivations ? try checkpoint.activationPrecisions() : [:]
  }

  public func matrix(_ role: TensorRole, rows range: Range<Int>?) throws -> WeightMatrix {
    let tensor = try tensor(role)
    let rows = range ?? 0..<tensor.rowCount
    if tensor.isWidened { return try widened(tensor, rows: rows) }
    let size = tensor.rows.rowByteCount
    let bytes = try filled(rows: rows, rowByteCount: size) { try tensor.rows.read(rows: $0, into: &$1) }
    guard let quantization = tensor.quantization else {
      return WeightMatrix(
        rows: rows.count, columns: tensor.columnCount, format: tensor.elementType.floatFormat, bytes: bytes)
    }
    let scheme = quantization.scheme
    let scaleBytes = try quantization.scales.bytes(rows: scheme.scaleRows(for: rows))
    let factors = try WeightScheme.scales(from: scaleBytes, type: quantization.scaleType)
    let scales: WeightMatrix.Scales
    switch scheme {
    case .rowWise: scales = .rowWise(factors)
    case .perTensor: scales = .rowWise(Array(repeating: factors[0], count: rows.count))
    case .block(let height, let width):
      // Whole blocks of rows only: the head, which alone is read in parts, is not quantized in such blocks by any writer.
      guard rows.lowerBound % height == 0 else {
        throw ParseFailure("rows are read from within a block of scales", file: path, item: role.canonicalText)
      }
      scales = .blocks(factors, rows: height, columns: width)
    }
    return WeightMatrix(
      rows: rows.count, columns: tensor.columnCount, format: tensor.elementType.floatFormat, bytes: bytes,
      scales: scales, activations: precision(tensor))
  }

  private func widened(_ tensor: LogicalTensor, rows: Range<Int>) throws -> WeightMatrix {
    let bytes = try filled(rows: rows, rowByteCount: 4 * tensor.columnCount) { rows, bytes in
      bytes.copy(from: NumberFormat.bytes(of: try tensor.values(rows: rows)).span)
    }
    return WeightMatrix(
      rows: rows.count, columns: tensor.columnCount, format: .f32, bytes: bytes, activations: precision(tensor))
  }

  private func precision(_ tensor: LogicalTensor) -> ActivationPrecision { precisions[tensor.role] ?? .float32 }

  /// Bytes that a thread reads at a time, about: reordering and widening take as much memory beside the matrix.
  static let stripeByteCount = 4 << 20

  /// The rows of `range`, read stripe by stripe on several threads.
  private func filled(
    rows range: Range<Int>, rowByteCount: Int,
    _ read: @escaping @Sendable (_ rows: Range<Int>, _ bytes: inout MutableSpan<UInt8>) throws -> Void
  ) throws -> [UInt8] {
    try [UInt8](count: range.count * rowByteCount) { bytes in
      guard rowByteCount > 0, !range.isEmpty else { return }
      // A power of two, so that the heads whose rows are reordered are seldom cut.
      let most = max(1, Self.stripeByteCount / rowByteCount)
      let rowsPerStripe = 1 << (Int.bitWidth - 1 - most.leadingZeroBitCount)
      let failure = Mutex<(any Error)?>(nil)
      Parallel.stripes(of: &bytes, stripe: rowsPerStripe * rowByteCount, threads: threads) { start, part in
        let first = range.lowerBound + start / rowByteCount
        do {
          try read(first..<first + part.count / rowByteCount, &part)
        } catch {
          failure.withLock { $0 = $0 ?? error }
        }
      }
      if let error = failure.withLock({ $0 }) { throw error }
    }
  }

  public func bytesPerRow(_ role: TensorRole) -> Int {
    guard let tensor = try? tensor(role) else { return 0 }
    if tensor.isWidened { return 4 * tensor.columnCount }
    guard let quantization = tensor.quantization else { return tensor.rows.rowByteCount }
    // Scales are widened to binary32; few rows of blocks or one for all are as good as one per row here.
    return tensor.rows.rowByteCount + 4 * max(1, quantization.scaleShape.dimensions.dropFirst().reduce(1, *))
  }

  public func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?) {
    (try? tensor(role))?.advise(advice, rows: rows)
  }

  public func vector(_ role: TensorRole) throws -> [Float] {
    let tensor = try tensor(role)
    let bytes = try tensor.rows.bytes(rows: 0..<tensor.rowCount)
    return NumberFormat.widened(bytes.span.rawBytes, from: tensor.elementType.floatFormat)
  }

  /// A tied head is the embedding.
  private func tensor(_ role: TensorRole) throws(ParseFailure) -> LogicalTensor {
    if let tensor = tensors[role] { return tensor }
    if role == .outputHead, configuration.tiesEmbeddings, let embedding = tensors[.tokenEmbedding] { return embedding }
    throw ParseFailure("the tensor is missing", file: path, item: role.canonicalText)
  }
}

extension LogicalTensor {
  /// Blocks, and what has more to it than scales, are computed with in binary32.
  fileprivate var isWidened: Bool {
    elementType.block != nil
      || quantization.map { $0.adapter != nil || $0.isRotated || $0.zeroPoints != nil || $0.columnGroups != nil }
        == true
  }
}
extension WeightMatrix {
  /// The rows of a tensor with integer codes, as they are stored.
  public init(reading tensor: LogicalTensor) throws {
    guard let quantization = tensor.quantization, !tensor.isWidened else {
      self.init(
        rows: tensor.rowCount, columns: tensor.columnCount, values: try tensor.values(rows: 0..<tensor.rowCount))
      return
    }
    let bytes = try tensor.rows.bytes(rows: 0..<tensor.rowCount)
    let scaleBytes = try quantization.scales.bytes(rows: 0..<quantization.scales.rowCount)
    let factors = try WeightScheme.scales(from: scaleBytes, type: quantization.scaleType)
    let scales: Scales =
      switch quantization.scheme {
      case .rowWise: .rowWise(factors)
      case .perTensor: .rowWise(Array(repeating: factors[0], count: tensor.rowCount))
      case .block(let rows, let columns): .blocks(factors, rows: rows, columns: columns)
      }
    self.init(
      rows: tensor.rowCount, columns: tensor.columnCount, format: tensor.elementType.floatFormat, bytes: bytes,
      scales: scales)
  }
}
