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

private func meta(_ shards: Int?, _ target: TargetType = .unchanged, threads: Int = 2) -> ConversionOptions {
  ConversionOptions(target: target, layout: .meta, tensorParallel: shards, threads: threads)
}

private let safetensors = ConversionOptions(layout: .huggingFace, threads: 2)

@Suite("Meta's quantized checkpoints")
struct MetaQuantizationTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  private func torch(_ path: String) throws -> [String: (info: TensorInfo, bytes: [UInt8])] {
    let file = try TorchFile(path: path)
    return Dictionary(
      uniqueKeysWithValues: try file.tensors.map { ($0.name, (info: $0, bytes: try file.bytes(of: $0.name))) })
  }

  /// Origin: the fixture's codes and scales are torchao's formulas in torch, applied to the weights of `hf`.
  @Test("int4-meta has the codes and scales of the published form, byte for byte")
  func int4() throws {
    let check = try convert(fixture("tiny_meta/hf"), to: path("int4"), meta(nil, .int4Meta))
    #expect(check.checkedValues == 16 && check.provenEqual == 5)
    let ours = try torch(path("int4") + "/consolidated.00.pth")
    let theirs = try torch(fixture("tiny_meta/int4_qlora_mp1/consolidated.00.pth")).filter {
      !$0.key.contains(".adaptor.")
    }
    #expect(Set(ours.keys) == Set(theirs.keys) && ours.count == 37)
    for (name, tensor) in theirs {
      #expect(ours[name]?.info == tensor.info && ours[name]?.bytes == tensor.bytes, "\(name)")
    }
    let parameters = try foundationJSON(path("int4") + "/params.json")
    let arguments = try #require(parameters["quantization_args"] as? [String: Any])
    #expect(arguments["scheme"] as? String == "int4_weight_int8_dynamic_activation")
    #expect(arguments["group_size"] as? Int == 32 && parameters["lora_args"] == nil)
  }

  @Test("int4 codes stay through other shards; groups that would be cut are refused")
  func int4Shards() throws {
    // `tiny` ties its head: codes and scales of the embedding are stored once.
    try convert(fixture("tiny"), to: path("1"), meta(1, .int4Meta))
    let file = try TorchFile(path: path("1") + "/consolidated.00.pth")
    #expect(file.areAliases("output.weight", "tok_embeddings.weight"))
    #expect(file.areAliases("output.scales", "tok_embeddings.scales"))
    var current = path("1")
    let start = try digest(current)
    for shards in [4, 2, 1] {
      let check = try convert(current, to: path("from-\(shards)"), meta(shards))
      #expect(check.provenEqual == start.tensors.count)
      current = path("from-\(shards)")
      #expect(try digest(current) == start)
    }
    for name in ["consolidated.00.pth", "params.json"] {
      #expect(try Fixtures.bytes(folder.file("1/\(name)")) == Fixtures.bytes(folder.file("from-1/\(name)")))
    }
    let cut = #expect(throws: ConversionFailure.self) {
      try convert(fixture("tiny_meta/hf"), to: path("x"), meta(2, .int4Meta))
    }
    #expect(cut?.kind == .usage && cut?.message.contains("groups of 32") == true)
    let merged = #expect(throws: ConversionFailure.self) { try convert(path("1"), to: path("x"), safetensors) }
    #expect(merged?.kind == .usage && merged?.message.contains("--to bf16") == true)
  }

  @Test("Adapters are copied with their codes, folded into plain weights, and not cut")
  func adapters() throws {
    let source = fixture("tiny_meta/int4_qlora_mp1")
    let check = try convert(source, to: path("copy"), meta(nil))
    #expect(check.provenEqual == 21)
    #expect(try digest(path("copy")) == digest(source))
    let (ours, theirs) = (
      try torch(path("copy") + "/consolidated.00.pth"), try torch(source + "/consolidated.00.pth")
    )
    #expect(ours.count == theirs.count && ours.count == 65)
    for (name, tensor) in theirs { #expect(ours[name]?.bytes == tensor.bytes, "\(name)") }
    let failure = #expect(throws: ConversionFailure.self) { try convert(source, to: path("x"), meta(2)) }
    #expect(failure?.kind == .usage && failure?.message.contains("adapter") == true)
    try convert(
      source, to: path("f32"), ConversionOptions(target: .element(.f32), layout: .huggingFace, threads: 2))
    let (one, other) = (try Checkpoint(path: source), try Checkpoint(path: path("f32")))
    for tensor in one.tensors where tensor.quantization != nil {
      let plain = try #require(other.tensor(tensor.role))
      #expect(try plain.values(rows: 0..<plain.rowCount) == tensor.values(rows: 0..<tensor.rowCount))
    }
  }

  /// Independent: the sums of Sylvester's matrix over the codes times scales.
  @Test("SpinQuant's rotation is folded into w2 and nothing else")
  func spinQuant() throws {
    try convert(fixture("tiny"), to: path("plain"), meta(1, .int4Meta))
    try FileManager.default.copyItem(at: folder.file("plain"), to: folder.file("spin"))
    let parameters = folder.file("spin/params.json")
    let text = try String(contentsOf: parameters, encoding: .utf8)
    let changed = text.replacingOccurrences(of: "\"spinquant\": false", with: "\"spinquant\": true")
    #expect(changed != text)
    try Data(changed.utf8).write(to: parameters)
    for name in ["checklist.chk", "SHA256SUMS"] { try FileManager.default.removeItem(at: folder.file("spin/" + name)) }
    let (plain, spun) = (try Checkpoint(path: path("plain")), try Checkpoint(path: path("spin")))
    #expect(spun.notes.contains { $0.contains("SpinQuant") })
    for tensor in plain.tensors {
      let other = try #require(spun.tensor(tensor.role))
      let (values, found) = (try tensor.values(rows: 0..<3), try other.values(rows: 0..<3))
      guard case .layer(_, .down) = tensor.role else {
        #expect(values == found)
        continue
      }
      let columns = tensor.columnCount
      for index in [0, 1, 77, columns - 1, columns, 2 * columns + 300] {
        var sum = 0.0
        for column in 0..<columns {
          let sign = (index % columns & column).nonzeroBitCount % 2 == 0 ? 1.0 : -1.0
          sum += sign * Double(values[index / columns * columns + column])
        }
        #expect(abs(Double(found[index]) - sum / Double(columns).squareRoot()) < 1e-5)
      }
    }
    // The codes are carried over with the word that they are rotated.
    try convert(path("spin"), to: path("again"), meta(2))
    #expect(try digest(path("again")) == digest(path("spin")))
    #expect(try digest(path("again")).model != digest(path("plain")).model)
  }

  @Test("Rotations of other sizes than powers of two, zero points and stray adapters are refused")
  func refusals() throws {
    let source = fixture("tiny_meta/int4_qlora_mp1")
    func edited(_ name: String, _ from: String, _ to: String) throws -> String {
      try FileManager.default.copyItem(at: URL(filePath: source), to: folder.file(name))
      let parameters = folder.file("\(name)/params.json")
      let text = try String(contentsOf: parameters, encoding: .utf8)
      try Data(text.replacingOccurrences(of: from, with: to).utf8).write(to: parameters)
      return path(name)
    }
    for (name, from, to, word) in [
      ("rotated", "\"group_size\": 32", "\"group_size\": 32, \"spinquant\": true", "powers of two"),
      ("stray", "\"lora_args\"", "\"other\"", "adaptor"),
      ("groups", "\"group_size\": 32", "\"group_size\": 64", "shape"),
      ("plain", "\"quantization_args\"", "\"other\"", "scales"),
    ] {
      let input = try edited(name, from, to)
      let failure = #expect(throws: ParseFailure.self, "\(name)") { try Checkpoint(path: input) }
      #expect(failure?.description.contains(word) == true, "\(name): \(failure?.description ?? "")")
    }
  }

  /// Row maxima and codes of each shard's own columns: the Hugging Face form of the same recipe, which golden vectors pin
  /// down, of models that are the shards.
  @Test("fp8-meta in Meta's layout: each shard has scales of its own", arguments: [1, 2, 4])
  func fp8(_ shards: Int) throws {
    let check = try convert(fixture("tiny"), to: path("pth"), meta(shards, .fp8(.fp8Meta)))
    #expect(check.checkedValues == 6)
    let source = try Checkpoint(path: fixture("tiny"))
    for rank in 0..<shards {
      let codes = try torch(path("pth") + "/consolidated.0\(rank).pth")
      let scales = try torch(path("pth") + "/fp8_scales_\(rank).pt")
      #expect(scales.count == 6)
      for (layer, (part, stem)) in [1, 2].flatMap({ layer in
        [(LayerRole.gate, "w1"), (.up, "w3"), (.down, "w2")].map { (layer, $0) }
      }) {
        let tensor = try #require(source.tensor(.layer(layer, part)))
        let (rows, columns) = (tensor.rowCount, tensor.columnCount)
        let values = try tensor.values(rows: 0..<rows)
        let height = part == .down ? rows : rows / shards
        let width = part == .down ? columns / shards : columns
        let (top, left) = part == .down ? (0, rank * width) : (rank * height, 0)
        var expected: [Float] = []
        for row in top..<top + height {
          let block = values[row * columns + left..<row * columns + left + width]
          expected.append(max((block.map(\.magnitude).max() ?? 0) / 448, 1 / (448 * 512)))
        }
        let found = try #require(scales["\(layer)_feed_forward.\(stem)_\(rank)"])
        #expect(found.info.shape == [height] && found.info.elementType == .f32)
        #expect(found.bytes == ElementType.f32.bytes(of: expected), "\(stem) of layer \(layer)")
        let weight = try #require(codes["layers.\(layer).feed_forward.\(stem).weight"])
        #expect(weight.info.elementType == .f8e4m3 && weight.info.shape == [height, width])
      }
      #expect(codes["layers.0.feed_forward.w1.weight"]?.info.elementType == .bf16)
      #expect(codes["layers.1.attention.wq.weight"]?.info.elementType == .bf16)
    }
    #expect(try Checkpoint(path: path("pth")).digest(threads: 2) == check.digest)
  }

  @Test("FP8 through Hugging Face's layout, 8 shards, 2 shards and back: digests and files stay")
  func fp8Chain() throws {
    try convert(fixture("tiny"), to: path("start"), ConversionOptions(target: .fp8(.fp8Meta)))
    let start = try digest(path("start"))
    var current = path("start")
    for (name, options) in [("8", meta(8)), ("2", meta(2)), ("hf", safetensors)] {
      let check = try convert(current, to: path(name), options)
      #expect(check.provenEqual == start.tensors.count && check.checkedValues == 0)
      #expect(try digest(path(name)) == start)
      current = path(name)
    }
    let (before, after) = (folder.file("start/model.safetensors"), folder.file("hf/model.safetensors"))
    #expect(try Fixtures.bytes(before) == Fixtures.bytes(after))
    #expect(try Checkpoint(path: path("hf")).quantization?.method == "compressed-tensors")
    // The same codes and scales in the layout that states the bound of activations, and back.
    try convert(path("2"), to: path("fbgemm"), ConversionOptions(target: .fp8(.fp8FBGEMM)))
    #expect(try Checkpoint(path: path("fbgemm")).quantization?.method == "fbgemm_fp8")
    #expect(try digest(path("fbgemm")) == start)
    try convert(path("fbgemm"), to: path("meta"), ConversionOptions(target: .fp8(.fp8Meta)))
    #expect(try Checkpoint(path: path("meta")).quantization?.method == "compressed-tensors")
  }

  @Test("FP8 whose shards have scaled their own columns is copied, and merged only by --to")
  func fp8Refusals() throws {
    let source = fixture("tiny_meta/fp8_mp2")
    let check = try convert(source, to: path("copy"), meta(nil))
    #expect(check.provenEqual == 39)
    #expect(try digest(path("copy")) == digest(source))
    for (name, options) in [("4", meta(4)), ("1", meta(1)), ("hf", safetensors)] {
      let failure = #expect(throws: ConversionFailure.self) { try convert(source, to: path(name), options) }
      #expect(failure?.kind == .usage && failure?.message.contains("--to bf16") == true)
      #expect(failure?.message.contains("layers.1.feed_forward.w2.weight") == true)
    }
    // All linears in FP8, BF16 scales: not Meta's form.
    try convert(fixture("tiny"), to: path("fp8"), ConversionOptions(target: .fp8(.fp8)))
    let failure = #expect(throws: ConversionFailure.self) { try convert(path("fp8"), to: path("x"), meta(2)) }
    #expect(failure?.kind == .usage && failure?.message.contains("feed-forward") == true)
  }

  @Test("The same quantized shards on 1, 2 and 3 threads", arguments: [TargetType.int4Meta, .fp8(.fp8Meta)])
  func threads(_ target: TargetType) throws {
    var outputs: [[String: [UInt8]]] = []
    for threads in 1...3 {
      try convert(fixture("tiny"), to: path("\(threads)"), meta(4, target, threads: threads))
      outputs.append(try contents(ofDirectory: path("\(threads)")))
    }
    #expect(outputs[0] == outputs[1] && outputs[0] == outputs[2])
  }

  @Test("The self-check finds a changed code and a changed scale", arguments: [TargetType.int4Meta, .fp8(.fp8Meta)])
  func selfCheck(_ target: TargetType) throws {
    for name in target == .int4Meta ? ["consolidated.01.pth"] : ["consolidated.01.pth", "fp8_scales_1.pt"] {
      let plan = try ConversionPlan(
        try Checkpoint(path: fixture("tiny")), output: path("out"), options: meta(2, target))
      let run = try ConversionRun(plan)
      let file = URL(filePath: run.staging.file(name))
      var bytes = try Fixtures.bytes(file)
      bytes[bytes.count / 2] ^= 0x10
      try Data(bytes).write(to: file)
      let failure = #expect(throws: ConversionFailure.self) { try SelfCheck(run) }
      #expect(failure?.kind == .selfCheck)
      try run.staging.discard()
    }
  }
}
