import ByteIO
import Llama
import Testing

/// One change of a sound configuration, and what the refusal must name.
struct Refusal: Sendable, CustomTestStringConvertible {
  let key: String
  /// JSON; nil removes the key.
  let json: String?
  let words: [String]

  init(_ key: String, _ json: String?, _ words: String...) {
    self.key = key
    self.json = json
    self.words = words
  }

  var testDescription: String { "\(key): \(json ?? "absent")" }

  static let otherModels = [
    Refusal("architectures", "[\"Qwen2ForCausalLM\"]", "Qwen2ForCausalLM", "LlamaForCausalLM"),
    Refusal("architectures", "[\"LlamaForSequenceClassification\"]", "LlamaForSequenceClassification"),
    Refusal("architectures", "[\"MixtralForCausalLM\"]", "MixtralForCausalLM"),
    Refusal("text_config", "{\"hidden_size\": 1}", "text_config"),
    Refusal("vision_config", "{}", "vision_config"),
    Refusal("num_local_experts", "8", "num_local_experts"),
    Refusal("num_experts", "16", "num_experts"),
    Refusal("attention_bias", "true", "attention_bias", "biases"),
    Refusal("mlp_bias", "true", "mlp_bias", "biases"),
    Refusal("hidden_act", "\"gelu\"", "hidden_act", "gelu", "silu"),
    Refusal("partial_rotary_factor", "0.5", "partial_rotary_factor", "0.5"),
    Refusal("torch_dtype", "\"int8\"", "dtype", "int8"),
  ]

  static let missing = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]
    .map { Refusal($0, nil, $0, "nothing") }

  static let wrongTypes = [
    Refusal("hidden_size", "\"4096\"", "hidden_size", "4096", "integer"),
    Refusal("hidden_size", "true", "hidden_size", "true"),
    Refusal("hidden_size", "4096.5", "hidden_size", "4096.5"),
    Refusal("num_hidden_layers", "[32]", "num_hidden_layers"),
    Refusal("vocab_size", "{}", "vocab_size"),
    Refusal("rms_norm_eps", "\"1e-5\"", "rms_norm_eps", "number"),
    Refusal("tie_word_embeddings", "\"false\"", "tie_word_embeddings", "true or false"),
    Refusal("tie_word_embeddings", "0", "tie_word_embeddings"),
    Refusal("attention_bias", "0", "attention_bias"),
    Refusal("hidden_act", "1", "hidden_act", "string"),
    Refusal("bos_token_id", "\"<s>\"", "bos_token_id", "token ids"),
    Refusal("eos_token_id", "[1, \"</s>\"]", "eos_token_id"),
    Refusal("torch_dtype", "16", "torch_dtype", "string"),
    Refusal("rope_theta", "\"500000\"", "rope_theta", "number"),
    Refusal("rope_scaling", "8", "rope_scaling", "object"),
    Refusal("rope_parameters", "[]", "rope_parameters", "object"),
  ]

  static let absurd = [
    Refusal("hidden_size", "0", "hidden_size"), Refusal("hidden_size", "-4096", "hidden_size", "-4096"),
    Refusal("hidden_size", "9223372036854775807", "hidden_size"),
    Refusal("hidden_size", "99999999999999999999999", "hidden_size"),
    Refusal("hidden_size", "1e300", "hidden_size"),
    Refusal("num_hidden_layers", "0", "num_hidden_layers"), Refusal("num_hidden_layers", "100000", "num_hidden_layers"),
    Refusal("num_attention_heads", "0", "num_attention_heads"), Refusal("vocab_size", "-1", "vocab_size"),
    Refusal("num_key_value_heads", "0", "num_key_value_heads"),
    Refusal("rms_norm_eps", "0", "rms_norm_eps"), Refusal("rms_norm_eps", "-1e-5", "rms_norm_eps"),
    Refusal("rms_norm_eps", "1e400", "rms_norm_eps"), Refusal("rope_theta", "0", "rope_theta"),
    Refusal("rope_theta", "-10000", "rope_theta"), Refusal("rope_theta", "1e13", "rope_theta", "1e12"),
    Refusal("max_position_embeddings", "0", "max_position_embeddings"),
  ]

  static let heads = [
    Refusal("num_key_value_heads", "5", "32", "num_key_value_heads 5"),
    Refusal("num_key_value_heads", "64", "num_key_value_heads 64"),
    Refusal("num_attention_heads", "48", "hidden_size 4096", "48", "head_dim"),
    Refusal("head_dim", "127", "head_dim 127", "odd"), Refusal("head_dim", "1", "head_dim"),
    Refusal("head_dim", "8192", "head_dim", "4096"),
  ]

  static let rope = [
    Refusal("rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0}", "yarn", "llama3"),
    Refusal("rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2.0}", "dynamic"),
    Refusal("rope_scaling", "{\"rope_type\": \"longrope\"}", "longrope"),
    Refusal("rope_scaling", "{\"rope_type\": 3}", "rope_type", "string"),
    // Read by transformers as no scaling at all.
    Refusal("rope_scaling", "{\"factor\": 8.0}", "rope_scaling", "factor", "rope_type"),
    Refusal("rope_parameters", "{\"rope_theta\": 500000.0, \"factor\": 8.0}", "rope_parameters", "factor"),
    Refusal(
      "rope_parameters", "{\"full_attention\": {\"rope_theta\": 500000.0}}", "rope_parameters", "full_attention"),
    Refusal("rope_scaling", "{\"rope_type\": \"llama3\", \"type\": \"linear\", \"factor\": 8}", "llama3", "linear"),
    Refusal("rope_scaling", "{\"rope_type\": \"linear\"}", "factor", "nothing"),
    Refusal("rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 0}", "factor"),
    Refusal(
      "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0}", "high_freq_factor"),
    Refusal(
      "rope_scaling",
      "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 4.0, \"high_freq_factor\": 4.0,"
        + "\"original_max_position_embeddings\": 8192}", "high_freq_factor", "low_freq_factor"),
    Refusal(
      "rope_scaling",
      "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0}",
      "original_max_position_embeddings"),
    Refusal("rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"default\"}", "contradict"),
    Refusal("rope_scaling", "{\"rope_theta\": 10000.0, \"rope_type\": \"default\"}", "contradict"),
    Refusal(
      "rope_parameters", "{\"rope_theta\": 500000.0, \"partial_rotary_factor\": 0.25}", "partial_rotary_factor"),
  ]
}

@Suite struct ConfigurationRefusalTests {
  private func failure(_ model: PublishedModel, _ key: String, _ json: String?) throws -> ParseFailure? {
    var object = model.version4
    object[key] = try json.map { try JSONValue(parsing: $0) }
    do throws(ParseFailure) {
      _ = try LlamaConfiguration(huggingFace: .object(object))
      return nil
    } catch {
      return error
    }
  }

  @Test(
    "a configuration that this toolkit would compute wrongly is refused by name",
    arguments: Refusal.otherModels + Refusal.missing + Refusal.wrongTypes + Refusal.absurd + Refusal.heads
      + Refusal.rope)
  func refuses(_ refusal: Refusal) throws {
    // Llama 3 8B without scaling: every change makes exactly one thing wrong.
    let failure = try #require(try failure(.llama3[0], refusal.key, refusal.json))
    for word in refusal.words { #expect(failure.description.contains(word), "\(failure)") }
  }

  @Test func contradictingScalingsAreRefused() throws {
    let linear = "{\"rope_theta\": 500000.0, \"rope_type\": \"linear\", \"factor\": 8.0}"
    let failure = try #require(try failure(.llama3[2], "rope_parameters", linear))
    #expect(failure.message.contains("contradict"))
  }

  @Test("a window that is no positive integer is refused", arguments: ["\"4096\"", "0", "-1", "[4096]"])
  func refusesWindows(_ json: String) throws {
    let failure = try #require(try failure(.mistral[0], "sliding_window", json))
    #expect(failure.message.contains("sliding_window"))
  }

  @Test func aModelWithoutAnyKindIsRefused() throws {
    var object = PublishedModel.llama3[0].version4
    object["architectures"] = nil
    object["model_type"] = "gpt2"
    #expect(throws: ParseFailure.self) { try LlamaConfiguration(huggingFace: .object(object)) }
    object["model_type"] = nil
    let failure = #expect(throws: ParseFailure.self) { try LlamaConfiguration(huggingFace: .object(object)) }
    #expect(failure?.message.contains("model_type") == true)
    #expect(throws: ParseFailure.self) { try LlamaConfiguration(huggingFace: [1, 2]) }
  }

  @Test func longValuesAreCutInMessages() throws {
    let long = "\"" + String(repeating: "x", count: 10_000) + "\""
    for key in ["hidden_size", "rope_theta", "architectures", "hidden_act", "torch_dtype"] {
      let failure = try #require(try failure(.llama3[0], key, key == "architectures" ? "[\(long)]" : long))
      #expect(failure.description.utf8.count < 300)
    }
  }
}
