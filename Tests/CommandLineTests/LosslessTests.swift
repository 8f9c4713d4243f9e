import Foundation
import Support
import Testing

@Suite("Lossless proof")
struct LosslessTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  private func verify(_ candidate: String, _ options: String...) throws -> Outcome {
    try run(.verify, [model.path, candidate, "--policy", "lossless"] + options)
  }

  @Test("Without a text, a model in another layout is proven to be the same", arguments: ["1", "8"])
  func layouts(_ ranks: String) throws {
    let candidate = model.beside("mp\(ranks)")
    try #require(try run(.convert, "--format", "pth", "--tp", ranks, model.path, candidate).status == 0)
    let outcome = try verify(candidate)
    #expect(outcome.status == 0 && outcome.stdout.hasPrefix("PASS") && outcome.stdout.contains("38 tensors"))
    let report = try #require(try verify(candidate, "--json").json)
    #expect(report["schema"] as? String == "llama-verify/1" && report["verdict"] as? String == "pass")
    let (base, other) = (report["base"] as? [String: Any], report["candidate"] as? [String: Any])
    #expect(base?["digest"] as? String == other?["digest"] as? String && base?["digest"] != nil)
    #expect(other?["layout"] as? String == "meta-pth")
  }

  /// Canonical names, whatever the layout calls the tensor.
  @Test(
    "One changed bit is found and its tensor named",
    arguments: [
      ("model.layers.2.self_attn.k_proj.weight", "layers.2.key"), ("model.norm.weight", "output_norm"),
      ("model.embed_tokens.weight", "token_embedding"), ("model.layers.0.mlp.down_proj.weight", "layers.0.down"),
    ])
  func oneBit(_ tensor: String, _ role: String) throws {
    let changed = try ModelFolder()
    try changed.edit(tensor) { $0.bytes[$0.bytes.count / 2] ^= 1 }
    let outcome = try verify(changed.path)
    #expect(outcome.status == 1 && outcome.stdout.hasPrefix("FAIL") && outcome.stdout.contains("  \(role) differs"))
    let report = try #require(try verify(changed.path, "--json").json)
    let differences = (report["lossless"] as? [String: Any])?["differences"] as? [[String: Any]]
    #expect(differences?.compactMap { $0["part"] as? String } == [role])
  }

  @Test("A changed configuration or tokenizer is named too")
  func otherParts() throws {
    let changed = try ModelFolder()
    try changed.replaceInConfiguration("\"rms_norm_eps\": 1e-05", with: "\"rms_norm_eps\": 1e-06")
    for name in ["tokenizer.json", "tokenizer.model"] { try FileManager.default.removeItem(at: changed.file(name)) }
    let outcome = try verify(changed.path)
    #expect(outcome.status == 1 && outcome.stdout.contains("38 tensors are equal"))
    #expect(outcome.stdout.contains("configuration differs") && outcome.stdout.contains("tokenizer is missing"))
  }

  @Test("Every other comparison needs a text, and a report does")
  func misuse() throws {
    let cases = [
      [model.path], [model.path, model.path], [model.path, "--policy", "lossless"],
      [model.path, model.path, "--policy", "lossless", "--report", model.beside("report")],
    ]
    for arguments in cases {
      let outcome = try run(.verify, arguments)
      #expect(outcome.status == 64 && outcome.stderr.contains("--text"))
    }
  }
}
