import ByteIO
import Dispatch
import Foundation
import GGUFFormat
import Support
import Synchronization
import Tensors
import Testing

/// Random content, the same for a seed.
struct RandomGGUF {
  var random: SeededRandom

  mutating func text(_ length: ClosedRange<Int>) -> String {
    let alphabet = Array("ab._-Ġ▁\u{E9}\u{301}\u{1F600}\"\\\n 0").map(String.init)
    return (0..<Int.random(in: length, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? "" }
      .joined()
  }

  mutating func tensors() throws -> [TensorInfo] {
    var names: Set<UTF8Key> = []
    for _ in 0..<Int.random(in: 0...30, using: &random) { names.insert(UTF8Key(text(1...12))) }
    return try names.sorted().shuffled(using: &random).map { name in
      let type = GGMLType.allTypes.randomElement(using: &random) ?? .f32
      var extents = (0..<Int.random(in: 0...4, using: &random)).map { _ in Int.random(in: 0...5, using: &random) }
      if let block = type.block {
        extents = Array(extents.dropLast()) + [block.size.elements * Int.random(in: 0...2, using: &random)]
      }
      return try TensorInfo(name: name.text, elementType: type, shape: Shape(extents))
    }
  }

  mutating func scalar<T: FixedWidthInteger>(_ type: T.Type) -> T { T.random(in: T.min...T.max, using: &random) }

  mutating func value() -> GGUFValue {
    switch Int.random(in: 0..<20, using: &random) {
    case 0: return .uint8(scalar(UInt8.self))
    case 1: return .int8(scalar(Int8.self))
    case 2: return .uint16(scalar(UInt16.self))
    case 3: return .int16(scalar(Int16.self))
    case 4: return .uint32(scalar(UInt32.self))
    case 5: return .int32(scalar(Int32.self))
    case 6: return .float32(Float(bitPattern: scalar(UInt32.self)))
    case 7: return .bool(Bool.random(using: &random))
    case 8: return .uint64(scalar(UInt64.self))
    case 9: return .int64(scalar(Int64.self))
    case 10: return .float64(Double(bitPattern: scalar(UInt64.self)))
    case 11: return .string(GGUFString(bytes: (0..<5).map { _ in scalar(UInt8.self) }))
    case 12: return .array(GGUFArray(numbers { $0.scalar(Int32.self) }))
    case 13: return .array(GGUFArray(numbers { $0.scalar(UInt64.self) }))
    case 14: return .array(GGUFArray(numbers { Float(bitPattern: $0.scalar(UInt32.self)) }))
    case 15: return .array(GGUFArray(numbers { $0.scalar(UInt8.self) > 127 }))
    case 16: return .array(GGUFArray(numbers { $0.text(0...9) }))
    default: return GGUFValue(text(0...40))
    }
  }

  private mutating func numbers<T>(_ make: (inout Self) -> T) -> [T] {
    (0..<Int.random(in: 0...50, using: &random)).map { _ in make(&self) }
  }

  mutating func metadata() -> GGUFMetadata {
    var metadata = GGUFMetadata()
    for _ in 0..<Int.random(in: 0...30, using: &random) { metadata.set(text(1...15), to: value()) }
    return metadata
  }
}

@Suite("What is written comes back")
struct RoundTripTests {
  @Test func randomFilesComeBack() throws {
    let seed = SeededRandom.freshSeed()
    var make = RandomGGUF(random: SeededRandom(seed: seed))
    for round in 0..<80 {
      let note = Comment(rawValue: "LLAMA_TEST_SEED=\(seed) round \(round)")
      let (tensors, metadata) = (try make.tensors(), make.metadata())
      let alignment = [1, 8, 32, 64, 4096][round % 5]
      var limits = GGUFSplitPlan.Limits.none
      if round % 3 == 1 { limits.size = ByteSize(500) }
      if round % 4 == 1 { limits.tensorCount = 3 }
      limits.firstPieceIsMetadata = round % 7 == 0
      let plan = try GGUFSplitPlan(tensors, metadata: metadata, name: "m", limits: limits, alignment: alignment)
      let content = Dictionary(
        uniqueKeysWithValues: tensors.map { tensor in
          (UTF8Key(tensor.name), (0..<tensor.byteCount).map { _ in make.scalar(UInt8.self) })
        })
      let folder = try TemporaryFolder()
      try Self.write(content, plan, to: folder.url.path)
      let source = try GGUFSplitSet(path: folder.file(try #require(plan.pieces.last).fileName).path)
      #expect(source.tensors == tensors, note)
      var stated = metadata
      if alignment != 32 { stated.set("general.alignment", to: .uint32(UInt32(alignment))) }
      #expect(source.metadata == stated, note)
      for tensor in tensors {
        #expect(try source.bytes(of: tensor.name) == content[UTF8Key(tensor.name)], note)
      }
      for (piece, opened) in zip(plan.pieces, source.pieces) { try check(piece.layout, opened, note) }
    }
  }

  /// That a file is laid out as planned, each tensor on a boundary and nothing but zeros between.
  private func check(_ layout: GGUFLayout, _ file: GGUFFile, _ note: Comment) throws {
    #expect(file.header.entries == layout.entries && file.byteCount == layout.fileByteCount, note)
    #expect(file.header.alignment == layout.alignment && file.header.metadata == layout.metadata, note)
    #expect(file.byteCount % UInt64(layout.alignment) == 0, note)
    let bytes = try Fixtures.bytes(URL(filePath: file.path))
    var end = Int(layout.dataOffset)
    for tensor in layout.entries.map(\.info) {
      let start = Int(try #require(file.fileOffset(of: tensor.name)))
      #expect(layout.fileOffset(of: tensor.name) == UInt64(start), note)
      #expect(start % layout.alignment == 0 && start - end < layout.alignment, note)
      #expect(bytes[end..<start].allSatisfy { $0 == 0 }, note)
      end = start + tensor.byteCount
    }
    #expect(bytes[end...].allSatisfy { $0 == 0 } && bytes.count - end < layout.alignment, note)
  }

  /// Writes every tensor in small pieces from many threads, in no particular order.
  static func write(_ content: [UTF8Key: [UInt8]], _ plan: GGUFSplitPlan, to directory: String) throws {
    let writer = try GGUFWriter(creating: plan.pieces, in: directory)
    let pieces = content.flatMap { name, bytes in
      stride(from: 0, to: bytes.count, by: 37).map { (name.text, $0, Array(bytes[$0..<min($0 + 37, bytes.count)])) }
    }.shuffled()
    let failures = Mutex<[FileFailure]>([])
    DispatchQueue.concurrentPerform(iterations: pieces.count) { index in
      let (name, offset, bytes) = pieces[index]
      do throws(FileFailure) {
        try writer.write(name, at: offset, bytes.span)
      } catch {
        failures.withLock { $0.append(error) }
      }
    }
    #expect(failures.withLock { $0.isEmpty })
    try writer.finish()
  }

  /// Larger than the pieces in which headers are read, so that values lie across their borders.
  @Test func largeHeadersAreReadInPieces() throws {
    let tokens = (0..<128_256).map { "Ġtoken\($0)" }
    var metadata = GGUFMetadata()
    metadata.set("tokenizer.ggml.tokens", to: .array(GGUFArray(tokens)))
    metadata.set("tokenizer.ggml.token_type", to: .array(GGUFArray((0..<128_256).map { Int32($0 % 6) })))
    metadata.set("tokenizer.chat_template", to: GGUFValue(String(repeating: "{% x %}", count: 100_000)))
    let tensors = try (0..<2000).map { try TensorInfo(name: "blk.\($0)", elementType: .i8, shape: [1]) }
    let plan = try GGUFSplitPlan(tensors, metadata: metadata, name: "m")
    let folder = try TemporaryFolder()
    try GGUFWriter(creating: plan.pieces, in: folder.url.path).finish()
    let file = try GGUFFile(path: folder.file("m.gguf").path)
    #expect(file.header.dataOffset > 4 << 18)
    #expect(file.metadata == metadata && file.tensors == tensors)
    let read = try #require(try GGUFTokens(file.metadata))
    #expect(read.tokens.count == tokens.count && read.types?.count == tokens.count)
    for id in stride(from: 0, to: tokens.count, by: 997) { #expect(read.tokens.string(at: id).text == tokens[id]) }
  }

  @Test func readsStayInsideTheTensor() throws {
    let file = try opened(GGUFBytes().encoded.bytes)
    func read(_ name: String, at offset: Int, count: Int) throws -> [UInt8] {
      var buffer = [UInt8](repeating: 0xEE, count: count)
      var span = buffer.mutableSpan
      try file.read(name, at: offset, into: &span)
      return buffer
    }
    #expect(try read("c", at: 1, count: 5) == [UInt8](repeating: 0x5A, count: 5))
    #expect(try read("c", at: 6, count: 0) == [])
    for (offset, count) in [(-1, 1), (6, 1), (5, 2), (0, 7), (7, 0), (Int.max, 1), (Int.min, 1)] {
      let failure = #expect(throws: ParseFailure.self) { try read("c", at: offset, count: count) }
      #expect(failure?.item == "c" && failure?.file == file.path)
    }
    #expect(throws: ParseFailure.self) { try read("nothing", at: 0, count: 0) }
  }
}

@Suite("Metadata")
struct MetadataTests {
  @Test func keepsOrderAndPlaces() {
    var metadata = GGUFMetadata()
    for (number, key) in ["b", "a", "c", "caf\u{E9}", "cafe\u{301}"].enumerated() {
      metadata.set(key, to: .uint8(UInt8(number)))
    }
    #expect(metadata.entries.count == 5)
    metadata.set("a", to: GGUFValue("x"))
    metadata.remove("b")
    metadata.remove("nothing")
    #expect(metadata.entries.map(\.key) == ["a", "c", "caf\u{E9}", "cafe\u{301}"])
    #expect(metadata["a"] == GGUFValue("x") && metadata["c"] == .uint8(2) && metadata["b"] == nil)
    #expect(metadata["cafe\u{301}"] == .uint8(4))
    metadata.set("b", to: .bool(true))
    #expect(metadata.entries.last?.key == "b")
  }

  @Test func accessorsSayWhatTheyFound() throws {
    var bytes = GGUFBytes()
    bytes.keys.append(.init("f", 6, GGUFBytes.number(0x7FC0_0001, 4)))
    bytes.keys.append(.init("t", 7, [2]))
    let (data, places) = bytes.encoded
    let metadata = try opened(data).metadata
    #expect(try metadata.scalar("a.count", as: UInt32.self) == 7)
    #expect(try metadata.scalar("a.none", as: UInt32.self) == nil)
    #expect(try metadata.requiredString("general.architecture") == "llama")
    #expect(try metadata.requiredScalar("t", as: Bool.self))
    #expect(metadata["f"] == .float32(Float(bitPattern: 0x7FC0_0001)) && metadata["f"] != .float32(.nan))
    let wrong = #expect(throws: ParseFailure.self) { try metadata.scalar("a.count", as: Int32.self) }
    Fault(item: "a.count", offset: UInt64(places.keys[1]), says: "the value is UINT32, expected is INT32").check(wrong)
    #expect(wrong?.file != nil)
    let text = #expect(throws: ParseFailure.self) { try metadata.string("a.count") }
    Fault(item: "a.count", offset: UInt64(places.keys[1]), says: "expected is STRING").check(text)
    let missing = #expect(throws: ParseFailure.self) { try metadata.requiredScalar("x", as: Float.self) }
    Fault(item: "x", says: "the key is missing, expected is a value of type FLOAT32").check(missing)
    #expect(throws: ParseFailure.self) { try metadata.requiredString("x") }
    #expect(throws: ParseFailure.self) { try metadata.strings("f") }
    #expect(throws: ParseFailure.self) { try metadata.integers("f") }
    #expect(throws: ParseFailure.self) { try metadata.floats("f") }
  }

  @Test func arraysAreStoredOnce() {
    let array = GGUFArray([1.5, -2] as [Float])
    #expect(array.values(as: Float.self) == [1.5, -2] && array.values(as: Int32.self) == nil)
    #expect(GGUFArray([Int8(-1)]) != GGUFArray([UInt8(255)]))
    #expect(GGUFArray(["ab", "c"]) != GGUFArray(["a", "bc"]))
    #expect((0..<3).map { GGUFArray(["", "x", ""]).string(at: $0).text } == ["", "x", ""])
  }
}
