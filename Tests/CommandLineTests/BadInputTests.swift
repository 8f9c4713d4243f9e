import Foundation
import Support
import Testing

/// An input that must be refused, and what the message has to name.
struct BadInput: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let fixture: String
  let arguments: [String]
  let status: Int32
  /// What the one line on standard error must contain, besides the model's path.
  let named: [String]
  let damage: @Sendable (ModelFolder) throws -> Void

  init(
    _ description: String, fixture: String = "golden/model/bf16", _ arguments: [String] = ["--to", "fp8"],
    status: Int32 = 65, names named: String..., damage: @escaping @Sendable (ModelFolder) throws -> Void
  ) {
    testDescription = description
    self.fixture = fixture
    self.arguments = arguments
    self.status = status
    self.named = named
    self.damage = damage
  }

  private static let weights = "model.safetensors"
  private static let fp8 = "golden/model/fp8_dynamic"

  /// Replaces text of the same length in the header.
  private static func edit(_ model: ModelFolder, header old: String, _ new: String) throws {
    var bytes = try Fixtures.bytes(model.file(weights))
    let end = 8 + SafetensorsBytes.headerLength(bytes)
    guard let range = Data(bytes[..<end]).range(of: Data(old.utf8)), old.utf8.count == new.utf8.count else {
      throw CocoaError(.keyValueValidation)
    }
    bytes.replaceSubrange(range, with: Array(new.utf8))
    try Data(bytes).write(to: model.file(weights))
  }

  private static func overwrite(_ model: ModelFolder, _ bytes: [UInt8], at offset: Int) throws {
    var file = try Fixtures.bytes(model.file(weights))
    file.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    try Data(file).write(to: model.file(weights))
  }

  private static func cut(_ model: ModelFolder, to count: Int) throws {
    try Data(try Fixtures.bytes(model.file(weights)).prefix(count)).write(to: model.file(weights))
  }

  /// Bytes of the file.
  static let container = [
    BadInput("an empty weights file", names: weights) { try cut($0, to: 0) },
    BadInput("a truncated length", names: weights) { try cut($0, to: 7) },
    BadInput("a truncated header", names: weights) { try cut($0, to: 1000) },
    BadInput("truncated data", names: weights) { try cut($0, to: 150_000) },
    BadInput("a byte too many", names: weights) {
      try Data(try Fixtures.bytes($0.file(weights)) + [0]).write(to: $0.file(weights))
    },
    BadInput("a header length of 2⁶⁴ − 1", names: weights) {
      try overwrite($0, [UInt8](repeating: 0xFF, count: 8), at: 0)
    },
    BadInput("a header length of 2⁶³", names: weights) { try overwrite($0, [0, 0, 0, 0, 0, 0, 0, 0x80], at: 0) },
    BadInput("a header of 99 MB that is not there", names: weights) {
      try overwrite($0, [0xC0, 0x9E, 0xE6, 0x05, 0, 0, 0, 0], at: 0)
    },
    BadInput("a header that is no JSON", names: weights) { try overwrite($0, [0x7B, 0x7B], at: 8) },
    BadInput("an unknown dtype", names: weights, "BF17") { try edit($0, header: "\"BF16\"", "\"BF17\"") },
    BadInput("overlapping tensors", names: weights, "model.embed_tokens.weight", "overlaps") {
      try edit($0, header: "[12288,24576]", "[12280,24568]")
    },
    BadInput("bytes between tensors", names: weights, "model.embed_tokens.weight") {
      try edit($0, header: "[12288,24576]", "[12290,24578]")
    },
    BadInput("a shape that contradicts the offsets", names: weights, "lm_head.weight") {
      try edit($0, header: "[96,64]", "[96,63]")
    },
    BadInput("a Git LFS pointer", names: weights, "LFS") {
      try Data("version https://git-lfs.github.com/spec/v1\noid sha256:00\n".utf8).write(to: $0.file(weights))
    },
  ]

  /// Tensors and configuration.
  static let model = [
    BadInput("a NaN weight", names: "model.layers.1.mlp.up_proj.weight", "element 99 ") {
      try $0.edit("model.layers.1.mlp.up_proj.weight") { $0.setHalf(0x7FC0, at: 99) }
    },
    BadInput("a NaN weight for a plain type", ["--to", "f32"], names: "model.norm.weight", "element 3 ") {
      try $0.edit("model.norm.weight") { $0.setHalf(0x7FC0, at: 3) }
    },
    BadInput("a weight beyond F16", ["--to", "f16"], names: "model.layers.0.mlp.up_proj.weight", "element 0 ") {
      try $0.edit("model.layers.0.mlp.up_proj.weight") { $0.setHalf(0x4F00, at: 0) }
    },
    BadInput("a missing tensor", names: "model.layers.1.self_attn.o_proj.weight") {
      try $0.editWeights { $0.tensors["model.layers.1.self_attn.o_proj.weight"] = nil }
    },
    BadInput("a tensor too many", names: "model.layers.1.self_attn.q_proj.bias") {
      try $0.editWeights { weights in
        weights.tensors["model.layers.1.self_attn.q_proj.bias"] = try weights["model.norm.weight"]
      }
    },
    BadInput("a missing layer", names: "model.layers.2.") {
      try $0.replaceInConfiguration("\"num_hidden_layers\": 2", with: "\"num_hidden_layers\": 3")
    },
    BadInput("a layer too many", names: "model.layers.1.") {
      try $0.replaceInConfiguration("\"num_hidden_layers\": 2", with: "\"num_hidden_layers\": 1")
    },
    BadInput("a wrong number of key/value heads", names: "k_proj", "num_key_value_heads") {
      try $0.replaceInConfiguration("\"num_key_value_heads\": 2", with: "\"num_key_value_heads\": 4")
    },
    BadInput("a wrong vocabulary", names: "model.embed_tokens.weight", "vocab_size") {
      try $0.replaceInConfiguration("\"vocab_size\": 96", with: "\"vocab_size\": 97")
    },
    BadInput("a head that differs though it is tied", names: "lm_head.weight", "tie_word_embeddings") {
      try $0.replaceInConfiguration("\"tie_word_embeddings\": false", with: "\"tie_word_embeddings\": true")
    },
    BadInput("a configuration that is no JSON", names: "config.json") {
      try Data("{\"architectures\": [".utf8).write(to: $0.file("config.json"))
    },
    BadInput("another architecture", names: "config.json", "Qwen2ForCausalLM") {
      try $0.replaceInConfiguration("LlamaForCausalLM", with: "Qwen2ForCausalLM")
    },
    BadInput("biases", names: "config.json", "attention_bias") {
      try $0.replaceInConfiguration("\"attention_bias\": false", with: "\"attention_bias\": true")
    },
    BadInput("an unknown RoPE scaling", names: "config.json", "yarn") {
      try $0.replaceInConfiguration("\"llama3\"", with: "\"yarn\"")
    },
    BadInput("no configuration", names: "config.json") {
      try FileManager.default.removeItem(at: $0.file("config.json"))
    },
  ]

  /// Quantized inputs, and files of a set.
  static let sets = [
    BadInput("a missing scale", fixture: fp8, ["--to", "bf16"], names: "model.layers.0.mlp.up_proj.weight_scale") {
      try $0.editWeights { $0.tensors["model.layers.0.mlp.up_proj.weight_scale"] = nil }
    },
    BadInput("a scale of zero", fixture: fp8, ["--to", "bf16"], names: "model.layers.0.mlp.up_proj", "scale 7 ") {
      try $0.edit("model.layers.0.mlp.up_proj.weight_scale") { $0.setHalf(0, at: 7) }
    },
    BadInput("an infinite scale", fixture: fp8, ["--to", "f32"], names: "model.layers.0.mlp.up_proj", "scale 7 ") {
      try $0.edit("model.layers.0.mlp.up_proj.weight_scale") { $0.setHalf(0x7F80, at: 7) }
    },
    BadInput("a NaN code", fixture: fp8, ["--to", "bf16"], names: "model.layers.0.mlp.up_proj.weight", "element 5 ") {
      try $0.edit("model.layers.0.mlp.up_proj.weight") { $0.bytes[5] = 0x7F }
    },
    BadInput("codes without a quantization", fixture: fp8, ["--to", "bf16"], names: "weight_scale") {
      try $0.replaceInConfiguration("\"quantization_config\"", with: "\"was_quantized\"")
    },
    BadInput("an unknown quantization", fixture: fp8, ["--to", "bf16"], names: "config.json", "aqlm") {
      try $0.replaceInConfiguration("\"compressed-tensors\"", with: "\"aqlm\"")
    },
    BadInput("an index that names the wrong shard", names: "model.safetensors.index.json", "lm_head.weight") {
      try shard($0)
      let index = $0.file("model.safetensors.index.json")
      let text = try String(contentsOf: index, encoding: .utf8)
      let right = try #require(text.split(separator: "\n").first { $0.contains("lm_head") })
      let wrong = right.replacing("-00004-of", with: "-00001-of")
      try #require(right != wrong)
      try Data(text.replacing(right, with: wrong).utf8).write(to: index)
    },
    BadInput("an index that leads out of the directory", names: "model.safetensors.index.json", "../") {
      try shard($0)
      let index = $0.file("model.safetensors.index.json")
      let text = try String(contentsOf: index, encoding: .utf8)
      try Data(text.replacing("\"model-00001-of", with: "\"../model-00001-of").utf8).write(to: index)
    },
    BadInput("a missing shard", status: 66, names: "model-00002-of-00004.safetensors") {
      try shard($0)
      try FileManager.default.removeItem(at: $0.file("model-00002-of-00004.safetensors"))
    },
    BadInput("shards without their index", names: "index") {
      try shard($0)
      try FileManager.default.removeItem(at: $0.file("model.safetensors.index.json"))
    },
    BadInput("no weights at all") { try FileManager.default.removeItem(at: $0.file(weights)) },
  ]

  /// Cuts the model into four shards.
  private static func shard(_ model: ModelFolder) throws {
    let shards = try run(.convert, "--max-shard-size", "60kB", model.path, model.beside("shards"))
    try #require(shards.status == 0, "\(shards.stderr)")
    try FileManager.default.removeItem(at: model.url)
    try FileManager.default.moveItem(atPath: model.beside("shards"), toPath: model.path)
  }
}

@Suite("Bad input")
struct BadInputTests {
  @Test(
    "One message that names the fault, nothing on standard output, nothing published",
    arguments: BadInput.container + BadInput.model + BadInput.sets)
  func refused(_ bad: BadInput) throws {
    let model = try ModelFolder(copying: bad.fixture)
    try bad.damage(model)
    let outcome = try run(.convert, bad.arguments + [model.path, model.beside("out")])
    try check(outcome, bad, model)
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])

    // With --force an output that is there stays as it was.
    try FileManager.default.copyItem(at: Fixtures.golden("model/fp8_dynamic"), to: URL(filePath: model.beside("out")))
    try check(try run(.convert, bad.arguments + ["--force", model.path, model.beside("out")]), bad, model)
    #expect(
      try contents(ofDirectory: model.beside("out")) == contents(ofDirectory: Fixtures.golden("model/fp8_dynamic").path)
    )
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() == ["model", "out"])
  }

  private func check(_ outcome: Outcome, _ bad: BadInput, _ model: ModelFolder) throws {
    #expect(outcome.status == bad.status, "\(outcome.stderr)")
    #expect(outcome.stdout == "")
    #expect(outcome.messages.count == 1, "\(outcome.stderr)")
    #expect(outcome.stderr.hasPrefix("llama-convert: \(model.path)"), "\(outcome.stderr)")
    for name in bad.named { #expect(outcome.stderr.contains(name), "\(outcome.stderr)") }
  }

  @Test("lint lists every fault on standard output and exits with 65")
  func lint() throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    #expect(try run(.convert, "lint", model.path).status == 0)
    try model.edit("model.norm.weight") { $0.setHalf(0x7F80, at: 9) }
    try model.edit("model.layers.0.mlp.up_proj.weight") { $0.setHalf(0x7FC0, at: 1) }
    let outcome = try run(.convert, "lint", "--json", model.path)
    #expect(outcome.status == 65 && outcome.stderr == "")
    let findings = try #require(outcome.json?["findings"] as? [[String: Any]])
    let errors = findings.filter { $0["severity"] as? String == "error" }
    #expect(errors.map { $0["code"] as? String } == ["non-finite", "non-finite"])
    #expect(
      errors.map { $0["tensor"] as? String } == ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"])
    #expect(errors.allSatisfy { $0["file"] as? String == "model.safetensors" && $0["remedy"] is String })
    #expect(try run(.convert, "lint", "--headers-only", model.path).status == 0)
    try model.replaceInConfiguration("\"bfloat16\"", with: "\"float16\"")
    #expect(try run(.convert, "lint", "--headers-only", model.path).status == 0)
    #expect(try run(.convert, "lint", "--headers-only", "--strict", model.path).status == 65)
  }

  @Test("llama-verify refuses what it cannot compare, with the same codes")
  func verify() throws {
    let model = try ModelFolder()
    func fails(_ status: Int32, _ named: String, _ arguments: String...) throws {
      let outcome = try run(.verify, arguments)
      #expect(outcome.status == status, "\(outcome.stderr)")
      #expect(outcome.stdout == "" && outcome.messages.count == 1)
      #expect(outcome.stderr.hasPrefix("llama-verify: ") && outcome.stderr.contains(named), "\(outcome.stderr)")
    }
    let tiny = Fixtures.bundled("tiny").path
    try fails(66, "missing.txt", tiny, "--text", model.beside("missing.txt"))
    try fails(66, model.beside("none"), tiny, model.beside("none"), "--text", evaluationText)
    try fails(66, "no-such-policy", tiny, tiny, "--text", evaluationText, "--policy", "no-such-policy")
    let policy = model.beside("policy.yaml")
    try Data("name: odd\nmaximum_ratios: 1.01\n".utf8).write(to: URL(filePath: policy))
    try fails(65, policy, tiny, tiny, "--text", evaluationText, "--policy", policy)
    let empty = model.beside("empty.txt")
    try Data().write(to: URL(filePath: empty))
    try fails(65, empty, tiny, "--text", empty)
    try fails(65, "tokenizer", Fixtures.golden("model/bf16").path, "--text", evaluationText)
    try fails(73, model.path, tiny, "--text", evaluationText, "--report", model.path)
    try fails(64, "--max-memory", tiny, "--text", evaluationText, "--max-memory", "64MiB", "--context", "65536")
    let bytes = try Fixtures.bytes(model.file("model.safetensors"))
    try Data(bytes.prefix(bytes.count - 1)).write(to: model.file("model.safetensors"))
    try fails(65, model.path, tiny, model.path, "--text", evaluationText)
    try FileManager.default.removeItem(at: model.file("model.safetensors"))
    try fails(65, model.path, model.path, "--text", evaluationText)
  }
}
