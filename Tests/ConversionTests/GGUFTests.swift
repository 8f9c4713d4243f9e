import ByteIO
import Checkpoints
import Conversion
import Foundation
import GGUFFormat
import Kernels
import Llama
import Quantization
import Support
import Tensors
import Testing

private func fixture(_ name: String) -> String { Fixtures.bundled(name).path }

private func gguf(_ target: TargetType = .unchanged, threads: Int = 2) -> ConversionOptions {
  ConversionOptions(target: target, layout: .gguf, threads: threads)
}

@Suite("GGUF as a layout")
struct GGUFTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  /// Norms go to F32 and come back to BF16, query and key rows to pairs and back.
  @Test(
    "Hugging Face, GGUF, Hugging Face, Meta, GGUF, Hugging Face: digests and the file stay",
    arguments: ["tiny", "tiny_meta/hf"])
  func chain(_ model: String) throws {
    let start = try digest(fixture(model))
    var current = fixture(model)
    for (name, options) in [
      ("1.gguf", gguf()), ("2", ConversionOptions(layout: .huggingFace)),
      ("3", ConversionOptions(layout: .meta, tensorParallel: 4)), ("4.gguf", gguf()),
      ("5", ConversionOptions(layout: .huggingFace)),
    ] {
      try convert(current, to: path(name), options)
      current = path(name)
      // The tokenizer too, which every layout has in another form.
      #expect(try digest(current) == start, "\(name)")
    }
    let (before, after) = (fixture(model) + "/model.safetensors", current + "/model.safetensors")
    #expect(try Fixtures.bytes(URL(filePath: before)) == Fixtures.bytes(URL(filePath: after)))
  }

  @Test("A name that ends in .gguf is the file, with its record and sum beside it; another a directory")
  func places() throws {
    try convert(fixture("tiny"), to: path("model.gguf"), gguf(.ggml(.q8_0)))
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted()
    #expect(names == ["model.gguf", "model.gguf.llama-convert.json", "model.gguf.sha256"])
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/sha256sum")
    process.arguments = ["-c", "--quiet", "model.gguf.sha256"]
    process.currentDirectoryURL = folder.url
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    try convert(fixture("tiny"), to: path("folder"), gguf(.ggml(.q8_0)))
    #expect(try Fixtures.bytes(folder.file("folder/folder.gguf")).count > 0)
    #expect(try digest(path("folder")) == digest(path("model.gguf")))

    let failure = #expect(throws: ConversionFailure.self) {
      try convert(fixture("tiny"), to: path("model.gguf"), gguf())
    }
    #expect(failure?.kind == .outputExists)
    var options = gguf()
    options.force = true
    try convert(fixture("tiny"), to: path("model.gguf"), options)
    #expect(try Checkpoint(path: path("model.gguf")).tensors[0].elementType == .bf16)
  }

  @Test("The file says what it was made from: sums of all input files, as sha256sum prints them")
  func inputDigest() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: fixture("tiny")).sorted()
    let lines = try names.map { name in
      "\(sha256(try Fixtures.bytes(Fixtures.bundled("tiny/\(name)"))))  \(name)\n"
    }
    let expected = sha256(Array(lines.joined().utf8))
    for (name, options) in [
      ("x.gguf", gguf(.ggml(.q8_0))), ("one.gguf", gguf(.ggml(.q8_0), threads: 1)),
      ("c.gguf", ConversionOptions(layout: .compact, compresses: true, threads: 2)),
    ] {
      try convert(fixture("tiny"), to: path(name), options)
      let file = try GGUFFile(path: path(name))
      let key = options.layout == .gguf ? "llama-convert.input_sha256" : "compact.input_sha256"
      #expect(file.metadata[key] == GGUFValue(expected), "\(name)")
    }
    var silent = gguf()
    silent.sumsFiles = false
    try convert(path("x.gguf"), to: path("copy.gguf"), silent)
    #expect(try GGUFFile(path: path("copy.gguf")).metadata["llama-convert.input_sha256"] == nil)
  }

  @Test("A split set is one model, and becomes one file again")
  func split() throws {
    var options = gguf()
    options.maximumShardSize = 1_500_000
    try convert(fixture("tiny"), to: path("set"), options)
    let names = try FileManager.default.contentsOfDirectory(atPath: path("set")).filter { $0.hasSuffix(".gguf") }
      .sorted()
    #expect(names.count > 2 && names[0] == "set-00001-of-0000\(names.count).gguf")
    let start = try digest(fixture("tiny"))
    #expect(try digest(path("set")).tensors == start.tensors)
    #expect(try digest(path("set") + "/" + names[1]).tensors == start.tensors)
    try convert(path("set"), to: path("one.gguf"), gguf())
    #expect(try digest(path("one.gguf")).tensors == start.tensors)
    var byCount = gguf()
    byCount.maximumShardTensors = 16
    try convert(fixture("tiny"), to: path("counted"), byCount)
    let counted = try FileManager.default.contentsOfDirectory(atPath: path("counted")).filter { $0.hasSuffix(".gguf") }
    // 38 tensors and the divisors of the RoPE frequencies.
    #expect(counted.count == 3)
    #expect(try digest(path("counted")).tensors == start.tensors)
    try FileManager.default.removeItem(atPath: path("set") + "/" + names[1])
    #expect(throws: (any Error).self) { try Checkpoint(path: path("set")) }
  }

  /// `tiny` has rows of 256 and 512: whole blocks of every type. Types by llama.cpp's mixture are tested with its own
  /// files; here that they reach the file, with the values that the kernels give.
  @Test("Blocks in the file are the kernels' own", arguments: [GGMLFileType.q4_0, .q5_1, .iq4_nl, .q4_k_m, .q6_k])
  func blocks(_ type: GGMLFileType) throws {
    let check = try convert(fixture("tiny"), to: path("x.gguf"), gguf(.ggml(type)))
    #expect(check.checkedValues == 38)
    let (source, made) = (try Checkpoint(path: fixture("tiny")), try Checkpoint(path: path("x.gguf")))
    for tensor in source.tensors {
      let written = try #require(made.tensor(tensor.role))
      #expect(written.elementType == type.elementType(of: tensor.role, in: source.configuration), "\(tensor.role)")
      guard let block = written.elementType.block else { continue }
      let values = try tensor.values(rows: 0..<tensor.rowCount)
      let format = BlockFormat(block)
      var expected = [UInt8](repeating: 0, count: values.count / format.elementCount * format.byteCount)
      var span = expected.mutableSpan
      BlockRows.quantize(
        values.span, columns: tensor.columnCount, format: format, into: &span, instructionSet: .scalar)
      #expect(try written.rows.bytes(rows: 0..<written.rowCount) == expected, "\(tensor.role)")
    }
    let file = try GGUFFile(path: path("x.gguf"))
    #expect(try file.metadata.requiredScalar("general.file_type", as: UInt32.self) == type.id)
    #expect(try file.metadata.requiredScalar("general.quantization_version", as: UInt32.self) == 2)
    #expect(file.tensors[0].name == "output_norm.weight" && file.tensors[1].name == "rope_freqs.weight")
  }

  @Test("The same file on 1, 2 and 3 threads")
  func threads() throws {
    let files = try (1...3).map { threads in
      try convert(fixture("tiny"), to: path("\(threads)/x.gguf", in: threads), gguf(.ggml(.q4_k_m), threads: threads))
      return try Fixtures.bytes(folder.file("\(threads)/x.gguf"))
    }
    #expect(files[0] == files[1] && files[0] == files[2])
  }

  private func path(_ name: String, in directory: Int) throws -> String {
    try FileManager.default.createDirectory(at: folder.file("\(directory)"), withIntermediateDirectories: false)
    return path(name)
  }

  @Test("What is quantized is copied as it is, with all keys, or made plain; not rounded again unless that is said")
  func requantizing() throws {
    try convert(fixture("tiny"), to: path("q.gguf"), gguf(.ggml(.q8_0)))
    try convert(path("q.gguf"), to: path("copy.gguf"), gguf())
    #expect(try digest(path("copy.gguf")) == digest(path("q.gguf")))
    // All keys but the one that says what the file was made from.
    var bytes = try ["q.gguf", "copy.gguf"].map { name in try Fixtures.bytes(folder.file(name)) }
    for index in bytes.indices {
      let key = Array("llama-convert.input_sha256".utf8)
      let place = try #require(bytes[index].firstRange(of: key)?.upperBound)
      // The type and the length of the value are in front of it.
      bytes[index].removeSubrange(place + 12..<place + 76)
    }
    #expect(bytes[0] == bytes[1])
    for target in [TargetType.ggml(.q4_0), .ggml(.q4_k_m)] {
      let failure = #expect(throws: ConversionFailure.self) { try convert(path("q.gguf"), to: path("x"), gguf(target)) }
      #expect(failure?.kind == .usage && failure?.message.contains("--allow-requantize") == true)
    }
    var options = gguf(.ggml(.q4_0))
    options.allowsRequantizing = true
    try convert(path("q.gguf"), to: path("twice.gguf"), options)
    for layout in [Checkpoint.Layout.huggingFace, .meta] {
      let failure = #expect(throws: ConversionFailure.self) {
        try convert(path("q.gguf"), to: path("x"), ConversionOptions(layout: layout))
      }
      #expect(failure?.kind == .usage && failure?.message.contains("--to bf16") == true)
    }
    try convert(path("q.gguf"), to: path("f32"), ConversionOptions(target: .element(.f32), layout: .huggingFace))
    let (one, other) = (try Checkpoint(path: path("q.gguf")), try Checkpoint(path: path("f32")))
    for tensor in one.tensors {
      let plain = try #require(other.tensor(tensor.role))
      #expect(try plain.values(rows: 0..<plain.rowCount) == tensor.values(rows: 0..<tensor.rowCount))
    }
    // FP8 has no place in a GGUF, and is rounded once more only when that is said.
    try convert(fixture("tiny"), to: path("fp8"), .fp8(.fp8))
    for target in [TargetType.unchanged, .ggml(.q8_0)] {
      #expect(throws: ConversionFailure.self) { try convert(path("fp8"), to: path("x.gguf"), gguf(target)) }
    }
    try convert(path("fp8"), to: path("fp8.gguf"), gguf(.element(.bf16)))
  }

  @Test("Keys that mean nothing here are carried from GGUF to GGUF")
  func unknownKeys() throws {
    try convert(fixture("tiny_meta/hf"), to: path("a.gguf"), gguf())
    let file = try GGUFFile(path: path("a.gguf"))
    var metadata = file.metadata
    metadata.set("general.license", to: GGUFValue("mit"))
    metadata.set("somebody.else", to: .array(GGUFArray([Int64(1), 2, 3])))
    try write(file, with: metadata, as: "b")
    try convert(path("b.gguf"), to: path("c.gguf"), gguf(.ggml(.q8_0)))
    let found = try GGUFFile(path: path("c.gguf")).metadata
    #expect(try found.string("general.license") == "mit")
    let carried = found["somebody.else"]
    #expect(carried == GGUFValue.array(GGUFArray([Int64(1), 2, 3])))
    #expect(try found.requiredScalar("general.file_type", as: UInt32.self) == 7)
  }

  @Test("--tensor-type gives tensors a type of their own; a pattern without a tensor is an error")
  func overrides() throws {
    var options = gguf(.ggml(.q4_0))
    options.tensorTypes = [try #require(TensorTypeOverride("re:blk\\.1\\.ffn_.*=q8_0"))]
    try convert(fixture("tiny"), to: path("x.gguf"), options)
    let made = try Checkpoint(path: path("x.gguf"))
    #expect(made.tensor(.layer(1, .up))?.elementType == .block(.q8_0))
    #expect(made.tensor(.layer(2, .up))?.elementType == .block(.q4_0))
    options.tensorTypes = [try #require(TensorTypeOverride("blk.9.attn_q=f16"))]
    let failure = #expect(throws: ConversionFailure.self) { try convert(fixture("tiny"), to: path("y.gguf"), options) }
    #expect(failure?.kind == .usage && failure?.message.contains("matches no tensor") == true)
    for text in ["q8_0", "=q8_0", "a=", "a=iq2_xs", "a=fp8"] { #expect(TensorTypeOverride(text) == nil, "\(text)") }
  }

  @Test("A damaged block is found by the self-check", arguments: [TargetType.ggml(.q4_k_m), .element(.bf16)])
  func selfCheck(_ target: TargetType) throws {
    for place in [40, 5000, -5000] {
      let run = try ConversionRun(
        try ConversionPlan(try Checkpoint(path: fixture("tiny")), output: path("out.gguf"), options: gguf(target)))
      let file = URL(filePath: run.staging.file("out.gguf"))
      var bytes = try Fixtures.bytes(file)
      bytes[place < 0 ? bytes.count + place : place] ^= 0x11
      try Data(bytes).write(to: file)
      let failure = #expect(throws: ConversionFailure.self) { try SelfCheck(run) }
      #expect(failure?.kind == .selfCheck)
      try run.staging.discard()
    }
  }

  /// The tensors of a file with other keys.
  private func write(_ file: GGUFFile, with metadata: GGUFMetadata, as name: String) throws {
    let plan = try GGUFSplitPlan(file.tensors, metadata: metadata, name: name)
    let writer = try GGUFWriter(creating: plan.pieces, in: folder.url.path)
    for tensor in file.tensors {
      let bytes = try file.bytes(of: tensor.name)
      try writer.write(tensor.name, at: 0, bytes.span)
    }
    try writer.finish()
  }

  /// Keys changed in a sound file: what is found wrong is named by its key.
  @Test("Configurations that cannot be are refused by their keys")
  func refusals() throws {
    try convert(fixture("tiny_meta/hf"), to: path("a.gguf"), gguf())
    let file = try GGUFFile(path: path("a.gguf"))
    let changes: [(key: String, value: GGUFValue?)] = [
      ("general.architecture", GGUFValue("qwen2")), ("general.architecture", nil),
      ("llama.block_count", .uint32(0)), ("llama.block_count", .int32(2)), ("llama.block_count", nil),
      ("llama.attention.head_count", .uint32(0)), ("llama.attention.head_count_kv", .uint32(3)),
      ("llama.embedding_length", .uint32(.max)), ("llama.attention.layer_norm_rms_epsilon", .float32(.nan)),
      ("llama.attention.layer_norm_rms_epsilon", nil), ("llama.rope.freq_base", .float32(-1)),
      ("llama.expert_count", .uint32(8)), ("llama.rope.scaling.type", GGUFValue("yarn")),
      ("llama.attention.key_length", .uint32(10)), ("llama.rope.dimension_count", .uint32(4)),
      ("general.type", GGUFValue("adapter")),
    ]
    for (number, change) in changes.enumerated() {
      var metadata = file.metadata
      if let value = change.value { metadata.set(change.key, to: value) } else { metadata.remove(change.key) }
      if change.key.hasSuffix("scaling.type") { metadata.set("llama.rope.scaling.factor", to: .float32(4)) }
      try write(file, with: metadata, as: "\(number)")
      let failure = #expect(throws: ParseFailure.self, "\(change)") { try Checkpoint(path: path("\(number).gguf")) }
      #expect(failure?.item == change.key || failure?.file != nil, "\(change): \(failure?.description ?? "")")
    }
  }

  /// Numbers that FLOAT32 does not hold, and scalings that no published model has: all under keys of our own.
  @Test(
    "Every configuration comes back from a GGUF as it was",
    arguments: [
      ("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1.00000001e-05"),
      ("\"rope_theta\": 500000.0", "\"rope_theta\": 500000.01"),
      ("\"factor\": 8.0", "\"factor\": 8.3"), ("\"high_freq_factor\": 4.0", "\"high_freq_factor\": 8.0"),
      ("\"original_max_position_embeddings\": 8192", "\"original_max_position_embeddings\": 131072"),
    ])
  func configurations(_ from: String, _ to: String) throws {
    let model = try ModelFolder()
    try model.replaceInConfiguration(from, with: to)
    try convert(model.path, to: path("x.gguf"), gguf())
    #expect(try digest(path("x.gguf")) == digest(model.path))
    #expect(try digest(path("x.gguf")).configuration != digest(fixture("tiny")).configuration)
  }

  @Test("F32 norms of a BF16 model stay F32")
  func wideNorms() throws {
    var model = TinyCheckpoint(TinyCheckpoint.Dimensions { $0.hidden = 64 })
    for index in model.tensors.indices where model.tensors[index].shape.count == 1 {
      let values = ElementType.bf16.values(of: model.tensors[index].bytes)
      model.tensors[index].elementType = .f32
      model.tensors[index].bytes = ElementType.f32.bytes(of: values)
    }
    try model.write(to: folder.file("hf"))
    try convert(path("hf"), to: path("x.gguf"), gguf())
    #expect(try digest(path("x.gguf")) == digest(path("hf")))
    #expect(try Checkpoint(path: path("x.gguf")).tensor(.outputNorm)?.elementType == .f32)
  }

  @Test("Options that would do nothing are refused")
  func idleOptions() throws {
    let override = try #require(TensorTypeOverride("re:.*=q8_0"))
    let norm = try #require(TensorTypeOverride("output_norm.weight=f16"))
    let wide = try #require(TensorTypeOverride("blk.0.attn_q.weight=q4_k"))
    let cases: [(options: ConversionOptions, model: String)] = [
      (ConversionOptions(target: .fp8(.fp8), layout: .gguf), "tiny"),
      (ConversionOptions(target: .fp8(.fp8Meta), layout: .gguf), "tiny"),
      (ConversionOptions(target: .int4Meta, layout: .gguf), "tiny"),
      (ConversionOptions(target: .ggml(.q8_0), layout: .meta), "tiny"),
      (ConversionOptions(target: .fp8(.fp8), tensorTypes: [override]), "tiny"),
      (ConversionOptions(target: .ggml(.q4_0), tensorTypes: [norm]), "tiny"),
      (ConversionOptions(target: .ggml(.q4_0), tensorTypes: [wide]), "tiny_meta/hf"),
      (ConversionOptions(layout: .meta, maximumShardSize: 1000), "tiny"),
      (ConversionOptions(target: .fp8(.fp8Meta), layout: .meta, tensorParallel: 1000), "tiny"),
    ]
    for (options, model) in cases {
      let failure = #expect(throws: ConversionFailure.self) { try plan(fixture(model), options) }
      #expect(failure?.kind == .usage)
    }
  }

  @Test("Neither an input nor a directory nor another file's evidence is replaced")
  func replacements() throws {
    var options = gguf()
    options.maximumShardSize = 2_000_000
    try convert(fixture("tiny"), to: path("set"), options)
    options = gguf()
    options.force = true
    let pieces = try FileManager.default.contentsOfDirectory(atPath: path("set")).filter { $0.hasSuffix(".gguf") }
      .sorted()
    func refusal(_ input: String, _ output: String, _ options: ConversionOptions) throws -> ConversionFailure? {
      #expect(throws: ConversionFailure.self) { try convert(input, to: output, options) }
    }
    let first = path("set") + "/" + pieces[0]
    #expect(try refusal(first, path("set") + "/" + pieces[1], options)?.kind == .outputPlace)
    try FileManager.default.createDirectory(at: folder.file("d.gguf"), withIntermediateDirectories: false)
    #expect(try refusal(fixture("tiny"), path("d.gguf"), options)?.kind == .outputExists)
    try Data("mine".utf8).write(to: folder.file("e.gguf.sha256"))
    #expect(try refusal(fixture("tiny"), path("e.gguf"), gguf())?.kind == .outputExists)
    #expect(try Fixtures.bytes(folder.file("e.gguf.sha256")) == Array("mine".utf8))
    // With --force all three are the new one's, and no sum of an older one stays.
    options.sumsFiles = false
    try convert(fixture("tiny"), to: path("e.gguf"), options)
    #expect(!FileManager.default.fileExists(atPath: path("e.gguf.sha256")))
    #expect(FileManager.default.fileExists(atPath: path("e.gguf.llama-convert.json")))
  }

  @Test("Licences go into directories, from GGUFs too; what a single file cannot take is named")
  func notices() throws {
    let model = try ModelFolder()
    try Data("licence".utf8).write(to: model.file("LICENSE"))
    try convert(model.path, to: path("folder"), gguf(.ggml(.q8_0)))
    try convert(path("folder"), to: path("hf"), ConversionOptions(target: .element(.bf16), layout: .huggingFace))
    #expect(try Fixtures.bytes(folder.file("hf/LICENSE")) == Array("licence".utf8))
    let single = try plan(model.path, gguf(), output: path("x.gguf"))
    #expect(single.sidecars.isEmpty && single.leftBehind.contains("LICENSE"))
    #expect(!single.leftBehind.contains("tokenizer.json"), "that is inside")
  }
}
