import Foundation
import Support
import Testing

/// Every combination of method, layout, groups and zero points that needs no text, on a model with 64 and 160 columns.
@Suite("Options of integer codes")
struct IntegerOptionTests {
  private static let model = Fixtures.golden("model/bf16").path

  struct Combination: Sendable, CustomTestStringConvertible {
    let method: String
    let layout: String
    let groups: String
    let isAsymmetric: Bool

    var testDescription: String {
      ([method, layout, groups] + (isAsymmetric ? ["asymmetric"] : [])).joined(separator: " ")
    }

    var options: [String] {
      ["--to", "int4", "--method", method, "--layout", layout, "--group-size", groups]
        + (isAsymmetric ? ["--asymmetric"] : [])
    }

    /// AWQ has zero points always.
    var hasZeroPoints: Bool { isAsymmetric || layout == "awq" }

    /// What the refusal names; nil where there is none.
    var refusal: String? {
      // 160 is no multiple of either.
      if groups == "64" || groups == "128" { return "use --group-size 32" }
      return layout == "awq" && groups == "channel" ? "whole rows" : nil
    }

    static let all = ["rtn", "mse", "hqq"].flatMap { method in
      ["compressed-tensors", "gptq", "gptq_v2", "awq"].flatMap { layout in
        ["32", "64", "128", "channel"].flatMap { groups in
          [false, true].map { Combination(method: method, layout: layout, groups: groups, isAsymmetric: $0) }
        }
      }
    }
  }

  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  private func quantization(_ name: String) throws -> [String: Any] {
    let data = try Data(contentsOf: folder.file(name + "/config.json"))
    let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    return try #require(document["quantization_config"] as? [String: Any])
  }

  @Test("It works and is described as it is, or is refused and says why", arguments: Combination.all)
  func combination(_ combination: Combination) throws {
    let outcome = try run(.convert, combination.options + [Self.model, path("out")])
    if let refusal = combination.refusal {
      #expect(outcome.status == 64 && outcome.stderr.contains(refusal), "\(outcome.stderr)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == [])
      return
    }
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let said = try quantization("out")
    let size = Int(combination.groups)
    if combination.layout == "compressed-tensors" {
      let groups = try #require(said["config_groups"] as? [String: [String: Any]])
      let weights = try #require(groups["group_0"]?["weights"] as? [String: Any])
      #expect(said["format"] as? String == "pack-quantized" && weights["num_bits"] as? Int == 4)
      #expect(weights["symmetric"] as? Bool == !combination.hasZeroPoints)
      #expect(weights["group_size"] as? Int == size)
      #expect(weights["strategy"] as? String == (size == nil ? "channel" : "group"))
    } else {
      #expect(said["quant_method"] as? String == (combination.layout == "awq" ? "awq" : "gptq"))
      #expect(said["bits"] as? Int == 4 && said["group_size"] as? Int == size ?? -1)
      if combination.layout == "awq" {
        #expect(said["zero_point"] as? Bool == true && said["version"] as? String == "gemm")
      } else {
        #expect(said["sym"] as? Bool == !combination.isAsymmetric && said["desc_act"] as? Bool == false)
        #expect(said["checkpoint_format"] as? String == combination.layout)
      }
    }
    let module = "model.layers.1.mlp.down_proj."
    let tensors = try SafetensorsBytes(folder.file("out/model.safetensors")).tensors
    let suffixes = Set(tensors.keys.filter { $0.hasPrefix(module) }.map { $0.dropFirst(module.count) })
    switch combination.layout {
    case "compressed-tensors":
      let zeros: Set<Substring> = combination.hasZeroPoints ? ["weight_zero_point"] : []
      #expect(suffixes == zeros.union(["weight_packed", "weight_scale", "weight_shape"]))
    case "awq": #expect(suffixes == ["qweight", "qzeros", "scales"])
    default: #expect(suffixes == ["qweight", "qzeros", "scales", "g_idx"])
    }
    // No code is four bits off: half a step of a group's range, 1/15, in units of it.
    #expect(try run(.convert, "--to", "f32", path("out"), path("f32")).status == 0)
    let (before, after) = (try values(Self.model, module + "weight"), try values(path("f32"), module + "weight"))
    let worst = zip(before, after).map { abs($0 - $1) }.max() ?? .infinity
    let range = before.map(abs).max() ?? 0
    #expect(worst > 0 && worst < range / 3, "\(worst) of \(range)")
  }

  /// A tensor's values, BF16 or F32.
  private func values(_ directory: String, _ name: String) throws -> [Float] {
    let tensor = try SafetensorsBytes(URL(filePath: directory + "/model.safetensors"))[name]
    let size = tensor.type == "F32" ? 4 : 2
    return stride(from: 0, to: tensor.bytes.count, by: size).map { start in
      let pattern = tensor.bytes[start..<start + size].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return Float(bitPattern: size == 4 ? pattern : pattern << 16)
    }
  }

  @Test(
    "Rounding to nearest gives the same values in every layout",
    arguments: [["32"], ["32", "--asymmetric"], ["channel"]])
  func layouts(_ groups: [String]) throws {
    var digests: Set<String> = []
    let layouts = ["compressed-tensors", "gptq", "gptq_v2"] + (groups.count == 2 ? ["awq"] : [])
    for layout in layouts {
      let options = ["--to", "int4", "--method", "rtn", "--layout", layout, "--group-size"] + groups
      #expect(try run(.convert, options + [Self.model, path(layout)]).status == 0)
      #expect(try run(.convert, "--to", "f32", path(layout), path(layout + "-f32")).status == 0)
      digests.insert(try run(.convert, "digest", path(layout + "-f32")).stdout)
    }
    #expect(digests.count == 1)
  }

  @Test("The same bytes on any number of threads and any instruction set", arguments: [["--asymmetric"], []])
  func determinism(_ zeroPoints: [String]) throws {
    for method in ["rtn", "mse", "hqq"] {
      let options = ["--to", "int4", "--method", method, "--group-size", "32"] + zeroPoints
      #expect(try run(.convert, options + ["--threads", "1", Self.model, path(method)]).status == 0)
      let expected = try contents(ofDirectory: path(method))
      for other in [
        ["--threads", "2"], ["--threads", "3"], ["--instruction-set", "scalar"], ["--instruction-set", "avx2"],
      ] {
        let done = try run(.convert, options + other + ["--force", Self.model, path("other")])
        if done.stderr.contains("this processor has") { continue }
        #expect(done.status == 0, "\(done.stderr)")
        #expect(try contents(ofDirectory: path("other")) == expected, "\(method) \(other)")
      }
    }
  }

  /// What else is refused, and what the message names.
  static let refusals: [(options: [String], named: String)] = [
    (["--to", "int8", "--group-size", "32"], "--layout compressed-tensors"),
    (["--to", "int8", "--asymmetric"], "zero points"),
    (["--to", "int8", "--layout", "compressed-tensors", "--asymmetric"], "--asymmetric"),
    (["--to", "int8", "--layout", "awq"], "4 bits"),
    (["--to", "int4", "--format", "pth"], "int4-meta"), (["--to", "int4", "--format", "gguf"], "q4_0"),
    (["--to", "int4", "--format", "compact", "--layout", "gptq"], "one way"),
    (["--to", "int4", "--group-size", "0"], "--group-size"),
    (["--to", "int4", "--group-size", "rows"], "--group-size"),
    (["--to", "int4", "--group-size", "48"], "use --group-size 32"),
    (["--to", "int4", "--layout", "exl2"], "--layout"), (["--to", "int4", "--method", "gguf"], "--method"),
    (["--to", "fp8", "--method", "mse"], "--method"), (["--to", "bf16", "--group-size", "32"], "--group-size"),
    (["--to", "bf16", "--asymmetric"], "--asymmetric"), (["--layout", "gptq"], "has none"),
    (["--to", "bf16", "--layout", "gptq"], "--layout"),
  ]

  @Test("64: refusals say what to do", arguments: refusals)
  func refusal(_ options: [String], _ named: String) throws {
    let outcome = try run(.convert, options + [Self.model, path("out")])
    #expect(outcome.status == 64 && outcome.stdout == "" && outcome.stderr.contains(named), "\(outcome.stderr)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == [])
  }

  @Test(
    "int8: rows with int8 activations, or weights only in words",
    arguments: [
      ([], "int-quantized"), (["--layout", "compressed-tensors"], "pack-quantized"),
      (["--layout", "compressed-tensors", "--group-size", "32"], "pack-quantized"), (["--layout", "gptq"], "gptq"),
    ])
  func int8(_ options: [String], _ format: String) throws {
    let outcome = try run(.convert, ["--to", "int8"] + options + [Self.model, path("out")])
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let said = try quantization("out")
    #expect((said["format"] ?? said["quant_method"]) as? String == format)
    if let groups = said["config_groups"] as? [String: [String: Any]] {
      #expect((groups["group_0"]?["input_activations"] is [String: Any]) == (format == "int-quantized"))
    }
    #expect(try run(.convert, "lint", path("out")).status == 0)
  }
}
