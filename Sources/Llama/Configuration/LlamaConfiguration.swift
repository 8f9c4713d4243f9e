public import Tensors

/// The hyperparameters that decide a Llama-family model's tensors and its forward pass. Independent of the layout that
/// they were read from.
public struct LlamaConfiguration: Sendable, Equatable {
  /// Width of the residual stream (`hidden_size`, Meta's `dim`).
  public var hiddenSize: Int
  /// Number of transformer layers.
  public var layerCount: Int
  /// Query heads.
  public var headCount: Int
  /// Key/value heads; fewer than `headCount` under grouped-query attention (GQA).
  public var keyValueHeadCount: Int
  /// Rows of one head. Usually `hiddenSize / headCount`, but some models state another.
  public var headDimension: Int
  /// Width of the feed-forward block (`intermediate_size`, Meta's `ffn`).
  public var feedForwardSize: Int
  /// Rows of the embedding and of the output head.
  public var vocabularySize: Int
  /// Added to the mean square in RMSNorm.
  public var normEpsilon: Double
  public var rope: RoPEParameters
  /// The context length that the model claims (`max_position_embeddings`).
  public var maximumPositions: Int
  /// The output head is the token embedding.
  public var tiesEmbeddings: Bool
  /// Attention window of Mistral 7B v0.1: position i sees j with i − window < j ≤ i. Nil for full attention.
  public var slidingWindow: Int?
  public var beginOfTextID: Int?
  public var endOfTextIDs: [Int]
  /// The element type that the configuration claims for unquantized weights (`torch_dtype`, `dtype`), if it does.
  public var claimedElementType: ElementType?
  /// `LlamaForCausalLM`, `MistralForCausalLM`.
  public var architecture: Architecture

  public enum Architecture: String, Sendable, Equatable {
    case llama = "LlamaForCausalLM"
    case mistral = "MistralForCausalLM"
  }

  public init(
    hiddenSize: Int, layerCount: Int, headCount: Int, keyValueHeadCount: Int, headDimension: Int,
    feedForwardSize: Int, vocabularySize: Int, normEpsilon: Double, rope: RoPEParameters, maximumPositions: Int,
    tiesEmbeddings: Bool, slidingWindow: Int? = nil, beginOfTextID: Int? = nil, endOfTextIDs: [Int] = [],
    claimedElementType: ElementType? = nil, architecture: Architecture = .llama
  ) {
    self.hiddenSize = hiddenSize
    self.layerCount = layerCount
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headDimension = headDimension
    self.feedForwardSize = feedForwardSize
    self.vocabularySize = vocabularySize
    self.normEpsilon = normEpsilon
    self.rope = rope
    self.maximumPositions = maximumPositions
    self.tiesEmbeddings = tiesEmbeddings
    self.slidingWindow = slidingWindow
    self.beginOfTextID = beginOfTextID
    self.endOfTextIDs = endOfTextIDs
    self.claimedElementType = claimedElementType
    self.architecture = architecture
  }
}
