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

private func fixture(_ name: String) -> String { Fixtures.bundled(name).path }

private func compact(
  _ target: TargetType = .unchanged, compresses: Bool = false, threads: Int = 2
) -> ConversionOptions {
  ConversionOptions(target: target, layout: .compact, compresses: compresses, threads: threads)
}

@Suite("Compact files as a layout")
struct CompactTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  /// Models of all layouts, plain and quantized, with scales of rows, of shards' rows and of groups, with adapters.
  @Test(
    "Whatever goes in comes back, compressed or not: digests stay",
    arguments: [
      ("tiny", 1), ("tiny_meta/hf", 1), ("tiny_meta/l2_mp2", 2), ("tiny_meta/mp8_kvrep", 8), ("tiny_meta/fp8_mp2", 2),
      ("tiny_meta/int4_qlora_mp1", 1),
    ], [false, true])
  func everyLayout(_ model: (name: String, shards: Int), _ compresses: Bool) throws {
    let source = try Checkpoint(path: fixture(model.name))
    let start = try source.digest(threads: 2)
    try convert(fixture(model.name), to: path("x.gguf"), compact(compresses: compresses))
    let file = try Checkpoint(path: path("x.gguf"))
    #expect(file.layout == .compact && file.configuration.canonicalText == source.configuration.canonicalText)
    #expect(try file.digest(threads: 2) == start)
    // What serving does with activations is no part of a digest.
    #expect(
      file.tensors.map { $0.quantization?.activations } == source.tensors.map { $0.quantization?.activations })
    var back = ConversionOptions(layout: source.layout)
    if source.layout == .meta { back.tensorParallel = model.shards }
    try convert(path("x.gguf"), to: path("back"), back)
    #expect(try digest(path("back")) == start)
    if source.layout == .huggingFace {
      let files = [fixture(model.name), path("back")].map { $0 + "/model.safetensors" }
      #expect(try Fixtures.bytes(URL(filePath: files[0])) == Fixtures.bytes(URL(filePath: files[1])))
    }
  }

  @Test(
    "Recipes give the tensors that they give in Hugging Face's layout, and the file goes there",
    arguments: FP8Recipe.allCases.filter { !$0.storesActivationScales })
  func recipes(_ recipe: FP8Recipe) throws {
    try convert(fixture("tiny"), to: path("hf"), ConversionOptions(target: .fp8(recipe)))
    try convert(fixture("tiny"), to: path("x.gguf"), compact(.fp8(recipe), compresses: true))
    #expect(try digest(path("x.gguf")) == digest(path("hf")))
    try convert(path("x.gguf"), to: path("back"), ConversionOptions(layout: .huggingFace))
    #expect(try tensors(ofModelAt: path("back")) == tensors(ofModelAt: path("hf")))
    #expect(
      try contents(ofDirectory: path("back"))["config.json"] == contents(ofDirectory: path("hf"))["config.json"])
    // Without a layout, a compact file stays one.
    try convert(path("x.gguf"), to: path("again.gguf"), ConversionOptions(compresses: true))
    #expect(
      try Fixtures.bytes(folder.file("again.gguf")).count == Fixtures.bytes(folder.file("x.gguf")).count)
  }

  @Test("Groups of int4 take half a byte for each code, and become Meta's shards")
  func int4() throws {
    try convert(fixture("tiny"), to: path("x.gguf"), compact(.int4Meta))
    try convert(fixture("tiny"), to: path("meta"), ConversionOptions(target: .int4Meta, layout: .meta))
    #expect(try digest(path("x.gguf")) == digest(path("meta")))
    let file = try CompactFile(path: path("x.gguf"))
    #expect(file.encoding(of: "blk.0.attn_q.weight") == .int4 && file.encoding(of: "token_embd.weight") == .plain)
    try convert(path("x.gguf"), to: path("mp2"), ConversionOptions(layout: .meta, tensorParallel: 2))
    #expect(try digest(path("mp2")) == digest(path("meta")))
  }

  @Test("ggml's blocks are carried, and go back to a GGUF")
  func blocks() throws {
    let gguf = ConversionOptions(layout: .gguf)
    try convert(fixture("tiny"), to: path("q.gguf"), ConversionOptions(target: .ggml(.q4_k_m), layout: .gguf))
    try convert(path("q.gguf"), to: path("x.gguf"), compact())
    #expect(try digest(path("x.gguf")) == digest(path("q.gguf")))
    try convert(path("x.gguf"), to: path("back.gguf"), gguf)
    #expect(try digest(path("back.gguf")) == digest(path("q.gguf")))
  }

  @Test("One file is a whole model: the files of the directory are inside, byte for byte, and come out again")
  func files() throws {
    let model = try ModelFolder()
    try Data("Do as you like.\n".utf8).write(to: model.file("LICENSE.txt"))
    try Data("{{ messages }}".utf8).write(to: model.file("chat_template.jinja"))
    let long = "tokenizer" + String(repeating: "x", count: 60)
    try Data([1]).write(to: model.file(long))
    let plan = try plan(model.path, compact())
    #expect(plan.sidecars.isEmpty && plan.leftBehind == [long])
    #expect(plan.warnings.contains { $0.contains(long) })
    try convert(model.path, to: path("x.gguf"), compact())
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted()
        == ["x.gguf", "x.gguf.llama-convert.json", "x.gguf.sha256"])
    try convert(path("x.gguf"), to: path("back"), ConversionOptions(layout: .huggingFace))
    let (before, after) = (try contents(ofDirectory: model.path), try contents(ofDirectory: path("back")))
    for name in before.keys where name != long && name != "config.json" {
      #expect(after[name] == before[name], "\(name)")
    }
  }

  @Test("The same bytes on any number of threads")
  func threads() throws {
    for threads in [1, 2, 5] {
      try convert(fixture("tiny"), to: path("\(threads).gguf"), compact(.fp8(.fp8), compresses: true, threads: threads))
      // Names differ, which is a key.
      let file = try CompactFile(path: path("\(threads).gguf"))
      let first = try CompactFile(path: path("1.gguf"))
      for tensor in file.tensors {
        #expect(file.checksum(of: tensor.name) == first.checksum(of: tensor.name))
        #expect(file.storedByteCount(of: tensor.name) == first.storedByteCount(of: tensor.name))
      }
    }
    let bytes = try Fixtures.bytes(folder.file("1.gguf"))
    for threads in [2, 5] {
      let other = try Fixtures.bytes(folder.file("\(threads).gguf"))
      #expect(bytes.count == other.count)
      #expect(zip(bytes, other).count { $0 != $1 } == 1, "the name is one digit")
    }
  }

  @Test("Options that go with other layouts are refused")
  func options() throws {
    func refusal(_ options: ConversionOptions, says: String) {
      let failure = #expect(throws: ConversionFailure.self) { try plan(fixture("tiny"), options) }
      #expect(failure?.kind == .usage && failure?.description.contains(says) == true, "\(String(describing: failure))")
    }
    refusal(ConversionOptions(layout: .huggingFace, compresses: true), says: "--compress")
    refusal(ConversionOptions(layout: .compact, tensorParallel: 2), says: "--tp")
    refusal(ConversionOptions(layout: .compact, maximumShardSize: 1_000_000), says: "--max-shard-size")
    refusal(compact(.ggml(.q4_0)), says: "--format gguf")
  }

  @Test("lint tells bytes that fail a checksum from values that are not numbers")
  func lint() throws {
    try convert(fixture("tiny"), to: path("x.gguf"), compact(compresses: true))
    let file = try GGUFFile(path: path("x.gguf"))
    let name = "blk.1.ffn_up.weight"
    let (start, tensor) = (try #require(file.fileOffset(of: name)), try #require(file.info(name)))
    var bytes = try Fixtures.bytes(folder.file("x.gguf"))
    bytes[Int(start) + tensor.byteCount / 2] ^= 1
    try Data(bytes).write(to: folder.file("x.gguf"))
    let report = try LintReport(ofCheckpointAt: path("x.gguf"), readsValues: true, threads: 2)
    #expect(report.findings.filter { $0.severity == .error }.map(\.code) == [.wrongChecksum, .unreadableTensor])
    #expect(report.findings.contains { $0.message.contains(name) })
  }

  @Test("config.json and the keys say the same, or the file is refused")
  func contradiction() throws {
    try convert(fixture("tiny"), to: path("x.gguf"), compact(.fp8(.fp8)))
    var bytes = try Fixtures.bytes(folder.file("x.gguf"))
    // In config.json the strategy is "channel"; of the same length: it is then none of one scale per tensor.
    let (old, new) = (Array("\"strategy\": \"channel\"".utf8), Array("\"strategy\": \"tensor\" ".utf8))
    let place = try #require(bytes.firstRange(of: old))
    bytes.replaceSubrange(place, with: new)
    try Data(bytes).write(to: folder.file("x.gguf"))
    let failure = #expect(throws: ParseFailure.self) { try Checkpoint(path: path("x.gguf")) }
    #expect(failure?.message.contains("config.json says tensor") == true, "\(String(describing: failure))")
  }
}
