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
  private let layout: OutputLayout

  init(_ checkpoint: Checkpoint, target: TargetType, selection: ModuleSelection, layout: OutputLayout) {
    self.layout = layout
    self.checkpoint = checkpoint
    self.target = target
    self.selection = selection
  }

  func step(for stored: LogicalTensor) throws -> PlannedStep {
    let tensor = layout.takenOver(stored)
    let operation = try operation(for: tensor)
    let name = layout.dialect.name(for: tensor.role)
    let type: ElementType =
      switch operation {
      case .copy: tensor.elementType
      case .convert(let type): type
      case .quantizeFP8: .f8e4m3
      case .quantizeIntegers, .quantizeGroups, .calibrate: .i8
      case .fold: tensor.elementType
      case .quantizeBlocks(let type): .block(type)
      }
    return PlannedStep(
      input: tensor, source: rowOrder(tensor).map { tensor.permuted(by: $0) } ?? tensor,
      rowOrder: rowOrder(tensor), operation: operation,
      columnWeights: try columnWeights(of: tensor, operation, name), weight: try planned(name, type, tensor.shape),
      scale: try scale(for: tensor, operation: operation, weightName: name),
      zeroPoint: try zeroPoint(for: tensor, operation: operation),
      packing: layout.packing(of: tensor, operation),
      companions: try companions(of: tensor, operation))
  }

  private func operation(for tensor: LogicalTensor) throws -> PlannedStep.Operation {
    if let type = layout.elementType(of: tensor) {
      if tensor.elementType == type && tensor.quantization == nil { return .copy }
      if case .block(let block) = type { return .quantizeBlocks(block) }
      return .convert(type)
    }
    switch target {
    case .unchanged, .ggml: return .copy
    case .element(let type):
      return tensor.quantization == nil && tensor.elementType == type ? .copy : .convert(type)
    case .fp8(let recipe):
      guard selection.isQuantized(tensor.role), tensor.quantization == nil else { return .copy }
      return .quantizeFP8(recipe, columns: layout.columnsOfOneScale(tensor.role, columns: tensor.columnCount))
    case .integers, .mixed:
      guard let rounding = layout.rounding else { return .copy }
      guard selection.isQuantized(tensor.role) else {
        let takesFactors = rounding.scalesChannels && tensor.role.layer != nil && !tensor.role.isLinear
        return takesFactors ? .fold : .copy
      }
      switch rounding.recipe(of: tensor.role) {
      case .fp8(let recipe): return .quantizeFP8(recipe, columns: tensor.columnCount)
      case .integers(let quantizer): return quantizer.isFitted ? .calibrate(quantizer) : .quantizeGroups(quantizer)
      case nil:
        let name = NamingDialect.huggingFace.moduleName(of: tensor.role)
        throw ConversionFailure(.usage, "no type has been chosen for \(name); choose for all linears, or add --ignore")
      }
    case .int4Meta:
      guard selection.isQuantized(tensor.role) else { return .copy }
      return .quantizeIntegers(tensor.role.layer == nil ? .int8Rows : .int4Groups(IntegerRecipe.metaGroupSize))
    }
  }

  private func columnWeights(
    of tensor: LogicalTensor, _ operation: PlannedStep.Operation, _ name: String
  ) throws -> [Float]? {
    guard case .quantizeBlocks = operation, let weights = layout.importance?.weights(of: name) else { return nil }
    guard weights.count == tensor.columnCount else {
      throw ConversionFailure(
        .usage,
        "--imatrix: \(name) has \(weights.count) columns there and \(tensor.columnCount) here; it is another model's")
    }
    return weights
  }

  private func scale(
    for tensor: LogicalTensor, operation: PlannedStep.Operation, weightName: String
  ) throws -> PlannedTensor? {
    switch operation {
    case .convert, .quantizeBlocks, .fold: return nil
    case .copy:
      guard let quantization = tensor.quantization else { return nil }
      return try planned(
        layout.scaleName(tensor.role, of: tensor.elementType), quantization.scaleType, quantization.scaleShape)
    case .quantizeFP8(let recipe, let columns):
      return try planned(
        layout.scaleName(tensor.role, of: .f8e4m3), recipe.scaleType(forWeight: tensor.elementType),
        [tensor.rowCount, tensor.columnCount / columns])
    case .quantizeIntegers(let recipe):
      return try planned(
        layout.scaleName(tensor.role, of: .i8), IntegerRecipe.scaleType,
        recipe.scaleShape(rows: tensor.rowCount, columns: tensor.columnCount))
    case .quantizeGroups(let quantizer), .calibrate(let quantizer):
      return try planned(
        layout.scaleName(tensor.role, of: .i8), quantizer.scaleType(forWeight: tensor.elementType),
        [tensor.rowCount, quantizer.grid.groupCount(columns: tensor.columnCount)])
    }
  }

  private func zeroPoint(for tensor: LogicalTensor, operation: PlannedStep.Operation) throws -> PlannedTensor? {
    let groups: Int
    switch operation {
    case .copy:
      guard let quantization = tensor.quantization, let zeroPoints = quantization.zeroPoints else { return nil }
      groups = zeroPoints.rowByteCount
    case .quantizeGroups(let quantizer) where !quantizer.grid.isSymmetric,
      .calibrate(let quantizer) where !quantizer.grid.isSymmetric:
      groups = quantizer.grid.groupCount(columns: tensor.columnCount)
    default: return nil
    }
    return try planned(layout.zeroPointName(tensor.role), .i8, [tensor.rowCount, groups])
  }

  private func companions(
    of tensor: LogicalTensor, _ operation: PlannedStep.Operation
  ) throws -> [(rows: RowExpression, tensor: PlannedTensor)] {
    if case .quantizeFP8(.fp8Static, _) = operation {
      // Known when calibration is done.
      let name = layout.dialect.companionName(of: tensor.role, suffix: PlannedStep.activationScaleSuffix)
      return [(.zeros(rowCount: 1, rowByteCount: 2), try planned(name, .bf16, [1]))]
    }
    guard operation == .copy, let quantization = tensor.quantization else { return [] }
    var companions = try quantization.companions.map { stored in
      // What it is called behind the module's name is the same in all layouts that have it.
      let suffix = stored.tensor.name.split(separator: ".").last.map(String.init) ?? ""
      return (
        rows: RowExpression.stored(stored),
        tensor: try planned(
          layout.dialect.companionName(of: tensor.role, suffix: suffix), stored.tensor.elementType, stored.tensor.shape)
      )
    }
    if layout.layout == .compact, let groups = quantization.columnGroups {
      companions.append(
        (
          .bytes(GroupIndex.bytes(of: groups), rowByteCount: 4),
          try planned(CompactNames.groupIndexName(of: tensor.role), .i32, [groups.count])
        ))
    }
    if let adapter = quantization.adapter {
      let names = layout.adapterNames(of: tensor.role)
      companions.append(
        (.stored(adapter.a), try planned(names.a, adapter.a.tensor.elementType, adapter.a.tensor.shape)))
      companions.append((adapter.b, try planned(names.b, adapter.bType, [tensor.rowCount, adapter.rank])))
    }
    return companions
  }

  private func planned(_ name: String, _ type: ElementType, _ shape: Shape) throws -> PlannedTensor {
    PlannedTensor(name: name, elementType: type, shape: shape, byteCount: try shape.byteCount(of: type))
  }

  /// From canonical rows to the order of the output's dialect.
  private func rowOrder(_ tensor: LogicalTensor) -> RowPermutation? {
    let dimension = checkpoint.configuration.headDimension
    return layout.dialect.rowOrder(of: tensor.role, headDimension: dimension)?.inverse
  }
}
