/// What a tensor is for. Nothing else in the program compares tensor names as strings.
public enum TensorRole: Sendable, Hashable {
  /// `[vocabulary, hidden]`
  case tokenEmbedding
  /// `[hidden]`, `[out, in]` or `[hidden]` of one layer.
  case layer(Int, LayerRole)
  /// `[hidden]`
  case outputNorm
  /// `[vocabulary, hidden]`; absent when tied to the token embedding.
  case outputHead
}

/// The tensors of one transformer layer.
public enum LayerRole: Int, Sendable, Hashable, CaseIterable {
  /// RMSNorm before attention, `[hidden]`
  case attentionNorm
  /// `[heads · headDimension, hidden]`; canonical row order is Meta's interleaved pairs
  case query
  /// `[kvHeads · headDimension, hidden]`; canonical row order is Meta's interleaved pairs
  case key
  /// `[kvHeads · headDimension, hidden]`
  case value
  /// `[hidden, heads · headDimension]`
  case attentionOutput
  /// RMSNorm before the feed-forward block, `[hidden]`
  case feedForwardNorm
  /// `[feedForward, hidden]`, the operand of silu (Meta's w1)
  case gate
  /// `[feedForward, hidden]` (Meta's w3)
  case up
  /// `[hidden, feedForward]` (Meta's w2)
  case down

  /// True for matrices that multiply activations.
  public var isLinear: Bool { self != .attentionNorm && self != .feedForwardNorm }
}

extension TensorRole {
  /// True for matrices of the transformer layers and the head: what quantization calls `Linear`.
  public var isLinear: Bool {
    switch self {
    case .tokenEmbedding, .outputNorm: false
    case .outputHead: true
    case .layer(_, let role): role.isLinear
    }
  }

  /// The layer that the tensor belongs to, if it belongs to one.
  public var layer: Int? { if case .layer(let layer, _) = self { layer } else { nil } }

  /// The role in words that no dialect owns, as digests and reports use it: `layers.3.query`.
  public var canonicalText: String {
    switch self {
    case .tokenEmbedding: "token_embedding"
    case .outputNorm: "output_norm"
    case .outputHead: "output_head"
    case .layer(let layer, let role): "layers.\(layer).\(role.canonicalText)"
    }
  }
}

extension LayerRole {
  var canonicalText: String {
    switch self {
    case .attentionNorm: "attention_norm"
    case .query: "query"
    case .key: "key"
    case .value: "value"
    case .attentionOutput: "attention_output"
    case .feedForwardNorm: "feed_forward_norm"
    case .gate: "gate"
    case .up: "up"
    case .down: "down"
    }
  }
}

extension TensorRole {
  /// True for the matrices of the feed-forward block.
  public var isFeedForward: Bool {
    guard case .layer(_, let role) = self else { return false }
    return role == .gate || role == .up || role == .down
  }
}
