internal import ByteIO
public import SafetensorsFormat
internal import Tensors

/// A Hugging Face directory: safetensors shards with an index.
public struct SafetensorsOutput: PlannedOutput {
  public let plan: ShardPlan

  /// - Parameter steps: a step's tensors, a weight and its scales, stay in one shard.
  init(_ steps: [PlannedStep], maximumShardSize: UInt64) throws {
    let groups = try steps.map { step in
      try step.written.map { try TensorInfo(name: $0.name, elementType: $0.elementType, shape: $0.shape) }
    }
    plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(maximumShardSize), metadata: ["format": "pt"])
  }

  public var files: [PlannedFile] {
    plan.shards.map { PlannedFile(name: $0.fileName, byteCount: $0.layout.fileByteCount) }
  }

  public func places(of tensor: String) -> [PlannedPlace] {
    for shard in plan.shards {
      guard let offset = shard.layout.fileOffset(of: tensor), let entry = shard.layout.entry(tensor) else { continue }
      return [PlannedPlace(file: shard.fileName, offset: offset, byteCount: entry.info.byteCount)]
    }
    return []
  }

  public func writer(in directory: String) throws -> any OutputWriter {
    try SafetensorsWriter(creating: plan.shards, in: directory)
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
