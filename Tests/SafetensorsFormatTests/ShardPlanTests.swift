import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

@Suite("Packing tensors into shards")
struct ShardPlanTests {
  struct Packing: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Bytes of the tensors, by group.
    let groups: [[Int]]
    let limit: UInt64
    /// Bytes of the tensors, by shard.
    let shards: [[Int]]
  }

  static let packings = [
    Packing(testDescription: "exactly full", groups: [[4], [6], [1]], limit: 10, shards: [[4, 6], [1]]),
    Packing(testDescription: "one byte over", groups: [[4], [7], [1]], limit: 10, shards: [[4], [7, 1]]),
    Packing(testDescription: "larger than a shard", groups: [[4], [50], [1]], limit: 10, shards: [[4], [50], [1]]),
    Packing(
      testDescription: "larger than a shard, first", groups: [[50], [1], [2]], limit: 10, shards: [[50], [1, 2]]),
    Packing(
      testDescription: "groups stay together", groups: [[5], [4, 2], [3]], limit: 10, shards: [[5], [4, 2, 3]]),
    Packing(
      testDescription: "a group above the limit", groups: [[1], [8, 8], [1]], limit: 10, shards: [[1], [8, 8], [1]]),
    Packing(testDescription: "no look-ahead", groups: [[9], [9], [1]], limit: 10, shards: [[9], [9, 1]]),
    Packing(testDescription: "one shard", groups: [[1], [2], [3]], limit: 10, shards: [[1, 2, 3]]),
    Packing(
      testDescription: "empty groups and tensors", groups: [[], [0], [10], [0], []], limit: 10, shards: [[0, 10, 0]]),
    Packing(testDescription: "limit zero", groups: [[1], [2]], limit: 0, shards: [[1], [2]]),
    Packing(testDescription: "nothing", groups: [], limit: 10, shards: [[]]),
  ]

  @Test(arguments: packings)
  func packs(_ packing: Packing) throws {
    var number = 0
    let groups = try packing.groups.map { group in
      try group.map { size in
        number += 1
        return try tensor("t\(number)", .u8, [size])
      }
    }
    let plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(packing.limit))
    // Within a shard the layout has its own order; names t1, t2… give back the model's.
    let found: [[Int]] = plan.shards.map { shard in
      let tensors = shard.layout.entries.map(\.info)
      return tensors.sorted { UTF8Key($0.name) < UTF8Key($1.name) }.map(\.byteCount)
    }
    #expect(found == packing.shards)
    #expect((plan.index == nil) == (packing.shards.count == 1))
    #expect(plan.shards.map(\.fileName) == (1...found.count).map { ShardPlan.fileName($0, of: found.count) })
    for shard in plan.shards {
      for entry in shard.layout.entries {
        #expect(plan.index.map { $0.fileName(of: entry.info.name) == shard.fileName } ?? true)
      }
    }
  }

  @Test func fileNames() {
    #expect(ShardPlan.fileName(1, of: 1) == "model.safetensors")
    #expect(ShardPlan.fileName(3, of: 17) == "model-00003-of-00017.safetensors")
    #expect(ShardPlan.fileName(100_000, of: 100_000) == "model-100000-of-100000.safetensors")
  }

  @Test func refusesANameInTwoGroups() throws {
    let a = try tensor("a", .u8, [4])
    #expect(throws: ParseFailure.self) { try ShardPlan(groups: [[a], [a]], maximumShardSize: ByteSize(4)) }
    #expect(throws: ParseFailure.self) { try ShardPlan(groups: [[a], [a]], maximumShardSize: ByteSize(400)) }
  }

  /// The form that `transformers` writes: `json.dumps(index, indent=2, sort_keys=True) + "\n"`.
  @Test func writesTheIndex() throws {
    let groups = [[try tensor("b", .f32, [2]), try tensor("a", .u8, [1])], [try tensor("c", .u8, [3])]]
    let plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(9), totalParameters: 6)
    let index = try #require(plan.index)
    let text = """
      {
        "metadata": {
          "total_parameters": 6,
          "total_size": 12
        },
        "weight_map": {
          "a": "model-00001-of-00002.safetensors",
          "b": "model-00001-of-00002.safetensors",
          "c": "model-00002-of-00002.safetensors"
        }
      }

      """
    #expect(index.serialized() == text)
    let bytes = Array(text.utf8)
    let read = try SafetensorsIndex(parsing: bytes.span.rawBytes)
    #expect(read.totalSize == 12 && read.totalParameters == 6 && read.remarks.isEmpty)
    #expect(read.serialized() == text)
  }
}

@Suite("Reading an index")
struct IndexTests {
  private func parse(_ text: String) throws(ParseFailure) -> SafetensorsIndex {
    let bytes = Array(text.utf8)
    return try SafetensorsIndex(parsing: bytes.span.rawBytes)
  }

  @Test func lenientWhereReadersAre() throws {
    let bare = try parse(#"{"weight_map":{"a":"x.safetensors","b":"x.safetensors","c":"w"},"other":[1]}"#)
    #expect(bare.remarks.count == 1 && bare.totalSize == nil)
    #expect(bare.fileNames == ["w", "x.safetensors"])
    #expect(bare.fileName(of: "b") == "x.safetensors")
    #expect(bare.fileName(of: "d") == nil)
    let float = try parse(#"{"metadata":{"total_size":13476839424.0},"weight_map":{}}"#)
    #expect(float.totalSize == 13_476_839_424 && float.remarks.isEmpty)
    #expect(try parse(#"{"metadata":{"total_size":"7"},"weight_map":{}}"#).remarks.count == 1)
    #expect(try parse(#"{"metadata":{},"weight_map":{}}"#).remarks.count == 1)
    #expect(try parse(#"{"metadata":null,"weight_map":{}}"#).remarks.count == 1)
  }

  @Test(
    "rejects",
    arguments: [
      "", "[]", "{}", #"{"weight_map":[]}"#, #"{"weight_map":null}"#, #"{"weight_map":{"a":1}}"#,
      #"{"weight_map":{"a":"x","a":"y"}}"#, #"{"weight_map":{},"weight_map":{}}"#,
      #"{"metadata":1,"metadata":2,"weight_map":{}}"#,
      #"{"weight_map":{"a":""}}"#, #"{"weight_map":{"a":"."}}"#, #"{"weight_map":{"a":".."}}"#,
      #"{"weight_map":{"a":"../x"}}"#, #"{"weight_map":{"a":"/etc/passwd"}}"#, #"{"weight_map":{"a":"d/x"}}"#,
      #"{"weight_map":{"a":"x\u0000y"}}"#, #"{"weight_map":{"a":"..\\x"}}"#, #"{"weight_map":{}} x"#,
    ])
  func rejects(_ text: String) {
    #expect(throws: ParseFailure.self) { try parse(text) }
  }
}
