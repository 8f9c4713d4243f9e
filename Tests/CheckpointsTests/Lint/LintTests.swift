import ByteIO
import Checkpoints
import Foundation
import Support
import Tensors
import Testing

@Suite struct LintTests {
  private func lint(_ model: TinyCheckpoint, readsValues: Bool = true, threads: Int = 2) throws -> LintReport {
    let folder = try model.written()
    return try LintReport(ofCheckpointAt: folder.url.path, readsValues: readsValues, threads: threads)
  }

  private func codes(_ report: LintReport) -> [LintCode] { report.codes }

  @Test("sound checkpoints have no findings", arguments: ["tiny", "golden/model/bf16", "golden/model/fp8_dynamic"])
  func findsNothingInSoundModels(_ name: String) throws {
    let report = try LintReport(ofCheckpointAt: Fixtures.bundled(name).path, readsValues: true, threads: 2)
    #expect(codes(report).isEmpty && !report.hasErrors)
    #expect(report.tensorsRead == ["tiny": 38, "golden/model/bf16": 21, "golden/model/fp8_dynamic": 35][name])
    #expect(report.document["schema"] == "llama-lint/1" && report.document["errors"] == 0)
  }

  @Test("all storages are read", arguments: FP8Layout.allCases)
  func readsQuantizedModels(_ layout: FP8Layout) throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(layout)
    let report = try lint(model)
    #expect(codes(report).isEmpty && report.tensorsRead == 35)
  }

  @Test func allCensusProblemsAreListedErrorsFirst() throws {
    var model = TinyCheckpoint()
    let rotary = "model.layers.0.self_attn.rotary_emb.inv_freq"
    model[rotary] = .init(rotary, .f32, [4], bytes: [UInt8](repeating: 0, count: 16))
    model["stranger"] = .init("stranger", .f32, [1], bytes: [0, 0, 0, 0])
    model["model.norm.weight"] = nil
    model.reshape("model.layers.1.mlp.up_proj.weight", to: [64, 32])
    let report = try lint(model)
    #expect(codes(report) == [.wrongShape, .missingTensor, .extraTensor, .leftoverTensor])
    #expect(report.findings.map(\.severity) == [.error, .error, .error, .note, .note])
    // Each is told once, and values are read all the same: those of all tensors that are there.
    #expect(report.tensorsRead == 22 && report.summary.contains("3 errors, 0 warnings, 2 notes, 22 tensors read"))
  }

  /// Where a bad value is put, in the file's order, and as what.
  static let badValues: [(tensor: String, element: Int, bits: UInt16)] = [
    ("model.embed_tokens.weight", 0, 0x7FC0), ("model.norm.weight", 31, 0x7F80), ("lm_head.weight", 1279, 0xFF80),
    ("model.layers.1.mlp.down_proj.weight", 700, 0xFFFF),
    // The second row of a head in the file is the third in canonical order: the finding must name the file's.
    ("model.layers.0.self_attn.q_proj.weight", 32 + 5, 0x7FC0),
    ("model.layers.1.self_attn.k_proj.weight", 15 * 32 + 31, 0x7F81),
  ]

  @Test("a value that is not finite is found where it is in the file", arguments: badValues.indices)
  func findsBadValues(_ index: Int) throws {
    let (name, element, bits) = Self.badValues[index]
    var model = TinyCheckpoint()
    model.change(name) {
      $0.bytes[2 * element] = UInt8(truncatingIfNeeded: bits)
      $0.bytes[2 * element + 1] = UInt8(bits >> 8)
    }
    let report = try lint(model)
    #expect(codes(report) == [.nonFinite] && report.hasErrors)
    let message = try #require(report.findings.first?.message)
    #expect(message.contains(name) && message.contains("element \(element) "), "\(message)")
    #expect(try !lint(model, readsValues: false).hasErrors)
  }

  @Test func aNaNCodeIsFoundWhereItIsInTheFile() throws {
    for (name, element) in [("mlp.gate_proj", 47 * 32), ("self_attn.q_proj", 33), ("self_attn.k_proj", 8 * 32 + 63)] {
      for code in [UInt8(0x7F), 0xFF] {
        var model = TinyCheckpoint()
        model.storeAsFP8(.compressedChannel)
        model.change("model.layers.1.\(name).weight") { $0.bytes[element] = code }
        let report = try lint(model)
        #expect(codes(report) == [.nanCode])
        let message = try #require(report.findings.first?.message)
        #expect(message.contains(name) && message.contains("element \(element) "), "\(message)")
      }
    }
  }

  @Test(
    "a scale that is no positive number is found where it is in the file",
    arguments: FP8Layout.allCases, [Float.nan, .infinity, 0, -1])
  func findsBadScales(_ layout: FP8Layout, _ value: Float) throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(layout, scaleType: .f32)
    let name = "model.layers.0.self_attn.q_proj." + layout.scaleSuffix
    // Row 1 of a head is row 2 in canonical order.
    let index = model.tensors[name].bytes.count / 4 > 1 ? 1 : 0
    model.change(name) { tensor in
      var values = tensor.elementType.values(of: tensor.bytes)
      values[index] = value
      tensor.bytes = tensor.elementType.bytes(of: values)
    }
    let report = try lint(model)
    #expect(codes(report) == [.badScale])
    let message = try #require(report.findings.first?.message)
    #expect(message.contains(name) && message.contains("scale \(index) "), "\(message)")
  }

  @Test func findingsComeInModelOrderOnAnyNumberOfThreads() throws {
    var model = TinyCheckpoint()
    for index in model.tensors.indices { model.tensors[index].bytes.replaceSubrange(0..<2, with: [0xC0, 0x7F]) }
    let reports = try [1, 2, 5].map { try lint(model, threads: $0).findings.map(\.code) }
    let messages = try lint(model).findings.filter { $0.severity == .error }.map(\.message)
    #expect(reports.allSatisfy { $0 == reports[0] } && messages.count == 21)
    #expect(messages.first?.contains("embed_tokens") == true && messages.last?.contains("lm_head") == true)
  }

  @Test func tokenizersAreLookedAt() throws {
    var model = TinyCheckpoint()
    #expect(try lint(model).findings.map(\.code) == [.noTokenizer])
    model.files = [("tokenizer.json", Array("{}".utf8))]
    #expect(try lint(model).findings.map(\.code) == [.tokenizerUnread])
    // The bundled tokenizer's id 1792 is not this configuration's 1.
    var tiny = try TinyCheckpoint(reading: Fixtures.bundled("tiny"))
    tiny.configuration["bos_token_id"] = 1
    let report = try lint(tiny, readsValues: false)
    #expect(report.findings.map(\.code) == [.generationConfiguration, .beginOfText] && !report.hasErrors)
    #expect(report.findings[0].message.contains("1792") && report.findings[0].message.contains("says 1"))
  }

  @Test func whereNothingIsNothingIsFound() throws {
    #expect(throws: FileFailure.self) {
      try LintReport(ofCheckpointAt: "/nowhere/at/all", readsValues: true, threads: 1)
    }
  }
}
