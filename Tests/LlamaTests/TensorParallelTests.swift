import ByteIO
import Llama
import Support
import Tensors
import Testing

@Suite struct TensorParallelTests {
  private static func published(_ name: String) throws -> LlamaConfiguration {
    try #require(PublishedModel.all.first { $0.name == name }).expected
  }

  /// Bytes of all tensors in every shard, 16 bits each.
  private func shardBytes(_ configuration: LlamaConfiguration, _ rules: TensorParallelRules, _ shards: Int) throws
    -> Int
  {
    try configuration.roles.reduce(0) {
      try $0 + rules.shardShape(of: $1, configuration, shards: shards).byteCount(of: .bf16)
    }
  }

  /// Model, embedding cut, shards, and the bytes of one shard: the table of released models, confirmed by the sizes of the
  /// published files.
  static let sizes: [(name: String, split: TensorParallelRules.EmbeddingSplit, shards: Int, bytes: Int)] = [
    ("Llama 1 7B", .columns, 1, 13_476_831_232), ("Llama 1 13B", .columns, 2, 13_016_279_040),
    ("Llama 1 30B", .columns, 4, 16_265_679_872), ("Llama 1 65B", .columns, 8, 16_323_723_264),
    ("Llama 2 70B", .columns, 8, 17_246_470_144), ("Code Llama 7B", .columns, 1, 13_477_093_376),
    ("Code Llama 13B", .columns, 2, 13_016_442_880), ("Code Llama 34B", .columns, 4, 16_873_177_088),
    ("Code Llama 70B", .columns, 8, 17_246_535_680), ("Llama 3 8B", .rows, 1, 16_060_522_496),
    ("Llama 3 70B", .rows, 8, 17_640_734_720), ("Llama 3.1 405B", .rows, 8, 101_470_601_216),
    ("Llama 3.1 405B", .rows, 16, 51_267_928_064), ("Llama 3.2 1B", .rows, 1, 2_471_628_800),
    ("Llama 3.2 3B Instruct", .rows, 1, 6_425_499_648),
  ]

  @Test("a shard of a published model has its published size", arguments: sizes.indices)
  func shardsHavePublishedSizes(_ index: Int) throws {
    let (name, split, shards, bytes) = Self.sizes[index]
    let rules = TensorParallelRules(embeddingSplit: split)
    #expect(try shardBytes(Self.published(name), rules, shards) == bytes)
  }

  @Test("the published cut of the embedding is the one that is written", arguments: sizes.indices)
  func writesThePublishedEmbeddingCut(_ index: Int) throws {
    #expect(try Self.published(Self.sizes[index].name).metaEmbeddingSplit == Self.sizes[index].split)
  }

  /// Heads 12, key/value heads 4, and all other extents divide by 24.
  private static let model = LlamaConfiguration(
    hiddenSize: 96, layerCount: 2, headCount: 24, keyValueHeadCount: 4, headDimension: 6, feedForwardSize: 240,
    vocabularySize: 480, normEpsilon: 1e-5, rope: RoPEParameters(base: 10_000), maximumPositions: 64,
    tiesEmbeddings: false)

  @Test(
    "blocks of one tensor touch, have the shard's shape and cover the tensor as often as it is copied",
    arguments: [1, 2, 3, 4, 6, 8, 12, 24], TensorParallelRules.EmbeddingSplit.allCases)
  func blocksCover(_ shards: Int, _ split: TensorParallelRules.EmbeddingSplit) throws {
    let rules = TensorParallelRules(embeddingSplit: split)
    let configuration = Self.model
    guard (try? rules.checkDivisible(configuration, shards: shards)) != nil else {
      // 4 key/value heads and 3 or 6 shards: neither divides the other.
      #expect(shards == 3 || shards == 6)
      return
    }
    for role in configuration.roles {
      let full = configuration.shape(of: role).dimensions
      let (rows, columns) = (full[0], full.count > 1 ? full[1] : 1)
      var held = [Int](repeating: 0, count: rows * columns)
      for shard in 0..<shards {
        let rowRange = rules.rowRange(of: role, configuration, shard: shard, of: shards)
        let columnRange = rules.columnRange(of: role, configuration, shard: shard, of: shards)
        let shape: Shape = full.count > 1 ? [rowRange.count, columnRange.count] : [rowRange.count]
        #expect(try rules.shardShape(of: role, configuration, shards: shards) == shape)
        for row in rowRange { for column in columnRange { held[row * columns + column] += 1 } }
      }
      let copies = rules.copies(of: role, configuration, shards: shards)
      #expect(held.allSatisfy { $0 == copies }, "\(role), \(shards) shards")
    }
  }

  /// Query head q reads key/value head ⌊q · K / H⌋.
  @Test("every shard holds the key/value heads that its query heads read", arguments: [1, 2, 4, 8, 12, 24])
  func queriesFindTheirKeys(_ shards: Int) {
    let rules = TensorParallelRules(embeddingSplit: .rows)
    let configuration = Self.model
    let heads = configuration.headCount
    let dimension = configuration.headDimension
    for shard in 0..<shards {
      let queries = rules.rowRange(of: .layer(1, .query), configuration, shard: shard, of: shards)
      let needed = Set(queries.map { $0 / dimension * configuration.keyValueHeadCount / heads })
      for part in [LayerRole.key, .value] {
        let held = rules.rowRange(of: .layer(1, part), configuration, shard: shard, of: shards)
        #expect(Set(held.map { $0 / dimension }) == needed)
      }
    }
  }

  @Test func sixteenShardsOf405BHoldEveryHeadTwice() throws {
    let rules = TensorParallelRules(embeddingSplit: .rows)
    let configuration = try Self.published("Llama 3.1 405B")
    for shard in 0..<16 {
      let rows = rules.rowRange(of: .layer(0, .key), configuration, shard: shard, of: 16)
      #expect(rows == shard / 2 * 128..<(shard / 2 + 1) * 128)
    }
    #expect(rules.copies(of: .layer(0, .value), configuration, shards: 16) == 2)
    #expect(rules.copies(of: .layer(0, .value), configuration, shards: 8) == 1)
    #expect(rules.copies(of: .outputNorm, configuration, shards: 8) == 8)
    #expect(rules.copies(of: .layer(0, .query), configuration, shards: 16) == 1)
  }

  static let refusals: [(name: String, shards: Int, split: TensorParallelRules.EmbeddingSplit, words: [String])] = [
    ("Llama 3 8B", 3, .rows, ["32 attention heads", "3 shards", "1, 2, 4, 8, 16, 32"]),
    ("Llama 3 8B", 64, .rows, ["32 attention heads", "64 shards"]),
    ("Llama 3 8B", 0, .rows, ["0 shards", "1 to 100"]),
    ("Llama 3 8B", -1, .rows, ["-1 shards"]),
    ("Llama 3 8B", 101, .rows, ["101 shards"]),
    // 24 heads, 8 key/value heads: 3, 6 and 12 shards would tear groups of heads apart.
    ("Llama 3.2 3B Instruct", 3, .rows, ["3 shards", "possible numbers of shards: 1, 2, 4, 8"]),
    // 32016 = 2⁴ · 3 · 23 · 29 and 40 heads.
    ("Code Llama 13B", 5, .columns, ["5 shards", "1, 2, 4, 8"]),
    ("Llama 1 30B", 8, .columns, ["52 attention heads", "8 shards", "1, 2, 4"]),
  ]

  @Test("a number of shards that does not divide is refused with those that do", arguments: refusals.indices)
  func refusesShardCounts(_ index: Int) throws {
    let (name, shards, split, words) = Self.refusals[index]
    let configuration = try Self.published(name)
    let rules = TensorParallelRules(embeddingSplit: split)
    let failure = #expect(throws: ParseFailure.self) { try rules.checkDivisible(configuration, shards: shards) }
    for word in words { #expect(failure?.description.contains(word) == true, "\(failure?.description ?? "")") }
    #expect(throws: ParseFailure.self) {
      try rules.shardShape(of: .layer(0, .key), configuration, shards: shards)
    }
  }

  /// Each obstacle alone: what is changed of a model that twelve shards can hold.
  static let obstacles: [(words: String, change: @Sendable (inout LlamaConfiguration) -> Void)] = [
    ("30 attention heads", { $0.headCount = 30 }), ("5 key/value heads", { $0.keyValueHeadCount = 5 }),
    ("250 rows of the feed-forward block", { $0.feedForwardSize = 250 }),
    ("490 rows of the vocabulary", { $0.vocabularySize = 490 }),
    ("100 columns of the embedding", { $0.hiddenSize = 100 }),
  ]

  @Test("every extent that is cut is checked", arguments: obstacles.indices)
  func namesTheObstacle(_ index: Int) throws {
    let rules = TensorParallelRules(embeddingSplit: .columns)
    try rules.checkDivisible(Self.model, shards: 12)
    var configuration = Self.model
    Self.obstacles[index].change(&configuration)
    let failure = #expect(throws: ParseFailure.self) { try rules.checkDivisible(configuration, shards: 12) }
    #expect(failure?.message.contains(Self.obstacles[index].words) == true, "\(failure?.description ?? "")")
  }

  @Test func theHiddenSizeMayBeIndivisibleWhenTheVocabularyIsCut() throws {
    var configuration = Self.model
    configuration.hiddenSize = 100
    try TensorParallelRules(embeddingSplit: .rows).checkDivisible(configuration, shards: 12)
  }

  /// Contents of the shards' key/value tensors (equal letters for equal bytes) and the copies that they hold.
  @Test(
    "copies of key/value heads are told from the contents",
    arguments: [
      ("", 1), ("A", 1), ("AB", 1), ("AA", 2), ("AABB", 2), ("AAAA", 4), ("ABBA", 1), ("AABC", 1), ("AAB", 1),
      ("AAABBB", 3), ("AABBAABB", 2), ("AAAABBBB", 4), ("AAAABBBC", 1), ("AABBCCDDEEFFGGHH", 2), ("ABCDABCE", 1),
    ])
  func countsCopies(_ contents: String, _ copies: Int) throws {
    #expect(try TensorParallelRules.keyValueCopies(contents.map { [$0] }) == copies)
  }

  /// As `tensor.repeat` leaves them: 1 → 8 with four heads, 2 → 4 with two.
  @Test("heads repeated in turn are refused", arguments: [("ABCDABCD", 4), ("ABAB", 2), ("ABABABAB", 2)])
  func refusesTiledHeads(_ contents: String, _ period: Int) {
    let failure = #expect(throws: ParseFailure.self) {
      try TensorParallelRules.keyValueCopies(contents.map { [$0] })
    }
    #expect(failure?.message.contains("shards 0 to \(period - 1) are repeated") == true)
  }

  @Test func copiesMustBeCopiesInEveryTensor() throws {
    #expect(try TensorParallelRules.keyValueCopies([["k0", "v0"], ["k0", "v0"], ["k1", "v1"], ["k1", "v1"]]) == 2)
    #expect(try TensorParallelRules.keyValueCopies([["k0", "v0"], ["k0", "v0"], ["k1", "v1"], ["k1", "v2"]]) == 1)
  }
}
