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
