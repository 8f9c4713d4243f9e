import ByteIO
import Foundation
import Llama
import Support
import Tensors
import Testing

@Suite struct MetaWritingTests {
  /// Configuration → params.json, as text → configuration.
  private func roundTrip(
    _ configuration: LlamaConfiguration, _ split: TensorParallelRules.EmbeddingSplit, _ shards: Int
  ) throws -> MetaModel {
    let text = MetaParameters.document(for: configuration, shards: shards).serialized()
    let copies = TensorParallelRules(embeddingSplit: split).copies(of: .layer(0, .key), configuration, shards: shards)
    return try MetaModel(
      MetaParameters(parsing: JSONValue(parsing: text)),
      shards: MetaShardFolder.shards(configuration, split, shards),
      contents: MetaModel.Contents(headIsEmbedding: configuration.tiesEmbeddings, keyValueCopies: copies))
  }

  private func keys(_ configuration: LlamaConfiguration, shards: Int = 1) -> [String] {
    MetaParameters.document(for: configuration, shards: shards).object?.members.map(\.key) ?? []
  }

  @Test("every published model is read back, in any number of shards", arguments: PublishedModel.all)
  func roundTripsPublishedModels(_ model: PublishedModel) throws {
    let configuration = model.expected
    var seen = 0
    for split in TensorParallelRules.EmbeddingSplit.allCases {
      for shards in [1, 2, 4, 8, 16, 32] {
        let rules = TensorParallelRules(embeddingSplit: split)
        guard (try? rules.checkDivisible(configuration, shards: shards)) != nil else { continue }
        let read = try roundTrip(configuration, split, shards)
        #expect(read.configuration == configuration)
        #expect(!read.warnings.contains { $0.contains("feed-forward") })
        seen += 1
      }
    }
    #expect(seen >= 6)
  }

  // MARK: As the loaders read it

  /// The fields of the reference code's `ModelArgs`, from the first release on; unknown ones are an error up to Llama 3.
  private static let fields1 = ["dim", "n_layers", "n_heads", "vocab_size", "multiple_of", "norm_eps"]
  private static let fields2 = fields1 + ["n_kv_heads", "ffn_dim_multiplier"]
  private static let fields3 = fields2 + ["rope_theta"]

  @Test("a base model's keys are those that its generation's loader knows", arguments: PublishedModel.all)
  func writesOnlyKnownKeys(_ model: PublishedModel) {
    let fields: [String]
    // Early uploads of Llama 1 to the hub, and all Instruct models since 3.1, have token ids of their own.
    var extra: [String] = model.name == "Llama 1 7B" ? ["bos_token_id", "eos_token_id"] : []
    if model.endOfText.count > 1 { extra.append("eos_token_id") }
    switch model.name {
    case _ where model.name.hasPrefix("Llama 1"): fields = Self.fields1
    case _ where model.name.hasPrefix("Llama 2"): fields = Self.fields2
    case _ where model.isMistral:
      fields = [
        "dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "norm_eps", "vocab_size", "rope_theta",
        "sliding_window",
      ]
    default: fields = Self.fields3 + (model.factor == nil ? [] : ["use_scaled_rope"])
    }
    // 7B with Llama 1's positions and epsilon is Llama 1; nothing else needs a key of ours.
    let unknown = keys(model.expected).filter { !(fields + extra).contains($0) }
    #expect(unknown.isEmpty, "\(unknown)")
    for key in extra { #expect(keys(model.expected).contains(key)) }
    let remarks = MetaParameters.remarks(for: model.expected, shards: 1)
    #expect(remarks.count == (extra.isEmpty ? 0 : 1) + (model.factor == 32 ? 1 : 0), "\(remarks)")
  }

  /// The table of released models: multiplier (absent for nil) and multiple.
  static let pairs: [(name: String, multiplier: Double?, multiple: Int)] = [
    ("Llama 1 7B", nil, 256), ("Llama 1 13B", nil, 256), ("Llama 1 30B", nil, 256), ("Llama 1 65B", nil, 256),
    ("Llama 2 70B", 1.3, 4096), ("Llama 3 8B", 1.3, 1024), ("Llama 3.1 70B", 1.3, 4096),
    ("Llama 3.1 405B", 1.2, 4096), ("Llama 3.2 1B", 1.5, 256), ("Llama 3.2 3B Instruct", 1.0, 256),
  ]

  @Test("the feed-forward size is stated as the release states it", arguments: pairs.indices)
  func writesPublishedPairs(_ index: Int) throws {
    let (name, multiplier, multiple) = Self.pairs[index]
    let model = try #require(PublishedModel.all.first { $0.name == name })
    let document = MetaParameters.document(for: model.expected, shards: 1)
    #expect(document["multiple_of"]?.integer == multiple)
    #expect(document["ffn_dim_multiplier"]?.double == multiplier)
  }

  @Test("published documents are written again member by member")
  func writesPublishedDocuments() throws {
    for published in PublishedParameters.llama3 {
      let configuration = try #require(published.expected)
      let written = MetaParameters.document(for: configuration, shards: published.shards)
      let expected = try JSONValue(parsing: published.json)
      let keys = expected.object?.members.map(\.key) ?? []
      #expect(Set(written.object?.members.map(\.key) ?? []) == Set(keys))
      for key in keys {
        #expect(written[key]?.double == expected[key]?.double && written[key]?.bool == expected[key]?.bool)
      }
    }
  }

  /// Meta's rule in the test's own words: int(2·4·dim/3), int(multiplier·that), up to a multiple.
  private func metaSize(_ document: JSONValue) throws -> Int {
    let hidden = try #require(document["dim"]?.integer)
    let multiple = try #require(document["multiple_of"]?.integer)
    var size = floor(Double(8 * hidden) / 3)
    if let multiplier = document["ffn_dim_multiplier"]?.double { size = floor(multiplier * size) }
    return Int(ceil(size / Double(multiple))) * multiple
  }

  @Test func metasRuleGivesEverySizeExactly() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    var configuration = PublishedModel.llama3[0].expected
    // Small ones all, then anything up to the largest dimension.
    var cases = (1...300).flatMap { size in [2, 64, 288].map { (hidden: $0, size: size) } }
    for _ in 0..<2000 {
      cases.append((Int.random(in: 1...1 << 12, using: &random) * 2, Int.random(in: 1...1 << 21, using: &random)))
    }
    for (hidden, size) in cases {
      configuration.hiddenSize = hidden
      configuration.feedForwardSize = size
      let document = MetaParameters.document(for: configuration, shards: 1)
      #expect(try metaSize(document) == size, "hidden \(hidden), size \(size), seed \(seed)")
    }
  }

  // MARK: What Meta has no key for

  @Test func otherScalingIsWrittenUnderOurKeysAndRemarked() throws {
    var configuration = PublishedModel.llama3[3].expected
    configuration.rope.scaling = .llama3(
      factor: 16, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 4096)
    #expect(keys(configuration).suffix(2) == ["rope_scaling_factor", "rope_original_max_positions"])
    var remarks = MetaParameters.remarks(for: configuration, shards: 1)
    #expect(remarks.count == 1 && remarks[0].contains("rope_scaling_factor, rope_original_max_positions"))
    #expect(remarks[0].contains("its own constants"))

    configuration.rope.scaling = .linear(factor: 2)
    remarks = MetaParameters.remarks(for: configuration, shards: 1)
    #expect(keys(configuration).contains("rope_scaling_type") && !keys(configuration).contains("use_scaled_rope"))
    #expect(remarks.contains { $0.contains("does not scale RoPE") })

    // Llama 3.2 1B with the factor of Meta's code: what its sizes would give is overridden.
    configuration = PublishedModel.llama3[6].expected
    configuration.rope.scaling = .llama3(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
    #expect(keys(configuration).suffix(1) == ["rope_scaling_factor"])
    #expect(try roundTrip(configuration, .rows, 1).configuration == configuration)
  }

  @Test func copiesOfHeadsAreCountedAndRemarked() throws {
    // As the published parameters of 405B in sixteen shards have it.
    let configuration = PublishedModel.llama3[4].expected
    #expect(MetaParameters.document(for: configuration, shards: 8)["n_kv_heads"]?.integer == 8)
    #expect(MetaParameters.document(for: configuration, shards: 16)["n_kv_heads"]?.integer == 16)
    #expect(MetaParameters.remarks(for: configuration, shards: 8).isEmpty)
    let remarks = MetaParameters.remarks(for: configuration, shards: 16)
    #expect(remarks.count == 1 && remarks[0].contains("8 key/value heads is stored 2 times"))
  }

  // MARK: Property

  private static func randomConfiguration(_ random: inout SeededRandom, shards: Int) -> LlamaConfiguration {
    func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &random)] }
    func number(_ range: ClosedRange<Double>) -> Double { Double.random(in: range, using: &random) }
    let keyValueHeads = pick([1, 2, 4, 8, 16])
    let heads = max(keyValueHeads, shards) * pick([1, 2, 3])
    let dimension = 2 * Int.random(in: 1...32, using: &random)
    let isMistral = pick([false, false, true])
    let hidden =
      pick([true, true, false]) ? heads * dimension : shards * pick([128, 192]) * Int.random(in: 1...3, using: &random)
    let scalings: [RoPEParameters.Scaling] = [
      .none, .linear(factor: number(0.5...16)),
      .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192),
      .llama3(factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192),
      .llama3(
        factor: number(1...64), lowFrequencyFactor: number(0.5...2), highFrequencyFactor: number(2.5...9),
        originalPositions: Int.random(in: 1...1 << 20, using: &random)),
    ]
    return LlamaConfiguration(
      hiddenSize: pick([hidden, hidden, hidden, 2048, 3072]), layerCount: pick([1, 2, 3, 16, 28]), headCount: heads,
      keyValueHeadCount: keyValueHeads, headDimension: dimension,
      feedForwardSize: shards * Int.random(in: 1...4096, using: &random),
      vocabularySize: pick([32000, 32016, 128_256, 32768, shards * Int.random(in: 1...9000, using: &random)]),
      normEpsilon: pick([1e-5, 1e-6, 1e-8, number(1e-9...1e-3)]),
      rope: RoPEParameters(base: pick([1e4, 5e5, 1e6, number(1...1e9)]), scaling: pick(scalings)),
      maximumPositions: pick([2048, 4096, 8192, 16384, 32768, 131_072, Int.random(in: 1...1 << 30, using: &random)]),
      tiesEmbeddings: pick([true, false]), slidingWindow: isMistral ? pick([nil, 4096, 1, 1 << 30]) : nil,
      beginOfTextID: pick([nil, 0, 1, 128_000]), endOfTextIDs: pick([[], [2], [128_001], [128_001, 128_009], [1]]),
      claimedElementType: pick([.bf16, .f16, .f32]), architecture: isMistral ? .mistral : .llama)
  }

  @Test func anyConfigurationIsReadBack() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for round in 0..<4000 {
      let shards = [1, 2, 4, 8, 16][Int.random(in: 0..<5, using: &random)]
      let split: TensorParallelRules.EmbeddingSplit = Bool.random(using: &random) ? .rows : .columns
      let configuration = Self.randomConfiguration(&random, shards: shards)
      let read = try roundTrip(configuration, split, shards)
      #expect(read.configuration == configuration, "seed \(seed), round \(round), \(shards) shards, \(split)")
      guard read.configuration == configuration else { return }
      if configuration.architecture == .llama {
        let document = MetaParameters.document(for: configuration, shards: shards)
        #expect(try metaSize(document) == configuration.feedForwardSize, "seed \(seed), round \(round)")
      }
    }
  }
}
