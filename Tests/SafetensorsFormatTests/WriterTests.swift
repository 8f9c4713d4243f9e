import ByteIO
import Dispatch
import Foundation
import SafetensorsFormat
import Support
import Synchronization
import Tensors
import Testing

@Suite("Writing planned files")
struct WriterTests {
  /// Random tensors of all types; names are random, some hostile, always distinct.
  static func randomTensors(_ random: inout SeededRandom) throws -> [TensorInfo] {
    let alphabet = Array("ab.\"\\/\u{0}\u{7}\u{E9}\u{301}\u{1F600}_0").map(String.init)
    var names: Set<UTF8Key> = []
    for _ in 0..<Int.random(in: 0...40, using: &random) {
      let length = Int.random(in: 0...12, using: &random)
      names.insert(UTF8Key((0..<length).map { _ in alphabet.randomElement(using: &random) ?? "" }.joined()))
    }
    return try names.sorted().map { name in
      let type = ElementType.allCases.randomElement(using: &random) ?? .f32
      var shape = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 0...9, using: &random) }
      // Whole bytes for the types below eight bits.
      if type.bits < 8 { shape.append(4) }
      return try TensorInfo(name: name.text, elementType: type, shape: Shape(shape))
    }
  }

  @Test func randomTensorSetsComeBack() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for round in 0..<60 {
      let note = Comment(rawValue: "LLAMA_TEST_SEED=\(seed) round \(round)")
      let folder = try TemporaryFolder()
      let tensors = try Self.randomTensors(&random)
      let content = Dictionary(
        uniqueKeysWithValues: tensors.map { tensor in
          (UTF8Key(tensor.name), (0..<tensor.byteCount).map { _ in UInt8.random(in: 0...255, using: &random) })
        })
      let metadata: SafetensorsMetadata = round % 3 == 0 ? [:] : ["format": "pt", "\u{1}": "\""]
      let limit = ByteSize(round % 2 == 0 ? .max : 300)
      let groups = tensors.shuffled(using: &random).map { [$0] }
      let plan = try ShardPlan(groups: groups, maximumShardSize: limit, metadata: metadata)
      try Self.write(content, plan, to: folder.url.path)

      let source = try Self.open(plan, folder)
      #expect(source.tensors.count == tensors.count, note)
      for tensor in tensors {
        #expect(source.info(tensor.name) == tensor, note)
        #expect(try source.bytes(of: tensor.name) == content[UTF8Key(tensor.name)], note)
      }
      for shard in plan.shards {
        let opened = try SafetensorsFile(path: folder.file(shard.fileName).path)
        #expect(opened.header.entries == shard.layout.entries, note)
        #expect(opened.byteCount == shard.layout.fileByteCount, note)
        #expect(opened.metadata.entries.count == metadata.entries.count, note)
      }
    }
  }

  /// Writes every tensor in small pieces from many threads, in no particular order.
  static func write(_ content: [UTF8Key: [UInt8]], _ plan: ShardPlan, to directory: String) throws {
    let writer = try SafetensorsWriter(creating: plan.shards, in: directory)
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
    if let index = plan.index {
      try FileSystem.write(Array(index.serialized().utf8), toNew: directory + "/" + SafetensorsIndex.fileName)
    }
  }

  static func open(_ plan: ShardPlan, _ folder: TemporaryFolder) throws -> any TensorSource {
    if plan.index != nil { return try ShardedSafetensors(directory: folder.url.path) }
    return try SafetensorsFile(path: folder.file("model.safetensors").path)
  }

  @Test func continuesWhatAnotherWriterBegan() throws {
    let folder = try TemporaryFolder()
    let plan = try ShardPlan(groups: [[try tensor("a", .u8, [4]), try tensor("b", .u8, [4])]])
    let first = try SafetensorsWriter(creating: plan.shards, in: folder.url.path)
    let (one, two): ([UInt8], [UInt8]) = ([1, 2, 3, 4], [5, 6, 7, 8])
    try first.write("a", at: 0, one.span)
    try first.finish()
    let second = try SafetensorsWriter(sharing: plan.shards, in: folder.url.path, writesHeaders: false)
    try second.write("b", at: 0, two.span)
    try second.finish()
    let source = try Self.open(plan, folder)
    #expect(try source.bytes(of: "a") + source.bytes(of: "b") == one + two)
  }

  @Test func neverOverwritesAndLeavesNothingBehind() throws {
    let folder = try TemporaryFolder()
    let groups = [[try tensor("a", .u8, [9])], [try tensor("b", .u8, [9])]]
    let plan = try ShardPlan(groups: groups, maximumShardSize: ByteSize(10))
    let taken = folder.file(plan.shards[1].fileName).path
    try FileSystem.write([1, 2, 3], toNew: taken)
    let failure = #expect(throws: FileFailure.self) {
      try SafetensorsWriter(creating: plan.shards, in: folder.url.path)
    }
    #expect(failure?.kind == .exists && failure?.path == taken)
    #expect(try FileSystem.names(in: folder.url.path) == [plan.shards[1].fileName])
    #expect(try ReadableFile.contents(of: taken, limit: 10) == [1, 2, 3])
  }

  @Test func readsStayInsideTheTensor() throws {
    let source = try SafetensorsFile(path: Fixtures.golden("safetensors/writer_mixed.safetensors").path)
    func read(_ name: String, at offset: Int, count: Int) throws -> [UInt8] {
      var buffer = [UInt8](repeating: 0xEE, count: count)
      var span = buffer.mutableSpan
      try source.read(name, at: offset, into: &span)
      return buffer
    }
    #expect(try read("i.u8", at: 1, count: 3) == [1, 2, 3])
    #expect(try read("i.u8", at: 5, count: 0) == [])
    #expect(try read("f.empty", at: 0, count: 0) == [])
    for (offset, count) in [(-1, 1), (5, 1), (4, 2), (0, 6), (6, 0), (Int.max, 1), (Int.min, 1)] {
      let failure = #expect(throws: ParseFailure.self) { try read("i.u8", at: offset, count: count) }
      #expect(failure?.item == "i.u8" && failure?.file == source.path)
    }
    #expect(throws: ParseFailure.self) { try read("nothing", at: 0, count: 0) }
  }

  @Test func aWriteOutsideThePlanTraps() async throws {
    let folder = try TemporaryFolder()
    await #expect(processExitsWith: .failure) { [directory = folder.url.path as String] in
      do {
        let plan = try ShardPlan(groups: [[try TensorInfo(name: "a", elementType: .u8, shape: [4])]])
        let writer = try SafetensorsWriter(creating: plan.shards, in: directory)
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
