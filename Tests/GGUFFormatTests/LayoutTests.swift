import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

@Suite("Planning files")
struct LayoutTests {
  private func tensor(_ name: String, _ type: ElementType = .i8, _ shape: Shape = [3]) throws -> TensorInfo {
    try TensorInfo(name: name, elementType: type, shape: shape)
  }

  private func refusal(_ item: String, _ says: String, _ body: () throws -> Void) {
    let failure = #expect(throws: ParseFailure.self) { try body() }
    Fault(item: item, says: says).check(failure)
  }

  @Test func refusesWhatNoReaderTakes() throws {
    let none = GGUFMetadata()
    func layout(_ tensors: TensorInfo...) throws { _ = try GGUFLayout(tensors, metadata: none) }
    let long = String(repeating: "n", count: 64)
    refusal(long, "has 64 bytes, expected are 1 to 63") { try layout(try tensor(long)) }
    try layout(try tensor(String(repeating: "n", count: 63)))
    refusal("", "has 0 bytes") { try layout(try tensor("")) }
    refusal("a\0", "NUL") { try layout(try tensor("a\0")) }
    refusal("a", "two tensors have this name") { try layout(try tensor("a"), try tensor("a")) }
    refusal("a", "5 dimensions") { try layout(try tensor("a", .i8, [1, 1, 1, 1, 1])) }
    for type in ElementType.allCases where GGMLType.id(of: type) == nil {
      refusal("a", "GGUF has no element type \(type)") { try layout(try tensor("a", type, [8])) }
    }
    refusal("a", "takes 3 bytes, not 4") {
      try layout(TensorInfo(name: "a", elementType: .i8, shape: [3], byteCount: 4))
    }
    refusal("a", "whole number of Q4_K's blocks") {
      try layout(TensorInfo(name: "a", elementType: .block(.q4_k), shape: [2, 128], byteCount: 144))
    }
    // Names that are one text to Swift are two to a file.
    try layout(try tensor("caf\u{E9}"), try tensor("cafe\u{301}"))
  }

  @Test func refusesKeysThatNoReaderTakes() {
    for (key, says) in [("", "has 0 bytes"), ("a\0b", "NUL"), (String(repeating: "k", count: 65_536), "65536 bytes")] {
      var metadata = GGUFMetadata()
      metadata.set(key, to: .bool(true))
      refusal(key, says) { _ = try GGUFLayout([], metadata: metadata) }
    }
  }

  @Test(arguments: [0, -32, 3, 48, 1 << 21])
  func refusesTheAlignment(_ alignment: Int) {
    refusal("general.alignment", "the alignment is \(alignment)") {
      _ = try GGUFLayout([], metadata: GGUFMetadata(), alignment: alignment)
    }
  }

  @Test func refusesTensorsAboveAllFiles() throws {
    let large = try tensor("a", .i8, [1 << 59])
    var tensors = [large]
    for number in 0..<8 { tensors.append(try tensor("\(number)", .i8, [1 << 59])) }
    refusal("6", "the file would pass") { _ = try GGUFLayout(tensors, metadata: GGUFMetadata()) }
  }

  /// A key that disagrees with the layout makes a file that no reader opens: it follows the layout, at its place.
  @Test func statesTheAlignmentItHas() throws {
    var metadata = GGUFMetadata()
    metadata.set("general.alignment", to: .uint32(64))
    metadata.set("z", to: .bool(true))
    func keys(_ alignment: Int) throws -> [String] {
      let layout = try GGUFLayout([try tensor("a"), try tensor("b")], metadata: metadata, alignment: alignment)
      let header = try GGUFHeader(parsing: layout.headerBytes, fileByteCount: layout.fileByteCount)
      #expect(header.alignment == alignment && header.entries == layout.entries)
      #expect(header.entries[1].dataRange.lowerBound == UInt64(max(alignment, 4) / 4 * 4) || alignment == 1)
      return header.metadata.entries.map(\.key)
    }
    #expect(try keys(64) == ["general.alignment", "z"])
    #expect(try keys(4096) == ["general.alignment", "z"])
    #expect(try keys(1) == ["general.alignment", "z"])
    #expect(try keys(32) == ["z"])
    metadata.set("general.alignment", to: .uint32(32))
    #expect(try keys(32) == ["general.alignment", "z"])
    metadata.remove("general.alignment")
    #expect(try keys(8) == ["z", "general.alignment"])
  }

  @Test func layoutsAreValues() throws {
    var metadata = GGUFMetadata()
    metadata.set("a", to: .float32(.nan))
    let one = try GGUFLayout([try tensor("a"), try tensor("b")], metadata: metadata)
    #expect(try one == GGUFLayout([try tensor("a"), try tensor("b")], metadata: metadata))
    #expect(try one != GGUFLayout([try tensor("b"), try tensor("a")], metadata: metadata))
    #expect(one.tensorByteCount == 6 && one.entry("b")?.dataRange == 32..<35 && one.entry("c") == nil)
  }
}

@Suite("Writing files")
struct WriterTests {
  private func plan(_ names: String..., limit: UInt64? = nil) throws -> GGUFSplitPlan {
    try GGUFSplitPlan(
      names.map { try TensorInfo(name: $0, elementType: .i8, shape: [4]) }, metadata: GGUFMetadata(), name: "m",
      limits: .init(size: limit.map { ByteSize($0) }))
  }

  @Test func continuesWhatAnotherWriterBegan() throws {
    let folder = try TemporaryFolder()
    let plan = try plan("a", "b", limit: 4)
    #expect(plan.pieces.count == 2)
    let first = try GGUFWriter(creating: plan.pieces, in: folder.url.path)
    let (one, two): ([UInt8], [UInt8]) = ([1, 2, 3, 4], [5, 6, 7, 8])
    try first.write("a", at: 0, one.span)
    try first.finish()
    let second = try GGUFWriter(sharing: plan.pieces, in: folder.url.path, writesHeaders: false)
    try second.write("b", at: 0, two.span)
    try second.finish()
    let source = try GGUFSplitSet(path: folder.file(plan.pieces[1].fileName).path)
    #expect(try source.bytes(of: "a") + source.bytes(of: "b") == one + two)
    #expect(throws: FileFailure.self) {
      try GGUFWriter(sharing: plan.pieces, in: folder.url.path + "/none", writesHeaders: false)
    }
  }

  @Test func neverOverwritesAndLeavesNothingBehind() throws {
    let folder = try TemporaryFolder()
    let plan = try plan("a", "b", limit: 4)
    let taken = folder.file(plan.pieces[1].fileName).path
    try FileSystem.write([1, 2, 3], toNew: taken)
    let failure = #expect(throws: FileFailure.self) { try GGUFWriter(creating: plan.pieces, in: folder.url.path) }
    #expect(failure?.kind == .exists && failure?.path == taken)
    #expect(try FileSystem.names(in: folder.url.path) == [plan.pieces[1].fileName])
    #expect(try ReadableFile.contents(of: taken, limit: 10) == [1, 2, 3])
  }

  @Test func aWriteOutsideThePlanTraps() async throws {
    let folder = try TemporaryFolder()
    await #expect(processExitsWith: .failure) { [directory = folder.url.path as String] in
      do {
        let tensors = [try TensorInfo(name: "a", elementType: .i8, shape: [4])]
        let plan = try GGUFSplitPlan(tensors, metadata: GGUFMetadata(), name: "m")
        let writer = try GGUFWriter(creating: plan.pieces, in: directory)
        let bytes: [UInt8] = [1, 2]
        try writer.write("a", at: 2, bytes.span)
        try writer.write("a", at: 3, bytes.span)
      } catch {
        // A failure before or instead of the trap must not look like one.
        exit(EXIT_SUCCESS)
      }
    }
  }
}
