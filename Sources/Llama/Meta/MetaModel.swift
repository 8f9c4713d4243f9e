public import ByteIO
internal import Tensors

/// A Meta checkpoint understood: `params.json` and the shapes of the shards together give the configuration, and how the
/// shards are cut. Whatever the parameters left out is inferred, and said.
public struct MetaModel: Sendable, Equatable {
  public let configuration: LlamaConfiguration
  public let rules: TensorParallelRules
  public let shardCount: Int
  /// What was inferred, and from what, one sentence each without a final stop.
  public internal(set) var inferences: [String] = []
  /// What is probably wrong, in the same form.
  public internal(set) var warnings: [String] = []

  /// What a look at the tensors' bytes tells, which names and shapes do not.
  public struct Contents: Sendable {
    /// The head shares the embedding's storage or has the same bytes. A head that is absent is seen from the names.
    public var headIsEmbedding: Bool
    /// How many consecutive shards hold the same keys and values in all layers, from
    /// `TensorParallelRules.keyValueCopies`; ask only where `MetaModel.mayCopyKeyValueHeads`.
    public var keyValueCopies: Int
    /// Number of tokens that the tokenizer knows, if it was read.
    public var tokenizerSize: Int?

    public init(headIsEmbedding: Bool = false, keyValueCopies: Int = 1, tokenizerSize: Int? = nil) {
      self.headIsEmbedding = headIsEmbedding
      self.keyValueCopies = keyValueCopies
      self.tokenizerSize = tokenizerSize
    }
  }

  /// True when every shard holds one key/value head, so that some may be copies of others.
  public static func mayCopyKeyValueHeads(_ parameters: MetaParameters, shards: [MetaShard]) -> Bool {
    shards.count > 1 && shards[0][.layer(0, .key)]?.shape.rows == parameters.resolvedHeadDimension
  }

  /// - Parameter shards: by rank.
  /// - Throws: `ParseFailure` when shapes and parameters cannot belong together.
  public init(
    _ parameters: MetaParameters, shards: [MetaShard], contents: Contents = Contents()
  ) throws(ParseFailure) {
    let reading = try MetaReading(parameters, shards: shards, contents: contents)
    configuration = reading.configuration
    rules = TensorParallelRules(embeddingSplit: reading.embeddingSplit)
    shardCount = shards.count
    inferences = reading.inferences
    warnings = reading.warnings
  }
}
