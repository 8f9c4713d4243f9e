/// What a `params.json` says, before it is known what the tensors say. The keys are those of Meta's reference code, of
/// Mistral's (`hidden_dim`, `head_dim`, `sliding_window`), and a few of our own for what neither can express.
public struct MetaParameters: Sendable, Equatable {
  /// `dim`
  public var hiddenSize: Int
  /// `n_layers`
  public var layerCount: Int
  /// `n_heads`
  public var headCount: Int
  /// `n_kv_heads`; nil when absent, which means as many as query heads. In a checkpoint that stores heads several times
  /// it counts the copies.
  public var keyValueHeadCount: Int?
  /// `vocab_size`; nil when absent or −1, which means that the tokenizer knows.
  public var vocabularySize: Int?
  /// `multiple_of`; nil when absent.
  public var multipleOf: Int?
  /// `ffn_dim_multiplier`
  public var feedForwardMultiplier: Double?
  /// `hidden_dim`: the feed-forward size itself, as Mistral states it.
  public var feedForwardSize: Int?
  /// `head_dim`
  public var headDimension: Int?
  /// `sliding_window` or `_sliding_window`
  public var slidingWindow: Int?
  /// `norm_eps`; nil when absent, which means 1e-5.
  public var normEpsilon: Double?
  /// `rope_theta`
  public var ropeBase: Double?
  /// `use_scaled_rope`; nil when absent, which means false.
  public var usesScaledRoPE: Bool?
  /// What our own keys say about the scaling of RoPE.
  public var ropeScaling: ScalingKeys
  /// `max_position_embeddings`
  public var maximumPositions: Int?
  /// `bos_token_id`; empty when stated to be none, nil when absent.
  public var beginOfTextIDs: [Int]?
  /// `eos_token_id`; empty when stated to be none, nil when absent.
  public var endOfTextIDs: [Int]?
  /// `tied_embeddings`
  public var tiesEmbeddings: Bool?
  /// `model_type`
  public var architecture: LlamaConfiguration.Architecture?
  public var quantization: Quantization?
  public var adapters: Adapters?
  /// Keys that mean nothing to this toolkit, in their order.
  public var ignoredKeys: [String]

  /// Keys beside `use_scaled_rope`, whose constants are in Meta's code and not in the file. The first and the third have
  /// the names of Llama 4's loader.
  public struct ScalingKeys: Sendable, Equatable {
    /// `rope_scaling_factor`
    public var factor: Double?
    /// `rope_low_freq_factor`
    public var lowFrequencyFactor: Double?
    /// `rope_high_freq_factor`
    public var highFrequencyFactor: Double?
    /// `rope_original_max_positions`
    public var originalPositions: Int?
    /// `rope_scaling_type` is `linear`.
    public var isLinear = false
  }

  /// `quantization_args`: linears of the layers are int4 codes in groups, embedding and head int8 codes per row.
  public struct Quantization: Sendable, Equatable {
    /// `group_size`
    public var groupSize: Int
    /// `spinquant`: the input of the feed-forward block's `down` is rotated online.
    public var usesSpinQuant: Bool

    public init(groupSize: Int, usesSpinQuant: Bool) {
      self.groupSize = groupSize
      self.usesSpinQuant = usesSpinQuant
    }
  }

  /// `lora_args`: low-rank adapters beside the quantized linears.
  public struct Adapters: Sendable, Equatable {
    public var rank: Int
    public var scale: Double

    public init(rank: Int, scale: Double) {
      self.rank = rank
      self.scale = scale
    }
  }

  /// Rows of one head.
  public var resolvedHeadDimension: Int { headDimension ?? hiddenSize / headCount }

  /// The feed-forward size after Meta's rounding rule, or the stated one.
  public var resolvedFeedForwardSize: Int {
    feedForwardSize
      ?? FeedForwardRule(multiplier: feedForwardMultiplier, multipleOf: multipleOf ?? FeedForwardRule.defaultMultiple)
      .size(hidden: hiddenSize)
  }
}
