import ByteIO
import Checkpoints
import Foundation
import Support
import Tensors
import Testing

/// One fault of every class that the threads in `formats/lint.md` report, planted into a sound model: lint finds it, and
/// nothing else but what follows from it.
@Suite struct LintFaultTests {
  static let up = "model.layers.0.mlp.up_proj"
  static let key = "model.layers.1.self_attn.k_proj.weight"

  static let structure: [PlantedFault] = [
    PlantedFault("nothing", change: { _ in }),
    PlantedFault("no head, and none tied", .missingHead) { $0["lm_head.weight"] = nil },
    PlantedFault("another head beside a tied one", .headThoughTied, .tiedHeadDiffers) {
      $0.configuration["tie_word_embeddings"] = true
    },
    PlantedFault("the same head beside a tied one", .headThoughTied) {
      $0.configuration["tie_word_embeddings"] = true
      let embedding = $0["model.embed_tokens.weight"]?.bytes ?? []
      $0["lm_head.weight"]?.bytes = embedding
    },
    PlantedFault("a head equal to the embedding, untied", .headEqualsEmbedding) {
      let embedding = $0["model.embed_tokens.weight"]?.bytes ?? []
      $0["lm_head.weight"]?.bytes = embedding
    },
    PlantedFault("layers beyond the count", .layerBeyondCount) { $0.configuration["num_hidden_layers"] = 1 },
    PlantedFault("float16 stamped on BF16", .elementType) { $0.configuration["torch_dtype"] = "float16" },
    PlantedFault("another architecture", .unsupportedModel) {
      $0.configuration["architectures"] = ["Qwen3ForCausalLM"]
    },
    PlantedFault("a size that is none", .configurationUnreadable) { $0.configuration["hidden_size"] = "wide" },
    PlantedFault("a scaling without its type", .ropeUnreadable) { $0.configuration["rope_scaling"] = ["factor": 8.0] },
    PlantedFault("a scaling with a factor dropped", .ropeUnreadable) {
      $0.configuration["rope_scaling"] = ["rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0]
    },
    PlantedFault("params.json with another base", .ropeDisagreement) {
      $0.add("params.json", Self.parameters("rope_theta", 500_000.0))
    },
    PlantedFault("params.json that scales", .ropeDisagreement) {
      $0.add("params.json", Self.parameters("use_scaled_rope", true))
    },
    PlantedFault("params.json of another size", .parametersDisagree) {
      $0.add("params.json", Self.parameters("dim", 64))
    },
    PlantedFault("params.json that agrees") { $0.add("params.json", Self.parameters("rope_theta", 10_000.0)) },
    PlantedFault("a begin-of-text id beyond the vocabulary", .specialIDs) { $0.configuration["bos_token_id"] = 400 },
    PlantedFault("generation_config with ids beyond the vocabulary", .specialIDs) {
      $0.add("generation_config.json", ["eos_token_id": [2, 99]])
    },
    PlantedFault("generation_config with another end", .generationConfiguration) {
      $0.add("generation_config.json", ["bos_token_id": 1, "eos_token_id": 7])
    },
    PlantedFault("a download that was interrupted", .strayFile) { $0.files.append(("model.bin.incomplete", [])) },
  ]

  private static func parameters(_ key: String, _ value: JSONValue) -> JSONValue {
    var object = JSONObject([
      ("dim", 32), ("n_layers", 2), ("n_heads", 4), ("n_kv_heads", 2), ("head_dim", 8), ("norm_eps", 1e-5),
      ("vocab_size", 40),
    ])
    object[key] = value
    return .object(object)
  }

  @Test("configuration and tensors", arguments: structure)
  func plantedInStructure(_ fault: PlantedFault) throws {
    var model = TinyCheckpoint()
    try fault.change(&model)
    let report = try model.linted()
    #expect(report.distinctCodes == fault.codes, "\(report.summary)")
  }

  static let quantization: [PlantedFault] = [
    PlantedFault("nothing", change: { _ in }),
    PlantedFault("no quantization_config", .missingQuantization) { $0.configuration["quantization_config"] = nil },
    PlantedFault("hf_quant_config.json alone", .quantizationUnread) {
      $0.configuration["quantization_config"] = nil
      $0.add("hf_quant_config.json", ["quantization": ["quant_algo": "FP8"]])
    },
    PlantedFault("a method of another tool", .quantizationUnread) {
      $0.configuration["quantization_config"] = ["quant_method": "modelopt", "quant_algo": "FP8"]
    },
    PlantedFault("the name on the ignore list is another's", .ignoreMatchesNothing, .quantizedButPlain) { model in
      model[up + ".weight"] = TinyCheckpoint().tensors[up + ".weight"]
      model[up + ".weight_scale"] = nil
      model.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
        ignoring: ["lm_head", "model.layers.0.mlp.up"], block: 16)
    },
    PlantedFault("an excluded module with codes and scales", .excludedButQuantized) {
      $0.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
        ignoring: ["lm_head", up], block: 16)
    },
    PlantedFault("an excluded module with scales", .excludedButQuantized) { model in
      model[up + ".weight"] = TinyCheckpoint().tensors[up + ".weight"]
      model.configuration["quantization_config"] = FP8Layout.compressedChannel.document(
        ignoring: ["lm_head", up], block: 16)
    },
    PlantedFault("codes without scales", .missingScale) { $0[up + ".weight_scale"] = nil },
    PlantedFault("scales under another name", .scaleRenamed) {
      $0[up + ".weight_scale"]?.name = up + ".weight_scale_inv"
    },
    PlantedFault("a scale of zero", .badScale) { $0.edit(up + ".weight_scale") { $0[3] = 0 } },
    PlantedFault("a NaN code", .nanCode) { $0.change(up + ".weight") { $0.bytes[5] = 0x7F } },
    PlantedFault("scales that are too small", .saturation) {
      $0.change(up + ".weight") { tensor in for index in 0..<300 { tensor.bytes[index * 5] = 0x7E } }
    },
    PlantedFault("a row of zero codes", .zeroRows) {
      $0.change(up + ".weight") { $0.bytes.replaceSubrange(64..<96, with: [UInt8](repeating: 0, count: 32)) }
    },
  ]

  @Test("quantization", arguments: quantization)
  func plantedInQuantization(_ fault: PlantedFault) throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(.compressedChannel)
    try fault.change(&model)
    let report = try model.linted()
    #expect(report.distinctCodes == fault.codes, "\(report.summary)")
  }

  @Test("block scales under the name of row scales, as one quantizer left them")
  func renamedBlockScales() throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(.fineGrained)
    model[Self.up + ".weight_scale_inv"]?.name = Self.up + ".weight_scale"
    let report = try model.linted()
    #expect(report.codes == [.scaleRenamed], "\(report.summary)")
    #expect(report.findings[0].found == "weight_scale" && report.findings[0].expected == "weight_scale_inv")
  }

  static let values: [PlantedFault] = [
    PlantedFault("a row of zeros", .zeroRows) { $0.edit(key) { for column in 0..<32 { $0[64 + column] = 0 } } },
    PlantedFault("an unused token", .zeroEmbeddingRows) {
      $0.edit("model.embed_tokens.weight") { for column in 0..<32 { $0[column] = 0 } }
    },
    PlantedFault("a tensor of zeros", .zeroTensor) { $0.edit(key) { $0 = $0.map { _ in 0 } } },
    PlantedFault("one row everywhere", .equalRows) {
      $0.edit(key) { values in for index in values.indices { values[index] = values[index % 32] } }
    },
    PlantedFault("a value beyond F16", .float16Overflow) { $0.edit(key) { $0[9] = -70_000 } },
    PlantedFault("a norm of nearly nothing", .oddNorm) {
      $0.edit("model.layers.0.input_layernorm.weight") { $0 = $0.map { $0 * 1e-4 } }
    },
    PlantedFault("norms exchanged", .swappedNorms) { model in
      let names = ["input_layernorm", "post_attention_layernorm"].map { "model.layers.1.\($0).weight" }
      let bytes = names.compactMap { model[$0]?.bytes }
      for (name, bytes) in zip(names, bytes.reversed()) { model[name]?.bytes = bytes }
    },
    PlantedFault("a layer copied over another", .duplicatedLayer) { model in
      for tensor in model.tensors where tensor.name.hasPrefix("model.layers.0.") {
        model[tensor.name.replacing("layers.0.", with: "layers.2.")]?.bytes = tensor.bytes
      }
    },
  ]

  @Test("values", arguments: values)
  func plantedInValues(_ fault: PlantedFault) throws {
    var model = TinyCheckpoint(.init { $0.layers = 3 })
    // Norms of the two kinds differ, as in models that were trained.
    for layer in 0..<3 {
      model.edit("model.layers.\(layer).post_attention_layernorm.weight") { $0 = $0.map { $0 * 0.3 } }
    }
    #expect(try model.linted().codes == [])
    try fault.change(&model)
    let report = try model.linted()
    #expect(report.distinctCodes == fault.codes, "\(report.summary)")
  }

  @Test("every finding says where, what and what to do, in the document too")
  func evidence() throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(.compressedChannel)
    model.edit(Self.up + ".weight_scale") { $0[3] = -1 }
    let document = try model.linted().document
    let finding = try #require(document["findings"]?.array?.first)
    #expect(finding["code"] == "bad-scale" && finding["severity"] == "error")
    #expect(finding["file"] == "model.safetensors" && finding["tensor"]?.string == Self.up + ".weight_scale")
    #expect(finding["found"] == "-1.0 at 3" && finding["remedy"]?.string?.isEmpty == false)
    #expect(document["errors"] == 1 && document["warnings"] == 0 && document["notes"] == 1)
    for code in LintCode.allCases { #expect(!code.remedy.isEmpty) }
  }
}
