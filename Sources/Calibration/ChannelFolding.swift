internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Factors of channels that moved from one weight to another (AWQ): nothing changes but the rounding.
struct ChannelFolding {
  struct Norm {
    let values: [Float]
    let type: ElementType
    let bytes: [UInt8]
  }

  /// What columns of a linear are multiplied by.
  var columns: [TensorRole: [Float]] = [:]
  /// What rows of a linear are multiplied by.
  var rows: [TensorRole: [Float]] = [:]
  /// Norms as they become.
  var norms: [TensorRole: Norm] = [:]
}

/// Searches the factors of a layer's four inputs on a sample of the text (arXiv:2306.00978).
///
/// Exact folding: the norm that takes over 1/s is rounded to its stored type first, and the columns are multiplied by what
/// that rounding left, norm / norm′, before they are rounded themselves. Linears that take over 1/s are rounded only once,
/// to codes.
struct ChannelFoldingSearch {
  let layer: LayerCalibration

  /// Tokens that go through the layer for the search, and of these the ones that losses are computed on.
  private static let sampleTokens = 2048
  private static let lossTokens = 512

  private struct Sample {
    var rows: [Float] = []
    var columns = 0
    var tokens: Int { columns == 0 ? 0 : rows.count / columns }
  }

  func folding(_ stream: CalibrationStream, _ weights: SubstitutedWeights) throws -> ChannelFolding {
    var folding = ChannelFolding()
    var sample = stream.sample(tokens: Self.sampleTokens)
    for input in LinearInput.allCases {
      var seen = Sample()
      try sample.visit(input, layer: layer.layer, weights: weights) { rows, columns in
        seen.rows += rows
        seen.columns = columns
      }
      try search(input, seen, &folding)
      // The sample goes through the layer as it was: factors cancel.
      if input == .attentionOutput { try sample.pass(through: .attention, layer: layer.layer, weights: weights) }
    }
    return folding
  }

  private func search(_ input: LinearInput, _ sample: Sample, _ folding: inout ChannelFolding) throws {
    let consumers = input.linears.map { TensorRole.layer(layer.layer, $0) }
    guard consumers.allSatisfy(layer.selected.contains), let producer = producer(of: input) else { return }
    if producer.isLinear, !layer.selected.contains(producer) { return }
    let heads = input == .attentionOutput ? valueRows() : nil
    let linears = try consumers.map { try layer.values(of: $0, folding) }
    let quantizer = layer.settings.quantizer
    let weightType = layer.tensors[consumers[0]]?.elementType ?? .bf16
    let columns = sample.columns
    let search = ChannelScaleSearch(
      activations: Self.spread(sample).span, tokens: min(sample.tokens, Self.lossTokens),
      meanMagnitudes: Self.means(sample) { abs($0) }, tie: heads, threads: layer.settings.threads,
      kernel: layer.settings.forward.kernel)
    let found = search.best(linears: linears, groupSize: quantizer.grid.groupSize) { values, rows in
      let (scales, zeroPoints) = quantizer.parameters(
        values.span, columns: columns, weightType: weightType, weights: [])
      return GroupRounding.values(values, scales, zeroPoints, quantizer.grid, columns: columns)
    }
    guard found.ratio != nil else { return }
    if producer.isLinear {
      fold(found.scales, heads, from: producer, into: consumers, &folding)
    } else {
      try foldNorm(found.scales, producer, into: consumers, &folding)
    }
  }

  private func producer(of input: LinearInput) -> TensorRole? {
    switch input {
    case .attention: .layer(layer.layer, .attentionNorm)
    case .attentionOutput: .layer(layer.layer, .value)
    case .feedForward: .layer(layer.layer, .feedForwardNorm)
    case .down: .layer(layer.layer, .up)
    }
  }

  /// For each column of the output projection the row of the value projection that it comes from: query heads that share a
  /// key/value head share its rows.
  private func valueRows() -> [Int] {
    let c = layer.configuration
    let perGroup = c.headCount / c.keyValueHeadCount
    return (0..<c.headCount * c.headDimension).map { column in
      column / c.headDimension / perGroup * c.headDimension + column % c.headDimension
    }
  }

  private func fold(
    _ factors: [Float], _ rowsOfColumns: [Int]?, from producer: TensorRole, into consumers: [TensorRole],
    _ folding: inout ChannelFolding
  ) {
    let rowCount = layer.tensors[producer]?.rowCount ?? factors.count
    var inverse = [Float](repeating: 1, count: rowCount)
    for column in factors.indices { inverse[rowsOfColumns?[column] ?? column] = 1 / factors[column] }
    folding.rows[producer] = inverse
    for role in consumers { folding.columns[role] = factors }
  }

  private func foldNorm(
    _ factors: [Float], _ role: TensorRole, into consumers: [TensorRole], _ folding: inout ChannelFolding
  ) throws {
    guard let tensor = layer.tensors[role] else { return }
    let values = try tensor.values(rows: 0..<tensor.rowCount)
    let format = tensor.elementType.floatFormat
    let wanted = values.indices.map { values[$0] / factors[$0] }
    var bytes = [UInt8](repeating: 0, count: wanted.count * format.byteCount)
    var span = bytes.mutableSpan
    guard NumberFormat.narrow(wanted.span, to: format, into: &span) == nil else { return }
    var norm = NumberFormat.widened(bytes.span.rawBytes, from: format)
    var left = [Float](repeating: 1, count: norm.count)
    for index in norm.indices {
      if norm[index] != 0, values[index] != 0, (values[index] / norm[index]).isNormal {
        left[index] = values[index] / norm[index]
      } else {
        norm[index] = values[index]
      }
    }
    var target = bytes.mutableSpan
    _ = NumberFormat.narrow(norm.span, to: format, into: &target)
    folding.norms[role] = .init(values: norm, type: tensor.elementType, bytes: bytes)
    for consumer in consumers { folding.columns[consumer] = left }
  }

  // MARK: Samples

  private static func means(_ sample: Sample, _ body: (Float) -> Float) -> [Float] {
    var sums = [Double](repeating: 0, count: sample.columns)
    for start in stride(from: 0, to: sample.rows.count, by: max(1, sample.columns)) {
      for column in 0..<sample.columns { sums[column] += Double(body(sample.rows[start + column])) }
    }
    return sums.map { Float($0 / Double(max(1, sample.tokens))) }
  }

  /// Tokens that losses are computed on, spread evenly.
  private static func spread(_ sample: Sample) -> [Float] {
    guard sample.tokens > lossTokens else { return sample.rows }
    return (0..<lossTokens).flatMap { index in
      let token = index * sample.tokens / lossTokens
      return sample.rows[token * sample.columns..<(token + 1) * sample.columns]
    }
  }
}
