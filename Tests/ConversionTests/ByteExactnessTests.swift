import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Testing

/// Names of the projections of layers 0 … count − 1.
private func projections(layers: Range<Int>, _ names: [String]) -> [String] {
  layers.flatMap { layer in names.map { "model.layers.\(layer).\($0)" } }
}

private let attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
private let feedForward = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]

@Suite("Converted bytes")
struct ByteExactnessTests {
  /// Origin: compressed-tensors 0.20 (golden/model/fp8_dynamic).
  @Test("fp8-compat has the bytes that llm-compressor's library writes")
  func compatEqualsLibrary() throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    try convert(model.path, to: model.beside("out"), .fp8(.fp8Compat))
    let expected = try SafetensorsBytes(Fixtures.golden("model/fp8_dynamic/model.safetensors")).tensors
    let found = try tensors(ofModelAt: model.beside("out"))
    #expect(found.keys.sorted() == expected.keys.sorted())
    for (name, tensor) in expected { #expect(found[name] == tensor, "\(name)") }
  }

  /// Origin: the same configuration as compressed-tensors 0.20 writes. Left out are `version`, which names that library's
  /// release, and `moe_sparsity_config`, which is null there.
  @Test("fp8 recipes describe themselves as llm-compressor's library does", arguments: [FP8Recipe.fp8, .fp8Compat])
  func configurationEqualsLibrary(_ recipe: FP8Recipe) throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    try convert(model.path, to: model.beside("out"), .fp8(recipe))
    var expected = try foundationJSON(Fixtures.golden("model/fp8_dynamic/config.json").path)
    var quantization = try #require(expected["quantization_config"] as? [String: Any])
    quantization["version"] = nil
    quantization["moe_sparsity_config"] = nil
    expected["quantization_config"] = quantization
    let found = try foundationJSON(model.beside("out") + "/config.json")
    #expect(found as NSDictionary == expected as NSDictionary)
  }

  /// Tensors of several tiles, with heads that tiles cut, and one of a single tile.
  @Test("fp8 equals the recipe's arithmetic done by hand on every element")
  func fp8EqualsScalar() throws {
    var synthetic = SyntheticModel()
    (synthetic.hidden, synthetic.layers, synthetic.heads, synthetic.keyValueHeads) = (768, 1, 8, 4)
    (synthetic.headDimension, synthetic.feedForward, synthetic.vocabulary) = (128, 1000, 1000)
    let model = try ModelFolder(synthetic)
    try convert(model.path, to: model.beside("out"), .fp8(.fp8))
    let before = try model.weights.tensors
    let after = try tensors(ofModelAt: model.beside("out"))
    let modules = projections(layers: 0..<1, attention + feedForward)
    #expect(after.count == before.count + modules.count)
    for module in modules {
      let weight = try #require(before[module + ".weight"])
      let codes = try #require(after[module + ".weight"])
      let scales = try #require(after[module + ".weight_scale"])
      #expect((codes.type, codes.shape) == ("F8_E4M3", weight.shape))
      #expect((scales.type, scales.shape) == ("BF16", [weight.shape[0], 1]))
      let values = try weight.floats
      var expected: (codes: [UInt8], scales: [UInt8]) = ([], [])
      for start in stride(from: 0, to: values.count, by: weight.shape[1]) {
        let row = ScalarFP8.quantizeAgainstBF16Scale(values[start..<start + weight.shape[1]])
        expected.codes += row.codes
        expected.scales += [UInt8(truncatingIfNeeded: row.scale), UInt8(row.scale >> 8)]
      }
      #expect(codes.bytes == expected.codes, "\(module)")
      #expect(scales.bytes == expected.scales, "\(module)")
    }
    for name in before.keys where !modules.contains(String(name.dropLast(".weight".count))) {
      #expect(after[name] == before[name], "\(name) stays as it is")
    }
  }

  /// What Meta published keeps all attention, the head and the first and last layer.
  @Test(
    "Meta's recipes quantize the feed-forward of the inner layers alone", arguments: [FP8Recipe.fp8Meta, .fp8FBGEMM])
  func metaSelectsInnerFeedForward(_ recipe: FP8Recipe) throws {
    let model = try ModelFolder()
    try convert(model.path, to: model.beside("out"), .fp8(recipe))
    let before = try model.weights.tensors
    let after = try tensors(ofModelAt: model.beside("out"))
    let quantized = projections(layers: 1..<3, feedForward)
    #expect(after.keys.filter { $0.hasSuffix("_scale") }.sorted() == quantized.map { $0 + ".weight_scale" }.sorted())
    for (name, weight) in before {
      let module = String(name.dropLast(".weight".count))
      let found = try #require(after[name])
      guard quantized.contains(module) else {
        #expect(found == weight, "\(name) stays as it is")
        continue
      }
      let scales = try #require(after[module + ".weight_scale"])
      #expect((found.type, found.shape) == ("F8_E4M3", weight.shape))
      #expect((scales.type, scales.shape) == ("F32", [weight.shape[0], 1]))
      let values = try weight.floats
      let rows = stride(from: 0, to: values.count, by: weight.shape[1]).map {
        ScalarFP8.quantizeAgainstFlooredScale(values[$0..<$0 + weight.shape[1]])
      }
      #expect(found.bytes == rows.flatMap(\.codes), "\(name)")
      #expect(try scales.floats == rows.map(\.scale), "\(name)")
    }
    try checkMetaConfiguration(recipe, model.beside("out") + "/config.json")
  }

  /// The tied head has no tensor and stands in the list all the same.
  private func checkMetaConfiguration(_ recipe: FP8Recipe, _ path: String) throws {
    let kept =
      ["lm_head"] + projections(layers: 0..<4, attention) + projections(layers: 0..<1, feedForward)
      + projections(layers: 3..<4, feedForward)
    let quantization = try #require(try foundationJSON(path)["quantization_config"] as? [String: Any])
    switch recipe {
    case .fp8FBGEMM:
      #expect(quantization["quant_method"] as? String == "fbgemm_fp8")
      #expect(quantization["activation_scale_ub"] as? Double == 1200)
      #expect((quantization["modules_to_not_convert"] as? [String])?.sorted() == kept.sorted())
    default:
      #expect(quantization["quant_method"] as? String == "compressed-tensors")
      #expect(quantization["quantization_status"] as? String == "compressed")
      #expect((quantization["ignore"] as? [String])?.sorted() == kept.sorted())
    }
  }

  @Test("A row of zeros gets scale 1 and zero codes that keep their signs")
  func zeroRow() throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    let name = "model.layers.0.mlp.up_proj.weight"
    try model.edit(name) { tensor in
      for column in 0..<64 { tensor.setHalf(column % 2 == 0 ? 0 : 0x8000, at: 5 * 64 + column) }
    }
    let check = try convert(model.path, to: model.beside("out"), .fp8(.fp8))
    #expect(check.checkedValues == 14)
    let after = try tensors(ofModelAt: model.beside("out"))
    let codes = try #require(after[name]).bytes[5 * 64..<6 * 64]
    #expect(Array(codes) == (0..<64).map { $0 % 2 == 0 ? 0 : 0x80 })
    #expect(try #require(after[name + "_scale"]).floats[5] == 1)
    #expect(try #require(after[name + "_scale"]).floats.allSatisfy { $0 > 0 && $0.isFinite })
  }

  @Test("--ignore and --only move modules from the codes to the configuration's list")
  func ignoredModules() throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    var options = ConversionOptions.fp8(.fp8)
    options.ignore = ["model.layers.0.mlp.down_proj", #"re:.*self_attn\."#]
    options.only = [#"re:model\.layers\.0\."#]
    try convert(model.path, to: model.beside("out"), options)
    let after = try tensors(ofModelAt: model.beside("out"))
    let scales = after.keys.filter { $0.hasSuffix("_scale") }.sorted()
    #expect(scales == ["gate_proj", "up_proj"].map { "model.layers.0.mlp.\($0).weight_scale" })
    let quantization = try #require(
      try foundationJSON(model.beside("out") + "/config.json")["quantization_config"] as? [String: Any])
    let kept =
      ["lm_head", "model.layers.0.mlp.down_proj"] + projections(layers: 0..<2, attention)
      + projections(layers: 1..<2, feedForward)
    #expect((quantization["ignore"] as? [String])?.sorted() == kept.sorted())
  }
}
