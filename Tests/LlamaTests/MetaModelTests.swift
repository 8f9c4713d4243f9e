import ByteIO
import Llama
import Support
import Tensors
import Testing

@Suite struct MetaModelTests {
  private func read(
    _ json: String, _ shards: [MetaShard], _ contents: MetaModel.Contents = MetaModel.Contents()
  ) throws -> MetaModel {
    try MetaModel(MetaParameters(parsing: JSONValue(parsing: json)), shards: shards, contents: contents)
  }

  @Test("published parameters with their shards are read as the published model", arguments: PublishedParameters.all)
  func readsPublishedModels(_ published: PublishedParameters) throws {
    let expected = try #require(published.expected)
    let shards = try MetaShardFolder.shards(
      expected, published.split, published.shards, extra: published.leftovers)
    let model = try read(
      published.json, shards,
      MetaModel.Contents(headIsEmbedding: expected.tiesEmbeddings, keyValueCopies: published.copies))
    #expect(model.configuration == expected)
    #expect(model.shardCount == published.shards)
    if published.shards > 1 { #expect(model.rules.embeddingSplit == published.split) }
    #expect(!model.warnings.contains { $0.contains("feed-forward") || $0.contains("vocabulary") })
  }

  // MARK: Inference

  /// The fixtures' model: `tiny_meta/mp1/params.json`.
  private static let tiny = """
    {"dim": 64, "n_layers": 2, "n_heads": 8, "n_kv_heads": 4, "vocab_size": 512, "multiple_of": 32,
     "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}
    """
  private static let tinyModel = LlamaConfiguration(
    hiddenSize: 64, layerCount: 2, headCount: 8, keyValueHeadCount: 4, headDimension: 8, feedForwardSize: 224,
    vocabularySize: 512, normEpsilon: 1e-5,
    rope: RoPEParameters(
      base: 500_000,
      scaling: .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)),
    maximumPositions: 131_072, tiesEmbeddings: false, claimedElementType: .bf16)

  private static func changed(_ key: String, _ json: String?, of text: String = tiny) throws -> String {
    var object = try #require(JSONValue(parsing: text).object)
    object[key] = try json.map { try JSONValue(parsing: $0) }
    return JSONValue.object(object).serialized()
  }

  private static func shards(
    _ count: Int, _ split: TensorParallelRules.EmbeddingSplit = .rows,
    _ change: (inout LlamaConfiguration) -> Void = { _ in }
  ) throws -> [MetaShard] {
    var configuration = tinyModel
    change(&configuration)
    return try MetaShardFolder.shards(configuration, split, count)
  }

  @Test("the fixtures' parameters with their shards are the fixtures' model", arguments: [1, 2, 4])
  func readsTheFixture(_ count: Int) throws {
    let model = try read(Self.tiny, Self.shards(count))
    #expect(model.configuration == Self.tinyModel)
    #expect(model.warnings.isEmpty)
    #expect(model.inferences.contains { $0.contains("factor is 8") })
    #expect(model.inferences.contains { $0.contains("131072") && $0.contains("Llama 3.1") })
    #expect(model.inferences.contains { $0.contains("begin and end") && $0.contains("not known") })
    #expect(model.inferences.contains { $0.contains("cut by rows") } == (count > 1))
  }

  @Test func absentVocabularyBaseAndEpsilonAreInferredAndSaid() throws {
    // tiny_meta/l2_mp2/params.json, without norm_eps.
    let json = """
      {"dim": 64, "multiple_of": 32, "ffn_dim_multiplier": 1.3, "n_heads": 8, "n_kv_heads": 4, "n_layers": 2,
       "vocab_size": -1}
      """
    let model = try read(json, Self.shards(2, .columns))
    var expected = Self.tinyModel
    expected.rope = RoPEParameters(base: 10_000)
    expected.maximumPositions = 4096
    expected.beginOfTextID = 1
    expected.endOfTextIDs = [2]
    #expect(model.configuration == expected && model.rules.embeddingSplit == .columns)
    for words in [
      "vocab_size is not stated: 512, the rows of output.weight", "rope_theta is absent: 10000",
      "norm_eps is absent: 1e-5", "cut by columns", "context length is 4096, that of Llama 2", "ends a text is 2",
    ] { #expect(model.inferences.contains { $0.contains(words) }, "\(words) in \(model.inferences)") }
  }

  @Test("the vocabulary is the tensors', and a disagreement is a warning")
  func takesTheTensorsVocabulary() throws {
    let shards = try Self.shards(2) { $0.vocabularySize = 520 }
    let model = try read(Self.tiny, shards, MetaModel.Contents(tokenizerSize: 512))
    #expect(model.configuration.vocabularySize == 520)
    #expect(model.warnings.contains { $0.contains("520") && $0.contains("vocab_size is 512") })
    #expect(model.warnings.contains { $0.contains("520") && $0.contains("tokenizer has 512") })
  }

  @Test func theFeedForwardSizeIsTheTensorsAndADisagreementIsAWarning() throws {
    let shards = try Self.shards(2) { $0.feedForwardSize = 192 }
    let model = try read(Self.tiny, shards)
    #expect(model.configuration.feedForwardSize == 192)
    #expect(model.warnings.contains { $0.contains("192") && $0.contains("give 224") })
    let stated = try read(Self.changed("hidden_dim", "256"), shards)
    #expect(stated.warnings.contains { $0.contains("192") && $0.contains("hidden_dim says 256") })
  }

  // MARK: Heads

  @Test("key/value heads that are stored several times are counted once", arguments: [(8, "8", 2), (8, "4", 2)])
  func countsHeadsOnce(_ shards: Int, _ stated: String, _ copies: Int) throws {
    // tiny_meta/mp8_kvrep says 8; a file that says 4 means the same.
    let model = try read(
      Self.changed("n_kv_heads", stated), Self.shards(shards), MetaModel.Contents(keyValueCopies: copies))
    #expect(model.configuration.keyValueHeadCount == 4)
    #expect(model.inferences.contains { $0.contains("stored 2 times") })
  }

  @Test func headsThatDifferAreNotCopies() throws {
    let model = try read(Self.changed("n_kv_heads", "8"), Self.shards(8))
    #expect(model.configuration.keyValueHeadCount == 8)
    let failure = #expect(throws: ParseFailure.self) { try read(Self.tiny, Self.shards(8)) }
    #expect(failure?.item == "layers.0.attention.wk.weight" && failure?.message.contains("differ") == true)
  }

  @Test func onlyShardsOfOneHeadMayHoldCopies() throws {
    let parameters = try MetaParameters(parsing: JSONValue(parsing: Self.tiny))
    for count in [1, 2, 4, 8] {
      #expect(MetaModel.mayCopyKeyValueHeads(parameters, shards: try Self.shards(count)) == (count >= 4))
    }
    #expect(!MetaModel.mayCopyKeyValueHeads(parameters, shards: []))
    // Equal heads in fewer shards than heads are nobody's copies.
    let model = try read(Self.tiny, Self.shards(2), MetaModel.Contents(keyValueCopies: 2))
    #expect(model.configuration.keyValueHeadCount == 4)
  }

  @Test("a wrong number of key/value heads is refused", arguments: [("2", "n_kv_heads says 2"), (nil, "means 8")])
  func refusesKeyValueHeads(_ stated: String?, _ words: String) throws {
    let json = try Self.changed("n_kv_heads", stated)
    let failure = #expect(throws: ParseFailure.self) { try read(json, Self.shards(2)) }
    #expect(failure?.message.contains("4 key/value heads") == true)
    #expect(failure?.message.contains(words) == true, "\(failure?.description ?? "")")
  }

  // MARK: Head and embedding

  @Test func aHeadThatIsTheEmbeddingIsTied() throws {
    let model = try read(Self.tiny, Self.shards(2), MetaModel.Contents(headIsEmbedding: true))
    #expect(model.configuration.tiesEmbeddings)
    #expect(model.inferences.contains { $0.contains("output.weight is the same tensor") })
    let without = try MetaShardFolder.shards(model.configuration, .rows, 2, storesHead: false)
    let absent = try read(Self.tiny, without)
    #expect(absent.configuration.tiesEmbeddings)
    #expect(absent.inferences.contains { $0.contains("output.weight is absent") })
  }

  @Test func theVocabularyOfATiedModelIsTheEmbeddings() throws {
    let json = try Self.changed("vocab_size", "-1")
    for split in TensorParallelRules.EmbeddingSplit.allCases {
      var tied = Self.tinyModel
      tied.tiesEmbeddings = true
      let shards = try MetaShardFolder.shards(tied, split, 4, storesHead: false)
      let model = try read(json, shards)
      #expect(model.configuration.vocabularySize == 512 && model.rules.embeddingSplit == split)
    }
  }

  @Test func whatTiedEmbeddingsSaysIsHeldAgainstTheHead() throws {
    let equal = MetaModel.Contents(headIsEmbedding: true)
    let untied = try read(Self.changed("tied_embeddings", "false"), Self.shards(2), equal)
    #expect(!untied.configuration.tiesEmbeddings)
    let tied = try read(Self.changed("tied_embeddings", "true"), Self.shards(2), equal)
    #expect(tied.configuration.tiesEmbeddings)
    let failure = #expect(throws: ParseFailure.self) {
      try read(Self.changed("tied_embeddings", "true"), Self.shards(2))
    }
    #expect(failure?.item == "output.weight")
  }

  /// Name, shape instead of the sound one, words of the refusal; two shards.
  static let shapes: [(name: String, shape: Shape?, words: String)] = [
    ("tok_embeddings.weight", [256, 63], "63 columns"), ("tok_embeddings.weight", nil, "missing"),
    ("tok_embeddings.weight", [64], "matrix"), ("tok_embeddings.weight", [1 << 40, 64], "1099511627776"),
    ("tok_embeddings.weight", [1 << 40, 1 << 40], "matrix"), ("tok_embeddings.weight", [0, 64], "matrix"),
    ("output.weight", [260, 64], "520 rows, the embedding has 512"),
    ("layers.0.attention.wq.weight", [33, 64], "do not divide"),
    ("layers.0.attention.wq.weight", [64, 64], "the model has 1 shards, there are 2"),
    ("layers.0.attention.wq.weight", [16, 64], "the model has 4 shards, there are 2"),
    ("layers.0.attention.wk.weight", [17, 64], "no multiple of the head's 8"),
    ("layers.0.attention.wk.weight", nil, "missing"), ("layers.0.feed_forward.w1.weight", nil, "missing"),
    ("layers.0.attention.wq.weight", nil, "missing"),
  ]

  @Test("a shape that cannot be is refused with shard and tensor", arguments: shapes.indices)
  func refusesShapes(_ index: Int) throws {
    let (name, shape, words) = Self.shapes[index]
    let shards = try Self.shards(2).map { shard in
      MetaShard(
        fileName: shard.fileName,
        entries: shard.entries.compactMap { entry in
          guard entry.name == name else { return entry }
          return shape.map { Census.Entry(name: name, elementType: .bf16, shape: $0) }
        })
    }
    let failure = #expect(throws: ParseFailure.self) { try read(Self.tiny, shards) }
    #expect(failure?.item == name && failure?.file?.hasPrefix("consolidated.0") == true)
    #expect(failure?.message.contains(words) == true, "\(failure?.description ?? "")")
  }

  @Test func noShardsAreRefused() {
    #expect(throws: ParseFailure.self) { try read(Self.tiny, []) }
  }

  @Test func headsThatShardsWouldTearAreRefused() throws {
    // 3 heads of 4 rows in 2 shards: 6 rows each, one and a half heads.
    let json = #"{"dim": 12, "n_layers": 1, "n_heads": 3, "multiple_of": 4, "vocab_size": 8}"#
    let entries = [
      ("tok_embeddings.weight", [4, 12]), ("layers.0.attention.wq.weight", [6, 12]),
      ("layers.0.attention.wk.weight", [6, 12]), ("layers.0.feed_forward.w1.weight", [16, 12]),
      ("output.weight", [4, 12]),
    ].map { Census.Entry(name: $0.0, elementType: .bf16, shape: Shape($0.1)) }
    let shards = (0..<2).map { MetaShard(fileName: MetaShard.fileName(rank: $0), entries: entries) }
    let failure = #expect(throws: ParseFailure.self) { try read(json, shards) }
    #expect(failure?.message.contains("3 attention heads") == true, "\(failure?.description ?? "")")
  }
}
