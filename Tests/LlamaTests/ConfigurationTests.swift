import ByteIO
import Llama
import Tensors
import Testing

@Suite struct ConfigurationTests {
  private func read(_ object: JSONObject) throws -> LlamaConfiguration {
    // Through text, as from a file.
    let text = JSONValue.object(object).serialized()
    return try LlamaConfiguration(huggingFace: JSONValue(parsing: text))
  }

  @Test("both spellings of a published model are read as its configuration", arguments: PublishedModel.all)
  func readsPublishedModels(_ model: PublishedModel) throws {
    #expect(try read(model.version4) == model.expected)
    #expect(try read(model.version5) == model.expected)
  }

  @Test("a published model has as many parameters as its release states", arguments: PublishedModel.all)
  func countsParameters(_ model: PublishedModel) {
    if let parameters = model.parameters { #expect(model.expected.parameterCount == parameters) }
  }

  @Test("a published model is recognised as its family", arguments: PublishedModel.all)
  func namesFamilies(_ model: PublishedModel) throws {
    #expect(LlamaFamily(of: try read(model.version4))?.description == model.family)
  }

  @Test func aModelThatNobodyPublishedHasNoFamily() {
    var configuration = PublishedModel.llama3[2].expected
    configuration.vocabularySize += 8
    #expect(LlamaFamily(of: configuration) == nil)
    // Llama 3.2 1B with the factor that Meta's own code has, which is wrong for it, is no Llama 3.2 1B.
    configuration = PublishedModel.llama3[6].expected
    configuration.rope.scaling = .llama3(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
    #expect(LlamaFamily(of: configuration) == nil)
  }

  @Test func cachedElementsAreThoseOfKeysAndValuesOfAllLayers() {
    // Llama 3.1 8B: 32 layers × 2 × 8 heads × 128 = 65,536 elements, 128 KiB in 16 bits: the figure that serving uses.
    #expect(PublishedModel.llama3[2].expected.cachedElementsPerToken == 65_536)
  }

  @Test func labelsDoNotChangeTheCanonicalTextAndEveryDecidingFieldDoes() throws {
    let model = PublishedModel.llama3[2]
    #expect(try read(model.version4).canonicalText == read(model.version5).canonicalText)
    var labelled = model.expected
    labelled.claimedElementType = .f16
    labelled.maximumPositions = 4096
    #expect(labelled.canonicalText == model.expected.canonicalText)
    let changes: [(inout LlamaConfiguration) -> Void] = [
      { $0.hiddenSize += 1 }, { $0.layerCount += 1 }, { $0.headCount += 1 }, { $0.keyValueHeadCount += 1 },
      { $0.headDimension += 1 }, { $0.feedForwardSize += 1 }, { $0.vocabularySize += 1 }, { $0.normEpsilon = 1e-6 },
      { $0.rope.base = 10_000 }, { $0.rope.scaling = .none }, { $0.rope.scaling = .linear(factor: 8) },
      { $0.tiesEmbeddings = true }, { $0.slidingWindow = 4096 },
    ]
    var texts: Set = [model.expected.canonicalText]
    for change in changes {
      var configuration = model.expected
      change(&configuration)
      texts.insert(configuration.canonicalText)
    }
    #expect(texts.count == changes.count + 1)
  }

  // MARK: Defaults and tolerated spellings

  @Test func absentKeysHaveTheDefaultsOfTransformers() throws {
    // transformers 5.23: LlamaConfig() and MistralConfig().
    var object = PublishedModel.llama1And2[4].version4
    for key in ["num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings"] {
      object[key] = nil
    }
    let llama = try read(object)
    #expect(llama.keyValueHeadCount == 32 && llama.headDimension == 128 && llama.maximumPositions == 2048)
    #expect(llama.normEpsilon == 1e-6 && llama.rope == RoPEParameters(base: 10_000) && !llama.tiesEmbeddings)

    object = PublishedModel.mistral[0].version4
    for key in ["num_key_value_heads", "max_position_embeddings", "sliding_window"] { object[key] = nil }
    let mistral = try read(object)
    #expect(mistral.keyValueHeadCount == 8 && mistral.maximumPositions == 131_072 && mistral.slidingWindow == 4096)
  }

  @Test func aLlamaHasNoWindowWhateverItsConfigurationSays() throws {
    var object = PublishedModel.llama3[0].version4
    object["sliding_window"] = 4096
    #expect(try read(object).slidingWindow == nil)
  }

  @Test(
    "integers with a fraction of zero, other names of types and of silu are taken",
    arguments: [
      ("hidden_size", "4096.0"), ("num_hidden_layers", "32e0"), ("hidden_act", "\"swish\""),
      ("torch_dtype", "\"torch.bfloat16\""), ("rope_theta", "500000"), ("head_dim", "null"), ("head_dim", "128"),
      ("architectures", "[]"), ("architectures", "null"), ("unknown_key", "{\"deep\": [1]}"),
      ("quantization_config", "null"), ("partial_rotary_factor", "1.0"),
      ("rope_scaling", "{\"rope_type\": \"default\"}"),
      ("rope_scaling", "{\"type\": \"default\", \"rope_type\": \"default\"}"), ("rope_parameters", "null"),
      ("rope_parameters", "{\"rope_theta\": 500000.0}"),
      ("rope_scaling", "{\"rope_type\": \"default\", \"rope_theta\": 500000.0}"),
    ])
  func takesOtherSpellings(_ key: String, _ json: String) throws {
    let model = PublishedModel.llama3[0]
    var object = model.version4
    object[key] = try JSONValue(parsing: json)
    #expect(try read(object) == model.expected)
  }

  @Test func headDimensionMayDifferFromTheQuotient() throws {
    var object = PublishedModel.mistral[2].version4
    object["hidden_size"] = 5120
    object["head_dim"] = 128
    let configuration = try read(object)
    #expect(configuration.headDimension == 128)
    #expect(configuration.shape(of: .layer(0, .query)) == [32 * 128, 5120])
    #expect(configuration.shape(of: .layer(0, .attentionOutput)) == [5120, 32 * 128])
  }

  @Test func theBaseInRopeScalingCounts() throws {
    // transformers 5 takes rope_scaling for another name of rope_parameters, the base included.
    var object = PublishedModel.llama3[2].version5
    object["rope_scaling"] = object["rope_parameters"]
    object["rope_parameters"] = nil
    #expect(try read(object) == PublishedModel.llama3[2].expected)
  }

  @Test func linearScalingIsReadUnderBothNamesOfItsType() throws {
    for key in ["type", "rope_type"] {
      var object = PublishedModel.llama1And2[4].version4
      object["rope_scaling"] = .object(JSONObject([(key, "linear"), ("factor", 4.0)]))
      #expect(try read(object).rope == RoPEParameters(base: 10_000, scaling: .linear(factor: 4)))
    }
  }
}
