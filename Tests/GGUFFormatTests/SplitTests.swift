import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

@Suite("Planning split sets")
struct SplitPlanTests {
  struct Packing: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let sizes: [Int]
    let limits: GGUFSplitPlan.Limits
    let pieces: [[Int]]

    init(_ name: String, _ sizes: [Int], _ pieces: [[Int]], size: UInt64? = nil, count: Int? = nil, first: Bool = false)
    {
      testDescription = name
      self.sizes = sizes
      self.pieces = pieces
      limits = .init(size: size.map { ByteSize($0) }, tensorCount: count, firstPieceIsMetadata: first)
    }
  }

  static let packings = [
    Packing("no limit", [1, 2, 3], [[1, 2, 3]]),
    Packing("exactly full", [4, 6, 1], [[4, 6], [1]], size: 10),
    Packing("one byte over", [4, 7, 1], [[4], [7, 1]], size: 10),
    Packing("larger than a piece", [50, 1, 60, 2], [[50], [1], [60], [2]], size: 10),
    Packing("no look-ahead", [9, 9, 1], [[9], [9, 1]], size: 10),
    Packing("empty tensors", [0, 10, 0], [[0, 10, 0]], size: 10),
    Packing("size zero", [1, 2], [[1], [2]], size: 0),
    Packing("by number", [1, 2, 3, 4, 5], [[1, 2], [3, 4], [5]], count: 2),
    Packing("by both, size first", [9, 9, 1, 1, 1], [[9], [9, 1], [1, 1]], size: 10, count: 3),
    Packing("by both, number first", [1, 1, 9], [[1, 1], [9]], size: 100, count: 2),
    Packing("metadata first", [4, 6], [[], [4, 6]], first: true),
    Packing("metadata first, in pieces", [4, 6, 1], [[], [4, 6], [1]], size: 10, first: true),
    Packing("nothing", [], [[]], size: 10, first: true),
  ]

  @Test(arguments: packings)
  func packs(_ packing: Packing) throws {
    let tensors = try packing.sizes.enumerated().map {
      try TensorInfo(name: "t\($0)", elementType: .i8, shape: [$1])
    }
    var metadata = GGUFMetadata()
    metadata.set("split.count", to: .uint16(0))
    metadata.set("general.name", to: GGUFValue("x"))
    let plan = try GGUFSplitPlan(tensors, metadata: metadata, name: "dir-1-of-2", limits: packing.limits)
    #expect(plan.pieces.map { $0.layout.entries.map(\.info.byteCount) } == packing.pieces)
    #expect(plan.pieces.flatMap { $0.layout.entries.map(\.info) } == tensors)
    for (number, piece) in plan.pieces.enumerated() {
      let found = piece.layout.metadata
      #expect((found["general.name"] != nil) == (number == 0))
      let isSplit = plan.pieces.count > 1
      #expect(found["split.no"] == (isSplit ? .uint16(UInt16(number)) : nil))
      #expect(found["split.count"] == (isSplit ? .uint16(UInt16(plan.pieces.count)) : nil))
      #expect(found["split.tensors.count"] == (isSplit ? .int32(Int32(tensors.count)) : nil))
    }
  }

  @Test func fileNames() throws {
    let tensors = try (0..<3).map { try TensorInfo(name: "\($0)", elementType: .i8, shape: [1]) }
    func names(_ count: Int?) throws -> [String] {
      try GGUFSplitPlan(tensors, metadata: GGUFMetadata(), name: "m", limits: .init(tensorCount: count)).pieces
        .map(\.fileName)
    }
    #expect(try names(nil) == ["m.gguf"])
    #expect(try names(1) == ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"])
  }

  @Test func refusals() throws {
    let a = try TensorInfo(name: "a", elementType: .i8, shape: [1])
    #expect(throws: ParseFailure.self) {
      try GGUFSplitPlan([a, a], metadata: GGUFMetadata(), name: "m", limits: .init(tensorCount: 1))
    }
    let many = try (0...65_535).map { try TensorInfo(name: "\($0)", elementType: .i8, shape: [1]) }
    let failure = #expect(throws: ParseFailure.self) {
      try GGUFSplitPlan(many, metadata: GGUFMetadata(), name: "m", limits: .init(tensorCount: 1))
    }
    Fault(says: "split into 65536 files").check(failure)
  }
}

@Suite("Reading split sets")
struct SplitSetTests {
  /// Three pieces `m-…` with tensors `0` to `4`, two in each.
  private static func write(
    to folder: TemporaryFolder, name: String = "m", count: Int = 5, alignment: Int = 32,
    edit: (inout GGUFMetadata, Int) -> Void = { _, _ in }
  ) throws -> [String] {
    let tensors = try (0..<count).map { try TensorInfo(name: "\($0)", elementType: .i8, shape: [3]) }
    var metadata = GGUFMetadata()
    metadata.set("general.architecture", to: GGUFValue("llama"))
    let plan = try GGUFSplitPlan(
      tensors, metadata: metadata, name: name, limits: .init(tensorCount: 2), alignment: alignment)
    for (number, piece) in plan.pieces.enumerated() {
      var metadata = piece.layout.metadata
      edit(&metadata, number)
      let layout = try GGUFLayout(piece.layout.entries.map(\.info), metadata: metadata, alignment: alignment)
      let data = layout.headerBytes + [UInt8](repeating: 7, count: Int(layout.fileByteCount) - layout.headerBytes.count)
      try Data(data).write(to: folder.file(piece.fileName))
    }
    return plan.pieces.map { folder.file($0.fileName).path }
  }

  private func refusal(
    _ path: String, item: String?, says: String, file: String? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let failure = #expect(throws: ParseFailure.self, sourceLocation: sourceLocation) { try GGUFSplitSet(path: path) }
    #expect(failure?.message.contains(says) == true, "\(String(describing: failure))", sourceLocation: sourceLocation)
    #expect(failure?.item == item, "\(String(describing: failure))", sourceLocation: sourceLocation)
    #expect(failure?.file == file ?? path, sourceLocation: sourceLocation)
  }

  @Test(arguments: [32, 64])
  func opensFromAnyPiece(_ alignment: Int) throws {
    let folder = try TemporaryFolder()
    for path in try Self.write(to: folder, alignment: alignment) {
      let source = try GGUFSplitSet(path: path)
      #expect(source.tensors.map(\.name) == ["0", "1", "2", "3", "4"])
      #expect(source.metadata.entries.map(\.key).first == "general.architecture")
      #expect(!source.metadata.entries.contains { $0.key.hasPrefix("split.") })
      #expect(source.piece(of: "4") === source.pieces[2] && source.info("4")?.byteCount == 3)
      #expect(try source.bytes(of: "3") == [7, 7, 7])
      #expect(throws: ParseFailure.self) { try source.bytes(of: "5") }
      #expect(source.place == source.pieces[0].path)
    }
  }

  @Test func aWholeFileIsASetOfOne() throws {
    let folder = try TemporaryFolder()
    for (name, value) in [("merged", GGUFValue.uint16(0)), ("plain", nil)] as [(String, GGUFValue?)] {
      var metadata = GGUFMetadata()
      if let value { metadata.set("split.count", to: value) }
      let layout = try GGUFLayout([], metadata: metadata)
      try Data(layout.headerBytes).write(to: folder.file(name))
      #expect(try GGUFSplitSet(path: folder.file(name).path).pieces.count == 1)
    }
  }

  @Test func missingPieces() throws {
    let folder = try TemporaryFolder()
    let paths = try Self.write(to: folder)
    try FileSystem.remove(paths[1])
    var failure = #expect(throws: FileFailure.self) { try GGUFSplitSet(path: paths[0]) }
    #expect(failure?.kind == .missing && failure?.path == paths[1])
    try FileSystem.remove(paths[0])
    failure = #expect(throws: FileFailure.self) { try GGUFSplitSet(path: paths[2]) }
    #expect(failure?.path == paths[0] && failure?.detail.contains("2 of 3 pieces are missing") == true)
  }

  @Test func renamedPieces() throws {
    let folder = try TemporaryFolder()
    let paths = try Self.write(to: folder)
    let other = folder.file("model.gguf").path
    try FileSystem.rename(paths[1], to: other, replacing: false)
    refusal(other, item: "split.no", says: "piece 2 of 3, but not named NAME-00002-of-00003.gguf")
    // Two of a set under each other's name.
    try FileSystem.rename(paths[2], to: paths[1], replacing: false)
    try FileSystem.rename(other, to: paths[2], replacing: false)
    refusal(paths[0], item: "split.no", says: "the number is 2, by its name it is 1", file: paths[1])
  }

  @Test func foreignPieces() throws {
    let (folder, others) = (try TemporaryFolder(), try TemporaryFolder())
    let paths = try Self.write(to: folder)
    let six = try Self.write(to: others, count: 6)
    try FileSystem.rename(six[1], to: paths[1], replacing: true)
    refusal(paths[0], item: "split.tensors.count", says: "has 6 tensors", file: paths[1])
    let seven = try Self.write(to: others, name: "n", count: 7)
    try FileSystem.rename(seven[1], to: paths[1], replacing: true)
    refusal(paths[0], item: "split.count", says: "has 4 pieces", file: paths[1])
    try Data(GGUFLayout([], metadata: GGUFMetadata()).headerBytes).write(to: URL(filePath: paths[1]))
    refusal(paths[0], item: "split.count", says: "no piece of a set", file: paths[1])
    try Data([1, 2, 3]).write(to: URL(filePath: paths[1]))
    refusal(paths[0], item: nil, says: "has 3 bytes", file: paths[1])
  }

  @Test func keysThatDisagree() throws {
    func edited(_ number: Int, _ key: String, _ value: GGUFValue?) throws -> [String] {
      let paths = try Self.write(to: folder, name: "m\(key)\(number)") { metadata, piece in
        guard piece == number else { return }
        if let value { metadata.set(key, to: value) } else { metadata.remove(key) }
      }
      return paths
    }
    let folder = try TemporaryFolder()
    var paths = try edited(1, "general.architecture", GGUFValue("mistral"))
    refusal(paths[0], item: "general.architecture", says: "not the first piece's", file: paths[1])
    #expect(try GGUFSplitSet(path: edited(2, "general.architecture", GGUFValue("llama"))[0]).pieces.count == 3)
    paths = try edited(0, "split.no", .uint16(3))
    refusal(paths[0], item: "split.no", says: "piece 4 of 3")
    paths = try edited(0, "split.no", .uint32(0))
    refusal(paths[0], item: "split.no", says: "UINT32, expected is UINT16")
    paths = try edited(0, "split.tensors.count", nil)
    refusal(paths[0], item: "split.tensors.count", says: "the key is missing")
  }

  @Test func tensorsThatDoNotAddUp() throws {
    let folder = try TemporaryFolder()
    let paths = try Self.write(to: folder) { metadata, _ in metadata.set("split.tensors.count", to: .int32(6)) }
    refusal(paths[0], item: "split.tensors.count", says: "the pieces hold 5 tensors, the key says 6")
    // The second piece's tensors in the first, too.
    let one = try GGUFFile(path: paths[0])
    let layout = try GGUFLayout(
      try ["1", "2"].map { try TensorInfo(name: $0, elementType: .i8, shape: [3]) }, metadata: one.metadata)
    try Data(layout.headerBytes + [UInt8](repeating: 0, count: 64)).write(to: URL(filePath: paths[0]))
    refusal(paths[0], item: "2", says: "in two pieces, this one and m-00001-of-00003.gguf", file: paths[1])
  }
}
