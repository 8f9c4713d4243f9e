public import Llama
public import Quantization
public import Tensors

/// What a role's values are: rows in canonical order, and how quantized codes become values.
public struct LogicalTensor: Sendable {
  public let role: TensorRole
  /// `[out, in]` of a matrix, `[hidden]` of a norm: of the whole model, not of a shard.
  public let shape: Shape
  /// As stored. For quantized weights the type of the codes.
  public let elementType: ElementType
  /// The stored rows; query and key rows in canonical order, Meta's interleaved pairs.
  public let rows: RowExpression
  public let quantization: StoredQuantization?

  public init(
    role: TensorRole, shape: Shape, elementType: ElementType, rows: RowExpression,
    quantization: StoredQuantization? = nil
  ) {
    self.role = role
    self.shape = shape
    self.elementType = elementType
    self.rows = rows
    self.quantization = quantization
  }

  /// Elements of one row; 1 for a vector, whose rows are its elements.
  public var columnCount: Int { shape.rank < 2 ? 1 : shape.dimensions.dropFirst().reduce(1, *) }
  public var rowCount: Int { shape.rows }

  /// Type of the codes and scheme of their scales, such as `BF16`, `F8_E4M3 row`, `int4 block 1x128`.
  public var storageText: String {
    guard let quantization else { return elementType.rawValue }
    let codes = elementType == .f8e4m3 ? elementType.rawValue : "int\(quantization.bits)"
    return "\(codes) \(quantization.scheme.canonicalText)"
  }

  /// All stored tensors that the tensor and its quantization are read from.
  public var storedTensors: [StoredRows] {
    guard let quantization else { return rows.storedTensors }
    let adapter = quantization.adapter.map { [$0.a] + $0.b.storedTensors } ?? []
    return rows.storedTensors + quantization.scales.storedTensors + (quantization.zeroPoints?.storedTensors ?? [])
      + quantization.companions + adapter
  }

  /// The tensor with its rows, and what belongs to rows, in another order.
  public func permuted(by permutation: RowPermutation) -> LogicalTensor {
    LogicalTensor(
      role: role, shape: shape, elementType: elementType, rows: rows.permuted(by: permutation),
      quantization: quantization.map { quantization in
        StoredQuantization(
          scheme: quantization.scheme,
          scales: quantization.scheme.hasRowsOfScales
            ? quantization.scales.permuted(by: permutation) : quantization.scales,
          scaleType: quantization.scaleType, scaleShape: quantization.scaleShape,
          activations: quantization.activations, companions: quantization.companions,
          adapter: quantization.adapter.map {
            LowRankAdapter(a: $0.a, b: $0.b.permuted(by: permutation), bType: $0.bType, factor: $0.factor)
          }, isRotated: quantization.isRotated, bits: quantization.bits,
          zeroPoints: quantization.zeroPoints?.permuted(by: permutation), columnGroups: quantization.columnGroups)
      })
  }
}

/// A low-rank update beside a quantized weight (LoRA, arXiv:2106.09685): factor · B · A.
public struct LowRankAdapter: Sendable {
  /// `[rank, in]`
  public let a: StoredRows
  /// `[out, rank]`, in the weight's canonical row order.
  public let b: RowExpression
  public let bType: ElementType
  public let factor: Double

  public init(a: StoredRows, b: RowExpression, bType: ElementType, factor: Double) {
    self.a = a
    self.b = b
    self.bType = bType
    self.factor = factor
  }

  public var rank: Int { a.rowCount }
}

/// How the codes of a quantized weight become values: code, less a zero point where there are such, times scale.
public struct StoredQuantization: Sendable {
  public let scheme: WeightScheme
  /// The stored scales. Row-wise scales are in the weight's canonical row order.
  public let scales: RowExpression
  public let scaleType: ElementType
  public let scaleShape: Shape
  /// What serving does with the activations of this matrix.
  public let activations: ActivationScheme
  /// What else is stored with the weight, such as the activations' scale: carried over with the codes.
  public let companions: [StoredRows]
  /// What is added to codes times scales.
  public let adapter: LowRankAdapter?
  /// Codes times scales are the weight behind a rotation of its input (SpinQuant's R4): the weight itself is their product
  /// with the normalized Hadamard matrix of a row's length.
  public let isRotated: Bool
  /// Of a code: integers may fill less than the byte they have here.
  public let bits: Int
  /// int8, one for each scale, in the shape and order of the scales; nil where all are 0.
  public let zeroPoints: RowExpression?
  /// For each column its group, where groups are not runs of columns (activation order).
  public let columnGroups: [Int32]?

  public init(
    scheme: WeightScheme, scales: RowExpression, scaleType: ElementType, scaleShape: Shape,
    activations: ActivationScheme, companions: [StoredRows] = [], adapter: LowRankAdapter? = nil,
    isRotated: Bool = false, bits: Int = 8, zeroPoints: RowExpression? = nil, columnGroups: [Int32]? = nil
  ) {
    self.bits = bits
    self.zeroPoints = zeroPoints
    self.columnGroups = columnGroups
    self.adapter = adapter
    self.isRotated = isRotated
    self.scheme = scheme
    self.scales = scales
    self.scaleType = scaleType
    self.scaleShape = scaleShape
    self.activations = activations
    self.companions = companions
  }
}
