internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import SafetensorsFormat

/// Which layout a conversion writes, decided from input and options, and what that layout demands.
struct OutputLayout {
  let layout: Checkpoint.Layout
  private let shards: Int
  /// What readers of the layout will not understand.
  let warnings: [String]

  /// - Throws: `ConversionFailure` of kind `.usage` for options that no layout can satisfy together.
  init(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws {
    var layout = options.layout ?? checkpoint.layout
    if case .fp8(let recipe) = options.target {
      guard options.layout != .meta else {
        throw ConversionFailure(.usage, "\(recipe.rawValue) is a layout of safetensors; --format pth cannot hold it")
      }
      layout = .huggingFace
    }
    if checkpoint.layout == .meta, options.target == .unchanged,
      checkpoint.tensors.contains(where: { $0.quantization != nil })
    {
      // w2 has a scale for each row of each shard: no other layout, and no other number of shards, can hold that exactly.
      throw ConversionFailure(
        .usage,
        "\(checkpoint.path): the model is quantized; Meta's FP8 is not written yet, and its w2 cannot be merged as it is: add --to bf16, f16 or f32"
      )
    }
    if layout == .meta {
      if options.target == .unchanged, let tensor = checkpoint.tensors.first(where: { $0.quantization != nil }) {
        throw ConversionFailure(
          .usage,
          "\(checkpoint.path): \(NamingDialect.huggingFace.name(for: tensor.role)) is quantized, which --format pth cannot hold; add --to bf16"
        )
      }
      shards = options.tensorParallel ?? checkpoint.shardCount
      warnings = MetaParameters.remarks(for: checkpoint.configuration, shards: shards)
    } else {
      guard options.tensorParallel == nil else {
        throw ConversionFailure(
          .usage, "--tp cuts Meta checkpoints; it needs --format pth (safetensors are cut by size: --max-shard-size)")
      }
      shards = 1
      warnings = []
    }
    self.layout = layout
  }

  var dialect: NamingDialect { layout == .meta ? .meta : .huggingFace }

  /// The places of all tensors, and the files whose bytes are known now.
  func plan(
    _ steps: [PlannedStep], _ checkpoint: Checkpoint, _ options: ConversionOptions, _ selection: ModuleSelection
  ) throws -> (any PlannedOutput, [ConversionPlan.PlannedDocument]) {
    switch layout {
    case .huggingFace:
      let output = try SafetensorsOutput(steps, maximumShardSize: options.maximumShardSize)
      let configuration = OutputConfiguration.document(checkpoint, target: options.target, selection: selection)
      var documents = [Self.document("config.json", configuration)]
      if let index = output.plan.index {
        documents.append(.init(name: SafetensorsIndex.fileName, bytes: Array(index.serialized().utf8)))
      }
      return (output, documents)
    case .meta:
      let output: MetaOutput
      do {
        output = try MetaOutput(steps, checkpoint.configuration, shards: shards)
      } catch let failure as ParseFailure {
        throw ConversionFailure(.usage, "--tp \(shards): \(failure)")
      }
      let parameters = MetaParameters.document(for: checkpoint.configuration, shards: shards)
      return (output, [Self.document("params.json", parameters)])
    }
  }

  private static func document(_ name: String, _ value: JSONValue) -> ConversionPlan.PlannedDocument {
    .init(name: name, bytes: Array(value.serialized(.indented).utf8))
  }
}
