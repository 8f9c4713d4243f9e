import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import SafetensorsFormat
import Support
import Tensors
import Testing

/// Two sets of options whose plans must differ.
struct OptionsChange: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let change: @Sendable (inout ConversionOptions) -> Void

  static let decisive = [
    OptionsChange(testDescription: "another recipe") { $0.target = .fp8(.fp8Compat) },
    OptionsChange(testDescription: "a type instead of a recipe") { $0.target = .element(.f32) },
    OptionsChange(testDescription: "no change of types") { $0.target = .unchanged },
    OptionsChange(testDescription: "an ignored module") { $0.ignore = ["model.layers.1.mlp.up_proj"] },
    OptionsChange(testDescription: "a single layer") { $0.only = [#"re:model\.layers\.1\."#] },
    OptionsChange(testDescription: "smaller shards") { $0.maximumShardSize = 30_000 },
  ]
  static let indifferent = [
    OptionsChange(testDescription: "threads") { $0.threads = 7 },
    OptionsChange(testDescription: "memory") { $0.maximumMemory = 1 << 40 },
    OptionsChange(testDescription: "force") { $0.force = true },
  ]
}

@Suite("Plans")
struct PlanTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  @Test("Equal models and options give an equal digest, wherever they are")
  func equalPlans() throws {
    let copy = try ModelFolder(copying: "golden/model/bf16")
    let first = try plan(model.path, .fp8(.fp8), output: "/somewhere")
    let second = try plan(copy.path, .fp8(.fp8), output: "/else/where")
    #expect(first.digest == second.digest)
    #expect(first.document == second.document)
  }

  @Test("Every option that changes the output changes the digest", arguments: OptionsChange.decisive)
  func digestFollowsOptions(_ change: OptionsChange) throws {
    var options = ConversionOptions.fp8(.fp8)
    let before = try plan(model.path, options).digest
    change.change(&options)
    #expect(try plan(model.path, options).digest != before)
  }

  @Test("Options that cannot change the output leave the digest alone", arguments: OptionsChange.indifferent)
  func digestIgnoresLimits(_ change: OptionsChange) throws {
    var options = ConversionOptions.fp8(.fp8)
    let before = try plan(model.path, options).digest
    change.change(&options)
    #expect(try plan(model.path, options).digest == before)
  }

  @Test("Another input type changes the digest")
  func digestFollowsInput() throws {
    try convert(model.path, to: model.beside("wide"), ConversionOptions(target: .element(.f32)))
    #expect(try plan(model.path, .fp8(.fp8)).digest != plan(model.beside("wide"), .fp8(.fp8)).digest)
  }

  @Test("The planned sizes and places are those really written", arguments: [5_000_000_000, 40_000] as [UInt64])
  func totals(_ maximumShardSize: UInt64) throws {
    let tiny = try ModelFolder()
    var options = ConversionOptions.fp8(.fp8)
    options.maximumShardSize = maximumShardSize
    let plan = try plan(tiny.path, options, output: tiny.beside("out"))
    try convert(tiny.path, to: tiny.beside("out"), options)
    let written = try contents(ofDirectory: tiny.beside("out"))
    let evidence = ["llama-convert.json", "SHA256SUMS"]
    let total = written.filter { !evidence.contains($0.key) }.reduce(0) { $0 + $1.value.count }
    #expect(plan.document["output_bytes"]?.integer == total)
    #expect(plan.document["plan_sha256"]?.string == plan.digest)
    for file in plan.document["files"]?.array ?? [] {
      let name = try #require(file["name"]?.string)
      #expect(file["bytes"]?.integer == written[name]?.count, "\(name)")
    }
    let shards = written.keys.filter { $0.hasSuffix(".safetensors") }
    #expect(plan.document["files"]?.array?.count == shards.count)
    #expect((maximumShardSize == 40_000) == (shards.count > 1))
    try checkPlaces(plan, tiny.beside("out"))
  }

  /// The bytes at the planned offsets are those that a reader finds under the tensor's name.
  private func checkPlaces(_ plan: ConversionPlan, _ path: String) throws {
    let found = try tensors(ofModelAt: path)
    let entries = plan.document["tensors"]?.array ?? []
    #expect(entries.count == plan.steps.count && !entries.isEmpty)
    for entry in entries {
      for (key, suffix) in [("weight", ""), ("scale", "_scale")] {
        guard let place = entry[key], let offset = place["offset"]?.integer, let count = place["bytes"]?.integer,
          let file = place["file"]?.string, let name = entry["name"]?.string
        else {
          #expect(key == "scale")
          continue
        }
        let bytes = try Fixtures.bytes(URL(filePath: path + "/" + file))
        #expect(Array(bytes[offset..<offset + count]) == found[name + suffix]?.bytes, "\(name)\(suffix)")
      }
    }
  }

  @Test(
    "Shards keep to the limit, and a weight stays with its scales", arguments: [20_000, 25_000, 60_000] as [UInt64])
  func shards(_ limit: UInt64) throws {
    var options = ConversionOptions.fp8(.fp8)
    options.maximumShardSize = limit
    try convert(model.path, to: model.beside("out"), options)
    let index = try foundationJSON(model.beside("out") + "/model.safetensors.index.json")
    let map = try #require(index["weight_map"] as? [String: String])
    let files = try contents(ofDirectory: model.beside("out")).filter { $0.key.hasSuffix(".safetensors") }
    #expect(files.count > 1 && Set(map.values) == Set(files.keys))
    var total = 0
    for name in files.keys {
      let shard = try SafetensorsBytes(URL(filePath: model.beside("out") + "/" + name)).tensors
      let size = shard.values.reduce(0) { $0 + $1.bytes.count }
      total += size
      #expect(size <= limit)
      for tensor in shard.keys { #expect(map[tensor] == name, "\(tensor)") }
    }
    #expect((index["metadata"] as? [String: Any])?["total_size"] as? Int == total)
    for (tensor, file) in map where tensor.hasSuffix("_scale") {
      #expect(map[String(tensor.dropLast("_scale".count))] == file, "\(tensor)")
    }
  }

  @Test("A tensor above the shard limit gets a shard of its own")
  func oversizedTensor() throws {
    var options = ConversionOptions()
    options.maximumShardSize = 100
    let shards = try safetensors(try plan(model.path, options))
    #expect(shards.allSatisfy { $0.layout.entries.count == 1 || $0.layout.tensorByteCount <= 100 })
    #expect(shards.count == 21)
  }

  @Test(
    "A pattern that matches no module is refused", arguments: ["model.layers.7.mlp.up_proj", "re:.*experts", "re:("])
  func strayPattern(_ pattern: String) throws {
    var options = ConversionOptions.fp8(.fp8)
    options.ignore = [pattern]
    let failure = #expect(throws: ConversionFailure.self) { try plan(model.path, options) }
    #expect(failure?.kind == .usage)
    #expect(failure?.message.contains(pattern) == true)
  }

  @Test("Patterns without a quantized type, and patterns that leave nothing, are refused")
  func idlePatterns() throws {
    var options = ConversionOptions()
    options.ignore = ["lm_head"]
    #expect(#expect(throws: ConversionFailure.self) { try plan(model.path, options) }?.kind == .usage)
    options = .fp8(.fp8)
    options.ignore = ["re:.*"]
    #expect(#expect(throws: ConversionFailure.self) { try plan(model.path, options) }?.kind == .usage)
  }

  @Test("A quantized model is not quantized again")
  func quantizedTwice() throws {
    try convert(model.path, to: model.beside("fp8"), .fp8(.fp8))
    let failure = #expect(throws: ConversionFailure.self) { try plan(model.beside("fp8"), .fp8(.fp8Compat)) }
    #expect(failure?.kind == .usage)
  }

  @Test("Splitting projections that servers fuse is a warning that names them")
  func fusedProjections() throws {
    var options = ConversionOptions.fp8(.fp8)
    #expect(try plan(model.path, options).warnings == [])
    options.ignore = ["model.layers.0.self_attn.k_proj"]
    let warnings = try plan(model.path, options).warnings
    #expect(warnings.count == 1)
    #expect(warnings.first?.contains("model.layers.0.self_attn.k_proj") == true)
  }
}
