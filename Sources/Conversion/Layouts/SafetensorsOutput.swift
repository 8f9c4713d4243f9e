internal import ByteIO
public import SafetensorsFormat
internal import Tensors

/// A Hugging Face directory: safetensors shards with an index.
public struct SafetensorsOutput: PlannedOutput {
  public let plan: ShardPlan
  /// Steps whose codes are packed in words.
  private let packed: [PackedStep]
  /// What is stored for the canonical names of packed weights.
  private let storedNames: [String: String]

  /// - Parameter steps: a step's tensors, a weight and its scales, stay in one shard.
  init(_ steps: [PlannedStep], _ options: ConversionOptions) throws {
    let maximumShardSize = options.maximumShardSize ?? 5_000_000_000
    let packed = steps.compactMap { PackedStep($0) }
    self.packed = packed
    storedNames = Dictionary(
      packed.flatMap { step in step.parts.compactMap { name, part in step.storedName(part).map { (name, $0) } } },
      uniquingKeysWith: { first, _ in first })
    let groups = try steps.map { step in
      let plain = PackedStep(step) == nil ? step.written : step.companions.map(\.tensor)
      return try (PackedStep(step)?.tensors() ?? [])
        + plain.map { try TensorInfo(name: $0.name, elementType: $0.elementType, shape: $0.shape) }
    }
    plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(maximumShardSize), metadata: ["format": "pt"])
  }

  public var files: [PlannedFile] {
    plan.shards.map { PlannedFile(name: $0.fileName, byteCount: $0.layout.fileByteCount) }
  }

  public func places(of planned: String) -> [PlannedPlace] {
    let tensor = storedNames[planned] ?? planned
    for shard in plan.shards {
      guard let offset = shard.layout.fileOffset(of: tensor), let entry = shard.layout.entry(tensor) else { continue }
      return [PlannedPlace(file: shard.fileName, offset: offset, byteCount: entry.info.byteCount)]
    }
    return []
  }

  public func writer(in directory: String, writesFixedBytes: Bool) throws -> any OutputWriter {
    let writer = try SafetensorsWriter(sharing: plan.shards, in: directory, writesHeaders: writesFixedBytes)
    return packed.isEmpty ? writer : try PackingWriter(writer, packed, writesConstants: writesFixedBytes)
  }

  public func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)? {
    for shard in plan.shards {
      let file = try ReadableFile(path: directory + "/" + shard.fileName)
      guard try file.bytes(at: 0, count: shard.layout.headerBytes.count) == shard.layout.headerBytes else {
        return (file.path, "has another header than was planned")
      }
    }
    return nil
  }
}

extension SafetensorsWriter: OutputWriter {
  public func complete(inputDigest: String?) throws {}
  public func synchronize() throws { try finish() }
}
