internal import ByteIO
internal import Kernels
internal import Llama

/// The weights of one layer, a half at a time: no more of a model is ever in memory together.
enum LayerWeights {
  struct Attention {
    static let roles: [LayerRole] = [.attentionNorm, .query, .key, .value, .attentionOutput]
    let norm: [Float]
    let query: WeightMatrix
    let key: WeightMatrix
    let value: WeightMatrix
    let output: WeightMatrix

    init(_ weights: any ModelWeights, layer: Int) throws {
      norm = try weights.vector(.layer(layer, .attentionNorm))
      query = try weights.matrix(.layer(layer, .query), rows: nil)
      key = try weights.matrix(.layer(layer, .key), rows: nil)
      value = try weights.matrix(.layer(layer, .value), rows: nil)
      output = try weights.matrix(.layer(layer, .attentionOutput), rows: nil)
    }
  }

  struct FeedForward {
    static let roles: [LayerRole] = [.feedForwardNorm, .gate, .up, .down]
    let norm: [Float]
    let gate: WeightMatrix
    let up: WeightMatrix
    let down: WeightMatrix

    init(_ weights: any ModelWeights, layer: Int) throws {
      norm = try weights.vector(.layer(layer, .feedForwardNorm))
      gate = try weights.matrix(.layer(layer, .gate), rows: nil)
      up = try weights.matrix(.layer(layer, .up), rows: nil)
      down = try weights.matrix(.layer(layer, .down), rows: nil)
    }
  }

  enum Half {
    case attention(Attention)
    case feedForward(FeedForward)

    init(_ weights: any ModelWeights, _ half: LayerHalf, layer: Int) throws {
      switch half {
      case .attention: self = .attention(try Attention(weights, layer: layer))
      case .feedForward: self = .feedForward(try FeedForward(weights, layer: layer))
      }
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
  /// All elements in binary32, `[rows, columns]`, scales applied: each product is rounded once.
  public var values: [Float] {
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
