internal import ByteIO
internal import Kernels
internal import Llama

/// The weights of one layer, in memory together.
struct LayerWeights {
  let attentionNorm: [Float]
  let query: WeightMatrix
  let key: WeightMatrix
  let value: WeightMatrix
  let attentionOutput: WeightMatrix
  let feedForwardNorm: [Float]
  let gate: WeightMatrix
  let up: WeightMatrix
  let down: WeightMatrix

  init(_ weights: any ModelWeights, layer: Int) throws {
    attentionNorm = try weights.vector(.layer(layer, .attentionNorm))
    query = try weights.matrix(.layer(layer, .query), rows: nil)
    key = try weights.matrix(.layer(layer, .key), rows: nil)
    value = try weights.matrix(.layer(layer, .value), rows: nil)
    attentionOutput = try weights.matrix(.layer(layer, .attentionOutput), rows: nil)
    feedForwardNorm = try weights.vector(.layer(layer, .feedForwardNorm))
    gate = try weights.matrix(.layer(layer, .gate), rows: nil)
    up = try weights.matrix(.layer(layer, .up), rows: nil)
    down = try weights.matrix(.layer(layer, .down), rows: nil)
  }
}

/// Activations that several matrices multiply: packed once for each precision that is asked for.
struct ProjectionInput {
  private let values: [Float]
  private let tokens: Int
  private let settings: ForwardSettings
  private let packed: MatrixProduct.PackedActivations

  init(_ values: [Float], tokens: Int, settings: ForwardSettings) {
    self.values = values
    self.tokens = tokens
    self.settings = settings
    packed = MatrixProduct.PackedActivations(
      values.span, tokens: tokens, inputs: values.count / max(tokens, 1), threads: settings.threads,
      instructionSet: settings.instructionSet)
  }

  /// x · Wᵀ, `[tokens, w.rows]`.
  func times(_ w: WeightMatrix) -> [Float] {
    let input = activations(w.activations)
    var out = [Float](repeating: 0, count: tokens * w.rows)
    var span = out.mutableSpan
    w.withRows { rows in
      MatrixProduct.multiply(input, rows, into: &span, rowStride: w.rows, threads: settings.threads)
    }
    return out
  }

  private func activations(_ precision: ActivationPrecision) -> MatrixProduct.PackedActivations {
    guard settings.emulatesActivations, case .fp8PerToken(let bound) = precision else { return packed }
    var rounded = values
    var scales = [Float](repeating: 0, count: tokens)
    var rows = rounded.mutableSpan
    var factors = scales.mutableSpan
    FP8Rows.quantizeActivations(
      &rows, columns: packed.inputs, upperBound: bound, scales: &factors, instructionSet: settings.instructionSet)
    return MatrixProduct.PackedActivations(
      rounded.span, tokens: tokens, inputs: packed.inputs, tokenScales: scales, threads: settings.threads,
      instructionSet: settings.instructionSet)
  }
}

extension WeightMatrix {
  /// Lends the rows to a matrix product.
  func withRows(_ body: (borrowing WeightRows) -> Void) {
    switch scales {
    case .none:
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: nil, blockScales: nil,
          blockRows: 1, blockColumns: 1))
    case .rowWise(let values):
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: values.span,
          blockScales: nil, blockRows: 1, blockColumns: 1))
    case .blocks(let values, let blockRows, let blockColumns):
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: nil,
          blockScales: values.span, blockRows: blockRows, blockColumns: blockColumns))
    }
  }
}

/// Gathers embedding rows without holding the embedding: rows are read in blocks, each once.
struct EmbeddingReader {
  private let weights: any ModelWeights
  /// Bytes of embedding in memory at a time, about.
  private static let blockByteCount = 4 << 20

  init(_ weights: any ModelWeights) { self.weights = weights }

  /// `[ids.count, hidden]` in binary32.
  func rows(of ids: [Int32]) throws -> [Float] {
    let width = weights.configuration.hiddenSize
    let vocabulary = weights.configuration.vocabularySize
    var out = [Float](repeating: 0, count: ids.count * width)
    let order = ids.indices.sorted { (ids[$0], $0) < (ids[$1], $1) }
    let rowsPerBlock = max(1, Self.blockByteCount / (width * 4))
    var next = 0
    while next < order.count {
      let first = Int(ids[order[next]])
      let end = min(first + rowsPerBlock, vocabulary)
      let block = try weights.matrix(.tokenEmbedding, rows: first..<end)
      let values = block.values
      while next < order.count, Int(ids[order[next]]) < end {
        let row = Int(ids[order[next]]) - first
        out.replaceSubrange(
          order[next] * width..<(order[next] + 1) * width, with: values[row * width..<(row + 1) * width])
        next += 1
      }
    }
    return out
  }
}

extension WeightMatrix {
  /// All elements in binary32, scales applied.
  var values: [Float] {
    var out = NumberFormat.widened(bytes.span.rawBytes, from: format)
    switch scales {
    case .none: break
    case .rowWise(let factors):
      for index in out.indices { out[index] *= factors[index / columns] }
    case .blocks(let factors, let blockRows, let blockColumns):
      let perRow = (columns + blockColumns - 1) / blockColumns
      for index in out.indices {
        out[index] *= factors[index / columns / blockRows * perRow + index % columns / blockColumns]
      }
    }
    return out
  }
}
