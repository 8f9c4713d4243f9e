import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Tensors
import Testing

@Suite("Round trips")
struct RoundTripTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  @Test("BF16 to F32 and back gives the same tensors and digests")
  func throughF32() throws {
    try convert(model.path, to: model.beside("wide"), ConversionOptions(target: .element(.f32)))
    try convert(model.beside("wide"), to: model.beside("back"), ConversionOptions(target: .element(.bf16)))
    #expect(try digest(model.beside("back")) == digest(model.path))
    #expect(try digest(model.beside("wide")).model != digest(model.path).model)
    #expect(try tensors(ofModelAt: model.beside("back")) == model.weights.tensors)
    let wide = try tensors(ofModelAt: model.beside("wide"))
    for (name, tensor) in try model.weights.tensors {
      #expect(wide[name]?.type == "F32")
      #expect(try wide[name]?.floats == tensor.floats, "\(name)")
    }
  }

  @Test("Cutting into shards and joining them again keeps every digest and the file itself")
  func reshard() throws {
    let cut = try convert(model.path, to: model.beside("cut"), ConversionOptions(maximumShardSize: 30_000))
    #expect(cut.provenEqual == 21 && cut.checkedValues == 0)
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.beside("cut")).count > 5)
    try convert(model.beside("cut"), to: model.beside("joined"), ConversionOptions())
    #expect(try digest(model.beside("cut")) == digest(model.path))
    #expect(try digest(model.beside("joined")) == digest(model.path))
    let joined = try Fixtures.bytes(URL(filePath: model.beside("joined") + "/model.safetensors"))
    // Written by the reference library: our writer has its order and padding.
    #expect(try joined == Fixtures.bytes(model.file("model.safetensors")))
  }

  @Test(
    "An FP8 model is carried over unchanged with its scales",
    arguments: FP8Recipe.allCases.filter { !$0.storesActivationScales })
  func reshardQuantized(_ recipe: FP8Recipe) throws {
    let tiny = try ModelFolder()
    try convert(tiny.path, to: tiny.beside("fp8"), .fp8(recipe))
    try convert(tiny.beside("fp8"), to: tiny.beside("cut"), ConversionOptions(maximumShardSize: 200_000))
    #expect(try digest(tiny.beside("cut")) == digest(tiny.beside("fp8")))
    #expect(try tensors(ofModelAt: tiny.beside("cut")) == tensors(ofModelAt: tiny.beside("fp8")))
    let configurations = try ["fp8", "cut"].map { try Fixtures.bytes(URL(filePath: tiny.beside($0) + "/config.json")) }
    #expect(configurations[0] == configurations[1])
  }

  @Test(
    "FP8 to BF16 gives code times scale, rounded once",
    arguments: FP8Recipe.allCases.filter { !$0.storesActivationScales })
  func dequantize(_ recipe: FP8Recipe) throws {
    let tiny = try ModelFolder()
    try convert(tiny.path, to: tiny.beside("fp8"), .fp8(recipe))
    try convert(tiny.beside("fp8"), to: tiny.beside("back"), ConversionOptions(target: .element(.bf16)))
    let quantized = try tensors(ofModelAt: tiny.beside("fp8"))
    let back = try tensors(ofModelAt: tiny.beside("back"))
    let original = try tiny.weights.tensors
    #expect(back.keys.sorted() == original.keys.sorted())
    for (name, tensor) in back {
      #expect((tensor.type, tensor.shape) == ("BF16", original[name]?.shape))
      guard let scales = try quantized[name + "_scale"]?.floats, let codes = quantized[name] else {
        #expect(tensor == original[name], "\(name)")
        continue
      }
      let columns = codes.shape[1]
      var expected: [UInt8] = []
      for (index, code) in codes.bytes.enumerated() {
        // At most 4 significant bits times at most 24: exact in binary64.
        let product = ScalarFP8.value(code) * Double(scales[index / columns])
        let half = ScalarFP8.bf16(Float(product))
        expected += [UInt8(truncatingIfNeeded: half), UInt8(half >> 8)]
      }
      #expect(tensor.bytes == expected, "\(name)")
    }
  }

  @Test("FP8 scales of the whole tensor, of blocks, and row scales without a second extent are read")
  func otherScales() throws {
    let fp8 = try ModelFolder(copying: "golden/model/fp8_dynamic")
    try convert(fp8.path, to: fp8.beside("expected"), ConversionOptions(target: .element(.f32)))
    // [out, 1] and [out] mean the same.
    try fp8.editWeights { weights in
      for name in weights.tensors.keys where name.hasSuffix("_scale") {
        let rows = try weights[name].shape[0]
        weights.tensors[name]?.shape = [rows]
      }
    }
    try convert(fp8.path, to: fp8.beside("flat"), ConversionOptions(target: .element(.f32)))
    #expect(try tensors(ofModelAt: fp8.beside("flat")) == tensors(ofModelAt: fp8.beside("expected")))
  }

  @Test("A copied model keeps the stored activation scales of static FP8")
  func staticActivationScales() throws {
    let fp8 = try ModelFolder(copying: "golden/model/fp8_dynamic")
    try fp8.replaceInConfiguration("\"dynamic\": true", with: "\"dynamic\": false")
    try fp8.replaceInConfiguration("\"strategy\": \"token\"", with: "\"strategy\": \"tensor\"")
    try fp8.editWeights { weights in
      for name in weights.tensors.keys where name.hasSuffix("weight_scale") {
        let scale = SafetensorsBytes.Tensor(type: "F32", shape: [1], bytes: [0, 0, 0, 0x3E])
        weights.tensors[name.dropLast("weight_scale".count) + "input_scale"] = scale
      }
    }
    try convert(fp8.path, to: fp8.beside("out"), ConversionOptions(maximumShardSize: 30_000))
    #expect(try tensors(ofModelAt: fp8.beside("out")) == fp8.weights.tensors)
  }
}

/// A bad value in a weight, and a target that must refuse it.
struct BadValue: Sendable, CustomTestStringConvertible {
  let name: String
  let pattern: UInt16
  let tensor: String
  let options: ConversionOptions
  var testDescription: String { "\(name) in \(tensor) to \(options.target)" }

  static let nonFinite: [BadValue] = {
    let patterns: [(String, UInt16)] = [("NaN", 0x7FC1), ("infinity", 0x7F80), ("−infinity", 0xFF80)]
    let targets: [TargetType] = [.fp8(.fp8), .fp8(.fp8Compat), .element(.f16), .element(.f32)]
    let linear = "model.layers.1.self_attn.k_proj.weight"
    let all = patterns.flatMap { pattern in
      targets.map {
        BadValue(name: pattern.0, pattern: pattern.1, tensor: linear, options: ConversionOptions(target: $0))
      }
    }
    // Tensors that stay as they are while others are quantized.
    let kept = ["model.embed_tokens.weight", "model.layers.0.input_layernorm.weight", "lm_head.weight"].map {
      BadValue(name: "NaN", pattern: 0xFFFF, tensor: $0, options: .fp8(.fp8))
    }
    return all + kept
  }()
}

@Suite("Values that cannot be converted")
struct BadValueTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  /// What the conversion of the model says; nothing may be left behind.
  private func failure(_ options: ConversionOptions) throws -> ParseFailure? {
    let plan = try plan(model.path, options, output: model.beside("out"))
    let failure = #expect(throws: ParseFailure.self) { try ConversionRun(plan) }
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])
    return failure
  }

  @Test("A NaN or infinite weight is an error that names tensor and element", arguments: BadValue.nonFinite)
  func nonFinite(_ bad: BadValue) throws {
    try model.edit(bad.tensor) { $0.setHalf(bad.pattern, at: 47) }
    let failure = try failure(bad.options)
    #expect(failure?.item == bad.tensor)
    #expect(failure?.file == model.path)
    #expect(failure?.message.contains("element 47 ") == true)
  }

  /// 65504 is the largest F16; 65520 and above would become infinite. BF16 has 65280 and 65536 around it.
  @Test("A weight beyond F16 is an error that names tensor and element, the largest that fits is converted")
  func overflow() throws {
    let name = "model.layers.0.mlp.down_proj.weight"
    try model.edit(name) { $0.setHalf(0x477F, at: 9_000) }
    try convert(model.path, to: model.beside("out"), ConversionOptions(target: .element(.f16)))
    #expect(try tensors(ofModelAt: model.beside("out"))[name]?.floats[9_000] == 65_280)
    try FileManager.default.removeItem(atPath: model.beside("out"))
    try model.edit(name) { $0.setHalf(0xC780, at: 9_000) }
    let failure = try failure(ConversionOptions(target: .element(.f16)))
    #expect(failure?.item == name)
    #expect(failure?.message.contains("element 9000 ") == true)
  }
}
