import Foundation
import Support
import Testing

private let tiny = Fixtures.bundled("tiny").path
/// Eight windows of 128: a pass takes a tenth of a second.
private let text = ["--text", evaluationText, "--tokens", "1000", "--context", "128"]

/// A fault of converters, in a model that is quantized to FP8 besides: every tensor differs, few matter.
private struct Fault: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let culprits: [String]
  /// Of the BF16 model, before it is quantized.
  var original: @Sendable (inout SafetensorsBytes) throws -> Void = { _ in }
  /// Of the FP8 model.
  var quantized: @Sendable (inout SafetensorsBytes) throws -> Void = { _ in }

  static let all = [
    Fault(
      testDescription: "key rows of one layer in the wrong order", culprits: ["model.layers.1.self_attn.k_proj.weight"],
      original: { weights in
        var tensor = try weights["model.layers.1.self_attn.k_proj.weight"]
        let (size, head) = (2 * tensor.shape[1], 32)
        tensor.bytes = (0..<tensor.shape[0]).flatMap { row in
          let source = row - row % head + row % 2 * (head / 2) + row % head / 2
          return tensor.bytes[source * size..<(source + 1) * size]
        }
        weights.tensors["model.layers.1.self_attn.k_proj.weight"] = tensor
      }),
    Fault(
      testDescription: "scales of a fourth of the rows next to zero", culprits: ["model.layers.2.mlp.down_proj.weight"],
      quantized: { weights in
        var tensor = try weights["model.layers.2.mlp.down_proj.weight_scale"]
        // 2^-20 in BF16; zero itself is refused where a model is opened.
        for index in 0..<tensor.bytes.count / 4 { tensor.bytes[index] = index % 2 == 0 ? 0x80 : 0x35 }
        weights.tensors["model.layers.2.mlp.down_proj.weight_scale"] = tensor
      }),
    Fault(
      testDescription: "gate and up exchanged",
      culprits: ["model.layers.3.mlp.gate_proj.weight", "model.layers.3.mlp.up_proj.weight"],
      original: { weights in
        let names = ["gate", "up"].map { "model.layers.3.mlp.\($0)_proj.weight" }
        var (gate, up) = (try weights[names[0]], try weights[names[1]])
        (gate.bytes, up.bytes) = (up.bytes, gate.bytes)
        weights.tensors[names[0]] = gate
        weights.tensors[names[1]] = up
      }),
    Fault(
      testDescription: "a projection of another layer in two places",
      culprits: ["model.layers.1.self_attn.v_proj.weight", "model.layers.2.self_attn.v_proj.weight"],
      original: { weights in
        for (name, source) in [
          ("layers.1.self_attn.v_proj", "layers.3.self_attn.v_proj"),
          ("layers.2.self_attn.v_proj", "layers.0.self_attn.v_proj"),
        ] {
          var tensor = try weights["model.\(name).weight"]
          tensor.bytes = try weights["model.\(source).weight"].bytes
          weights.tensors["model.\(name).weight"] = tensor
        }
      }),
  ]
}

@Suite("llama-verify --bisect")
struct BisectTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  private func bisect(_ candidate: String, _ more: [String] = []) throws -> (bisect: [String: Any], outcome: Outcome) {
    let outcome = try run(.verify, [tiny, candidate, "--bisect", "--json"] + text + more)
    return (try #require(outcome.json?["bisect"] as? [String: Any], "\(outcome.stderr)"), outcome)
  }

  @Test("A planted fault is named exactly", arguments: Fault.all)
  fileprivate func names(_ fault: Fault) throws {
    try model.editWeights(fault.original)
    let fp8 = model.beside("fp8")
    try #require(try run(.convert, "--to", "fp8", model.path, fp8).status == 0)
    let file = URL(filePath: fp8 + "/model.safetensors")
    var weights = try SafetensorsBytes(file)
    try fault.quantized(&weights)
    try weights.write(to: file)
    let (found, outcome) = try bisect(fp8)
    // Fail, or inconclusive on so few tokens.
    #expect([1, 2].contains(outcome.status))
    #expect(found["culprits"] as? [String] == fault.culprits, "\(found["sentence"] ?? "")")
    let explanation = try #require(found["explanation"] as? [String: Any])
    #expect(try #require(explanation["share"] as? Double) >= 0.9)
    #expect(explanation["tensors"] as? Int == fault.culprits.count)
    let (passes, most) = (found["passes"] as? Int ?? .max, found["maximum_passes"] as? Int ?? 0)
    // The cost was told before.
    #expect(outcome.stderr.contains("bisect: at most \(most) forward passes"))
    #expect(passes <= most && (found["tests"] as? [Any])?.count == passes - 1)
  }

  @Test("Rounding everywhere is called spread, a configuration is named, and a model itself has nothing to explain")
  func others() throws {
    let int4 = model.beside("int4")
    try #require(try run(.convert, "--to", "int4", model.path, int4).status == 0)
    let spread = try bisect(int4).bisect
    #expect((spread["sentence"] as? String)?.hasPrefix("The drift is spread") == true)
    #expect(try #require(spread["culprits"] as? [String]).count > 4)
    let itself = try bisect(tiny).bisect
    #expect(itself["culprits"] as? [String] == [] && itself["kld"] as? Double == 0 && itself["passes"] as? Int == 1)
    try model.replaceInConfiguration("500000", with: "10000")
    let (configuration, outcome) = try bisect(model.path)
    #expect(outcome.status == 1 && configuration["culprits"] as? [String] == ["configuration"])
  }

  @Test("The same on any number of threads, in every form of the report; refused where there is nothing to bisect")
  func forms() throws {
    let fp8 = model.beside("fp8")
    try model.editWeights(Fault.all[0].original)
    try #require(try run(.convert, "--to", "fp8", model.path, fp8).status == 0)
    let folder = model.beside("report")
    let one = try bisect(fp8, ["--threads", "1", "--report", folder]).bisect
    let three = try bisect(fp8, ["--threads", "3"]).bisect
    #expect(one as NSDictionary == three as NSDictionary)
    for name in ["report.html", "report.md", "report.json"] {
      let text = String(decoding: try Fixtures.bytes(URL(filePath: folder + "/" + name)), as: UTF8.self)
      #expect(text.replacing("\\", with: "").contains("model.layers.1.self_attn.k_proj.weight explains 9"), "\(name)")
    }
    for arguments in [[tiny, "--bisect"] + text, [tiny, fp8, fp8, "--bisect"] + text, [tiny, fp8, "--bisect"]] {
      #expect(try run(.verify, arguments).status == 64)
    }
  }
}
