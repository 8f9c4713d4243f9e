import Foundation
import Support
import Testing

@Suite("Interface")
struct InterfaceTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  @Test("--help names every option, every command and every exit code")
  func help() throws {
    func help(_ program: Program, _ command: String, names: [String]) throws {
      for arguments in [["help", command], [command, "--help"]] {
        let outcome = try run(program, arguments)
        #expect(outcome.status == 0 && outcome.stderr == "")
        for name in names { #expect(outcome.stdout.contains(name), "\(program.rawValue) \(command) \(name)") }
      }
    }
    let shared = ["--threads", "--max-memory", "--json", "--quiet", "--help", "--version"]
    try help(
      .convert, "convert",
      names: shared + [
        "--to", "--format", "--ignore", "--only", "--max-shard-size", "--force", "--dry-run", "--verify", "--policy",
        "--part", "--resume", "--no-resume", "--checkpoint", "JOB_COMPLETION_INDEX", "<in>", "<out>", "fp8",
        "fp8-compat", "fp8-meta", "fp8-fbgemm", "bf16", "f16", "f32", "safetensors",
      ])
    for command in ["inspect", "lint", "digest"] { try help(.convert, command, names: shared + ["<path>"]) }
    try help(.convert, "finish", names: shared + ["<output>", "--verify", "--policy", "--force", "75"])
    try help(
      .verify, "verify",
      names: shared + [
        "--text", "--policy", "--context", "--tokens", "--compute", "--emulate", "--report", "--no-excerpts", "<base>",
        "<candidate>",
        "activations=fp8", "lossless",
      ])
    let codes = [
      Program.convert: ["0 ", "1 ", "2 ", "64", "65", "66", "70", "73", "74", "75", "77"],
      .verify: ["0 ", "1 ", "2 ", "64", "65", "66", "70", "73", "74", "75", "77"],
    ]
    for (program, codes) in codes {
      let outcome = try run(program, "--help")
      #expect(outcome.status == 0 && outcome.stderr == "")
      for code in codes { #expect(outcome.stdout.contains(code), "\(program.rawValue): \(code)") }
    }
    let commands = try run(.convert, "--help").stdout
    for command in ["convert", "finish", "inspect", "lint", "digest"] { #expect(commands.contains("  " + command)) }
  }

  @Test("--version is one number for both programs, and the one in records")
  func version() throws {
    let convert = try run(.convert, "--version")
    #expect(convert.status == 0 && convert.stderr == "")
    #expect(convert.stdout.split(separator: ".").count == 3)
    #expect(try run(.verify, "--version").stdout == convert.stdout)
    let record = try #require(try run(.convert, "--json", model.path, model.beside("out")).json)
    #expect(
      (record["tool"] as? [String: Any])?["version"] as? String == convert.stdout.trimmingCharacters(in: .newlines))
  }

  @Test("--json prints the record that is published, and nothing else")
  func record() throws {
    let outcome = try run(.convert, "--to", "fp8", "--json", model.path, model.beside("out"))
    #expect(outcome.status == 0 && outcome.stderr == "")
    #expect(outcome.json?["schema"] as? String == "llama-convert/1")
    #expect(try outcome.stdout == String(contentsOfFile: model.beside("out") + "/llama-convert.json", encoding: .utf8))
  }

  @Test("--dry-run prints the plan of the run that follows, and writes nothing")
  func dryRun() throws {
    let plan = try run(.convert, "--to", "fp8", "--dry-run", "--json", model.path, model.beside("out"))
    #expect(plan.status == 0 && plan.stderr == "")
    #expect(plan.json?["schema"] as? String == "llama-convert-plan/1")
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])
    let record = try #require(try run(.convert, "--to", "fp8", "--json", model.path, model.beside("out")).json)
    #expect(record["plan_sha256"] as? String == plan.json?["plan_sha256"] as? String)
    let text = try run(.convert, "--to", "fp8", "--dry-run", model.path, model.beside("other"))
    #expect(text.status == 0 && text.stdout.contains("quantize fp8: 14 tensors"))
    #expect(try run(.convert, "--to", "fp8", "--dry-run", model.path, model.beside("out")).status == 73)
  }

  @Test("Warnings go to standard error, and --quiet silences them")
  func quiet() throws {
    let arguments = [
      "--to", "fp8", "--ignore", "model.layers.0.mlp.up_proj", "--dry-run", model.path, model.beside("out"),
    ]
    let loud = try run(.convert, arguments)
    #expect(loud.status == 0 && loud.messages.count == 1)
    #expect(loud.stderr.hasPrefix("llama-convert: warning: ") && loud.stderr.contains("model.layers.0.mlp.up_proj"))
    let quiet = try run(.convert, ["--quiet"] + arguments)
    #expect(quiet.status == 0 && quiet.stderr == "" && quiet.stdout == loud.stdout)
  }

  @Test("inspect, lint and digest print one JSON document each")
  func documents() throws {
    for (command, schema) in [("inspect", "llama-inspect/1"), ("lint", "llama-lint/1"), ("digest", "llama-digest/1")] {
      let outcome = try run(.convert, command, "--json", model.path)
      #expect(outcome.status == 0 && outcome.stderr == "")
      #expect(outcome.json?["schema"] as? String == schema)
    }
    let inspection = try #require(try run(.convert, "inspect", "--json", model.path).json)
    // 2 · 96 · 64 + 64 + 2 · (2 · 64 + 2 · 64 · 64 + 2 · 32 · 64 + 3 · 160 · 64)
    #expect(inspection["parameters"] as? Int == 98_624)
    #expect(inspection["weight_bytes"] as? Int == 2 * 98_624)
  }

  @Test("digest proves resharded models equal and quantized ones different")
  func digest() throws {
    func digest(_ path: String) throws -> String? {
      try run(.convert, "digest", "--json", path).json?["model"] as? String
    }
    #expect(try run(.convert, "--max-shard-size", "50kB", model.path, model.beside("cut")).status == 0)
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("fp8")).status == 0)
    let original = try digest(model.path)
    #expect(original?.count == 64)
    #expect(try digest(model.beside("cut")) == original)
    #expect(try digest(model.beside("fp8")) != original)
  }
}
