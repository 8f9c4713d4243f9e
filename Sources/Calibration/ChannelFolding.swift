internal import ByteIO
internal import Checkpoints
internal import Foundation
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

  /// A norm takes over 1/factors, rounded to its stored type first; the columns of its consumers are multiplied by what that
  /// left, norm / norm′.
  mutating func fold(
    _ factors: [Float], intoNorm role: TensorRole, of tensor: LogicalTensor?, _ consumers: [TensorRole]
  ) throws {
    guard let tensor else { return }
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
    norms[role] = Norm(values: norm, type: tensor.elementType, bytes: bytes)
    for consumer in consumers { columns[consumer] = left }
  }
}

/// Searches the factors of a layer's four inputs on a sample of the text (arXiv:2306.00978).
///
/// Exact folding: see `ChannelFolding.fold`. Linears that take over 1/s are rounded only once, to codes.
struct ChannelFoldingSearch {
  let layer: LayerCalibration

  /// Tokens that go through the layer for the search, and of these the ones that losses are computed on.
  static let sampleTokens = 2048
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
    let quantizer = layer.linears.quantizer(of: consumers[0])
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
      try folding.fold(found.scales, intoNorm: producer, of: layer.tensors[producer], consumers)
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

/// SmoothQuant (Xiao et al., arXiv:2211.10438): inputs that a norm makes are divided by s = max|x|^α / max|w|^(1−α), channel
/// by channel, so that int8 codes of activations need not span a few outliers.
struct ActivationSmoothing {
  let layer: LayerCalibration
  /// How much of the difficulty moves into the weights; 0.5 in the paper, 0.8 often for Llama.
  let alpha: Float

  private static let least: Float = 1e-5
  /// Tokens whose largest inputs are looked for.
  private static let sampleTokens = 16_384

  func folding(_ stream: CalibrationStream, _ weights: SubstitutedWeights) throws -> ChannelFolding {
    var folding = ChannelFolding()
    // It goes through the layer as it was: factors cancel, and the second norm sees what the attention gives.
    var sample = stream.sample(tokens: Self.sampleTokens)
    for (input, norm) in [(LinearInput.attention, LayerRole.attentionNorm), (.feedForward, .feedForwardNorm)] {
      let consumers = input.linears.map { TensorRole.layer(layer.layer, $0) }
      guard consumers.allSatisfy(layer.selected.contains) else { continue }
      if input == .feedForward { try sample.pass(through: .attention, layer: layer.layer, weights: weights) }
      var largest: [Float] = []
      try sample.visit(input, layer: layer.layer, weights: weights) { rows, columns in
        if largest.isEmpty { largest = Array(repeating: 0, count: columns) }
        for index in rows.indices { largest[index % columns] = max(largest[index % columns], abs(rows[index])) }
      }
      var widest = [Float](repeating: 0, count: largest.count)
      for role in consumers {
        let values = try layer.values(of: role)
        for index in values.indices {
          widest[index % largest.count] = max(widest[index % largest.count], abs(values[index]))
        }
      }
      let factors = largest.indices.map { column -> Float in
        let (x, w) = (Double(max(largest[column], Self.least)), Double(max(widest[column], Self.least)))
        let factor = Float(pow(x, Double(alpha)) / pow(w, 1 - Double(alpha)))
        return factor.isNormal ? max(factor, Self.least) : 1
      }
      let role = TensorRole.layer(layer.layer, norm)
      try folding.fold(factors, intoNorm: role, of: layer.tensors[role], consumers)
    }
    return folding
  }
}
