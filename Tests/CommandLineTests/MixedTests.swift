import Foundation
import Support
import Testing

/// What a table is measured with: few tokens, since only what is done with it matters here.
private let tableText = ["--text", evaluationText, "--tokens", "400", "--context", "100"]

@Suite("Mixed types")
struct MixedTests {
  private static let tiny = Fixtures.bundled("tiny").path

  /// The bundled model's table, measured once.
  private static let table = Result {
    let outcome = try run(.convert, ["sensitivity", tiny, "--json"] + tableText)
    guard outcome.status == 0 else { throw CocoaError(.fileReadUnknown) }
    return outcome.stdout
  }

  let folder: TemporaryFolder
  private let tableFolder: TemporaryFolder
  let table: String

  init() throws {
    folder = try TemporaryFolder()
    tableFolder = try TemporaryFolder()
    table = tableFolder.file("table.json").path
    try Data(Self.table.get().utf8).write(to: tableFolder.file("table.json"))
  }

  private func path(_ name: String) -> String { folder.file(name).path }

  private func mixed(_ output: String, _ options: String...) throws -> Outcome {
    try run(.convert, ["--to", "mixed", "--sensitivity", table] + options + [Self.tiny, path(output)])
  }

  private func json(_ name: String) throws -> [String: Any] {
    try #require(
      try JSONSerialization.jsonObject(with: Data(contentsOf: folder.file(name))) as? [String: Any])
  }

  /// The format of each module, from the directory's configuration.
  private func formats(_ name: String) throws -> [String: String] {
    let configuration = try #require(try json(name + "/config.json")["quantization_config"] as? [String: Any])
    var formats: [String: String] = [:]
    for (_, group) in try #require(configuration["config_groups"] as? [String: [String: Any]]) {
      for target in try #require(group["targets"] as? [String]) {
        #expect(formats[target] == nil, "a module is in one group")
        formats[target] = group["format"] as? String
      }
    }
    return formats
  }

  private static let linears = (0..<4).flatMap { layer in
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"]
      .map { "model.layers.\(layer).\($0)" } + ["model.layers.\(layer).mlp.down_proj"]
  }

  @Test("Types are chosen, said, and written: bits are within the goal, and what servers fuse has one type")
  func bits() throws {
    let outcome = try mixed("out", "--target-bits", "5")
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let configuration = try #require(try json("out/config.json")["quantization_config"] as? [String: Any])
    #expect(configuration["format"] as? String == "mixed-precision")
    let formats = try formats("out")
    #expect(Set(formats.values) == ["float-quantized", "pack-quantized"])
    let fused = Dictionary(grouping: formats.keys) { name in
      name.replacing("q_proj", with: "qkv").replacing("k_proj", with: "qkv").replacing("v_proj", with: "qkv")
        .replacing("gate_proj", with: "gu").replacing("up_proj", with: "gu")
    }
    for (name, modules) in fused { #expect(Set(modules.map { formats[$0] }).count == 1, "\(name)") }

    // What is stored, counted: codes and scales.
    let weights = try SafetensorsBytes(folder.file("out/model.safetensors"))
    let base = try SafetensorsBytes(URL(filePath: Self.tiny + "/model.safetensors"))
    var (stored, elements) = (0, 0)
    for (module, format) in formats {
      let codes = format == "pack-quantized" ? module + ".weight_packed" : module + ".weight"
      let scales = try weights[module + ".weight_scale"]
      stored += try weights[codes].bytes.count + scales.bytes.count
      elements += try base[module + ".weight"].shape.reduce(1, *)
    }
    let found = Double(8 * stored) / Double(elements)
    let types = try #require(try json("out/llama-convert.json")["types"] as? [String: Any])
    let said = try #require(types["bits_per_weight"] as? Double)
    #expect(abs(found - said) < 1e-9 && found <= 5 && found > 4.5)
    let units = try #require(types["units"] as? [[String: Any]])
    for unit in units {
      let name = try #require(unit["name"] as? String)
      let type = try #require(unit["type"] as? String)
      #expect(outcome.stdout.contains(name + " ") && outcome.stdout.contains(type))
      for module in try #require(unit["modules"] as? [String]) {
        #expect(formats[module] == (type == "fp8" ? "float-quantized" : "pack-quantized"))
      }
      #expect(unit["kld"] as? Double ?? 0 > 0 && unit["ln_ratio"] is Double)
    }
    #expect(Set(units.flatMap { $0["modules"] as? [String] ?? [] }) == Set(formats.keys))
  }

  @Test("A drift is bounded: the bound is the record's, within the goal; a plan says the same and writes nothing")
  func drift() throws {
    let outcome = try mixed("out", "--target-drift", "3%", "--types", "fp8,int8,int4", "--json", "--dry-run")
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let types = try #require(outcome.json?["types"] as? [String: Any])
    let predicted = try #require(types["predicted"] as? [String: Any])
    let upper = try #require(predicted["ln_ratio_upper"] as? Double)
    #expect(upper <= log(1.03) && upper > 0)
    #expect(types["bits_per_weight"] as? Double ?? 9 < 8)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == [])
  }

  @Test("A mixed model is an input like any other")
  func input() throws {
    #expect(try mixed("out", "--target-bits", "5.5").status == 0)
    let out = path("out")
    #expect(try run(.convert, "lint", out).status == 0)
    let inspection = try run(.convert, "inspect", "--json", out)
    let kinds = try #require(inspection.json?["element_types"] as? [[String: Any]])
    #expect(Set(kinds.compactMap { $0["type"] as? String }).isSuperset(of: ["int4", "F8_E4M3", "BF16"]))
    let digest = try run(.convert, "digest", out)
    #expect(digest.status == 0)

    #expect(try run(.convert, "--format", "compact", out, path("compact.gguf")).status == 0)
    #expect(try run(.convert, "digest", path("compact.gguf")).stdout == digest.stdout)
    #expect(try run(.convert, "--format", "safetensors", path("compact.gguf"), path("back")).status == 0)
    #expect(
      try Fixtures.bytes(folder.file("back/model.safetensors"))
        == Fixtures.bytes(folder.file("out/model.safetensors")))
    #expect(try formats("back") == formats("out"))
    #expect(try run(.convert, "--max-shard-size", "1MB", out, path("shards")).status == 0)
    #expect(try run(.verify, out, path("shards"), "--policy", "lossless").status == 0)
    #expect(try run(.verify, out, path("compact.gguf"), "--policy", "lossless").status == 0)

    #expect(try run(.convert, "--to", "f32", out, path("f32")).status == 0)
    let drift = try run(
      .verify, path("f32"), out, "--text", evaluationText, "--tokens", "200", "--context", "100", "--json")
    let ratio = (drift.json?["perplexity"] as? [String: Any])?["ln_ratio"] as? Double
    // Codes times scales are rounded to binary32 once; products by other kernels are a few 10⁻⁵ nats apart (README).
    #expect(abs(ratio ?? 1) < 1e-4, "\(drift.stderr)")
    #expect(try run(.convert, "--to", "int4", out, path("again")).status == 64)
    for layout in ["gptq", "awq"] {
      let refused = try run(.convert, "--layout", layout, out, path("again"))
      #expect(refused.status == 64 && refused.stderr.contains("differ"), "\(refused.stderr)")
    }
    #expect(try run(.convert, "--layout", "compressed-tensors", out, path("same")).status == 0)
    #expect(try formats("same") == formats("out"))
  }

  @Test("The same bytes on any number of threads and any instruction set, table and model")
  func determinism() throws {
    // One type for whole layers: the scalar kernels are slow.
    let measure =
      ["sensitivity", Self.tiny, "--json", "--by", "layer", "--types", "int4", "--text", evaluationText]
      + ["--tokens", "80", "--context", "40"]
    let expected = try run(.convert, measure).stdout
    #expect(try mixed("one", "--target-bits", "5", "--threads", "1").status == 0)
    let whole = try contents(ofDirectory: path("one"))
    for options in [["--threads", "3"], ["--instruction-set", "scalar"]] {
      #expect(try run(.convert, measure + options).stdout == expected, "\(options)")
      #expect(
        try run(
          .convert,
          ["--to", "mixed", "--sensitivity", table, "--target-bits", "5"] + options + [Self.tiny, path("other")]
        ).status == 0)
      #expect(try contents(ofDirectory: path("other")) == whole, "\(options)")
      try FileManager.default.removeItem(atPath: path("other"))
    }
  }

  @Test("Codes are fitted to text where there is some; FP8 stays what it is, and is what later layers see")
  func calibrated() throws {
    let text = folder.file("text")
    try Data(contentsOf: URL(filePath: evaluationText)).prefix(1500).write(to: text)
    let calibrate = ["--calibrate", text.path, "--calibrate-context", "128"]
    #expect(try mixed("plain", "--target-bits", "6").status == 0)
    let fitted = try run(
      .convert,
      ["--to", "mixed", "--sensitivity", table, "--target-bits", "6"] + calibrate + [Self.tiny, path("fitted")])
    #expect(fitted.status == 0, "\(fitted.stderr)")
    #expect(try formats("fitted") == formats("plain"))
    let (plain, other) = (
      try SafetensorsBytes(folder.file("plain/model.safetensors")),
      try SafetensorsBytes(folder.file("fitted/model.safetensors"))
    )
    for (module, format) in try formats("plain") {
      if format == "float-quantized" {
        #expect(try plain[module + ".weight"].bytes == other[module + ".weight"].bytes)
      } else {
        #expect(try plain[module + ".weight_packed"].bytes != other[module + ".weight_packed"].bytes)
      }
    }
    let record = try json("fitted/llama-convert.json")
    #expect((record["calibration"] as? [String: Any])?["method"] as? String == "gptq")

    // All fitted in one go, as --to int4 does it, gives other codes: what is FP8 here was int4 there for later layers.
    let uniform = try run(.convert, ["--to", "int4"] + calibrate + [Self.tiny, path("uniform")])
    #expect(uniform.status == 0)
    let alone = try SafetensorsBytes(folder.file("uniform/model.safetensors"))
    let changed = try formats("plain").filter { $0.value == "pack-quantized" }.keys.contains {
      try alone[$0 + ".weight_packed"].bytes != other[$0 + ".weight_packed"].bytes
    }
    #expect(changed)
  }

  @Test("Measured in the run from the text that codes are fitted to")
  func measuredInTheRun() throws {
    let text = folder.file("text")
    try Data(contentsOf: URL(filePath: evaluationText)).prefix(1500).write(to: text)
    let outcome = try run(
      .convert, "--to", "mixed", "--target-bits", "5", "--calibrate", text.path, "--method", "rtn", Self.tiny,
      path("out"))
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let record = try json("out/llama-convert.json")
    let source = (record["types"] as? [String: Any])?["sensitivity"] as? [String: Any]
    #expect(source?["method"] as? String == "rtn" && source?["text"] as? String == "text")
    #expect(record["calibration"] == nil)
  }

  /// Wrong use, and what the message names.
  static let misuses: [(options: [String], named: String)] = [
    (["--to", "mixed"], "--target-bits"),
    (["--to", "mixed", "--target-bits", "5"], "--sensitivity"),
    (["--to", "mixed", "--sensitivity", "TABLE"], "--target-bits"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--target-drift", "1%"], "two goals"),
    (["--to", "fp8", "--target-bits", "5"], "--to mixed"),
    (["--to", "fp8", "--sensitivity", "TABLE"], "--to mixed"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "3"], "4.1"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "9"], "8.0"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "-1"], "target-bits"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-drift", "0.0001%"], "bounded by"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-drift", "0.01"], "target-drift"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--types", "fp8,int3"], "types"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--group-size", "32"], "--group-size"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--method", "hqq"], "--method"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--method", "gptq"], "--calibrate"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--asymmetric"], "--asymmetric"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--layout", "gptq"], "one type"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--format", "gguf"], "safetensors"),
    (["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--ignore", "re:.*q_proj"], "left out"),
    (
      ["--to", "mixed", "--sensitivity", "TABLE", "--target-bits", "5", "--calibrate", "T", "--method", "mse"], "to do"
    ),
  ]

  @Test("64: each wrong use has its message", arguments: misuses)
  func misuse(_ options: [String], _ named: String) throws {
    let outcome = try run(
      .convert, options.map { $0 == "TABLE" ? table : $0 } + [Self.tiny, path("out")])
    #expect(outcome.status == 64 && outcome.stdout == "", "\(outcome.stderr)")
    #expect(outcome.stderr.contains(named), "\(outcome.stderr)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == [])
  }

  @Test("A table of another model, one that is none, and one that is not there")
  func badTable() throws {
    let model = try ModelFolder(copying: "tiny")
    try model.edit("model.norm.weight") { $0.setHalf(0x3F80, at: 0) }
    func convert(_ table: String, _ model: String) throws -> Outcome {
      try run(.convert, "--to", "mixed", "--target-bits", "5", "--sensitivity", table, model, path("out"))
    }
    let other = try convert(table, model.path)
    #expect(other.status == 64 && other.stderr.contains("digest"), "\(other.stderr)")
    let smaller = try convert(table, Fixtures.golden("model/bf16").path)
    #expect(smaller.status == 64 && smaller.stderr.contains("another model"), "\(smaller.stderr)")
    try Data("{\"schema\": 1}".utf8).write(to: folder.file("none.json"))
    let none = try convert(path("none.json"), Self.tiny)
    #expect(none.status == 65 && none.stderr.contains("none.json"), "\(none.stderr)")
    #expect(try convert(path("absent.json"), Self.tiny).status == 66)
    let quantized = try convert(table, Fixtures.golden("model/fp8_dynamic").path)
    #expect(quantized.status == 64 && quantized.stderr.contains("quantized already"), "\(quantized.stderr)")
  }
}
