public import Tensors

extension LlamaConfiguration {
  /// All tensors of the model, in model order: embedding, layers from 0, final norm, head unless tied.
  public var roles: [TensorRole] {
    var roles: [TensorRole] = [.tokenEmbedding]
    for layer in 0..<layerCount {
      roles += LayerRole.modelOrder.map { .layer(layer, $0) }
    }
    roles.append(.outputNorm)
    if !tiesEmbeddings { roles.append(.outputHead) }
    return roles
  }

  /// Shape of the tensor with this role, `[out, in]` for matrices.
  public func shape(of role: TensorRole) -> Shape {
    switch role {
    case .tokenEmbedding, .outputHead: [vocabularySize, hiddenSize]
    case .outputNorm: [hiddenSize]
    case .layer(_, let role):
      switch role {
      case .attentionNorm, .feedForwardNorm: [hiddenSize]
      case .query: [headCount * headDimension, hiddenSize]
      case .key, .value: [keyValueHeadCount * headDimension, hiddenSize]
      case .attentionOutput: [hiddenSize, headCount * headDimension]
      case .gate, .up: [feedForwardSize, hiddenSize]
      case .down: [hiddenSize, feedForwardSize]
      }
    }
  }

  /// Number of distinct weights; a tied head counts once.
  public var parameterCount: Int {
    roles.reduce(0) { $0 + shape(of: $1).dimensions.reduce(1, *) }
  }

  /// Key and value elements cached per token, all layers together.
  public var cachedElementsPerToken: Int { 2 * layerCount * keyValueHeadCount * headDimension }

  /// What decides tensors and forward pass, one line per field in a fixed order: equal texts mean equal models. Labels
  /// that change nothing, such as the claimed element type, are left out.
  public var canonicalText: String {
    let scaling =
      switch rope.scaling {
      case .none: "none"
      case .linear(let factor): "linear \(factor)"
      case .llama3(let factor, let low, let high, let original): "llama3 \(factor) \(low) \(high) \(original)"
      }
    return """
      hidden_size \(hiddenSize)
      layers \(layerCount)
      heads \(headCount)
      key_value_heads \(keyValueHeadCount)
      head_dimension \(headDimension)
      feed_forward \(feedForwardSize)
      vocabulary \(vocabularySize)
      norm_epsilon \(normEpsilon)
      rope_base \(rope.base)
      rope_scaling \(scaling)
      tied \(tiesEmbeddings)
      sliding_window \(slidingWindow.map(String.init) ?? "none")

      """
  }
}

extension LayerRole {
  /// The order in which Hugging Face models list a layer's parameters.
  static let modelOrder: [LayerRole] = [
    .query, .key, .value, .attentionOutput, .gate, .up, .down, .attentionNorm, .feedForwardNorm,
  ]
}
