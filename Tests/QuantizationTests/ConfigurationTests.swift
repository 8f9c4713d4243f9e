import ByteIO
import Foundation
import Quantization
import Support
import Testing

private let module = "model.layers.3.mlp.gate_proj"

private func parse(_ text: String) throws -> QuantizationConfiguration {
  try QuantizationConfiguration(parsing: JSONValue(parsing: text))
}

private func compressedTensors(_ weights: String, activations: String = "null", extra: String = "") -> String {
  #"{"quant_method":"compressed-tensors","format":"float-quantized","quantization_status":"compressed","ignore":["lm_head"],\#(extra)"config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":8,"type":"float","symmetric":true,\#(weights)},"input_activations":\#(activations)}}}"#
}

/// A configuration that is refused, and a word that the message must hold.
struct Refused: Sendable, CustomTestStringConvertible {
  let text: String
  let word: String
  var testDescription: String { word }

  static let all = [
    Refused(text: "[]", word: "object"),
    Refused(text: #"{"format":"x"}"#, word: "quant_method"),
    Refused(text: #"{"quant_method":"aqlm","nbits_per_codebook":16}"#, word: "aqlm"),
    Refused(text: #"{"quant_method":"gptq","group_size":128}"#, word: "bits is absent"),
    Refused(text: #"{"quant_method":"gptq","bits":3,"group_size":128}"#, word: "bits is 3"),
    Refused(text: #"{"quant_method":"gptq","bits":4,"group_size":0}"#, word: "group_size is 0"),
    Refused(
      text: #"{"quant_method":"gptq","bits":4,"group_size":128,"checkpoint_format":"marlin"}"#,
      word: "checkpoint_format"),
    Refused(
      text: #"{"quant_method":"gptq","bits":4,"group_size":128,"dynamic":{"-:.*down.*":{}}}"#, word: "dynamic"),
    Refused(text: #"{"quant_method":"awq","bits":4,"group_size":128,"version":"gemv"}"#, word: "version"),
    Refused(text: #"{"quant_method":"awq","bits":4,"group_size":128,"zero_point":false}"#, word: "zero_point"),
    Refused(text: #"{"quant_method":"bitsandbytes"}"#, word: "bitsandbytes"),
    Refused(text: #"{"quant_method":"fp8","weight_block_size":[128]}"#, word: "weight_block_size"),
    Refused(text: #"{"quant_method":"fp8","weight_block_size":[0,128]}"#, word: "weight_block_size"),
    Refused(text: #"{"quant_method":"fp8","fmt":"e5m2"}"#, word: "e5m2"),
    Refused(text: #"{"quant_method":"fbgemm_fp8","activation_scale_ub":-1}"#, word: "activation_scale_ub"),
    Refused(text: #"{"quant_method":"fbgemm_fp8","modules_to_not_convert":"lm_head"}"#, word: "list of names"),
    Refused(text: #"{"quant_method":"compressed-tensors"}"#, word: "quantization_status"),
    Refused(
      text: #"{"quant_method":"compressed-tensors","quantization_status":"compressed"}"#, word: "config_groups"),
    Refused(
      text: compressedTensors(#""strategy":"channel""#).replacingOccurrences(
        of: "float-quantized", with: "pack-quantized"),
      word: "pack-quantized"),
    Refused(text: compressedTensors(#""strategy":"group","group_size":128"#), word: #""group""#),
    Refused(text: compressedTensors(#""strategy":"block""#), word: "block_structure"),
    Refused(text: compressedTensors(#""strategy":"channel","dynamic":true"#), word: "dynamic"),
    Refused(
      text: compressedTensors(
        #""strategy":"channel""#, activations: #"{"num_bits":8,"type":"float","strategy":"tensor","dynamic":true}"#),
      word: "dynamic true"),
    Refused(
      text: compressedTensors(
        #""strategy":"channel""#, activations: #"{"num_bits":8,"type":"int","strategy":"token","dynamic":true}"#),
      word: #""int""#),
    Refused(
      text: compressedTensors(#""strategy":"channel""#, extra: #""kv_cache_scheme":{"num_bits":8},"#),
      word: "kv_cache_scheme"),
    Refused(
      text: compressedTensors(#""strategy":"channel""#, extra: #""sparsity_config":{"format":"dense"},"#),
      word: "sparsity_config"),
  ]
}

@Suite("quantization_config")
struct ConfigurationTests {
  /// Origin: written by transformers and compressed-tensors, golden model/fp8_dynamic/config.json.
  @Test func readsTheLibrarysConfiguration() throws {
    let text = try String(contentsOf: Fixtures.golden("model/fp8_dynamic/config.json"), encoding: .utf8)
    let document = try #require(try JSONValue(parsing: text)["quantization_config"])
    let configuration = try QuantizationConfiguration(parsing: document)
    let expected = QuantizationConfiguration.Module(
      scheme: .rowWise, scaleSuffix: "weight_scale", optionalSuffixes: [],
      activations: .dynamicPerToken(upperBound: nil))
    #expect(configuration.scheme(forModule: module) == expected)
    #expect(configuration.scheme(forModule: "lm_head") == nil)
    #expect(configuration.scheme(forModule: "model.norm", isLinear: false) == nil)
    // What we write holds every member of it but the two that name the library's release and its other features.
    let ours = QuantizationConfiguration.document(for: .fp8, kept: [])
    for (key, value) in document.object?.members ?? [] where key != "version" && key != "moe_sparsity_config" {
      #expect(ours[key].map(sorted) == sorted(value), "\(key)")
    }
  }

  private func sorted(_ value: JSONValue) -> String {
    let data = Data(value.serialized(.compact).utf8)
    let any = try? JSONSerialization.jsonObject(with: data, options: .fragmentsAllowed)
    let text = any.flatMap {
      try? JSONSerialization.data(withJSONObject: $0, options: [.sortedKeys, .fragmentsAllowed])
    }
    return String(decoding: text ?? Data(), as: UTF8.self)
  }

  @Test func activationsHaveTexts() {
    let schemes: [ActivationScheme] = [
      .none, .dynamicPerToken(upperBound: nil), .dynamicPerToken(upperBound: 1200), .dynamicPerGroup(128),
      .staticPerTensor, .dynamicSymmetricInt8PerToken, .dynamicInt8PerToken,
    ]
    #expect(Set(schemes.map(\.canonicalText)).count == schemes.count)
    for scheme in schemes { #expect(ActivationScheme(canonicalText: scheme.canonicalText) == scheme) }
    for text in ["", "int8", "int8 symmetric", "int8 symmetric token 3"] {
      #expect(ActivationScheme(canonicalText: text) == nil)
    }
  }

  @Test func readsStrategies() throws {
    #expect(
      try parse(compressedTensors(#""strategy":"block","block_structure":[128,64]"#)).scheme(forModule: module)?.scheme
        == .block(rows: 128, columns: 64))
    let still = try parse(
      compressedTensors(
        #""strategy":"tensor""#,
        activations: #"{"num_bits":8,"type":"float","strategy":"tensor","dynamic":false}"#))
    #expect(still.scheme(forModule: module)?.scheme == .perTensor)
    #expect(still.scheme(forModule: module)?.activations == .staticPerTensor)
    #expect(still.scheme(forModule: module)?.optionalSuffixes == ["input_scale"])
    let fine = try parse(
      #"{"quant_method":"fp8","activation_scheme":"dynamic","weight_block_size":[128,128],"modules_to_not_convert":["lm_head"]}"#
    )
    #expect(fine.scheme(forModule: module)?.scaleSuffix == "weight_scale_inv")
    #expect(fine.scheme(forModule: module)?.activations == .dynamicPerGroup(128))
    let meta = try parse(
      #"{"quant_method":"fbgemm_fp8","activation_scale_ub":1200.0,"modules_to_not_convert":["lm_head","model.layers.1","layers.3.mlp.up_proj","x"]}"#
    )
    #expect(meta.scheme(forModule: module)?.activations == .dynamicPerToken(upperBound: 1200))
    #expect(meta.scheme(forModule: "model.layers.1.mlp.up_proj") == nil)
    #expect(meta.scheme(forModule: "model.layers.11.mlp.up_proj") != nil)
    #expect(meta.scheme(forModule: "model.layers.3.mlp.up_proj") == nil)
    #expect(
      meta.ignoreEntriesMatchingNothing(among: ["lm_head", "model.layers.1.q", module]) == [
        "layers.3.mlp.up_proj", "x",
      ])
  }

  @Test(arguments: Refused.all)
  func refuses(_ refused: Refused) {
    let error = #expect(throws: ParseFailure.self) { try parse(refused.text) }
    #expect(error?.message.contains(refused.word) == true, "\(error?.message ?? "")")
  }

  /// What is written is read back with the same decision for each module, in the key order of the libraries.
  @Test(arguments: FP8Recipe.allCases)
  func readsWhatItWrites(_ recipe: FP8Recipe) throws {
    let kept = ["model.layers.0.mlp.up_proj", "lm_head"]
    let document = QuantizationConfiguration.document(for: recipe, kept: kept)
    let again = try QuantizationConfiguration(parsing: JSONValue(parsing: document.serialized()))
    #expect(again.scheme(forModule: module)?.scheme == .rowWise)
    #expect(again.scheme(forModule: "model.layers.0.mlp.up_proj") == nil)
    let list = recipe == .fp8FBGEMM ? "modules_to_not_convert" : "ignore"
    #expect(document[list] == ["lm_head", "model.layers.0.mlp.up_proj"])
    let keys = document.object?.members.map(\.key)
    #expect(
      keys
        == (recipe == .fp8FBGEMM
          ? ["quant_method", "activation_scale_ub", "modules_to_not_convert"]
          : [
            "quant_method", "format", "quantization_status", "ignore", "config_groups", "kv_cache_scheme",
            "global_compression_ratio",
          ]))
  }
}

@Suite("Module patterns")
struct ModulePatternTests {
  private let modules = ["model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj", "lm_head"]

  @Test func matches() throws {
    let patterns = try ModulePatterns(["lm_head.weight", "re:model\\.layers\\.1\\.", "re:layers", "nothing"])
    #expect(modules.map(patterns.matches) == [true, false, true])
    #expect(patterns.matches("lm_head.weight"))
    #expect(patterns.unmatched(among: modules) == ["re:layers", "nothing"])
    #expect(try ModulePatterns(["re:.*q_proj\\.weight$"]).matches(modules[0]))
    #expect(try !ModulePatterns(["LM_HEAD"]).matches("lm_head"))
  }

  /// Composed and decomposed forms of one character are two names.
  @Test func comparesBytes() throws {
    #expect(try !ModulePatterns(["caf\u{E9}"]).matches("cafe\u{301}"))
  }

  @Test(arguments: ["", "re:", "re:(", "re:[a-", "re:" + String(repeating: "a", count: 1001)])
  func refuses(_ text: String) {
    #expect(throws: ParseFailure.self) { try ModulePatterns([text]) }
  }

  @Test func findsSplitGroups() {
    let groups = [["self_attn.q_proj", "self_attn.k_proj"], ["mlp.gate_proj", "mlp.up_proj"]]
    let all = (0..<2).flatMap { layer in groups.flatMap { $0 }.map { "model.layers.\(layer).\($0)" } }
    let split = FusedModules.split(among: all, groups: groups) { $0 != "model.layers.1.self_attn.k_proj" }
    #expect(split.map(\.kept) == [["model.layers.1.self_attn.k_proj"]])
    #expect(split.map(\.prefix) == ["model.layers.1."])
    #expect(FusedModules.split(among: all, groups: groups) { $0.contains("mlp") }.isEmpty)
  }
}
