public import ByteIO
public import Checkpoints
internal import Kernels
public import Llama
internal import Quantization
internal import Tensors

/// The weights of an opened checkpoint, read when they are asked for.
public struct CheckpointWeights: ModelWeights {
  public let configuration: LlamaConfiguration
  private let path: String
  private let tensors: [TensorRole: LogicalTensor]

  /// - Throws: `ParseFailure` when `emulatingActivations` is asked for and the model's activation treatment is none that
  ///   can be emulated.
  public init(_ checkpoint: Checkpoint, emulatingActivations: Bool = false) throws(ParseFailure) {
    configuration = checkpoint.configuration
    path = checkpoint.path
    tensors = Dictionary(checkpoint.tensors.map { ($0.role, $0) }, uniquingKeysWith: { first, _ in first })
    guard emulatingActivations else { return }
    for tensor in checkpoint.tensors {
      switch tensor.quantization?.activations {
      case nil, ActivationScheme.none?, .dynamicPerToken?: continue
      case .dynamicPerGroup?, .staticPerTensor?, .dynamicInt8PerToken?:
        throw ParseFailure(
          "the model's activations are quantized per group, to integers or with stored scales; emulated are dynamic per-token FP8 ones",
          file: checkpoint.path, advice: "leave --emulate out")
      }
    }
  }

  public func matrix(_ role: TensorRole, rows range: Range<Int>?) throws -> WeightMatrix {
    let tensor = try tensor(role)
    let rows = range ?? 0..<tensor.rowCount
    if tensor.elementType.block != nil {
      return WeightMatrix(rows: rows.count, columns: tensor.columnCount, values: try tensor.values(rows: rows))
    }
    let bytes = try tensor.rows.bytes(rows: rows)
    guard let quantization = tensor.quantization else {
      return WeightMatrix(
        rows: rows.count, columns: tensor.columnCount, format: tensor.elementType.floatFormat, bytes: bytes)
    }
    guard quantization.adapter == nil && !quantization.isRotated else {
      return WeightMatrix(rows: rows.count, columns: tensor.columnCount, values: try tensor.values(rows: rows))
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
      scales: scales, activations: quantization.precision)
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

extension StoredQuantization {
  fileprivate var precision: ActivationPrecision {
    guard case .dynamicPerToken(let bound) = activations else { return .float32 }
    return .fp8PerToken(upperBound: bound)
  }
}
