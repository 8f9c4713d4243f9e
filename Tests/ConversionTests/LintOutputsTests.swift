import ByteIO
import Checkpoints
import Conversion
import Foundation
import GGUFFormat
import Llama
import Quantization
import Support
import Tensors
import Testing

/// No false alarm on what is sound: the models that tests use and every layout that conversions write.
@Suite("Lint and what we write")
struct LintOutputsTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  private func findings(_ path: String) throws -> [LintFinding] {
    try LintReport(ofCheckpointAt: path, readsValues: true, threads: 2).findings
  }

  /// Bundled models, and what is true of them and more than a note.
  static let models: [(name: String, codes: [LintCode])] = [
    ("tiny", []), ("golden/model/bf16", []), ("golden/model/fp8_dynamic", []), ("golden/model/w4a16_g32", []),
    ("golden/model/w4a16_asym_g32", []), ("golden/model/w8a8", []), ("tiny_meta/hf", []), ("tiny_meta/mp2", []),
    ("tiny_meta/fp8_mp2", []), ("tiny_meta/int4_qlora_mp1", []), ("tiny_meta/l1_views_mp2", []),
    ("tiny_meta/l2_mp2", []), ("tiny_meta/mp1_legacy", []), ("tiny_meta/mp1_odd", []), ("tiny_meta/mp8_kvrep", []),
  ]

  @Test("sound models are clean of errors and warnings", arguments: models.indices)
  func bundled(_ index: Int) throws {
    let (name, codes) = Self.models[index]
    let found = try findings(Fixtures.bundled(name).path).filter { $0.severity != .note }
    #expect(found.map(\.code) == codes, "\(name): \(found.map(\.message))")
  }

  @Test(
    "the larger fixtures too", .enabled(if: Fixtures.large("small3") != nil, "needs the larger fixtures"),
    arguments: ["small3", "tiny2", "tiny-mp2"])
  func large(_ name: String) throws {
    let model = try #require(Fixtures.large(name))
    let found = try findings(model.path).filter { $0.severity != .note }
    #expect(found.isEmpty, "\(name): \(found.map(\.message))")
  }

  static let outputs: [(name: String, options: ConversionOptions)] = [
    ("cut", ConversionOptions(maximumShardSize: 1_000_000)),
    ("f32", ConversionOptions(target: .element(.f32))), ("f16", ConversionOptions(target: .element(.f16))),
    ("fp8", ConversionOptions(target: .fp8(.fp8))), ("fp8-compat", ConversionOptions(target: .fp8(.fp8Compat))),
    ("fp8-meta", ConversionOptions(target: .fp8(.fp8Meta), layout: .meta, tensorParallel: 2)),
    ("fp8-fbgemm", ConversionOptions(target: .fp8(.fp8FBGEMM))),
    ("mp8", ConversionOptions(layout: .meta, tensorParallel: 8)),
    ("bf16.gguf", ConversionOptions(layout: .gguf)),
    ("q8_0.gguf", ConversionOptions(target: .ggml(.q8_0))), ("q4_k_m.gguf", ConversionOptions(target: .ggml(.q4_k_m))),
    ("int4", integers(4)), ("int4-gptq", integers(4, .gptq)), ("int4-awq", integers(4, .awq)),
    ("int4-asymmetric", integers(4, isAsymmetric: true)), ("int8", integers(8)),
    ("int4-meta", ConversionOptions(target: .int4Meta, layout: .meta, tensorParallel: 2)),
    ("compact.gguf", ConversionOptions(layout: .compact, compresses: true)),
    ("compact-fp8.gguf", ConversionOptions(target: .fp8(.fp8), layout: .compact)),
  ]

  private static func integers(
    _ bits: Int, _ layout: IntegerLayout? = nil, isAsymmetric: Bool = false
  ) -> ConversionOptions {
    ConversionOptions(
      target: .integers(bits: bits),
      integers: IntegerOptions(method: .rtn, isAsymmetric: isAsymmetric, layout: layout))
  }

  @Test("every layout that is written is clean", arguments: outputs.indices)
  func written(_ index: Int) throws {
    let (name, options) = Self.outputs[index]
    try convert(Fixtures.bundled("tiny").path, to: path(name), options)
    let found = try findings(path(name)).filter { $0.severity != .note }
    #expect(found.isEmpty, "\(name): \(found.map(\.message))")
  }

  // MARK: Faults that need a layout of ours to be planted into

  private func edit(_ name: String, _ old: String, _ new: String) throws {
    var bytes = try Fixtures.bytes(folder.file(name))
    let place = try #require(bytes.firstRange(of: Array(old.utf8)))
    bytes.replaceSubrange(place, with: Array(new.utf8))
    try Data(bytes).write(to: folder.file(name))
  }

  private func codes(_ name: String) throws -> [LintCode] {
    try findings(path(name)).filter { $0.severity != .note }.map(\.code)
  }

  @Test("a GGUF without its pre-tokenizer, or with another's, and with RoPE factors of nobody")
  func gguf() throws {
    try convert(Fixtures.bundled("tiny").path, to: path("x.gguf"), ConversionOptions(layout: .gguf, sumsFiles: false))
    let sound = try Data(contentsOf: folder.file("x.gguf"))
    try edit("x.gguf", "tokenizer.ggml.pre", "tokenizer.ggml.pra")
    #expect(try codes("x.gguf") == [.preTokenizerMissing])
    try sound.write(to: folder.file("x.gguf"))
    try edit("x.gguf", "llama-bpe", "smaug-bpe")
    #expect(try codes("x.gguf") == [.preTokenizerWrong])
    let file = try GGUFFile(path: path("x.gguf"))
    let start = Int(try #require(file.fileOffset(of: "rope_freqs.weight")))
    var bytes = [UInt8](sound)
    bytes.replaceSubrange(start..<start + 4, with: [0, 0, 0x40, 0x40])
    try Data(bytes).write(to: folder.file("x.gguf"))
    let report = try LintReport(ofCheckpointAt: path("x.gguf"), readsValues: true, threads: 2)
    #expect(report.findings.map(\.code) == [.ropeUnreadable] && report.tensorsRead > 30, "\(report.summary)")
  }

  @Test("shards of Meta's that are missing, copied, or of two models")
  func meta() throws {
    let manager = FileManager.default
    let mp2 = ConversionOptions(layout: .meta, tensorParallel: 2)
    try convert(Fixtures.bundled("tiny").path, to: path("a"), mp2)
    let other = try ModelFolder()
    try other.edit("model.layers.2.input_layernorm.weight") { $0.bytes[0] ^= 1 }
    try convert(other.path, to: path("b"), mp2)
    let second = "consolidated.01.pth"
    func put(_ source: String) throws {
      try? manager.removeItem(atPath: path("a/" + second))
      try manager.copyItem(atPath: path(source), toPath: path("a/" + second))
      // What sums say of it is another matter.
      for name in ["checklist.chk", "SHA256SUMS"] { try? manager.removeItem(atPath: path("a/" + name)) }
    }
    try put("b/" + second)
    #expect(try codes("a") == [.replicasDiffer])
    try put("a/consolidated.00.pth")
    #expect(try codes("a") == [.sameContents])
    try manager.removeItem(atPath: path("a/" + second))
    #expect(try codes("a") == [.shardCount])
    try manager.removeItem(atPath: path("a/consolidated.00.pth"))
    try manager.copyItem(atPath: path("b/" + second), toPath: path("a/" + second))
    #expect(try codes("a").first == .missingShard)
  }
}
