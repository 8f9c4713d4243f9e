internal import Checkpoints
internal import ByteIO
internal import Llama
internal import Quantization
internal import Tensors

/// Decides the operation for each logical tensor and names what is written, in the output's dialect.
struct StepBuilder {
  private let checkpoint: Checkpoint
  private let target: TargetType
  private let selection: ModuleSelection
  private let dialect: NamingDialect

  /// - Parameter dialect: of the output.
  init(_ checkpoint: Checkpoint, target: TargetType, selection: ModuleSelection, dialect: NamingDialect) {
    self.dialect = dialect
    self.checkpoint = checkpoint
    self.target = target
    self.selection = selection
  }

  func step(for tensor: LogicalTensor) throws -> PlannedStep {
    let operation = try operation(for: tensor)
    let name = dialect.name(for: tensor.role)
    let type: ElementType =
      switch operation {
      case .copy: tensor.elementType
      case .convert(let type): type
      case .quantizeFP8: .f8e4m3
      }
    return PlannedStep(
      input: tensor,
      rows: inOutputOrder(tensor.rows, role: tensor.role),
      scales: tensor.quantization.map { quantization in
        quantization.scheme.isRowWise ? inOutputOrder(quantization.scales, role: tensor.role) : quantization.scales
      },
      operation: operation,
      weight: try planned(name, type, tensor.shape),
      scale: try scale(for: tensor, operation: operation, weightName: name),
      companions: operation == .copy ? try companions(of: tensor) : [])
  }

  private func operation(for tensor: LogicalTensor) throws -> PlannedStep.Operation {
    switch target {
    case .unchanged: return .copy
    case .element(let type):
      return tensor.quantization == nil && tensor.elementType == type ? .copy : .convert(type)
    case .fp8(let recipe):
      guard selection.isQuantized(tensor.role) else { return .copy }
      return .quantizeFP8(recipe)
    }
  }

  private func scale(
    for tensor: LogicalTensor, operation: PlannedStep.Operation, weightName: String
  ) throws -> PlannedTensor? {
    switch operation {
    case .convert: return nil
    case .copy:
      guard let quantization = tensor.quantization, let stored = quantization.scales.storedTensors.first else {
        return nil
      }
      // The reader knew the scale by this name, and so will the next one.
      return try planned(stored.tensor.name, quantization.scaleType, quantization.scaleShape)
    case .quantizeFP8(let recipe):
      return try planned(
        weightName + "_scale", recipe.scaleType(forWeight: tensor.elementType), [tensor.rowCount, 1])
    }
  }

  private func companions(of tensor: LogicalTensor) throws -> [(source: StoredRows, tensor: PlannedTensor)] {
    try (tensor.quantization?.companions ?? []).map {
      ($0, try planned($0.tensor.name, $0.tensor.elementType, $0.tensor.shape))
    }
  }

  private func planned(_ name: String, _ type: ElementType, _ shape: Shape) throws -> PlannedTensor {
    PlannedTensor(name: name, elementType: type, shape: shape, byteCount: try shape.byteCount(of: type))
  }

  /// Canonical rows in the order of the output's dialect.
  private func inOutputOrder(_ rows: RowExpression, role: TensorRole) -> RowExpression {
    guard let permutation = dialect.rowOrder(of: role, headDimension: checkpoint.configuration.headDimension) else {
      return rows
    }
    return rows.permuted(by: permutation.inverse)
  }
}
