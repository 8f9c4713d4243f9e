import Foundation
import Support
import Testing

/// Calibration as a user runs it, on the bundled model and the beginning of its text.
@Suite("Calibration by the programs")
struct CalibrationTests {
  private static let tiny = Fixtures.bundled("tiny").path

  let folder: TemporaryFolder
  /// About 250 tokens: few, for what matters here is what is done with them.
  let text: String

  init() throws {
    folder = try TemporaryFolder()
    text = folder.file("text").path
    try Data(Data(contentsOf: URL(filePath: evaluationText)).prefix(750)).write(to: folder.file("text"))
  }

  private func path(_ name: String) -> String { folder.file(name).path }

  private var calibrate: [String] { ["--calibrate", text, "--calibrate-context", "128"] }

  private func convert(_ options: [String], _ output: String, from model: String = tiny) throws -> Outcome {
    try run(.convert, options + [model, path(output)])
  }

  private func record(_ name: String) throws -> [String: Any] {
    let data = try Data(contentsOf: folder.file(name + "/llama-convert.json"))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  private func weights(_ name: String) throws -> SafetensorsBytes {
    try SafetensorsBytes(folder.file(name + "/model.safetensors"))
  }

  @Test(
    "Each method gives a sound model, other codes than weights alone do, and says what it was fitted to",
    arguments: ["imse", "gptq", "awq", "awq+gptq"])
  func methods(_ method: String) throws {
    let done = try convert(["--to", "int4", "--method", method] + calibrate, "out")
    #expect(done.status == 0, "\(done.stderr)")
    #expect(try run(.convert, "lint", path("out")).status == 0)
    #expect(try convert(["--to", "int4"], "alone").status == 0)
    let module = "model.layers.2.mlp.down_proj.weight_packed"
    #expect(try weights("out")[module].bytes != weights("alone")[module].bytes)
    #expect(try weights("out").tensors.keys == weights("alone").tensors.keys)
    let facts = try #require(try record("out")["calibration"] as? [String: Any])
    #expect(facts["method"] as? String == method && facts["text"] as? String == "text")
    #expect((facts["sha256"] as? String)?.count == 64 && (facts["tokens"] as? Int ?? 0) > 150)
    // Nothing of what was kept to go on with is left.
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == ["alone", "out", "text"])
  }

  @Test("SmoothQuant: norms give up what columns take over, and the drift of emulated int8 activations is small")
  func smooth() throws {
    let done = try convert(["--to", "int8", "--smooth", "0.5"] + calibrate, "out")
    #expect(done.status == 0, "\(done.stderr)")
    let (before, after) = (
      try SafetensorsBytes(URL(filePath: Self.tiny + "/model.safetensors")), try weights("out")
    )
    for layer in 0..<4 {
      for norm in ["input_layernorm", "post_attention_layernorm"] {
        let name = "model.layers.\(layer).\(norm).weight"
        #expect(try before[name].bytes != after[name].bytes)
      }
    }
    #expect(try before["model.norm.weight"] == after["model.norm.weight"])
    let drift = try run(
      .verify, Self.tiny, path("out"), "--text", text, "--emulate", "activations", "--json", "--context", "128")
    let kld = (drift.json?["kld"] as? [String: Any])?["mean"] as? Double
    // Nothing was lost on the way: int4's is 0.008 (README), int8's with activations was 0.0003 here.
    #expect(kld ?? 1 < 0.003 && kld ?? 0 > 0, "\(drift.stderr)")
  }

  @Test("FP8 with stored scales of activations: one positive number for each linear, q/k/v's the same")
  func staticScales() throws {
    let done = try convert(["--to", "fp8-static"] + calibrate, "out")
    #expect(done.status == 0, "\(done.stderr)")
    let found = try weights("out")
    let scales = found.tensors.filter { $0.key.hasSuffix(".input_scale") }
    #expect(scales.count == 28)
    for (name, scale) in scales {
      #expect(scale.type == "BF16" && scale.shape == [1] && scale.bytes.count == 2, "\(name)")
      let pattern = UInt32(scale.bytes[1]) << 24 | UInt32(scale.bytes[0]) << 16
      #expect(Float(bitPattern: pattern) > 0 && Float(bitPattern: pattern).isFinite)
    }
    for layer in 0..<4 {
      let attention = "model.layers.\(layer).self_attn."
      #expect(try found[attention + "q_proj.input_scale"] == found[attention + "k_proj.input_scale"])
      #expect(try found[attention + "q_proj.input_scale"] == found[attention + "v_proj.input_scale"])
    }
    #expect(try run(.convert, "--to", "fp8-static", Self.tiny, path("none")).status == 64)
  }

  /// Starts a calibration and gives it back when a layer is done.
  private func started(_ options: [String], _ output: String) throws -> Started {
    let started = try Started(
      Program.convert.url, options + calibrate + ["--threads", "1", Self.tiny, path(output)])
    let first = path(output) + ".calibration/layer-00000.safetensors"
    while started.isRunning && !FileManager.default.fileExists(atPath: first) { usleep(500) }
    return started
  }

  @Test(
    "What was stopped goes on behind its last layer, and ends with the same bytes",
    arguments: [
      (SIGKILL, ["--method", "gptq"]), (SIGTERM, ["--method", "gptq"]),
    ])
  func resumes(_ signal: Int32, _ method: [String]) throws {
    let options = ["--to", "int4"] + method
    #expect(try convert(options + calibrate, "whole").status == 0)
    let stopped = try started(options, "out")
    stopped.send(signal)
    let outcome = try stopped.outcome()
    #expect(outcome.status == (signal == SIGKILL ? 128 + SIGKILL : 75) && outcome.stdout == "", "\(outcome.stderr)")
    let store = path("out") + ".calibration"
    let first = URL(filePath: store + "/layer-00000.safetensors")
    #expect(!FileManager.default.fileExists(atPath: path("out")))
    let kept = try Fixtures.bytes(first)
    let date = try FileManager.default.attributesOfItem(atPath: first.path)[.modificationDate] as? Date

    // Stopped once more, further on: the first layer was not made again.
    let again = try Started(
      Program.convert.url, options + calibrate + ["--threads", "1", Self.tiny, path("out")])
    while again.isRunning && !FileManager.default.fileExists(atPath: store + "/layer-00002.safetensors") { usleep(500) }
    again.send(SIGKILL)
    _ = try again.outcome()
    #expect(try Fixtures.bytes(first) == kept)
    #expect(try FileManager.default.attributesOfItem(atPath: first.path)[.modificationDate] as? Date == date)

    let done = try convert(options + calibrate, "out")
    #expect(done.status == 0, "\(done.stderr)")
    #expect(try contents(ofDirectory: path("out")) == contents(ofDirectory: path("whole")))
    #expect(!FileManager.default.fileExists(atPath: store))
  }

  @Test("Groups of inputs that text drives alike: listed, taken over with a warning, refused where there is no list")
  func listedGroups() throws {
    let made = try convert(["--to", "int4", "--layout", "gptq", "--act-order", "group"] + calibrate, "gptq")
    #expect(made.status == 0, "\(made.stderr)")
    let index = try weights("gptq")["model.layers.0.mlp.down_proj.g_idx"]
    let groups = stride(from: 0, to: index.bytes.count, by: 4).map { Int(index.bytes[$0]) }
    #expect(groups.count == 512 && groups != groups.sorted() && Set(groups) == [0, 1, 2, 3])
    let taken = try convert(["--layout", "compressed-tensors"], "taken", from: path("gptq"))
    #expect(taken.status == 0 && taken.stderr.contains("weight_g_idx"), "\(taken.stderr)")
    #expect(try run(.convert, "digest", path("taken")).stdout == run(.convert, "digest", path("gptq")).stdout)
    let refused = try convert(["--layout", "awq"], "awq", from: path("gptq"))
    #expect(refused.status == 64 && refused.stderr.contains("g_idx"), "\(refused.stderr)")
  }

  @Test("The same bytes on any number of threads and any instruction set")
  func determinism() throws {
    let short = path("short")
    try Data(Data(contentsOf: URL(filePath: text)).prefix(600)).write(to: URL(filePath: short))
    let options = ["--to", "int4", "--calibrate", short, "--calibrate-context", "64"]
    #expect(try convert(options + ["--threads", "1"], "one").status == 0)
    let expected = try contents(ofDirectory: path("one"))
    for other in [["--threads", "3"], ["--instruction-set", "avx2"], ["--instruction-set", "scalar"]] {
      let done = try convert(options + other + ["--force"], "other")
      if done.stderr.contains("this processor has") { continue }
      #expect(done.status == 0, "\(done.stderr)")
      #expect(try contents(ofDirectory: path("other")) == expected, "\(other)")
    }
  }

  @Test(
    "Sensitivity: every part at every type, drifts that grow as bits shrink, and the sum",
    arguments: ["layer", "tensor"])
  func sensitivity(_ granularity: String) throws {
    let outcome = try run(
      .convert, "sensitivity", Self.tiny, "--text", text, "--tokens", "300", "--context", "150", "--by", granularity,
      "--types", "fp8,int4", "--json")
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let table = try #require(outcome.json)
    #expect(table["schema"] as? String == "llama-sensitivity/1" && table["by"] as? String == granularity)
    let units = try #require(table["units"] as? [[String: Any]])
    #expect(units.count == (granularity == "layer" ? 4 : 28))
    let tokens = try #require(table["tokens"] as? [String: Any])
    let sizes = try #require(tokens["per_window"] as? [Int])
    #expect(sizes.reduce(0, +) == tokens["scored"] as? Int && sizes.count == tokens["windows"] as? Int)
    for unit in units {
      let drifts = try #require(unit["drift"] as? [[String: Any]])
      let klds = drifts.compactMap { $0["kld"] as? Double }
      #expect(klds.count == 2 && klds[0] > 0 && klds[1] > 2 * klds[0], "\(unit["name"] ?? "")")
      for drift in drifts {
        // The ratio is the windows' sum over all tokens.
        let sum = (drift["nll_per_window"] as? [Double] ?? []).reduce(0, +)
        #expect(abs(sum / Double(sizes.reduce(0, +)) - (drift["ln_ratio"] as? Double ?? 1)) < 1e-12)
      }
    }
    let modules = units.flatMap { $0["modules"] as? [String] ?? [] }
    #expect(modules.count == 28 && Set(modules).count == 28)
  }

  /// Wrong use, what the message names, and the exit status.
  static let refusals: [(arguments: [String], named: String, status: Int32)] = [
    (["--to", "int4", "--method", "gptq"], "--calibrate", 64),
    (["--to", "int4", "--method", "mse", "--calibrate", "TEXT"], "--calibrate", 64),
    (["--to", "bf16", "--calibrate", "TEXT"], "--calibrate", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--damping", "-1"], "--damping", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--calibrate-context", "1"], "--calibrate-context", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--calibrate-tokens", "0"], "--calibrate-tokens", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--smooth", "0.5"], "--smooth", 64),
    (["--to", "int8", "--calibrate", "TEXT", "--smooth", "1.5"], "--smooth", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--method", "awq", "--act-order", "group"], "--act-order", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--layout", "awq", "--act-order", "group"], "--act-order", 64),
    (["--to", "int4", "--calibrate", "TEXT", "--max-memory", "64MiB"], "--max-memory", 64),
    (["--to", "int4", "--calibrate", "ABSENT"], "absent", 66),
    (["--to", "int4", "--calibrate", "EMPTY"], "no tokens", 65),
    (["sensitivity", "--text", "TEXT", "--method", "gptq"], "--method", 64),
    (["sensitivity", "--text", "TEXT", "--types", "fp8,fp8"], "types", 64),
    (["sensitivity", "--text", "TEXT", "--by", "head"], "by", 64),
    (["sensitivity", "--text", "TEXT", "--max-memory", "64MiB"], "--max-memory", 64),
    (["sensitivity", "--text", "EMPTY"], "no tokens", 65),
    (["sensitivity"], "--text", 64),
  ]

  @Test("Refusals name what is wrong and leave nothing", arguments: refusals)
  func refusal(_ arguments: [String], _ named: String, _ status: Int32) throws {
    try Data().write(to: folder.file("empty"))
    let places = ["TEXT": text, "ABSENT": path("absent"), "EMPTY": path("empty")]
    let outputs = arguments[0] == "sensitivity" ? [] : [path("out")]
    let outcome = try run(.convert, arguments.map { places[$0] ?? $0 } + [Self.tiny] + outputs)
    #expect(outcome.status == status && outcome.stdout == "", "\(outcome.status) \(outcome.stderr)")
    #expect(outcome.stderr.contains(named), "\(outcome.stderr)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == ["empty", "text"])
  }

  @Test("A model without a tokenizer cannot read the text; a quantized one is not measured")
  func models() throws {
    let golden = Fixtures.golden("model/bf16").path
    let blind = try convert(["--to", "int4", "--group-size", "32"] + calibrate, "out", from: golden)
    #expect(blind.status == 65 && blind.stderr.contains("tokenizer"), "\(blind.stderr)")
    #expect(try convert(["--to", "fp8"], "fp8").status == 0)
    let rounded = try run(.convert, "sensitivity", path("fp8"), "--text", text)
    #expect(rounded.status == 64 && rounded.stderr.contains("quantized already"), "\(rounded.stderr)")
  }
}
