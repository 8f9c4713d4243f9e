import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

@Suite("Checkpoints in several files")
struct ShardedTests {
  /// Three shards: a; b, c; d. Each tensor's bytes are its name's code, repeated.
  private func write(_ folder: TemporaryFolder) throws -> ShardPlan {
    let groups = [
      [try tensor("a", .u8, [9])], [try tensor("b", .u8, [4]), try tensor("c", .u8, [4])], [try tensor("d", .u8, [9])],
    ]
    let plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(10))
    let writer = try SafetensorsWriter(creating: plan.shards, in: folder.url.path)
    for tensor in groups.joined() {
      let bytes = [UInt8](repeating: tensor.name.utf8.first ?? 0, count: tensor.byteCount)
      try writer.write(tensor.name, at: 0, bytes.span)
    }
    try writer.finish()
    try writeIndex(try #require(plan.index), folder)
    return plan
  }

  private func writeIndex(_ index: SafetensorsIndex, _ folder: TemporaryFolder) throws {
    try FileSystem.writeAtomically(Array(index.serialized().utf8), to: folder.file(SafetensorsIndex.fileName).path)
  }

  private func open(_ folder: TemporaryFolder) throws -> ShardedSafetensors {
    try ShardedSafetensors(directory: folder.url.path)
  }

  @Test func readsWhatWasWritten() throws {
    let folder = try TemporaryFolder()
    _ = try write(folder)
    let source = try open(folder)
    #expect(source.tensors.map(\.name) == ["a", "b", "c", "d"])
    #expect(source.unlisted.isEmpty && source.remarks.isEmpty && source.shards.count == 3)
    #expect(try source.bytes(of: "c") == Array("cccc".utf8))
    #expect(source.info("d")?.byteCount == 9)
    #expect(source.shard(of: "b")?.path.hasSuffix("model-00002-of-00003.safetensors") == true)
    #expect(throws: ParseFailure.self) { try source.bytes(of: "x") }
  }

  @Test func aMissingShardIsNamed() throws {
    let folder = try TemporaryFolder()
    _ = try write(folder)
    try FileSystem.remove(folder.file("model-00002-of-00003.safetensors").path)
    let failure = #expect(throws: FileFailure.self) { try open(folder) }
    #expect(failure?.kind == .missing)
    #expect(failure?.path.hasSuffix("/model-00002-of-00003.safetensors") == true)
    #expect(failure?.detail.contains("download may be incomplete") == true)
    try FileSystem.remove(folder.file("model-00003-of-00003.safetensors").path)
    #expect(#expect(throws: FileFailure.self) { try open(folder) }?.detail.contains("2 of 3 shards") == true)
  }

  @Test func aMissingIndexIsAFileFailure() throws {
    let folder = try TemporaryFolder()
    #expect(#expect(throws: FileFailure.self) { try open(folder) }?.kind == .missing)
  }

  @Test func aShardThatWasCutShortIsNamed() throws {
    let folder = try TemporaryFolder()
    _ = try write(folder)
    let path = folder.file("model-00001-of-00003.safetensors").path
    let bytes = try ReadableFile.contents(of: path, limit: 10_000)
    try FileSystem.writeAtomically(bytes.dropLast(), to: path)
    let failure = #expect(throws: ParseFailure.self) { try open(folder) }
    #expect(failure?.file == path)
    #expect(failure?.advice == "the download may be incomplete")
  }

  @Test func tensorsOutsideTheIndexAreReported() throws {
    let folder = try TemporaryFolder()
    let index = try #require(try write(folder).index)
    let fewer = try SafetensorsIndex(index.locations.filter { $0.tensor != "c" }, totalSize: 22)
    try writeIndex(fewer, folder)
    let source = try open(folder)
    #expect(source.unlisted.map(\.tensor.name) == ["c"])
    #expect(source.unlisted.map(\.fileName) == ["model-00002-of-00003.safetensors"])
    #expect(source.tensors.map(\.name) == ["a", "b", "d"] && source.remarks.isEmpty)
    #expect(source.info("c") == nil)
    #expect(throws: ParseFailure.self) { try source.bytes(of: "c") }
  }

  @Test func aTensorInTwoShardsIsRefused() throws {
    let folder = try TemporaryFolder()
    _ = try write(folder)
    let layout = try SafetensorsLayout([try tensor("d", .u8, [9]), try tensor("a", .u8, [1])])
    let bytes = file(layout) { [UInt8](repeating: 0, count: $0.byteCount) }
    try FileSystem.writeAtomically(bytes, to: folder.file("model-00003-of-00003.safetensors").path)
    let failure = #expect(throws: ParseFailure.self) { try open(folder) }
    #expect(failure?.item == "a")
    #expect(failure?.message.contains("model-00001-of-00003.safetensors and model-00003-of-00003.safetensors") == true)
  }

  @Test func aTensorInAnotherShardThanTheIndexSaysIsRefused() throws {
    let folder = try TemporaryFolder()
    let index = try #require(try write(folder).index)
    let moved = index.locations.map {
      $0.tensor == "c" ? SafetensorsIndex.Location(tensor: "c", fileName: "model-00001-of-00003.safetensors") : $0
    }
    try writeIndex(try SafetensorsIndex(moved, totalSize: 26), folder)
    #expect(#expect(throws: ParseFailure.self) { try open(folder) }?.item == "c")
    let invented =
      index.locations + [SafetensorsIndex.Location(tensor: "e", fileName: "model-00001-of-00003.safetensors")]
    try writeIndex(try SafetensorsIndex(invented, totalSize: 26), folder)
    #expect(#expect(throws: ParseFailure.self) { try open(folder) }?.message.contains("in no shard") == true)
  }

  @Test func aWrongTotalSizeIsRemarked() throws {
    let folder = try TemporaryFolder()
    let index = try #require(try write(folder).index)
    try writeIndex(try SafetensorsIndex(index.locations, totalSize: 27), folder)
    #expect(try open(folder).remarks == ["the index states a total_size of 27 bytes, its tensors take 26"])
  }
}
