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
}

/// How the codes of a quantized weight become values: code times scale.
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

  public init(
    scheme: WeightScheme, scales: RowExpression, scaleType: ElementType, scaleShape: Shape,
    activations: ActivationScheme, companions: [StoredRows] = []
  ) {
    self.scheme = scheme
    self.scales = scales
    self.scaleType = scaleType
    self.scaleShape = scaleShape
    self.activations = activations
    self.companions = companions
  }
}
