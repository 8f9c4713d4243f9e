import ByteIO
import Llama
import Tensors

/// What a published model's `config.json` says, in numbers; written out in both spellings of transformers.
///
/// The values are those of the published configurations: shapes as in each release's `params.json` (the feed-forward
/// size after Meta's rounding rule), positions, RoPE and token ids as the Hugging Face uploads have them.
struct PublishedModel: Sendable, CustomStringConvertible {
  let name: String
  /// The name that `LlamaFamily` gives.
  let family: String
  let hidden, layers, heads, keyValueHeads, feedForward, vocabulary, positions: Int
  var epsilon = 1e-5
  var base = 10_000.0
  /// Llama 3.1's scaling with this factor.
  var factor: Double?
  var isTied = false
  var elementType = "bfloat16"
  var beginOfText = 1
  var endOfText: [Int] = [2]
  var isMistral = false
  var window: Int?
  /// Stated number of parameters, where the release states it to the unit.
  var parameters: Int?

  var description: String { name }

  /// Keys that both spellings share, with those that the toolkit must not care about.
  private var common: JSONObject {
    var object = JSONObject([
      ("_name_or_path", "/models/base"),
      ("architectures", [isMistral ? "MistralForCausalLM" : "LlamaForCausalLM"]),
      ("attention_dropout", 0.0), ("bos_token_id", .number(JSONNumber(beginOfText))),
      (
        "eos_token_id",
        endOfText.count == 1
          ? .number(JSONNumber(endOfText[0])) : .array(endOfText.map { .number(JSONNumber($0)) })
      ),
      ("hidden_act", "silu"), ("hidden_size", .number(JSONNumber(hidden))), ("initializer_range", 0.02),
      ("intermediate_size", .number(JSONNumber(feedForward))),
      ("max_position_embeddings", .number(JSONNumber(positions))),
      ("model_type", isMistral ? "mistral" : "llama"), ("num_attention_heads", .number(JSONNumber(heads))),
      ("num_hidden_layers", .number(JSONNumber(layers))), ("num_key_value_heads", .number(JSONNumber(keyValueHeads))),
      ("rms_norm_eps", .number(JSONNumber(epsilon))), ("tie_word_embeddings", .bool(isTied)), ("use_cache", true),
      ("vocab_size", .number(JSONNumber(vocabulary))),
    ])
    if isMistral {
      object["sliding_window"] = window.map { .number(JSONNumber($0)) } ?? .null
    } else {
      object["attention_bias"] = false
      object["mlp_bias"] = false
      object["pretraining_tp"] = 1
    }
    return object
  }

  private func scaling(_ factor: Double) -> [(key: String, value: JSONValue)] {
    [
      ("factor", .number(JSONNumber(factor))), ("high_freq_factor", 4.0), ("low_freq_factor", 1.0),
      ("original_max_position_embeddings", 8192), ("rope_type", "llama3"),
    ]
  }

  /// As transformers 4 writes it.
  var version4: JSONObject {
    var object = common
    object["rope_theta"] = .number(JSONNumber(base))
    object["rope_scaling"] = factor.map { .object(JSONObject(scaling($0))) } ?? .null
    object["torch_dtype"] = .string(elementType)
    object["transformers_version"] = "4.45.0"
    return object
  }

  /// As transformers 5 writes it.
  var version5: JSONObject {
    var object = common
    let theta: (key: String, value: JSONValue) = ("rope_theta", .number(JSONNumber(base)))
    object["rope_parameters"] = .object(JSONObject([theta] + (factor.map(scaling) ?? [("rope_type", "default")])))
    object["head_dim"] = .number(JSONNumber(hidden / heads))
    object["dtype"] = .string(elementType)
    object["transformers_version"] = "5.23.0"
    return object
  }

  /// What both must be read as, written without the reader.
  var expected: LlamaConfiguration {
    LlamaConfiguration(
      hiddenSize: hidden, layerCount: layers, headCount: heads, keyValueHeadCount: keyValueHeads,
      headDimension: hidden / heads, feedForwardSize: feedForward, vocabularySize: vocabulary, normEpsilon: epsilon,
      rope: RoPEParameters(
        base: base,
        scaling: factor.map {
          .llama3(factor: $0, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
        } ?? .none),
      maximumPositions: positions, tiesEmbeddings: isTied, slidingWindow: window, beginOfTextID: beginOfText,
      endOfTextIDs: endOfText, claimedElementType: elementType == "bfloat16" ? .bf16 : .f16,
      architecture: isMistral ? .mistral : .llama)
  }
}

extension PublishedModel {
  static let llama1And2: [PublishedModel] = [
    PublishedModel(
      name: "Llama 1 7B", family: "Llama 1 7B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 32,
      feedForward: 11008, vocabulary: 32000, positions: 2048, epsilon: 1e-6, elementType: "float16", beginOfText: 0,
      endOfText: [1], parameters: 6_738_415_616),
    PublishedModel(
      name: "Llama 1 13B", family: "Llama 1 13B", hidden: 5120, layers: 40, heads: 40, keyValueHeads: 40,
      feedForward: 13824, vocabulary: 32000, positions: 2048, epsilon: 1e-6, elementType: "float16",
      parameters: 13_015_864_320),
    PublishedModel(
      name: "Llama 1 30B", family: "Llama 1 30B", hidden: 6656, layers: 60, heads: 52, keyValueHeads: 52,
      feedForward: 17920, vocabulary: 32000, positions: 2048, epsilon: 1e-6, elementType: "float16",
      parameters: 32_528_943_616),
    PublishedModel(
      name: "Llama 1 65B", family: "Llama 1 65B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 64,
      feedForward: 22016, vocabulary: 32000, positions: 2048, elementType: "float16", parameters: 65_285_660_672),
    PublishedModel(
      name: "Llama 2 7B", family: "Llama 2 7B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 32,
      feedForward: 11008, vocabulary: 32000, positions: 4096, elementType: "float16", parameters: 6_738_415_616),
    PublishedModel(
      name: "Llama 2 13B", family: "Llama 2 13B", hidden: 5120, layers: 40, heads: 40, keyValueHeads: 40,
      feedForward: 13824, vocabulary: 32000, positions: 4096, elementType: "float16", parameters: 13_015_864_320),
    PublishedModel(
      name: "Llama 2 70B", family: "Llama 2 70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8,
      feedForward: 28672, vocabulary: 32000, positions: 4096, elementType: "float16", parameters: 68_976_648_192),
  ]

  static let codeLlama: [PublishedModel] = [
    PublishedModel(
      name: "Code Llama 7B", family: "Code Llama 7B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 32,
      feedForward: 11008, vocabulary: 32016, positions: 16384, base: 1e6, parameters: 6_738_546_688),
    PublishedModel(
      name: "Code Llama 7B Python", family: "Code Llama 7B Python", hidden: 4096, layers: 32, heads: 32,
      keyValueHeads: 32, feedForward: 11008, vocabulary: 32000, positions: 16384, base: 1e6,
      parameters: 6_738_415_616),
    PublishedModel(
      name: "Code Llama 13B", family: "Code Llama 13B", hidden: 5120, layers: 40, heads: 40, keyValueHeads: 40,
      feedForward: 13824, vocabulary: 32016, positions: 16384, base: 1e6, parameters: 13_016_028_160),
    PublishedModel(
      name: "Code Llama 34B", family: "Code Llama 34B", hidden: 8192, layers: 48, heads: 64, keyValueHeads: 8,
      feedForward: 22016, vocabulary: 32000, positions: 16384, base: 1e6, parameters: 33_743_970_304),
    PublishedModel(
      name: "Code Llama 70B", family: "Code Llama 70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8,
      feedForward: 28672, vocabulary: 32016, positions: 16384, base: 1e6, parameters: 68_976_910_336),
    PublishedModel(
      name: "Code Llama 70B Instruct", family: "Code Llama 70B Python or Instruct", hidden: 8192, layers: 80,
      heads: 64, keyValueHeads: 8, feedForward: 28672, vocabulary: 32016, positions: 4096,
      parameters: 68_976_910_336),
  ]

  private static let instructEnds = [128_001, 128_008, 128_009]

  static let llama3: [PublishedModel] = [
    PublishedModel(
      name: "Llama 3 8B", family: "Llama 3 8B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8,
      feedForward: 14336, vocabulary: 128_256, positions: 8192, base: 500_000, beginOfText: 128_000,
      endOfText: [128_001], parameters: 8_030_261_248),
    PublishedModel(
      name: "Llama 3 70B", family: "Llama 3 70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8,
      feedForward: 28672, vocabulary: 128_256, positions: 8192, base: 500_000, beginOfText: 128_000,
      endOfText: [128_001], parameters: 70_553_706_496),
    PublishedModel(
      name: "Llama 3.1 8B Instruct", family: "Llama 3.1 8B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8,
      feedForward: 14336, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 8, beginOfText: 128_000,
      endOfText: instructEnds, parameters: 8_030_261_248),
    PublishedModel(
      name: "Llama 3.1 70B", family: "Llama 3.1 or 3.3 70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8,
      feedForward: 28672, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 8, beginOfText: 128_000,
      endOfText: [128_001], parameters: 70_553_706_496),
    PublishedModel(
      name: "Llama 3.1 405B", family: "Llama 3.1 405B", hidden: 16384, layers: 126, heads: 128, keyValueHeads: 8,
      feedForward: 53248, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 8, beginOfText: 128_000,
      endOfText: [128_001], parameters: 405_853_388_800),
    PublishedModel(
      name: "Llama 3.1 405B, first upload", family: "Llama 3.1 405B with doubled key/value heads", hidden: 16384,
      layers: 126, heads: 128, keyValueHeads: 16, feedForward: 53248, vocabulary: 128_256, positions: 131_072,
      base: 500_000, factor: 8, beginOfText: 128_000, endOfText: [128_001], parameters: 410_081_247_232),
    PublishedModel(
      name: "Llama 3.2 1B", family: "Llama 3.2 1B", hidden: 2048, layers: 16, heads: 32, keyValueHeads: 8,
      feedForward: 8192, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 32, isTied: true,
      beginOfText: 128_000, endOfText: [128_001], parameters: 1_235_814_400),
    PublishedModel(
      name: "Llama 3.2 3B Instruct", family: "Llama 3.2 3B", hidden: 3072, layers: 28, heads: 24, keyValueHeads: 8,
      feedForward: 8192, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 32, isTied: true,
      beginOfText: 128_000, endOfText: instructEnds, parameters: 3_212_749_824),
    PublishedModel(
      name: "Llama 3.3 70B Instruct", family: "Llama 3.1 or 3.3 70B", hidden: 8192, layers: 80, heads: 64,
      keyValueHeads: 8, feedForward: 28672, vocabulary: 128_256, positions: 131_072, base: 500_000, factor: 8,
      beginOfText: 128_000, endOfText: instructEnds, parameters: 70_553_706_496),
  ]

  static let mistral: [PublishedModel] = [
    PublishedModel(
      name: "Mistral 7B v0.1", family: "Mistral 7B v0.1", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8,
      feedForward: 14336, vocabulary: 32000, positions: 32768, isMistral: true, window: 4096),
    PublishedModel(
      name: "Mistral 7B Instruct v0.2", family: "Mistral 7B v0.2", hidden: 4096, layers: 32, heads: 32,
      keyValueHeads: 8, feedForward: 14336, vocabulary: 32000, positions: 32768, base: 1e6, isMistral: true),
    PublishedModel(
      name: "Mistral 7B v0.3", family: "Mistral 7B v0.3", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8,
      feedForward: 14336, vocabulary: 32768, positions: 32768, base: 1e6, isMistral: true),
  ]

  static let all = llama1And2 + codeLlama + llama3 + mistral
}
