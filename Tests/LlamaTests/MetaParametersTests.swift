import ByteIO
import Foundation
import Llama
import Support
import Testing

@Suite struct MetaParametersTests {
  /// Llama 3.1 8B.
  private static let sound = """
    {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
     "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}
    """

  private static func parse(_ json: String) throws -> MetaParameters {
    try MetaParameters(parsing: JSONValue(parsing: json))
  }

  /// The sound document with one member replaced, or removed for nil.
  private static func parse(changing key: String, to json: String?) throws -> MetaParameters {
    var object = try #require(JSONValue(parsing: sound).object)
    object[key] = try json.map { try JSONValue(parsing: $0) }
    return try MetaParameters(parsing: .object(object))
  }

  @Test func everyKeyIsRead() throws {
    let parameters = try Self.parse(Self.sound)
    #expect(parameters.hiddenSize == 4096 && parameters.layerCount == 32 && parameters.headCount == 32)
    #expect(parameters.keyValueHeadCount == 8 && parameters.vocabularySize == 128_256)
    #expect(parameters.multipleOf == 1024 && parameters.feedForwardMultiplier == 1.3)
    #expect(parameters.normEpsilon == 1e-5 && parameters.ropeBase == 500_000 && parameters.usesScaledRoPE == true)
    #expect(parameters.resolvedHeadDimension == 128 && parameters.resolvedFeedForwardSize == 14336)
    #expect(parameters.ignoredKeys.isEmpty && parameters.quantization == nil && parameters.adapters == nil)
  }

  @Test func everythingMayBeNestedUnderModel() throws {
    #expect(try Self.parse("{\"model\": \(Self.sound), \"other\": 1}") == Self.parse(Self.sound))
  }

  /// The table of released models: hidden size, multiplier, multiple, feed-forward size.
  @Test(
    "the feed-forward size is that of the released models",
    arguments: [
      (4096, nil, 256, 11008), (5120, nil, 256, 13824), (6656, nil, 256, 17920), (8192, nil, 256, 22016),
      (8192, 1.0, 256, 22016), (8192, 1.3, 4096, 28672), (4096, 1.3, 1024, 14336), (16384, 1.2, 4096, 53248),
      (2048, 1.5, 256, 8192), (3072, 1.0, 256, 8192),
      // The fixtures, whose tensors torch has written.
      (64, 1.3, 32, 224), (256, 0.7507, 256, 512),
    ] as [(Int, Double?, Int, Int)])
  func computesFeedForwardSizes(_ hidden: Int, _ multiplier: Double?, _ multiple: Int, _ size: Int) throws {
    let parameters = try Self.parse(
      """
      {"dim": \(hidden), "n_layers": 2, "n_heads": 8, "multiple_of": \(multiple),
       "ffn_dim_multiplier": \(multiplier.map { "\($0)" } ?? "null")}
      """)
    #expect(parameters.resolvedFeedForwardSize == size)
  }

  @Test func absentKeysAreNilAndMultipleOfIs256() throws {
    let parameters = try Self.parse(#"{"dim": 4096, "n_layers": 32, "n_heads": 32}"#)
    #expect(parameters.keyValueHeadCount == nil && parameters.vocabularySize == nil && parameters.multipleOf == nil)
    #expect(parameters.feedForwardMultiplier == nil && parameters.normEpsilon == nil && parameters.ropeBase == nil)
    #expect(parameters.usesScaledRoPE == nil && parameters.slidingWindow == nil && parameters.endOfTextIDs == nil)
    #expect(parameters.resolvedFeedForwardSize == 11008)
  }

  @Test("a vocabulary of −1 is left to the tokenizer", arguments: ["-1", "-1.0", "null", nil])
  func leavesTheVocabularyOpen(_ json: String?) throws {
    #expect(try Self.parse(changing: "vocab_size", to: json).vocabularySize == nil)
  }

  @Test func unknownKeysAreListedAndKnownUselessOnesAreNot() throws {
    let parameters = try Self.parse(
      """
      {"dim": 4096, "zebra": 1, "n_layers": 32, "max_seq_len": 2048, "n_heads": 32, "max_batch_size": 32,
       "apple": {"dim": 1}, "vision_chunk_size": -1, "vision_max_num_chunks": 4,
       "vision_num_cross_attention_layers": -1, "moe": null}
      """)
    #expect(parameters.ignoredKeys == ["zebra", "apple", "moe"])
  }

  @Test func mistralsOwnKeysAreRead() throws {
    // Nemo: heads of 128 rows where the quotient is 160.
    let parameters = try Self.parse(
      #"{"dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8}"#)
    #expect(parameters.resolvedHeadDimension == 128 && parameters.resolvedFeedForwardSize == 14336)
  }

  @Test(
    "Mistral's window has many spellings",
    arguments: [
      (#""sliding_window": 4096"#, 4096), (#""sliding_window": "4096""#, 4096), (#""sliding_window": [4096]"#, 4096),
      (#""sliding_window": [4096, "4096", 4096]"#, 4096), (#""_sliding_window": 4096"#, 4096),
      (#""_sliding_window": [4096]"#, 4096), (#""sliding_window": null, "_sliding_window": "4096""#, 4096),
      (#""sliding_window": 4096, "_sliding_window": 4096"#, 4096), (#""sliding_window": null"#, nil),
      (#""sliding_window": []"#, nil), (#""sliding_window": [null, null]"#, nil),
    ] as [(String, Int?)])
  func readsWindows(_ member: String, _ window: Int?) throws {
    #expect(try Self.parse("{\"dim\": 64, \"n_layers\": 2, \"n_heads\": 2, \(member)}").slidingWindow == window)
  }

  @Test func quantizationAndAdaptersAreRead() throws {
    let json = """
      {"dim": 2048, "n_layers": 16, "n_heads": 32,
       "quantization_args": {"scheme": "int4_weight_int8_dynamic_activation", "group_size": 32, "spinquant": true},
       "lora_args": {"rank": 16, "scale": 2.0}}
      """
    let parameters = try Self.parse(json)
    #expect(parameters.quantization?.groupSize == 32 && parameters.quantization?.usesSpinQuant == true)
    #expect(parameters.adapters?.rank == 16 && parameters.adapters?.scale == 2)
    let plain = try Self.parse(changing: "quantization_args", to: #"{"group_size": 64}"#)
    #expect(plain.quantization?.groupSize == 64 && plain.quantization?.usesSpinQuant == false)
  }

  @Test func ourOwnKeysAreRead() throws {
    let parameters = try Self.parse(
      """
      {"dim": 64, "n_layers": 2, "n_heads": 2, "use_scaled_rope": true, "rope_scaling_factor": 16,
       "rope_low_freq_factor": 2, "rope_high_freq_factor": 5.5, "rope_original_max_positions": 4096,
       "max_position_embeddings": 65536, "bos_token_id": -1, "eos_token_id": [7, 9], "tied_embeddings": true,
       "model_type": "mistral"}
      """)
    #expect(parameters.ropeScaling.factor == 16 && parameters.ropeScaling.lowFrequencyFactor == 2)
    #expect(parameters.ropeScaling.highFrequencyFactor == 5.5 && parameters.ropeScaling.originalPositions == 4096)
    #expect(parameters.maximumPositions == 65536 && parameters.beginOfTextIDs == [])
    #expect(parameters.endOfTextIDs == [7, 9] && parameters.tiesEmbeddings == true)
    #expect(parameters.architecture == .mistral && parameters.ignoredKeys.isEmpty)
  }

  // MARK: Refusals

  static let otherModels = [
    Refusal("moe", #"{"num_experts": 8, "num_experts_per_tok": 2}"#, "moe", "experts", "dense"),
    Refusal("moe_args", "{}", "moe_args", "experts"),
    Refusal("vision_chunk_size", "560", "vision_chunk_size", "images"),
    Refusal("vision_num_cross_attention_layers", "8", "vision_num_cross_attention_layers"),
    Refusal("vision_encoder", "{}", "vision_encoder"), Refusal("yarn", #"{"factor": 4}"#, "yarn"),
    Refusal("nope_layer_interval", "4", "nope_layer_interval"), Refusal("use_qk_norm", "true", "use_qk_norm"),
    Refusal("use_biases", "true", "use_biases"), Refusal("activation", "\"gelu\"", "activation", "gelu", "silu"),
    Refusal("model_type", "\"qwen\"", "model_type", "qwen"),
    Refusal("quantization", #"{"qformat_weight": "fp8_e4m3"}"#, "quantization"),
  ]

  static let values = [
    Refusal("dim", nil, "dim", "nothing"), Refusal("n_layers", nil, "n_layers"), Refusal("n_heads", nil, "n_heads"),
    Refusal("dim", "0", "dim is 0"), Refusal("dim", "-4096", "dim"), Refusal("dim", "\"4096\"", "dim"),
    Refusal("dim", "4096.5", "4096.5"), Refusal("dim", "1e300", "dim"), Refusal("dim", "2097153", "dim", "2097152"),
    Refusal("dim", "99999999999999999999999", "dim"), Refusal("n_layers", "0", "n_layers"),
    Refusal("n_layers", "1025", "n_layers", "1024"), Refusal("n_heads", "0", "n_heads"),
    Refusal("n_heads", "4097", "n_heads"), Refusal("n_kv_heads", "0", "n_kv_heads"),
    Refusal("n_kv_heads", "5", "n_heads 32", "n_kv_heads 5"), Refusal("n_kv_heads", "64", "n_kv_heads 64"),
    Refusal("n_heads", "40", "dim 4096", "n_heads 40", "head_dim"),
    Refusal("n_heads", "4096", "1 rows"), Refusal("head_dim", "127", "127", "odd"),
    Refusal("head_dim", "0", "head_dim"),
    Refusal("head_dim", "4098", "head_dim", "4096"), Refusal("vocab_size", "0", "vocab_size is 0", "−1"),
    Refusal("vocab_size", "-2", "vocab_size", "-2"), Refusal("vocab_size", "2097153", "vocab_size"),
    Refusal("multiple_of", "0", "multiple_of"), Refusal("multiple_of", "-256", "multiple_of"),
    Refusal("ffn_dim_multiplier", "0", "ffn_dim_multiplier"),
    Refusal("ffn_dim_multiplier", "-1.3", "ffn_dim_multiplier"),
    Refusal("ffn_dim_multiplier", "1e12", "ffn_dim_multiplier", "1e12"),
    Refusal("ffn_dim_multiplier", "1e400", "ffn_dim_multiplier"), Refusal("ffn_dim_multiplier", "true", "true"),
    Refusal("hidden_dim", "0", "hidden_dim"), Refusal("norm_eps", "0", "norm_eps"),
    Refusal("norm_eps", "-1e-5", "norm_eps"),
    Refusal("norm_eps", "\"1e-5\"", "norm_eps"), Refusal("rope_theta", "0", "rope_theta"),
    Refusal("rope_theta", "1e13", "rope_theta"), Refusal("use_scaled_rope", "1", "use_scaled_rope", "true or false"),
    Refusal("use_scaled_rope", "\"true\"", "use_scaled_rope"),
    Refusal("sliding_window", "0", "sliding_window"), Refusal("sliding_window", "-1", "sliding_window"),
    Refusal("sliding_window", "\"wide\"", "sliding_window", "wide"), Refusal("sliding_window", "{}", "sliding_window"),
    Refusal("sliding_window", "[[4096]]", "sliding_window"),
    Refusal("sliding_window", "[null, null, null, 32768]", "none", "32768", "differ between layers"),
    Refusal("sliding_window", "[4096, 2048]", "4096", "2048"),
    Refusal("rope_scaling_factor", "0", "rope_scaling_factor"),
    Refusal("rope_scaling_type", "\"yarn\"", "yarn", "linear"),
    Refusal("rope_original_max_positions", "0", "rope_original_max_positions"),
    Refusal("bos_token_id", "\"<s>\"", "bos_token_id"), Refusal("eos_token_id", "[2, null]", "eos_token_id"),
    Refusal("max_position_embeddings", "0", "max_position_embeddings"),
    Refusal("tied_embeddings", "0", "tied_embeddings"),
    Refusal("quantization_args", "4", "quantization_args", "object"),
    Refusal("quantization_args", "{}", "quantization_args", "group_size"),
    Refusal("quantization_args", #"{"scheme": "int2", "group_size": 32}"#, "quantization_args", "scheme", "int2"),
    Refusal("quantization_args", #"{"group_size": 0}"#, "group_size"),
    Refusal("quantization_args", #"{"group_size": 32, "spinquant": 1}"#, "spinquant"),
    Refusal("lora_args", #"{"rank": 16}"#, "lora_args", "scale"),
    Refusal("lora_args", #"{"scale": 2}"#, "lora_args", "rank"),
    Refusal("lora_args", "[]", "lora_args", "object"),
  ]

  @Test("other models and bad values are refused by name", arguments: otherModels + values)
  func refuses(_ refusal: Refusal) {
    let failure = #expect(throws: ParseFailure.self) { try Self.parse(changing: refusal.key, to: refusal.json) }
    for word in refusal.words { #expect(failure?.description.contains(word) == true, "\(failure?.description ?? "")") }
  }

  @Test("two different windows are refused")
  func refusesTwoWindows() {
    let failure = #expect(throws: ParseFailure.self) {
      try Self.parse(#"{"dim": 64, "n_layers": 2, "n_heads": 2, "sliding_window": 9, "_sliding_window": 8}"#)
    }
    #expect(failure?.message.contains("sliding_window says 9 and _sliding_window says 8") == true)
  }

  @Test("what is no object is refused", arguments: ["[]", "1", "null", "\"dim\"", #"{"model": 3}"#, "{}"])
  func refusesOtherDocuments(_ json: String) {
    #expect(throws: ParseFailure.self) { try Self.parse(json) }
  }

  // MARK: Fixtures

  static let fixtures = [
    "tiny_meta/fp8_mp2", "tiny_meta/int4_qlora_mp1", "tiny_meta/l1_views_mp2", "tiny_meta/l2_mp2", "tiny_meta/mp1",
    "tiny_meta/mp1_legacy", "tiny_meta/mp1_odd", "tiny_meta/mp2", "tiny_meta/mp4", "tiny_meta/mp8_kvrep", "tiny-mp2",
  ]

  @Test(
    "the fixtures' parameters are read", .enabled(if: Fixtures.large("tiny_meta") != nil, "needs LLAMA_FIXTURES"),
    arguments: fixtures)
  func readsFixtures(_ name: String) throws {
    let file = try #require(Fixtures.large(name + "/params.json"))
    let parameters = try MetaParameters(parsing: JSONValue(parsing: String(contentsOf: file, encoding: .utf8)))
    #expect(parameters.ignoredKeys.isEmpty)
    #expect(parameters.resolvedFeedForwardSize == (name == "tiny-mp2" ? 512 : 224))
    #expect(parameters.keyValueHeadCount == (name.hasSuffix("kvrep") ? 8 : 4))
    #expect((parameters.adapters != nil) == name.contains("qlora"))
  }
}
