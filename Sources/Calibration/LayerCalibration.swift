internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

/// One layer: its linears are rounded in the order in which text meets them, each fitted to what the ones before it, already
/// rounded, make of the text.
struct LayerCalibration {
  let layer: Int
  let tensors: [TensorRole: LogicalTensor]
  let linears: FittedLinears
  let settings: CalibrationSettings
  let configuration: LlamaConfiguration

  /// The linears that are fitted.
  var selected: Set<TensorRole> { linears.selected }

  /// - Parameters:
  ///   - stream: at the layer's start; behind it in the end.
  ///   - weights: the layer's are replaced by what became of them.
  /// - Returns: all that changed.
  func run(_ stream: inout CalibrationStream, _ weights: inout SubstitutedWeights) throws -> [CalibratedWeight] {
    var results: [CalibratedWeight] = []
    var folding = ChannelFolding()
    if settings.quantizer.scalesChannels {
      folding =
        try settings.quantizer.smoothing.map {
          try ActivationSmoothing(layer: self, alpha: $0).folding(stream, weights)
        }
        ?? ChannelFoldingSearch(layer: self).folding(stream, weights)
      for (role, norm) in folding.norms {
        weights.replace(role, by: norm.values)
        results.append(
          CalibratedWeight(
            role: role,
            parts: [.init(suffix: "", type: norm.type, shape: [norm.values.count], bytes: norm.bytes)], statistics: nil)
        )
      }
    }
    for input in LinearInput.allCases {
      let roles = roles(of: input)
      if !roles.isEmpty {
        var inputs = try InputStatistics(
          stream, input, layer, weights, linears.quantizer(of: roles[0]).grid, settings)
        // Factored in its own memory: nobody else holds it.
        var feedback: ErrorFeedback?
        if let gram = inputs.gram.take() { feedback = try self.feedback(gram, input) }
        for role in roles {
          try settings.checkCancellation()
          let (matrix, result) = try quantize(role, folding, inputs, feedback)
          weights.replace(role, by: matrix)
          results.append(result)
        }
      }
      try roundOthers(of: input, &weights)
      switch input {
      case .attentionOutput: try stream.pass(through: .attention, layer: layer, weights: weights)
      case .down: try stream.pass(through: .feedForward, layer: layer, weights: weights)
      default: break
      }
    }
    return results
  }

  /// What is rounded by itself is so from here on.
  private func roundOthers(of input: LinearInput, _ weights: inout SubstitutedWeights) throws {
    for role in input.linears.map({ TensorRole.layer(layer, $0) }) {
      guard let recipe = linears.recipeOfOther(role), let tensor = tensors[role] else { continue }
      try settings.checkCancellation()
      weights.replace(role, by: try recipe.rounded(tensor, threads: settings.threads))
    }
  }

  private func feedback(_ gram: consuming GramMatrix, _ input: LinearInput) throws(ParseFailure) -> ErrorFeedback {
    do throws(ErrorFeedback.Failure) {
      return try ErrorFeedback(gram, damping: settings.damping, order: settings.order, threads: settings.threads)
    } catch {
      throw ParseFailure(
        "\(error)", item: NamingDialect.huggingFace.moduleName(of: .layer(layer, input.linears[0])),
        advice: "the weights or the text are unsound; try other text, or a larger --damping")
    }
  }

  func roles(of input: LinearInput) -> [TensorRole] {
    input.linears.map { TensorRole.layer(layer, $0) }.filter(selected.contains)
  }

  /// The weight in binary32, with the factors of scaled channels.
  func values(of role: TensorRole, _ folding: ChannelFolding = ChannelFolding()) throws -> [Float] {
    guard let tensor = tensors[role] else { throw ParseFailure("the tensor is missing", item: role.canonicalText) }
    var values = try tensor.values(rows: 0..<tensor.rowCount)
    if let stray = values.firstIndex(where: { !$0.isFinite }) {
      throw ParseFailure(
        "element \(stray) is NaN or infinite", item: tensor.rows.storedTensors.first?.tensor.name,
        advice: "the weights are damaged; repair the checkpoint or download it again")
    }
    let columns = tensor.columnCount
    if let factors = folding.columns[role] {
      for index in values.indices { values[index] *= factors[index % columns] }
    }
    if let factors = folding.rows[role] {
      for index in values.indices { values[index] *= factors[index / columns] }
    }
    return values
  }

  private func quantize(
    _ role: TensorRole, _ folding: ChannelFolding, _ inputs: InputStatistics, _ feedback: ErrorFeedback?
  ) throws -> (WeightMatrix, CalibratedWeight) {
    guard let tensor = tensors[role] else { throw ParseFailure("the tensor is missing", item: role.canonicalText) }
    let quantizer = linears.quantizer(of: role)
    let values = try values(of: role, folding)
    let scales = GroupScales(quantizer, weightType: tensor.elementType, columns: tensor.columnCount, settings)
    // The scores of attention are products of two outputs: clipping that is good for one is not for both.
    let clips = quantizer.method == .awq && ![.layer(layer, .query), .layer(layer, .key)].contains(role)
    let order = quantizer.groupsByActivation ? ColumnOrder(inputs.meanSquares) : nil
    let rounded = RoundedRows(
      values, columns: tensor.columnCount, quantizer.grid,
      parameters: clips
        ? scales.clipped(values, inputs.blocks)
        : scales.searched(
          order?.ordered(values) ?? values, weights: order?.ordered(inputs.meanSquares) ?? inputs.meanSquares),
      order: order, feedback: feedback, threads: settings.threads)
    let scaleType = quantizer.scaleType(forWeight: tensor.elementType)
    var scaleBytes = [UInt8](repeating: 0, count: rounded.scales.count * scaleType.bits / 8)
    var span = scaleBytes.mutableSpan
    guard NumberFormat.narrow(rounded.scales.span, to: scaleType.floatFormat, into: &span) == nil else {
      throw ParseFailure(
        "a scale passes the range of \(scaleType)", item: tensor.rows.storedTensors.first?.tensor.name,
        advice: "use --layout compressed-tensors")
    }
    let groups = rounded.scales.count / tensor.rowCount
    var parts = [
      CalibratedWeight.Part(
        suffix: CalibratedWeight.codeSuffix, type: .i8, shape: tensor.shape, bytes: rounded.codes),
      .init(
        suffix: CalibratedWeight.scaleSuffix, type: scaleType, shape: [tensor.rowCount, groups], bytes: scaleBytes),
    ]
    if !quantizer.grid.isSymmetric {
      parts.append(
        .init(
          suffix: CalibratedWeight.zeroPointSuffix, type: .i8, shape: [tensor.rowCount, groups],
          bytes: rounded.zeroPoints.map { UInt8(bitPattern: $0) }))
    }
    if let groups = rounded.columnGroups {
      parts.append(
        .init(
          suffix: CalibratedWeight.groupSuffix, type: .i32, shape: [groups.count], bytes: GroupIndex.bytes(of: groups)))
    }
    return (rounded.matrix, CalibratedWeight(role: role, parts: parts, statistics: rounded.statistics))
  }
}

/// What a group of linears sees: the second moments of its inputs.
struct InputStatistics {
  /// Σ x·xᵀ, for methods that feed errors forward.
  var gram: GramMatrix?
  /// Of each group's columns alone, for methods that clip.
  let blocks: [[Float]]
  /// The mean of x² in each column.
  let meanSquares: [Float]

  init(
    _ stream: CalibrationStream, _ input: LinearInput, _ layer: Int, _ weights: SubstitutedWeights,
    _ grid: IntegerGrid, _ settings: CalibrationSettings
  ) throws {
    var gram: GramMatrix?
    var sums: [Double] = []
    var tokens = 0
    let forward = settings.forward
    let method = settings.quantizer.method
    try stream.visit(input, layer: layer, weights: weights) { rows, columns in
      tokens += rows.count / columns
      if method.feedsErrorsForward || method == .awq {
        var sum = gram.take() ?? GramMatrix(size: columns)
        sum.add(rows.span, tokens: rows.count / columns, threads: settings.threads, kernel: forward.kernel)
        gram = sum
      } else {
        if sums.isEmpty { sums = Array(repeating: 0, count: columns) }
        for start in stride(from: 0, to: rows.count, by: columns) {
          for column in 0..<columns { sums[column] += Double(rows[start + column]) * Double(rows[start + column]) }
        }
      }
    }
    if let gram { sums = gram.diagonal.map(Double.init) }
    meanSquares = sums.map { Float($0 / Double(max(1, tokens))) }
    self.gram = method.feedsErrorsForward ? gram : nil
    let size = grid.groupSize(columns: sums.count)
    blocks =
      method == .awq
      ? stride(from: 0, to: sums.count, by: max(1, size)).map { gram?.block($0..<$0 + size) ?? [] } : []
  }
}
