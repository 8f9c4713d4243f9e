public import ByteIO
internal import Tensors

extension LlamaConfiguration {
  /// The `config.json` of the model in the spelling of transformers 4, which all readers know: keys in alphabetical order,
  /// as transformers writes them. There is no `transformers_version`: it says which release wrote the file, and none did.
  public var huggingFaceDocument: JSONValue {
    func integer(_ value: Int) -> JSONValue { .number(JSONNumber(value)) }
    let isMistral = architecture == .mistral
    var members: [(key: String, value: JSONValue)] = [
      ("architectures", [.string(architecture.rawValue)]), ("attention_dropout", 0.0),
      // Stated even when there is none: the absent key means 1 and 2 to transformers.
      ("bos_token_id", beginOfTextID.map(integer) ?? .null),
      ("eos_token_id", endOfTextIDs.isEmpty ? .null : .tokenIDs(endOfTextIDs)), ("head_dim", integer(headDimension)),
      ("hidden_act", "silu"), ("hidden_size", integer(hiddenSize)), ("initializer_range", 0.02),
      ("intermediate_size", integer(feedForwardSize)), ("max_position_embeddings", integer(maximumPositions)),
      ("model_type", isMistral ? "mistral" : "llama"), ("num_attention_heads", integer(headCount)),
      ("num_hidden_layers", integer(layerCount)), ("num_key_value_heads", integer(keyValueHeadCount)),
      ("rms_norm_eps", .number(JSONNumber(normEpsilon))), ("rope_scaling", huggingFaceScaling),
      ("rope_theta", .number(JSONNumber(rope.base))), ("tie_word_embeddings", .bool(tiesEmbeddings)),
      ("use_cache", true), ("vocab_size", integer(vocabularySize)),
    ]
    if isMistral {
      members.append(("sliding_window", slidingWindow.map(integer) ?? .null))
    } else {
      members += [("attention_bias", false), ("mlp_bias", false), ("pretraining_tp", 1)]
    }
    if let name = claimedElementType?.huggingFaceName { members.append(("torch_dtype", .string(name))) }
    return .object(JSONObject(members.sorted { $0.key < $1.key }))
  }

  private var huggingFaceScaling: JSONValue {
    switch rope.scaling {
    case .none: .null
    // The first releases that knew linear scaling demand these two keys and no other.
    case .linear(let factor): ["factor": .number(JSONNumber(factor)), "type": "linear"]
    case .llama3(let factor, let low, let high, let original):
      [
        "factor": .number(JSONNumber(factor)), "high_freq_factor": .number(JSONNumber(high)),
        "low_freq_factor": .number(JSONNumber(low)),
        "original_max_position_embeddings": .number(JSONNumber(original)), "rope_type": "llama3",
      ]
    }
  }
}

extension ElementType {
  /// What transformers calls the type; nil for types that are no weights there.
  fileprivate var huggingFaceName: String? {
    switch self {
    case .bf16: "bfloat16"
    case .f16: "float16"
    case .f32: "float32"
    default: nil
    }
  }
}
