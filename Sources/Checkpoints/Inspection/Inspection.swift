public import ByteIO
internal import Llama
internal import Quantization
internal import Tensors

/// What a checkpoint is, for people and for scripts.
public struct Inspection: Sendable {
  private let checkpoint: Checkpoint

  public init(of checkpoint: Checkpoint) { self.checkpoint = checkpoint }

  /// Tensors and bytes by element type, largest first.
  private var types: [(type: String, tensors: Int, bytes: Int)] {
    var counts: [String: (Int, Int)] = [:]
    for tensor in checkpoint.tensors {
      let weight = tensor.rows.rowCount * tensor.rows.rowByteCount
      // Codes of four bits are two in a byte wherever they are stored.
      let isHalf = tensor.quantization?.bits == 4
      let type = isHalf ? "int4" : tensor.elementType.rawValue
      counts[type, default: (0, 0)].0 += 1
      counts[type, default: (0, 0)].1 += isHalf ? weight / 2 : weight
      if let quantization = tensor.quantization {
        counts[quantization.scaleType.rawValue, default: (0, 0)].1 += tensor.storedByteCount - weight
      }
    }
    return counts.map { ($0.key, $0.value.0, $0.value.1) }.sorted { ($0.2, $0.0) > ($1.2, $1.0) }
  }

  private var weightBytes: Int { types.reduce(0) { $0 + $1.bytes } }

  /// Contexts for which the key/value cache is shown, up to what the model claims.
  private var contexts: [Int] {
    [2048, 8192, 32_768, 131_072].filter { $0 <= checkpoint.configuration.maximumPositions }
  }

  /// Bytes of the key/value cache of one sequence in a 16-bit type.
  private func cacheBytes(_ context: Int) -> Int { checkpoint.configuration.cachedElementsPerToken * 2 * context }

  private var scalingText: String {
    switch checkpoint.configuration.rope.scaling {
    case .none: "none"
    case .linear(let factor): "linear, factor \(factor)"
    case .llama3(let factor, let low, let high, let original):
      "llama3, factor \(factor), low \(low), high \(high), original context \(original)"
    }
  }

  /// What `config.json` calls it; else what the element types say.
  private var quantizationName: String? {
    if let quantization = checkpoint.quantization { return quantization.method }
    if checkpoint.tensors.contains(where: { $0.elementType.block != nil }) { return "ggml blocks" }
    let coded = checkpoint.tensors.filter { $0.quantization != nil }
    if coded.contains(where: { $0.elementType == .i8 }) { return "Meta int4" }
    return coded.isEmpty ? nil : "Meta FP8"
  }

  private var family: String? { LlamaFamily(of: checkpoint.configuration)?.description }

  public var document: JSONValue {
    let c = checkpoint.configuration
    return [
      "schema": "llama-inspect/1",
      "path": .string(checkpoint.path),
      "layout": .string(checkpoint.layout.rawValue),
      "family": family.map { .string($0) } ?? .null,
      "architecture": .string(c.architecture.rawValue),
      "parameters": .number(JSONNumber(c.parameterCount)),
      "weight_bytes": .number(JSONNumber(weightBytes)),
      "configuration": [
        "hidden_size": .number(JSONNumber(c.hiddenSize)), "layers": .number(JSONNumber(c.layerCount)),
        "heads": .number(JSONNumber(c.headCount)), "key_value_heads": .number(JSONNumber(c.keyValueHeadCount)),
        "head_dimension": .number(JSONNumber(c.headDimension)),
        "feed_forward_size": .number(JSONNumber(c.feedForwardSize)),
        "vocabulary_size": .number(JSONNumber(c.vocabularySize)), "norm_epsilon": .number(JSONNumber(c.normEpsilon)),
        "rope_base": .number(JSONNumber(c.rope.base)), "rope_scaling": .string(scalingText),
        "maximum_positions": .number(JSONNumber(c.maximumPositions)), "tied_embeddings": .bool(c.tiesEmbeddings),
      ],
      "element_types": .array(
        types.map {
          [
            "type": .string($0.type), "tensors": .number(JSONNumber($0.tensors)),
            "bytes": .number(JSONNumber($0.bytes)),
          ]
        }),
      "quantization": quantizationName.map { .string($0) } ?? .null,
      "kv_cache": .array(
        contexts.map { ["context": .number(JSONNumber($0)), "bytes": .number(JSONNumber(cacheBytes($0)))] }),
      "sidecars": .array(checkpoint.sidecars.map { .string($0.name) }),
      "not_carried_over": .array(checkpoint.leftBehind.map { .string($0) }),
      "shards": .number(JSONNumber(checkpoint.shardCount)),
      "inferences": .array(checkpoint.inferences.map { .string($0) }),
      "notes": .array(checkpoint.notes.map { .string($0) }),
    ]
  }

  public var summary: String {
    let c = checkpoint.configuration
    var lines = [
      "\(checkpoint.path)",
      "layout        \(checkpoint.layout.rawValue), \(checkpoint.tensors.count) tensors",
      "family        \(family ?? "none of the published models")",
      "architecture  \(c.architecture.rawValue), \(c.parameterCount) parameters",
      "shape         hidden \(c.hiddenSize), \(c.layerCount) layers, \(c.headCount) heads (\(c.keyValueHeadCount) key/value) of \(c.headDimension), feed-forward \(c.feedForwardSize), vocabulary \(c.vocabularySize)\(c.tiesEmbeddings ? ", tied embeddings" : "")",
      "rope          base \(c.rope.base), scaling \(scalingText), \(c.maximumPositions) positions",
    ]
    for entry in types {
      lines.append("weights       \(entry.type): \(entry.tensors) tensors, \(ByteSize(UInt64(entry.bytes)))")
    }
    if let quantizationName { lines.append("quantization  \(quantizationName)") }
    lines.append("serving       weights \(ByteSize(UInt64(weightBytes)))")
    for context in contexts {
      lines.append(
        "              + key/value cache of one sequence of \(context) tokens in 16 bits: \(ByteSize(UInt64(cacheBytes(context))))"
      )
    }
    if checkpoint.shardCount > 1 { lines.append("shards        \(checkpoint.shardCount), merged") }
    lines += checkpoint.inferences.map { "inferred      \($0)" }
    lines += checkpoint.notes.map { "note          \($0)" }
    return lines.joined(separator: "\n") + "\n"
  }
}
