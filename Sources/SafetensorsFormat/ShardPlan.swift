public import ByteIO
public import Tensors

/// Which tensor goes into which file. Equal input gives an equal plan.
public struct ShardPlan: Sendable, Hashable {
  /// One file of the plan.
  public struct Shard: Sendable, Hashable {
    public let fileName: String
    public let layout: SafetensorsLayout

    /// A file by itself, under a name of the caller's.
    public init(fileName: String, layout: SafetensorsLayout) {
      self.fileName = fileName
      self.layout = layout
    }
  }

  public let shards: [Shard]
  /// Contents of the index file; nil for a single shard, which needs none.
  public let index: SafetensorsIndex?

  /// What transformers wrote until version 5 and the Hub's tools write: 5 GB.
  public static let defaultMaximumShardSize = ByteSize(5_000_000_000)

  /// Packs groups of tensors into shards, in their order: a group that would take the shard past the limit starts the
  /// next one. A group is never divided, so that the parts of one quantized linear can be read from one file; a group
  /// above the limit gets a shard of its own. Headers are not counted, as in the Hub's tools.
  /// - Parameters:
  ///   - groups: the tensors in model order.
  ///   - totalParameters: number of model parameters, for the index; left out when nil.
  /// - Throws: `ParseFailure` when a name is given twice, in one group or in two, or a layout is impossible.
  public init(
    groups: [[TensorInfo]], maximumShardSize: ByteSize = defaultMaximumShardSize,
    metadata: SafetensorsMetadata = ["format": "pt"], totalParameters: UInt64? = nil
  ) throws(ParseFailure) {
    let contents = try Self.pack(groups, maximumShardSize.byteCount)
    var shards: [Shard] = []
    var seen: Set<UTF8Key> = []
    var locations: [SafetensorsIndex.Location] = []
    var totalSize: UInt64 = 0
    for (number, tensors) in contents.enumerated() {
      let fileName = Self.fileName(number + 1, of: contents.count)
      for tensor in tensors {
        guard seen.insert(UTF8Key(tensor.name)).inserted else {
          throw ParseFailure("two tensors have this name", item: tensor.name)
        }
        locations.append(SafetensorsIndex.Location(tensor: tensor.name, fileName: fileName))
      }
      let layout = try SafetensorsLayout(tensors, metadata: metadata)
      totalSize += layout.tensorByteCount
      shards.append(Shard(fileName: fileName, layout: layout))
    }
    self.shards = shards
    index =
      shards.count > 1
      ? try SafetensorsIndex(locations, totalSize: totalSize, totalParameters: totalParameters) : nil
  }

  /// `model.safetensors`, or `model-00002-of-00007.safetensors` when there are several.
  public static func fileName(_ number: Int, of count: Int) -> String {
    func padded(_ value: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
    return count == 1 ? "model.safetensors" : "model-\(padded(number))-of-\(padded(count)).safetensors"
  }

  private static func pack(_ groups: [[TensorInfo]], _ limit: UInt64) throws(ParseFailure) -> [[TensorInfo]] {
    var shards: [[TensorInfo]] = [[]]
    var size: UInt64 = 0
    for group in groups where !group.isEmpty {
      var groupSize: UInt64 = 0
      for tensor in group {
        let (sum, overflow) = groupSize.addingReportingOverflow(UInt64(tensor.byteCount))
        guard !overflow else { throw ParseFailure("the tensors' sizes overflow", item: tensor.name) }
        groupSize = sum
      }
      let (sum, overflow) = size.addingReportingOverflow(groupSize)
      if (overflow || sum > limit) && !shards[shards.count - 1].isEmpty {
        shards.append(group)
        size = groupSize
      } else {
        shards[shards.count - 1] += group
        size = sum
      }
    }
    return shards
  }
}
