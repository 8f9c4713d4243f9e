public import ByteIO

extension MetaParameters {
  /// The `params.json` of a model, as the loaders of its generation read it, for a checkpoint of `shards` shards. What
  /// they have no key for is stated under keys that only this toolkit reads, and only where reading would otherwise
  /// infer something else. `remarks` lists those.
  /// - Parameter integers: what the weights' int4 codes mean, where they are such.
  public static func document(
    for configuration: LlamaConfiguration, shards: Int, integers: (Quantization, Adapters?)? = nil
  ) -> JSONValue {
    var members = members(configuration, shards)
    if let (quantization, adapters) = integers {
      members.append(("quantization_args", quantization.document))
      if let adapters { members.append(("lora_args", adapters.document)) }
    }
    return .object(JSONObject(members + extraMembers(configuration)))
  }

  /// What Meta's own code will not understand of the document, one sentence each without a final stop.
  public static func remarks(for configuration: LlamaConfiguration, shards: Int) -> [String] {
    var remarks: [String] = []
    let keys = extraMembers(configuration).map(\.key)
    let (scaling, others) = (keys.filter { $0.hasPrefix("rope_") }, keys.filter { !$0.hasPrefix("rope_") })
    if !scaling.isEmpty {
      let outcome =
        if case .llama3 = configuration.rope.scaling { "scales RoPE by its own constants" } else {
          "does not scale RoPE"
        }
      remarks.append(
        "params.json states the scaling of RoPE in \(scaling.joined(separator: ", ")); Meta's own code ignores that and "
          + outcome)
    } else if case .llama3(32, _, _, _) = configuration.rope.scaling {
      remarks.append("Meta's own code scales RoPE by 8 whatever the model; this one needs 32")
    }
    if !others.isEmpty {
      remarks.append("params.json has keys that Meta's own code does not know: \(others.joined(separator: ", "))")
    }
    let copies = storedKeyValueHeads(configuration, shards) / configuration.keyValueHeadCount
    if copies > 1 {
      remarks.append(
        "every one of \(configuration.keyValueHeadCount) key/value heads is stored \(copies) times, and n_kv_heads counts "
          + "the copies")
    }
    return remarks
  }

  private typealias Members = [(key: String, value: JSONValue)]

  /// With more shards than heads every shard has one, and Meta's code is told that there are so many.
  private static func storedKeyValueHeads(_ configuration: LlamaConfiguration, _ shards: Int) -> Int {
    max(configuration.keyValueHeadCount, shards)
  }

  /// Keys that the loaders of the model's generation know. Those of Llama 1 and 2 fail on unknown ones, so what has its
  /// default there is left out.
  private static func members(_ configuration: LlamaConfiguration, _ shards: Int) -> Members {
    func integer(_ key: String, _ value: Int) -> (key: String, value: JSONValue) { (key, .number(JSONNumber(value))) }
    func number(_ key: String, _ value: Double) -> (key: String, value: JSONValue) { (key, .number(JSONNumber(value))) }
    let isMistral = configuration.architecture == .mistral
    var members = [
      integer("dim", configuration.hiddenSize), integer("n_layers", configuration.layerCount),
      integer("n_heads", configuration.headCount),
    ]
    let stored = storedKeyValueHeads(configuration, shards)
    if stored != configuration.headCount || isMistral { members.append(integer("n_kv_heads", stored)) }
    members.append(integer("vocab_size", configuration.vocabularySize))
    if isMistral {
      members.append(integer("head_dim", configuration.headDimension))
      members.append(integer("hidden_dim", configuration.feedForwardSize))
      if let window = configuration.slidingWindow { members.append(integer("sliding_window", window)) }
    } else {
      let rule = FeedForwardRule(givingSize: configuration.feedForwardSize, hidden: configuration.hiddenSize)
      members.append(integer("multiple_of", rule.multipleOf))
      if let multiplier = rule.multiplier { members.append(number("ffn_dim_multiplier", multiplier)) }
    }
    members.append(number("norm_eps", configuration.normEpsilon))
    if statesBase(configuration) { members.append(number("rope_theta", configuration.rope.base)) }
    if case .llama3 = configuration.rope.scaling { members.append(("use_scaled_rope", true)) }
    return members
  }

  /// False for Llama 1 and 2, whose loaders do not know the key. Those of Mistral have had two defaults, and the
  /// vocabulary of Code Llama goes with two bases.
  private static func statesBase(_ configuration: LlamaConfiguration) -> Bool {
    let generation = MetaGeneration(of: configuration)
    return configuration.rope.base != 10_000 || (generation != .llama1 && generation != .llama2)
  }

  private static func extraMembers(_ configuration: LlamaConfiguration) -> Members {
    var members: Members = []
    let (hidden, heads) = (configuration.hiddenSize, configuration.headCount)
    if configuration.architecture == .llama, configuration.headDimension * heads != hidden {
      members.append(("head_dim", .number(JSONNumber(configuration.headDimension))))
    }
    members += scalingMembers(configuration)
    let generation = MetaGeneration(of: configuration)
    if configuration.maximumPositions != generation.maximumPositions {
      members.append(("max_position_embeddings", .number(JSONNumber(configuration.maximumPositions))))
    }
    let vocabulary = configuration.vocabularySize
    if configuration.beginOfTextID != generation.beginOfTextID(vocabulary: vocabulary) {
      // As everywhere, −1 is none.
      members.append(("bos_token_id", .number(JSONNumber(configuration.beginOfTextID ?? -1))))
    }
    if configuration.endOfTextIDs != generation.endOfTextIDs(vocabulary: vocabulary) {
      members.append(("eos_token_id", .tokenIDs(configuration.endOfTextIDs)))
    }
    return members
  }

  private static func scalingMembers(_ configuration: LlamaConfiguration) -> Members {
    func number(_ key: String, _ value: Double) -> (key: String, value: JSONValue) { (key, .number(JSONNumber(value))) }
    let constants = RoPEParameters.metaScaling(hidden: configuration.hiddenSize, layers: configuration.layerCount)
    switch (configuration.rope.scaling, constants) {
    case (.linear(let factor), _):
      return [("rope_scaling_type", "linear"), number("rope_scaling_factor", factor)]
    case (
      .llama3(let factor, let low, let high, let original),
      .llama3(let metaFactor, let metaLow, let metaHigh, let metaOriginal)
    ):
      var members: Members = []
      if factor != metaFactor { members.append(number("rope_scaling_factor", factor)) }
      if low != metaLow { members.append(number("rope_low_freq_factor", low)) }
      if high != metaHigh { members.append(number("rope_high_freq_factor", high)) }
      if original != metaOriginal {
        members.append(("rope_original_max_positions", .number(JSONNumber(original))))
      }
      return members
    default: return []
    }
  }
}

extension MetaParameters.Quantization {
  fileprivate var document: JSONValue {
    [
      "scheme": .string(Self.scheme), "group_size": .number(JSONNumber(groupSize)), "spinquant": .bool(usesSpinQuant),
    ]
  }
}

extension MetaParameters.Adapters {
  fileprivate var document: JSONValue {
    ["rank": .number(JSONNumber(rank)), "scale": .number(JSONNumber(scale))]
  }
}

extension JSONValue {
  /// One id as a number, several or none as a list.
  public static func tokenIDs(_ ids: [Int]) -> JSONValue {
    ids.count == 1 ? .number(JSONNumber(ids[0])) : .array(ids.map { .number(JSONNumber($0)) })
  }
}
