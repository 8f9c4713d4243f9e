public import ByteIO
internal import Tensors

extension LlamaConfiguration {
  /// Reads a Hugging Face `config.json` in the spelling of transformers 4 (`rope_theta`, `rope_scaling`, `torch_dtype`)
  /// or 5 (`rope_parameters`, `dtype`). Unknown keys are ignored; keys that would change the forward pass in a way that
  /// this toolkit does not compute are refused. Absent keys have the defaults of transformers.
  /// - Throws: `ParseFailure` naming the key, what it holds and what was expected.
  public init(huggingFace document: JSONValue) throws(ParseFailure) {
    guard let object = document.object else { throw ParseFailure("the configuration is not a JSON object") }
    let reader = ConfigurationReader(object: object)
    architecture = try Self.architecture(reader)
    try Self.refuseOtherModels(reader)

    hiddenSize = try reader.dimension("hidden_size")
    layerCount = try reader.integer("num_hidden_layers", in: 1...1024)
    headCount = try reader.integer("num_attention_heads", in: 1...4096)
    let isMistral = architecture == .mistral
    keyValueHeadCount = try reader.integer(
      "num_key_value_heads", in: 1...4096,
      default: isMistral && reader.object["num_key_value_heads"] == nil ? MistralDefaults.keyValueHeads : headCount)
    guard headCount % keyValueHeadCount == 0 else {
      throw ParseFailure(
        "num_attention_heads \(headCount) is no multiple of num_key_value_heads \(keyValueHeadCount)")
    }
    if reader.value("head_dim") == nil {
      guard hiddenSize % headCount == 0 else {
        throw ParseFailure(
          "hidden_size \(hiddenSize) is no multiple of num_attention_heads \(headCount), and head_dim is absent")
      }
    }
    headDimension = try reader.integer("head_dim", in: 2...4096, default: hiddenSize / headCount)
    guard headDimension <= 4096 else { throw ParseFailure("the heads have \(headDimension) rows, more than 4096") }
    guard headDimension % 2 == 0 else { throw ParseFailure("head_dim \(headDimension) is odd; RoPE turns pairs") }
    feedForwardSize = try reader.dimension("intermediate_size")
    vocabularySize = try reader.dimension("vocab_size")
    normEpsilon = try reader.number("rms_norm_eps", above: 0, default: 1e-6)
    maximumPositions = try reader.integer(
      "max_position_embeddings", in: 1...1 << 30, default: isMistral ? MistralDefaults.positions : 2048)
    tiesEmbeddings = try reader.flag("tie_word_embeddings", default: false)
    rope = try RoPEParameters(huggingFace: reader)
    // Mistral's window is there unless the key is there and null.
    slidingWindow =
      isMistral && reader.object["sliding_window"]?.isNull != true
      ? try reader.integer("sliding_window", in: 1...1 << 30, default: MistralDefaults.window) : nil
    beginOfTextID = try reader.identifiers("bos_token_id").first
    endOfTextIDs = try reader.identifiers("eos_token_id")
    claimedElementType = try Self.elementType(reader)
  }

  /// What transformers' `MistralConfig` takes for absent keys where Llama's differs.
  private enum MistralDefaults {
    static let keyValueHeads = 8
    static let window = 4096
    static let positions = 131_072
  }

  private static func architecture(_ reader: ConfigurationReader) throws(ParseFailure) -> Architecture {
    let advice = "this toolkit converts Llama-family models: LlamaForCausalLM and MistralForCausalLM"
    if let name = reader.value("architectures")?.array?.first?.string {
      guard let architecture = Architecture(rawValue: name) else {
        throw ParseFailure("the architecture is \(name.prefix(80))", advice: advice)
      }
      return architecture
    }
    switch try reader.text("model_type") {
    case "llama": return .llama
    case "mistral": return .mistral
    case let other?: throw ParseFailure("model_type is \(other.prefix(80))", advice: advice)
    case nil: throw ParseFailure("neither architectures nor model_type says what model this is", advice: advice)
    }
  }

  /// Keys whose presence means another computation than ours.
  private static func refuseOtherModels(_ reader: ConfigurationReader) throws(ParseFailure) {
    for key in ["text_config", "vision_config", "num_experts", "num_local_experts"] where reader.value(key) != nil {
      throw ParseFailure("\(key) is present: this is no plain Llama", advice: "only dense text models are supported")
    }
    for key in ["attention_bias", "mlp_bias"] {
      guard try !reader.flag(key, default: false) else {
        throw ParseFailure(
          "\(key) is true", advice: "Llama models have no biases; models with biases are not supported")
      }
    }
    if let activation = try reader.text("hidden_act"), activation != "silu" && activation != "swish" {
      throw ParseFailure("hidden_act is \(activation.prefix(80)), expected silu")
    }
    try refusePartialRotation(reader)
  }

  static func refusePartialRotation(_ reader: ConfigurationReader) throws(ParseFailure) {
    let partial = try reader.number("partial_rotary_factor", above: 0, default: 1)
    guard partial == 1 else { throw ParseFailure("partial_rotary_factor is \(partial), expected 1") }
  }

  private static func elementType(_ reader: ConfigurationReader) throws(ParseFailure) -> ElementType? {
    let spellings = [try reader.text("dtype"), try reader.text("torch_dtype")]
    guard let text = spellings.compactMap({ $0 }).first else { return nil }
    let name = text.hasPrefix("torch.") ? String(text.dropFirst("torch.".count)) : text
    switch name {
    case "bfloat16": return .bf16
    case "float16", "half": return .f16
    case "float32", "float": return .f32
    case "auto": return nil
    default: throw ParseFailure("dtype is \(text.prefix(80)), expected bfloat16, float16 or float32")
    }
  }
}

extension RoPEParameters {
  /// `rope_parameters` of transformers 5, or `rope_theta` with `rope_scaling` of transformers 4. Whatever is said twice
  /// must agree. (`rope_scaling` may hold the base too: transformers 5 takes it for another name of `rope_parameters`.)
  init(huggingFace reader: ConfigurationReader) throws(ParseFailure) {
    var bases: [Double] = []
    var scalings: [Scaling] = []
    if reader.value("rope_theta") != nil { bases.append(try reader.number("rope_theta", above: 0)) }
    for key in ["rope_parameters", "rope_scaling"] {
      guard let value = reader.value(key) else { continue }
      guard let object = value.object else { throw ParseFailure("\(key) is not an object") }
      let inner = ConfigurationReader(object: object)
      if inner.value("rope_theta") != nil { bases.append(try inner.number("rope_theta", above: 0)) }
      try LlamaConfiguration.refusePartialRotation(inner)
      scalings.append(try Self.scaling(inner, key: key))
    }
    guard Set(bases).count <= 1, scalings.allSatisfy({ $0 == scalings[0] }) else {
      throw ParseFailure(
        "rope_parameters and rope_theta/rope_scaling contradict each other",
        advice: "keep the spelling that is right; transformers 5 reads rope_parameters, most others rope_theta")
    }
    self.init(base: bases.first ?? 10_000, scaling: scalings.first ?? .none)
  }

  private static func scaling(_ reader: ConfigurationReader, key: String) throws(ParseFailure) -> Scaling {
    let spellings = [try reader.text("rope_type"), try reader.text("type")].compactMap { $0 }
    guard Set(spellings).count <= 1 else {
      throw ParseFailure("\(key): rope_type is \(spellings[0].prefix(40)), but type is \(spellings[1].prefix(40))")
    }
    guard let type = spellings.first else {
      // A factor without a type would be lost without a word.
      let other = reader.object.members.first { $0.key != "rope_theta" && !$0.value.isNull }
      if let other { throw ParseFailure("\(key) has \(other.key.prefix(40)), but no rope_type") }
      return .none
    }
    switch type {
    case "default", "none": return .none
    case "linear": return .linear(factor: try reader.number("factor", above: 0))
    case "llama3":
      let low = try reader.number("low_freq_factor", above: 0)
      let high = try reader.number("high_freq_factor", above: 0)
      guard high > low else {
        throw ParseFailure("\(key): high_freq_factor \(high) is not above low_freq_factor \(low)")
      }
      return .llama3(
        factor: try reader.number("factor", above: 0), lowFrequencyFactor: low, highFrequencyFactor: high,
        originalPositions: try reader.integer("original_max_position_embeddings", in: 1...1 << 30))
    default:
      throw ParseFailure(
        "\(key): the RoPE scaling is \(type.prefix(40))", advice: "supported are default, linear and llama3")
    }
  }
}
