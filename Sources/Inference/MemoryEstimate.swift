internal import Kernels
internal import Llama
internal import Tensors

/// What a forward pass holds at its peak, in bytes: an upper estimate, without what the process holds anyway.
public struct MemoryEstimate: Sendable, Equatable {
  /// Hidden states of all tokens that are carried together, with what is kept of each token's logits; of all models.
  public let hiddenStates: UInt64
  /// The weights that are held together: half a layer of one model (its attention or its feed-forward block), or as much of
  /// the heads of all models.
  public let weights: UInt64
  /// Activations of one chunk of tokens and their packed copies, packed weights of each thread.
  public let scratch: UInt64

  public var total: UInt64 { hiddenStates + weights + scratch }

  /// - Parameters:
  ///   - models: the base and its candidates.
  ///   - tokens: carried through the layers together.
  ///   - longestWindow: tokens of the longest window.
  public init(_ models: [any ModelWeights], settings: ForwardSettings, tokens: Int, longestWindow: Int) {
    let chunk = min(tokens, max(settings.tokensPerChunk, longestWindow))
    let phases = models.flatMap { model in
      [
        (Self.attentionWeights(model), Self.attentionScratch(model, chunk, longestWindow, settings)),
        (Self.feedForwardWeights(model), Self.feedForwardScratch(model, chunk, settings)),
      ]
    }
    let head = (
      HeadSweep.heldBlocks(models) * HeadSweep.blockByteCount(models),
      // Logits of the base and of one candidate at a time.
      models.reduce(0) { $0 + 8 * chunk * $1.configuration.hiddenSize }
        + 4 * chunk * min(2, models.count) * HeadSweep.vocabularyBlock
        + settings.threads * MatrixProduct.packedByteCount(kernel: settings.kernel)
    )
    let peak = (phases + [head]).max { $0.0 + $0.1 < $1.0 + $1.1 } ?? (0, 0)
    let width = models.reduce(0) { $0 + $1.configuration.hiddenSize }
    // Each token's row; of each candidate its summary, target, scores and the sums of its difference, and a copy of the
    // summaries of one.
    let compared = max(1, models.count - 1)
    let perToken = 4 * width + (1 + compared) * MemoryLayout<LogitSummary>.stride + 64 * compared
    hiddenStates = UInt64(tokens * perToken)
    weights = UInt64(peak.0)
    scratch = UInt64(peak.1)
  }

  init(hiddenStates: UInt64, weights: UInt64, scratch: UInt64) {
    self.hiddenStates = hiddenStates
    self.weights = weights
    self.scratch = scratch
  }

  /// Bytes of the larger half of the largest layer.
  static func largestStep(_ models: [any ModelWeights]) -> Int {
    models.map { max(attentionWeights($0), feedForwardWeights($0)) }.max() ?? 0
  }

  private static func attentionWeights(_ model: any ModelWeights) -> Int {
    bytes(of: LayerWeights.Attention.roles, model)
  }

  private static func feedForwardWeights(_ model: any ModelWeights) -> Int {
    bytes(of: LayerWeights.FeedForward.roles, model)
  }

  /// Of the layer where they take most: layers may be quantized differently.
  private static func bytes(of roles: [LayerRole], _ model: any ModelWeights) -> Int {
    let layers = (0..<model.configuration.layerCount).map { layer in
      roles.filter(\.isLinear).reduce(0) { sum, part in
        let role = TensorRole.layer(layer, part)
        return sum + model.configuration.shape(of: role).rows * model.bytesPerRow(role)
      }
    }
    return layers.max() ?? 0
  }

  private static func attentionScratch(
    _ model: any ModelWeights, _ tokens: Int, _ window: Int, _ settings: ForwardSettings
  ) -> Int {
    let c = model.configuration
    let (queries, keys) = (c.headCount * c.headDimension, c.keyValueHeadCount * c.headDimension)
    // The norm's output plain and packed beside all that is computed from it; then the heads' output plain and packed.
    let perToken = max(2 * c.hiddenSize + queries + 2 * keys, 2 * queries + c.hiddenSize)
    let rounded = settings.emulatesActivations ? 2 * max(c.hiddenSize, queries) : 0
    let heads = Attention.Heads(
      queries: c.headCount, keysAndValues: c.keyValueHeadCount, dimension: c.headDimension,
      slidingWindow: c.slidingWindow)
    // Between them: queries, keys and values beside packed keys and values, and a tile of scores for each thread.
    let attention =
      4 * tokens * (queries + 2 * keys)
      + Attention.packedByteCount(tokens: tokens, window: window, heads: heads, kernel: settings.kernel)
      + settings.threads * 4 * 64 * (256 + 2 * c.headDimension)
    return max(
      attention,
      4 * tokens * (perToken + rounded) + settings.threads * MatrixProduct.packedByteCount(kernel: settings.kernel))
  }

  private static func feedForwardScratch(_ model: any ModelWeights, _ tokens: Int, _ settings: ForwardSettings) -> Int {
    let c = model.configuration
    // The norm's output plain and packed, gate and up; then gate plain and packed beside what is added.
    let perToken = 2 * c.hiddenSize + 2 * c.feedForwardSize
    let rounded = settings.emulatesActivations ? 2 * max(c.hiddenSize, c.feedForwardSize) : 0
    return 4 * tokens * (perToken + rounded)
      + settings.threads * MatrixProduct.packedByteCount(kernel: settings.kernel)
  }
}
