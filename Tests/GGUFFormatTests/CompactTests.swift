import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

/// A plan with the bytes of its tensors.
private struct Sample {
  let plan: CompactPlan
  let contents: [(name: String, rowByteCount: Int, bytes: [UInt8])]

  /// Exponents as trained weights have them, so that planes are compressed; and noise, so that some are not.
  init(_ random: inout SeededRandom, numbers: [Int] = [1, 65_535, 65_536, 65_537, 200_001]) throws {
    var tensors: [CompactTensor] = []
    var contents: [(String, Int, [UInt8])] = []
    func add(_ name: String, _ type: ElementType, _ shape: Shape, _ encoding: CompactEncoding, _ bytes: [UInt8]) throws
    {
      tensors.append(try CompactTensor(TensorInfo(name: name, elementType: type, shape: shape), encoding: encoding))
      contents.append((name, bytes.isEmpty ? 0 : bytes.count / shape.rows, bytes))
    }
    for count in numbers {
      for type in [ElementType.bf16, .f16, .f32, .f8e4m3] {
        let values = (0..<count).map { _ in random.normal(0.05) }
        let bytes = type == .f8e4m3 ? values.map { UInt8($0.bitPattern >> 24) } : type.bytes(of: values)
        try add("\(type).\(count)", type, [count, 1], .planes, bytes)
      }
      let noise = (0..<count * 2).map { _ in UInt8.random(in: 0...255, using: &random) }
      try add("noise.\(count)", .bf16, [count], .planes, noise)
      try add("plain.\(count)", .bf16, [count], .plain, noise)
      let codes = (0..<count * 2).map { _ in UInt8(bitPattern: Int8.random(in: -8...7, using: &random)) }
      try add("codes.\(count)", .i8, [count, 2], .int4, codes)
    }
    try add("zeros", .bf16, [70_000], .planes, [UInt8](repeating: 0, count: 140_000))
    try add("none", .bf16, [0, 4], .planes, [])
    try add("scalar", .f32, [], .plain, [0, 0, 0x80, 0x3F])
    try add("blocks", .block(.q8_0), [2, 32], .plain, (0..<68).map { UInt8($0) })
    try add("files/note.txt", .u8, [5], .plain, Array("hello".utf8))
    self.contents = contents
    plan = try CompactPlan(
      tensors, configuration: #"{"a": 1}"#, quantized: [], metadata: GGUFMetadata(), fileName: "x.gguf")
  }

  /// Parts of whole rows, in any order.
  func parts(_ random: inout SeededRandom) -> [(name: String, range: Range<Int>, bytes: [UInt8])] {
    contents.flatMap { name, size, bytes -> [(String, Range<Int>, [UInt8])] in
      guard size > 0 else { return [] }
      let rows = bytes.count / size
      let cuts = Set((0..<min(12, rows)).map { _ in Int.random(in: 0...rows, using: &random) } + [0, rows]).sorted()
      return zip(cuts, cuts.dropFirst()).map { (name, $0 * size..<$1 * size, Array(bytes[$0 * size..<$1 * size])) }
    }.shuffled(using: &random)
  }
}

@Suite("Compact files")
struct CompactTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func write(_ sample: Sample, _ name: String, _ random: inout SeededRandom, threads: Int) async throws
    -> String
  {
    let directory = folder.file(name)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let writer = try CompactWriter(creating: sample.plan, in: directory.path)
    let parts = sample.parts(&random)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for thread in 0..<threads {
        group.addTask {
          for index in stride(from: thread, to: parts.count, by: threads) {
            let (name, range, bytes) = parts[index]
            try writer.write(name, at: range.lowerBound, bytes.span)
          }
        }
      }
      try await group.waitForAll()
    }
    try writer.complete()
    try writer.synchronize()
    return directory.appending(path: "x.gguf").path
  }

  @Test("The file does not depend on order and threads, and gives back what was written, from any place")
  func roundTrip() async throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let sample = try Sample(&random)
    let one = try await write(sample, "one", &random, threads: 1)
    let four = try await write(sample, "four", &random, threads: 4)
    let bytes = try Fixtures.bytes(URL(filePath: one))
    #expect(try bytes == Fixtures.bytes(URL(filePath: four)), "seed \(seed)")
    let file = try CompactFile(path: one)
    #expect(try sample.plan.firstFault(in: file) == nil)
    #expect(file.configuration == #"{"a": 1}"# && file.files.map(\.name) == ["note.txt"])
    for (name, _, bytes) in sample.contents {
      for _ in 0..<5 {
        let start = Int.random(in: 0...bytes.count, using: &random)
        let end = Int.random(in: start...bytes.count, using: &random)
        var part = [UInt8](repeating: 0, count: end - start)
        var span = part.mutableSpan
        try file.read(name, at: start, into: &span)
        #expect(part == Array(bytes[start..<end]), "seed \(seed), \(name) from \(start) to \(end)")
      }
      let whole = try file.bytes(of: name)
      #expect(whole == bytes, "seed \(seed), \(name)")
    }
    try file.proveIntegrity()
    // Noise is stored as it is and needs no more than its table; what trained weights are like is two thirds.
    #expect(file.storedByteCount(of: "noise.200001") == 400_002 + 4 * 2 * 4)
    #expect(try #require(file.storedByteCount(of: "BF16.200001")) < 280_000)
    #expect(try #require(file.storedByteCount(of: "zeros")) < 1000)
    #expect(file.storedByteCount(of: "none") == 0)
    #expect(sample.plan.isCompressed && UInt64(bytes.count) < sample.plan.maximumByteCount)
  }

  /// Bits between the end of a zlib stream and its Adler-32 are nobody's, as padding is.
  @Test("A flipped bit of the data is noticed when its tensor is read, or changes nothing")
  func damage() async throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let sample = try Sample(&random, numbers: [1000])
    let path = try await write(sample, "x", &random, threads: 2)
    let sound = try Fixtures.bytes(URL(filePath: path))
    let header = sample.plan.headerBytes.count
    var unnoticed = 0
    for _ in 0..<60 {
      let place = Int.random(in: header..<sound.count, using: &random)
      var bytes = sound
      bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
      try Data(bytes).write(to: URL(filePath: path))
      let file = try GGUFFile(path: path)
      let isPadding = !file.header.entries.contains { file.header.fileRange(of: $0).contains(UInt64(place)) }
      do {
        let file = try CompactFile(path: path)
        try file.proveIntegrity()
        let differs = try sample.contents.contains { try file.bytes(of: $0.name) != $0.bytes }
        #expect(!differs, "seed \(seed), byte \(place)")
        unnoticed += isPadding ? 0 : 1
      } catch is ParseFailure {
        #expect(!isPadding, "seed \(seed), byte \(place)")
      }
    }
    #expect(unnoticed < 4, "seed \(seed)")
  }

  @Test func refusesWhatItCannotHold() throws {
    for (type, shape, encoding) in [
      (ElementType.f4, Shape([2, 2]), CompactEncoding.plain), (.i8, [2, 3], .int4), (.bf16, [2, 2], .int4),
      (.i8, [2, 2], .planes), (.block(.q8_0), [32], .planes),
    ] {
      let info = try TensorInfo(name: "a", elementType: type, shape: shape)
      #expect(throws: ParseFailure.self) { try CompactTensor(info, encoding: encoding) }
    }
    #expect(CompactProfile.tensorName(ofFile: String(repeating: "x", count: 57)) != nil)
    #expect(CompactProfile.tensorName(ofFile: String(repeating: "x", count: 58)) == nil)
    #expect(CompactProfile.tensorName(ofFile: "../x") == nil)
  }

  @Test func codesAreOfFourBits() throws {
    let tensor = try CompactTensor(TensorInfo(name: "a", elementType: .i8, shape: [1, 2]), encoding: .int4)
    let plan = try CompactPlan(
      [tensor], configuration: "{}", quantized: [], metadata: GGUFMetadata(), fileName: "x.gguf")
    let writer = try CompactWriter(creating: plan, in: folder.url.path)
    let codes: [UInt8] = [8, 0]
    let failure = #expect(throws: ParseFailure.self) { try writer.write("a", at: 0, codes.span) }
    #expect(failure?.item == "a")
    // Nothing was written, and an unfinished file is not completed.
    #expect(throws: ParseFailure.self) { try writer.complete() }
  }
}
