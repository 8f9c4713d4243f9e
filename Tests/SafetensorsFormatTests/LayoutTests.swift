import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

func tensor(_ name: String, _ type: ElementType, _ shape: Shape) throws -> TensorInfo {
  try TensorInfo(name: name, elementType: type, shape: shape)
}

/// A file's bytes: the layout's header, then each tensor's bytes at its place.
func file(_ layout: SafetensorsLayout, content: (TensorInfo) -> [UInt8]) -> [UInt8] {
  layout.entries.reduce(into: layout.headerBytes) { $0 += content($1.info) }
}

@Suite("Layout of a file to be written")
struct LayoutTests {
  /// The eleven tensors of `golden/safetensors/writer_mixed.safetensors`, which the reference library wrote, in an order
  /// that is neither the file's nor sorted.
  static func mixedTensors() throws -> [TensorInfo] {
    [
      try tensor("a.bf16", .bf16, [1]), try tensor("a.f8", .f8e4m3, [3]), try tensor("b.f32", .f32, [1]),
      try tensor("e.bool", .bool, [1]), try tensor("c.i64", .i64, [2]), try tensor("d.i32", .i32, [1]),
      try tensor("f.empty", .f32, [0, 4]), try tensor("z.bf16", .bf16, [3]), try tensor("g.scalar", .f32, []),
      try tensor("h.f16", .f16, [2]), try tensor("i.u8", .u8, [5]),
    ]
  }

  @Test func blocksAreRefused() throws {
    let failure = #expect(throws: ParseFailure.self) {
      try SafetensorsLayout([TensorInfo(name: "a", elementType: .block(.q4_0), shape: [2, 64])])
    }
    #expect(failure?.item == "a")
  }

  @Test func reproducesTheReferenceWritersFile() throws {
    let url = Fixtures.golden("safetensors/writer_mixed.safetensors")
    let golden = try Fixtures.bytes(url)
    let source = try SafetensorsFile(path: url.path)
    let layout = try SafetensorsLayout(try Self.mixedTensors())
    var written = layout.headerBytes
    for entry in layout.entries { written += try source.bytes(of: entry.info.name) }
    #expect(written == golden)
    #expect(layout.fileByteCount == UInt64(golden.count))
    #expect(source.metadata == ["format": "pt"])
  }

  @Test func theOrderOfTheInputDoesNotMatter() throws {
    let tensors = try Self.mixedTensors()
    let layout = try SafetensorsLayout(tensors, metadata: ["b": "1", "a": "2"])
    var random = SeededRandom(seed: 7)
    for _ in 0..<10 {
      #expect(try SafetensorsLayout(tensors.shuffled(using: &random), metadata: ["a": "2", "b": "1"]) == layout)
    }
  }

  @Test func everyTensorIsAlignedToItsElements() throws {
    let layout = try SafetensorsLayout(try ElementType.allCases.map { try tensor($0.rawValue, $0, [4, 3]) })
    for entry in layout.entries where entry.info.elementType.bits >= 8 {
      let offset = try #require(layout.fileOffset(of: entry.info.name))
      #expect(offset % UInt64(entry.info.elementType.bits / 8) == 0, "\(entry.info.name)")
    }
    #expect(layout.entries.map(\.info.elementType) == ElementType.allCases.reversed())
  }

  /// The text that safetensors 0.8.0 wrote for a tensor and a metadata entry of this name.
  @Test func escapesAsTheReferenceDoes() throws {
    let name = "a\u{0}\u{1}\u{8}\t\n\u{B}\u{C}\r\u{1F}\u{7F}\"\\/\u{E9}\u{2028}\u{1F600}"
    let escaped =
      #""a\u0000\u0001\b\t\n\u000b\f\r\u001f"# + "\u{7F}" + #"\"\\/"# + "\u{E9}\u{2028}\u{1F600}\""
    let layout = try SafetensorsLayout([try tensor(name, .u8, [1])], metadata: [name: name])
    let json = String(decoding: layout.headerBytes.dropFirst(8), as: UTF8.self)
    #expect(
      json
        == "{\"__metadata__\":{\(escaped):\(escaped)},\(escaped):{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"
        + String(repeating: " ", count: 7))
    let header = try parse(file(layout) { _ in [1] })
    #expect(header.entry(name) == layout.entries[0])
    #expect(header.metadata[name] == name)
  }

  @Test func emptyFile() throws {
    let layout = try SafetensorsLayout([], metadata: [:])
    // As safetensors 0.8.0 writes it.
    #expect(layout.headerBytes == [8, 0, 0, 0, 0, 0, 0, 0] + Array("{}      ".utf8))
    #expect(layout.fileByteCount == 16)
    #expect(try parse(layout.headerBytes).entries.isEmpty)
  }

  @Test func namesThatDifferOnlyInNormalForm() throws {
    let layout = try SafetensorsLayout([try tensor("\u{E9}", .u8, [1]), try tensor("e\u{301}", .u8, [2])])
    let header = try parse(file(layout) { [UInt8](repeating: 0, count: $0.byteCount) })
    #expect(header.entry("\u{E9}")?.info.byteCount == 1)
    #expect(header.entry("e\u{301}")?.info.byteCount == 2)
  }

  @Test func refusesDuplicateAndReservedNames() throws {
    let a = try tensor("a", .f32, [1])
    #expect(throws: ParseFailure("two tensors have this name", item: "a")) { try SafetensorsLayout([a, a]) }
    let reserved = try tensor("__metadata__", .f32, [1])
    #expect(throws: ParseFailure.self) { try SafetensorsLayout([reserved]) }
  }

  @Test func refusesAWrongSize() {
    let wrong = TensorInfo(name: "a", elementType: .f32, shape: [2], byteCount: 4)
    #expect(throws: ParseFailure.self) { try SafetensorsLayout([wrong]) }
  }

  @Test func refusesAHeaderAboveTheLimit() throws {
    let half = String(repeating: "x", count: SafetensorsLimits.headerByteCount / 2)
    let tensors = try [tensor(half + "1", .u8, [0]), tensor(half + "2", .u8, [0])]
    let failure = #expect(throws: ParseFailure.self) { try SafetensorsLayout(tensors) }
    #expect(failure?.message.contains("100000000") == true)
    #expect(try SafetensorsLayout([tensors[0]]).headerBytes.count > half.count)
  }

  @Test func refusesFilesBeyondTheSystemsOffsets() throws {
    // The largest size whose bits can be counted is an eighth of the largest offset.
    let huge = try (1...8).map { try tensor("\($0)", .u8, [Int.max / 8]) }
    #expect(try SafetensorsLayout(Array(huge.prefix(7))).tensorByteCount == UInt64(Int.max / 8) * 7)
    #expect(throws: ParseFailure.self) { try SafetensorsLayout(huge) }
  }
}
