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
    keyValueHeadCount = try reader.integer("num_key_value_heads", in: 1...4096, default: headCount)
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
    guard headDimension % 2 == 0 else { throw ParseFailure("head_dim \(headDimension) is odd; RoPE turns pairs") }
    feedForwardSize = try reader.dimension("intermediate_size")
    vocabularySize = try reader.dimension("vocab_size")
    normEpsilon = try reader.number("rms_norm_eps", above: 0, default: 1e-6)
    maximumPositions = try reader.integer("max_position_embeddings", in: 1...1 << 30, default: 2048)
    tiesEmbeddings = try reader.flag("tie_word_embeddings", default: false)
    rope = try RoPEParameters(huggingFace: reader)
    slidingWindow =
      architecture == .mistral && reader.value("sliding_window") != nil
      ? try reader.integer("sliding_window", in: 1...1 << 30) : nil
    beginOfTextID = try reader.identifiers("bos_token_id").first
    endOfTextIDs = try reader.identifiers("eos_token_id")
    claimedElementType = try Self.elementType(reader)
  }

  private static func architecture(_ reader: ConfigurationReader) throws(ParseFailure) -> Architecture {
    let advice = "this toolkit converts Llama-family models: LlamaForCausalLM and MistralForCausalLM"
    if let name = reader.value("architectures")?.array?.first?.string {
      guard let architecture = Architecture(rawValue: name) else {
        throw ParseFailure("the architecture is \(name)", advice: advice)
      }
      return architecture
    }
    switch try reader.text("model_type") {
    case "llama": return .llama
    case "mistral": return .mistral
    case let other?: throw ParseFailure("model_type is \(other)", advice: advice)
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
      throw ParseFailure("hidden_act is \(activation), expected silu")
    }
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
    default: throw ParseFailure("dtype is \(text), expected bfloat16, float16 or float32")
    }
  }
}

extension RoPEParameters {
  /// `rope_parameters` of transformers 5, or `rope_theta` with `rope_scaling` of transformers 4. When both are there
  /// they must agree.
  init(huggingFace reader: ConfigurationReader) throws(ParseFailure) {
    let old = RoPEParameters(
      base: try reader.number("rope_theta", above: 0, default: 10_000),
      scaling: try Self.scaling(reader.value("rope_scaling"), key: "rope_scaling"))
    guard let parameters = reader.value("rope_parameters") else {
      self = old
      return
    }
    guard let object = parameters.object else { throw ParseFailure("rope_parameters is not an object") }
    let inner = ConfigurationReader(object: object)
    let new = RoPEParameters(
      base: try inner.number("rope_theta", above: 0, default: old.base),
      scaling: try Self.scaling(parameters, key: "rope_parameters"))
    let hasOldSpelling = reader.value("rope_theta") != nil || reader.value("rope_scaling") != nil
    if hasOldSpelling {
      let agrees =
        (reader.value("rope_theta") == nil || old.base == new.base)
        && (reader.value("rope_scaling") == nil || old.scaling == new.scaling)
      guard agrees else {
        throw ParseFailure(
          "rope_parameters and rope_theta/rope_scaling contradict each other",
          advice: "keep the spelling that is right; transformers 5 reads rope_parameters, most others rope_theta")
      }
    }
    self = new
  }

  private static func scaling(_ value: JSONValue?, key: String) throws(ParseFailure) -> Scaling {
    guard let value else { return .none }
    guard let object = value.object else { throw ParseFailure("\(key) is not an object") }
    let reader = ConfigurationReader(object: object)
    let spellings = [try reader.text("rope_type"), try reader.text("type")]
    switch spellings.compactMap({ $0 }).first ?? "default" {
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
    case let other:
      throw ParseFailure(
        "\(key): the RoPE scaling is \(other.prefix(40))", advice: "supported are default, linear and llama3")
    }
  }
}
