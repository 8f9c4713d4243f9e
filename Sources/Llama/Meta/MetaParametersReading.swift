public import ByteIO

extension MetaParameters {
  /// Reads a `params.json`, its members at the top or under `model`. Numbers have the bounds of every configuration here;
  /// keys of models with another forward pass are refused, unknown ones listed in `ignoredKeys`.
  /// - Throws: `ParseFailure` naming the key, what it holds and what was expected.
  public init(parsing document: JSONValue) throws(ParseFailure) {
    guard var object = document.object else { throw ParseFailure("the parameters are not a JSON object") }
    if object["dim"] == nil, let nested = object["model"]?.object { object = nested }
    let reader = ConfigurationReader(object: object)
    try Self.refuseOtherModels(reader)

    hiddenSize = try reader.dimension("dim")
    layerCount = try reader.integer("n_layers", in: 1...1024)
    headCount = try reader.integer("n_heads", in: 1...4096)
    keyValueHeadCount = try reader.integer(ifPresent: "n_kv_heads", in: 1...4096)
    if let heads = keyValueHeadCount, headCount % heads != 0 {
      throw ParseFailure("n_heads \(headCount) is no multiple of n_kv_heads \(heads)")
    }
    let vocabulary = try reader.integer(ifPresent: "vocab_size", in: -1...ConfigurationReader.largestDimension)
    guard vocabulary != 0 else { throw ParseFailure("vocab_size is 0, expected −1 or the number of tokens") }
    vocabularySize = vocabulary == -1 ? nil : vocabulary
    multipleOf = try reader.integer(ifPresent: "multiple_of", in: 1...ConfigurationReader.largestDimension)
    feedForwardMultiplier = try reader.number(ifPresent: "ffn_dim_multiplier")
    feedForwardSize = try reader.integer(ifPresent: "hidden_dim", in: 1...ConfigurationReader.largestDimension)
    headDimension = try reader.integer(ifPresent: "head_dim", in: 2...4096)
    slidingWindow = try Self.window(reader)
    normEpsilon = try reader.number(ifPresent: "norm_eps")
    ropeBase = try reader.number(ifPresent: "rope_theta")
    usesScaledRoPE = reader.value("use_scaled_rope") == nil ? nil : try reader.flag("use_scaled_rope", default: false)
    ropeScaling = try ScalingKeys(reader)
    maximumPositions = try reader.integer(ifPresent: "max_position_embeddings", in: 1...1 << 30)
    beginOfTextIDs = reader.value("bos_token_id") == nil ? nil : try reader.identifiers("bos_token_id")
    endOfTextIDs = reader.value("eos_token_id") == nil ? nil : try reader.identifiers("eos_token_id")
    tiesEmbeddings = reader.value("tied_embeddings") == nil ? nil : try reader.flag("tied_embeddings", default: false)
    architecture = try Self.architecture(reader)
    quantization = try Quantization(reader)
    adapters = try Adapters(reader)
    ignoredKeys = object.members.map(\.key).filter { !Self.knownKeys.contains($0) && !$0.hasPrefix("vision_") }
    try checkHeadDimension()
  }

  private func checkHeadDimension() throws(ParseFailure) {
    guard headDimension != nil || hiddenSize % headCount == 0 else {
      throw ParseFailure("dim \(hiddenSize) is no multiple of n_heads \(headCount), and head_dim is absent")
    }
    let rows = resolvedHeadDimension
    guard (2...4096).contains(rows) else { throw ParseFailure("the heads have \(rows) rows, expected 2 to 4096") }
    guard rows % 2 == 0 else { throw ParseFailure("head_dim \(rows) is odd; RoPE turns pairs") }
  }

  /// Keys that are read here, and those that only size the buffers of Meta's runtime.
  static let knownKeys: Set<String> = [
    "dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier", "hidden_dim",
    "head_dim", "sliding_window", "_sliding_window", "norm_eps", "rope_theta", "use_scaled_rope",
    "rope_scaling_type", "rope_scaling_factor", "rope_low_freq_factor", "rope_high_freq_factor",
    "rope_original_max_positions", "max_position_embeddings", "bos_token_id", "eos_token_id", "tied_embeddings",
    "model_type", "activation", "use_biases", "use_qk_norm", "quantization_args", "lora_args", "max_batch_size",
    "max_seq_len",
  ]

  /// Keys whose presence means another computation than ours.
  private static func refuseOtherModels(_ reader: ConfigurationReader) throws(ParseFailure) {
    for key in ["moe", "moe_args", "num_experts"] where reader.value(key) != nil {
      throw ParseFailure("\(key) is present: this is a mixture of experts", advice: "only dense models are supported")
    }
    // Meta's code writes −1 for a model without images, and a number of chunks that is 4 for every model.
    let vision = reader.object.members.first {
      $0.key.hasPrefix("vision_") && $0.key != "vision_max_num_chunks" && !$0.value.isNull && $0.value.integer != -1
    }
    if let vision {
      throw ParseFailure(
        "\(vision.key.prefix(80)) is present: this model reads images", advice: "only text models are supported")
    }
    for key in ["yarn", "llama_4_scaling", "attention_chunk_size", "nope_layer_interval", "quantization"]
    where reader.value(key) != nil {
      throw ParseFailure("\(key) is present: this is no plain Llama", advice: "remove the key if the model has no such")
    }
    for key in ["use_biases", "use_qk_norm"] {
      guard try !reader.flag(key, default: false) else { throw ParseFailure("\(key) is true, expected false") }
    }
    if let activation = try reader.text("activation"), activation != "silu" {
      throw ParseFailure("activation is \(activation.prefix(80)), expected silu")
    }
  }

  private static func architecture(
    _ reader: ConfigurationReader
  ) throws(ParseFailure) -> LlamaConfiguration.Architecture? {
    switch try reader.text("model_type") {
    case "llama": return .llama
    case "mistral": return .mistral
    // What vLLM writes for whatever has a params.json.
    case "transformer", nil: return nil
    case let other?: throw ParseFailure("model_type is \(other.prefix(80)), expected llama or mistral")
    }
  }

  /// Mistral's window: a number, a text, or a list of one per layer, under either of two names.
  private static func window(_ reader: ConfigurationReader) throws(ParseFailure) -> Int? {
    var windows: [(key: String, size: Int?)] = []
    for key in ["sliding_window", "_sliding_window"] {
      guard let value = reader.value(key) else { continue }
      for element in value.array ?? [value] {
        if element.isNull {
          windows.append((key, nil))
          continue
        }
        guard let size = element.integer ?? element.string.flatMap({ Int($0) }), (1...1 << 30).contains(size) else {
          throw ParseFailure(
            "\(key) is \(value.serialized(.compact).prefix(80)), expected a number of positions, or one for each layer")
        }
        windows.append((key, size))
      }
    }
    guard let first = windows.first else { return nil }
    if let other = windows.first(where: { $0.size != first.size }) {
      func text(_ size: Int?) -> String { size.map(String.init) ?? "none" }
      throw ParseFailure(
        "\(first.key) says \(text(first.size)) and \(other.key) says \(text(other.size))",
        advice: "windows that differ between layers are not supported")
    }
    return first.size
  }
}

extension MetaParameters.ScalingKeys {
  init(_ reader: ConfigurationReader) throws(ParseFailure) {
    factor = try reader.number(ifPresent: "rope_scaling_factor")
    lowFrequencyFactor = try reader.number(ifPresent: "rope_low_freq_factor")
    highFrequencyFactor = try reader.number(ifPresent: "rope_high_freq_factor")
    originalPositions = try reader.integer(ifPresent: "rope_original_max_positions", in: 1...1 << 30)
    switch try reader.text("rope_scaling_type") {
    case "linear": isLinear = true
    case "llama3", nil: isLinear = false
    case let other?:
      throw ParseFailure("rope_scaling_type is \(other.prefix(80))", advice: "supported are linear and llama3")
    }
  }
}

extension MetaParameters.Quantization {
  /// The one scheme that Meta published.
  static let scheme = "int4_weight_int8_dynamic_activation"

  init?(_ reader: ConfigurationReader) throws(ParseFailure) {
    guard let value = reader.value("quantization_args") else { return nil }
    guard let object = value.object else { throw ParseFailure("quantization_args is not an object") }
    let inner = ConfigurationReader(object: object)
    do throws(ParseFailure) {
      if let scheme = try inner.text("scheme"), scheme != Self.scheme {
        throw ParseFailure("scheme is \(scheme.prefix(80)), expected \(Self.scheme)")
      }
      // No default: code that knows one says 256, the published files have 32.
      groupSize = try inner.integer("group_size", in: 1...65536)
      usesSpinQuant = try inner.flag("spinquant", default: false)
    } catch {
      throw ParseFailure("quantization_args: " + error.message, advice: error.advice)
    }
  }
}

extension MetaParameters.Adapters {
  init?(_ reader: ConfigurationReader) throws(ParseFailure) {
    guard let value = reader.value("lora_args") else { return nil }
    guard let object = value.object else { throw ParseFailure("lora_args is not an object") }
    let inner = ConfigurationReader(object: object)
    do throws(ParseFailure) {
      rank = try inner.integer("rank", in: 1...65536)
      scale = try inner.number("scale", above: 0)
    } catch {
      throw ParseFailure("lora_args: " + error.message, advice: error.advice)
    }
  }
}
