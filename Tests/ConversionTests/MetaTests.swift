import ByteIO
import Checkpoints
import Conversion
import Foundation
import Llama
import Quantization
import Support
import Tensors
import Testing
import TorchFormat

private func fixture(_ name: String) -> String { Fixtures.bundled(name).path }

private func meta(_ shards: Int?, target: TargetType = .unchanged, threads: Int = 2) -> ConversionOptions {
  ConversionOptions(target: target, layout: .meta, tensorParallel: shards, threads: threads)
}

private func safetensors(threads: Int = 2) -> ConversionOptions {
  ConversionOptions(layout: .huggingFace, threads: threads)
}

@Suite("Meta layouts")
struct MetaTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  /// The shards were written by torch.save from the Hugging Face directory's tensors, cut and permuted by the fixture's
  /// makers: equal digests prove names, cuts, row order and copies.
  @Test(
    "Every Meta form of one model has the digest of the Hugging Face directory",
    arguments: ["mp2", "mp8_kvrep", "l1_views_mp2", "mp1_legacy"])
  func digests(_ form: String) throws {
    #expect(try digest(fixture("tiny_meta/\(form)")) == digest(fixture("tiny_meta/hf")))
  }

  @Test(
    "Through 8, 2, 4 and 1 shards and back: digests stay, and so does the file", arguments: ["tiny", "tiny_meta/hf"])
  func chain(_ model: String) throws {
    let start = try digest(fixture(model))
    var current = fixture(model)
    for (step, shards) in [8, 2, 4, 1].enumerated() {
      let next = path("\(step)")
      let check = try convert(current, to: next, meta(shards))
      #expect(check.provenEqual == start.tensors.count && check.checkedValues == 0)
      let opened = try Checkpoint(path: next)
      #expect(opened.layout == .meta && opened.shardCount == shards)
      #expect(try opened.digest(threads: 2) == start)
      current = next
    }
    try convert(current, to: path("hf"), safetensors())
    #expect(try digest(path("hf")) == start)
    let (before, after) = (fixture(model) + "/model.safetensors", path("hf") + "/model.safetensors")
    #expect(try Fixtures.bytes(URL(filePath: before)) == Fixtures.bytes(URL(filePath: after)))
  }

  /// Llama 2 cuts the embedding by columns; the shards were written by torch.save.
  @Test("The cut of the embedding is the generation's, through other shards and through Hugging Face's layout")
  func columnCut() throws {
    let source = fixture("tiny_meta/l2_mp2")
    try convert(source, to: path("8"), meta(8))
    try convert(path("8"), to: path("hf"), safetensors())
    try convert(path("hf"), to: path("2"), meta(2))
    for name in ["8", "hf", "2"] { #expect(try digest(path(name)) == digest(source)) }
    for rank in 0...1 {
      let file = "/consolidated.0\(rank).pth"
      let (ours, theirs) = (try TorchFile(path: path("2") + file), try TorchFile(path: source + file))
      #expect(ours.info("tok_embeddings.weight")?.shape == [512, 32])
      for tensor in ours.tensors { #expect(try ours.bytes(of: tensor.name) == theirs.bytes(of: tensor.name)) }
    }
  }

  @Test("Other shards than the input's are as many as asked for; none asked for, as many as there were")
  func shardCounts() throws {
    try convert(fixture("tiny_meta/mp2"), to: path("same"), meta(nil))
    #expect(try Checkpoint(path: path("same")).shardCount == 2)
    try convert(fixture("tiny_meta/mp8_kvrep"), to: path("four"), meta(4))
    #expect(try Checkpoint(path: path("four")).shardCount == 4)
    let failure = #expect(throws: ConversionFailure.self) {
      try convert(fixture("tiny_meta/mp2"), to: path("three"), meta(3))
    }
    #expect(failure?.kind == .usage && failure?.message.contains("1, 2, 4, 8") == true)
    #expect(!FileManager.default.fileExists(atPath: path("three")))
  }

  @Test("A tied head shares the embedding's storage, and every form of it is read")
  func tied() throws {
    try convert(fixture("tiny"), to: path("meta"), meta(1))
    let file = try TorchFile(path: path("meta") + "/consolidated.00.pth")
    #expect(file.areAliases("output.weight", "tok_embeddings.weight"))
    #expect(try Checkpoint(path: fixture("tiny_meta/mp1_odd")).configuration.tiesEmbeddings)
  }

  @Test("The same directories on 1, 2 and 3 threads")
  func threads() throws {
    for target in [TargetType.unchanged, .element(.f32)] {
      var outputs: [[String: [UInt8]]] = []
      for threads in 1...3 {
        let output = path("\(target)-\(threads)")
        try convert(fixture("tiny"), to: output, meta(4, target: target, threads: threads))
        outputs.append(try contents(ofDirectory: output))
      }
      #expect(outputs[0].keys.contains("consolidated.03.pth") && outputs[0].keys.contains("params.json"))
      #expect(outputs[0] == outputs[1] && outputs[0] == outputs[2])
    }
  }

  @Test("FP8 of a Meta checkpoint is a Hugging Face directory, the same as from safetensors")
  func fp8() throws {
    try convert(fixture("tiny_meta/mp2"), to: path("fromMeta"), ConversionOptions(target: .fp8(.fp8)))
    try convert(fixture("tiny_meta/hf"), to: path("fromHF"), ConversionOptions(target: .fp8(.fp8)))
    #expect(try digest(path("fromMeta")) == digest(path("fromHF")))
    let failure = #expect(throws: ConversionFailure.self) {
      try convert(fixture("tiny_meta/mp2"), to: path("x"), meta(2, target: .fp8(.fp8)))
    }
    #expect(failure?.kind == .usage)
    let quantized = #expect(throws: ConversionFailure.self) { try convert(path("fromHF"), to: path("x"), meta(2)) }
    #expect(quantized?.kind == .usage && quantized?.message.contains("--to bf16") == true)
    try convert(path("fromHF"), to: path("bf16"), meta(2, target: .element(.bf16)))
    #expect(try Checkpoint(path: path("bf16")).shardCount == 2)
  }

  /// In a header, in a tensor, in a data descriptor, in the central directory.
  @Test(
    "The self-check finds a changed byte wherever it is in a staged shard", arguments: [4, 3000, 700_000, -40, -200])
  func selfCheck(_ place: Int) throws {
    let plan = try ConversionPlan(
      try Checkpoint(path: fixture("tiny")), output: path("out"), options: meta(2))
    let run = try ConversionRun(plan)
    let file = URL(filePath: run.staging.file("consolidated.01.pth"))
    var bytes = try Fixtures.bytes(file)
    bytes[place < 0 ? bytes.count + place : place] ^= 0x10
    try Data(bytes).write(to: file)
    let failure = #expect(throws: ConversionFailure.self) { try SelfCheck(run) }
    #expect(failure?.kind == .selfCheck)
    try run.staging.discard()
  }

  @Test("Meta's FP8 is converted only where a type is asked for, and only with all of its scales")
  func metaFP8() throws {
    let failure = #expect(throws: ConversionFailure.self) {
      try convert(fixture("tiny_meta/fp8_mp2"), to: path("x"), safetensors())
    }
    #expect(failure?.kind == .usage && failure?.message.contains("--to bf16") == true)
    let check = try convert(
      fixture("tiny_meta/fp8_mp2"), to: path("bf16"), ConversionOptions(target: .element(.bf16), tensorParallel: 4))
    #expect(check.checkedValues == 6 && check.provenEqual == 33)
    #expect(try Checkpoint(path: path("bf16")).shardCount == 4)
    for (missing, word) in [("fp8_scales_1.pt", "fp8_scales_1.pt"), ("fp8_scales_0.pt", "fp8_scales_0.pt")] {
      let input = folder.file("without")
      try FileManager.default.copyItem(at: Fixtures.bundled("tiny_meta/fp8_mp2"), to: input)
      try FileManager.default.removeItem(at: input.appending(path: missing))
      let failure = #expect(throws: ParseFailure.self) { try Checkpoint(path: input.path) }
      #expect(failure?.message.contains(word) == true)
      try FileManager.default.removeItem(at: input)
    }
  }

  @Test("Mistral's form, one consolidated.safetensors with Meta's names, is read")
  func consolidatedSafetensors() throws {
    try convert(fixture("tiny_meta/hf"), to: path("pth"), meta(1))
    let file = try TorchFile(path: path("pth") + "/consolidated.00.pth")
    var tensors: [String: SafetensorsBytes.Tensor] = [:]
    for info in file.tensors {
      tensors[info.name] = SafetensorsBytes.Tensor(
        type: info.elementType.rawValue, shape: info.shape.dimensions, bytes: try file.bytes(of: info.name))
    }
    try FileManager.default.createDirectory(at: folder.file("mistral"), withIntermediateDirectories: false)
    try FileManager.default.copyItem(at: folder.file("pth/params.json"), to: folder.file("mistral/params.json"))
    try SafetensorsBytes(tensors: tensors).write(to: folder.file("mistral/consolidated.safetensors"))
    #expect(try digest(path("mistral")) == digest(fixture("tiny_meta/hf")))
    let check = try convert(path("mistral"), to: path("two"), meta(2))
    #expect(check.provenEqual == 21)
  }

  @Test("--tp belongs to Meta's layout")
  func misuse() throws {
    let options = ConversionOptions(tensorParallel: 2)
    let failure = #expect(throws: ConversionFailure.self) { try convert(fixture("tiny"), to: path("x"), options) }
    #expect(failure?.kind == .usage && failure?.message.contains("--format pth") == true)
  }
}

@Suite("Damaged Meta checkpoints")
struct DamagedMetaTests {
  let folder: TemporaryFolder
  init() throws {
    folder = try TemporaryFolder()
    try FileManager.default.copyItem(at: Fixtures.bundled("tiny_meta/mp2"), to: folder.file("in"))
  }

  private var input: String { folder.file("in").path }
  private func shard(_ rank: Int) -> URL { folder.file("in/consolidated.0\(rank).pth") }

  private func refusal() throws -> ParseFailure {
    let failure = try #require(throws: ParseFailure.self) {
      try convert(input, to: folder.file("out").path, safetensors())
    }
    #expect(!FileManager.default.fileExists(atPath: folder.file("out").path))
    return failure
  }

  @Test("A flipped bit of a tensor is found by its record's CRC and named", arguments: [0, 1])
  func flippedBit(_ rank: Int) throws {
    var bytes = try Fixtures.bytes(shard(rank))
    let file = try TorchFile(path: shard(rank).path)
    // The bytes of this tensor stand once in the file.
    let name = "layers.1.feed_forward.w2.weight"
    let content = try file.bytes(of: name)
    let start = try #require(
      bytes.indices.dropLast(content.count).first { bytes[$0..<$0 + 64].elementsEqual(content[0..<64]) })
    bytes[start + 1000] ^= 1
    try Data(bytes).write(to: shard(rank))
    let failure = try refusal()
    // Small records are checked when the file is opened, and told by their own names.
    let names = [name, "consolidated.0\(rank)/data/"]
    #expect(names.contains { failure.item?.hasPrefix($0) == true } && failure.message.contains("CRC"), "\(failure)")
    #expect(failure.file == shard(rank).path)
  }

  @Test("Norms that differ between shards are named, with both shards")
  func differingReplicas() throws {
    let name = "layers.0.attention_norm.weight"
    try rewrite(1) { tensor, bytes in if tensor == name { bytes[5] ^= 1 } }
    let failure = try refusal()
    #expect(failure.item == name && failure.message.contains("row 2"))
    for rank in 0...1 { #expect(failure.message.contains("consolidated.0\(rank).pth")) }
  }

  @Test("A file that was copied over another is noticed")
  func copiedShard() throws {
    try FileManager.default.removeItem(at: shard(1))
    try FileManager.default.copyItem(at: shard(0), to: shard(1))
    let failure = try refusal()
    #expect(failure.description.contains("same bytes") && failure.description.contains("consolidated.01.pth"))
  }

  @Test("A missing shard is noticed, at the end and in between")
  func missingShard() throws {
    try FileManager.default.moveItem(at: shard(1), to: folder.file("in/consolidated.02.pth"))
    #expect(try refusal().description.contains("consolidated.01.pth"))
    try FileManager.default.removeItem(at: folder.file("in/consolidated.02.pth"))
    #expect(try refusal().file?.hasPrefix(input) == true)
  }

  @Test("A shard of another type is noticed")
  func otherType() throws {
    try rewrite(1, type: .f16) { _, _ in }
    let failure = try refusal()
    #expect(failure.file == shard(1).path && failure.message.contains("F16") && failure.message.contains("BF16"))
  }

  /// Origin of the sums: `md5sum`.
  @Test("checklist.chk is compared: swapped shards are found by it; the one we write is right")
  func checklist() throws {
    let written = folder.file("written").path
    try convert(input, to: written, meta(nil))
    let lines = try String(contentsOf: folder.file("written/checklist.chk"), encoding: .utf8)
    #expect(lines.contains("consolidated.01.pth") && lines.contains("params.json"))
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/md5sum")
    process.arguments = ["-c", "--quiet", "checklist.chk"]
    process.currentDirectoryURL = URL(filePath: written)
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)

    try FileManager.default.removeItem(at: folder.file("in"))
    try FileManager.default.copyItem(at: folder.file("written"), to: folder.file("in"))
    // It would find them too, and before.
    try FileManager.default.removeItem(at: folder.file("in/SHA256SUMS"))
    try FileManager.default.moveItem(at: shard(0), to: folder.file("aside"))
    try FileManager.default.moveItem(at: shard(1), to: shard(0))
    try FileManager.default.moveItem(at: folder.file("aside"), to: shard(1))
    let failure = try refusal()
    #expect(failure.message.contains("MD5") && failure.file == shard(0).path)
  }

  @Test("A checklist.chk that is none: the model opens and says so, a conversion refuses it unless told not to")
  func unreadableChecklist() throws {
    try "no sums here\n".write(to: folder.file("in/checklist.chk"), atomically: true, encoding: .utf8)
    let model = try Checkpoint(path: input)
    #expect(model.notes.contains { $0.contains("checklist.chk cannot be read") }, "\(model.notes)")
    #expect(try refusal().description.contains("line 1"))
    let options = ConversionOptions(layout: .huggingFace, threads: 2, checksSums: false)
    try convert(input, to: folder.file("out").path, options)
  }

  @Test("A file cut short at any of many places is refused")
  func truncated() throws {
    let bytes = try Fixtures.bytes(shard(0))
    for length in stride(from: 0, to: bytes.count, by: bytes.count / 23) {
      try Data(bytes[0..<length]).write(to: shard(0))
      #expect(try refusal().file == shard(0).path)
    }
  }

  /// Writes a shard anew with changed contents: CRCs are right, so that only comparing finds the change.
  private func rewrite(
    _ rank: Int, type: ElementType? = nil, _ change: (String, inout [UInt8]) -> Void
  ) throws {
    let source = try TorchFile(path: shard(rank).path)
    let tensors = try source.tensors.map {
      try TensorInfo(name: $0.name, elementType: type ?? $0.elementType, shape: $0.shape)
    }
    let layout = try TorchLayout(fileName: "consolidated.0\(rank).pth", tensors: tensors)
    let writer = try TorchWriter(creating: layout, in: folder.url.path)
    for tensor in tensors {
      var bytes = try source.bytes(of: tensor.name)
      change(tensor.name, &bytes)
      try writer.write(tensor.name, at: 0, bytes.span)
    }
    try writer.finish()
    try FileManager.default.removeItem(at: shard(rank))
    try FileManager.default.moveItem(at: folder.file(layout.fileName), to: shard(rank))
  }
}
