internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// Which quantized weights a layout can take over as they are, and what stands in the way of the others.
struct CarriedQuantization {
  private let checkpoint: Checkpoint
  private let shards: Int

  /// - Parameter shards: of the output, if it is a Meta directory.
  init(_ checkpoint: Checkpoint, shards: Int) {
    self.checkpoint = checkpoint
    self.shards = shards
  }

  private static let perShard = "each shard has scaled its own part of its rows"

  /// Why a layout cannot hold a quantized weight as it is; nil when it can.
  func obstacle(_ tensor: LogicalTensor, in layout: Checkpoint.Layout) -> String? {
    if let block = tensor.elementType.block {
      return layout == .gguf || layout == .compact ? nil : "blocks of \(block) are a type of GGUF alone"
    }
    switch layout {
    case .huggingFace: return obstacleInHuggingFace(tensor)
    case .meta: return obstacleInMeta(tensor)
    case .gguf: return "GGUF has no type for its codes and scales"
    case .compact: return nil
    }
  }

  /// Why a Hugging Face directory cannot hold the codes and scales; nil when it can.
  private func obstacleInHuggingFace(_ tensor: LogicalTensor) -> String? {
    // What its own configuration describes it can hold.
    guard checkpoint.quantization == nil, let quantization = tensor.quantization else { return nil }
    if tensor.elementType == .i8 { return "its int4 codes and int8 rows are a layout of Meta's alone" }
    guard quantization.scheme.isRowWise else {
      return "\(Self.perShard), so that the shards cannot be merged exactly"
    }
    return nil
  }

  /// Why a Meta directory cannot hold them.
  private func obstacleInMeta(_ tensor: LogicalTensor) -> String? {
    guard let quantization = tensor.quantization else { return nil }
    if tensor.elementType == .i8 {
      if quantization.adapter != nil && shards > 1 { return "its adapter cannot be cut" }
      guard case .block(_, let size) = quantization.scheme else { return nil }
      guard tensor.role.layer != nil else { return "\(Self.perShard), which is not written" }
      let rules = TensorParallelRules(embeddingSplit: checkpoint.configuration.metaEmbeddingSplit)
      let isCut = rules.split(of: tensor.role) == .columns
      return isCut && tensor.columnCount % (shards * size) != 0
        ? "\(shards) shards would cut its groups of \(size)" : nil
    }
    if checkpoint.layout == .meta, quantization.scheme.isRowWise { return nil }
    // Blocks of one row and what a shard holds of it: each shard has scaled its own columns.
    if case .block(1, let columns) = quantization.scheme, quantization.scaleType == .f32,
      MetaQuantizedNames.fp8ScalesName(of: tensor.role, rank: 0) != nil, checkpoint.quantization == nil
    {
      let own = tensor.columnCount / columns
      return shards == own ? nil : "\(Self.perShard), which only \(own) shards can hold"
    }
    guard MetaQuantizedNames.mayBeFP8(tensor.role, layerCount: checkpoint.configuration.layerCount) else {
      return "Meta's FP8 is of the feed-forward blocks between the first and the last layer only"
    }
    guard tensor.elementType == .f8e4m3, quantization.scheme.isRowWise, quantization.scaleType == .f32 else {
      return
        "Meta's FP8 has one F32 scale for each row, this has \(quantization.scaleType) for each \(quantization.scheme)"
    }
    return nil
  }
}

extension TargetType {
  /// Quantized weights become plain ones, or blocks of other values.
  var dequantizes: Bool {
    switch self {
    case .element, .ggml: true
    default: false
    }
  }
}
