import ByteIO
import Foundation
import Support
import Testing

/// Random access into deflate streams. Streams with Huffman blocks, made by CPython's zlib, are in the fixture
/// `torch/deflated.pth`.
@Suite("Inflating at random")
struct InflateTests {
  /// A stream of stored blocks (RFC 1951, 3.2.4), written by hand: no compressor is needed to make a long one.
  private func storedBlocks(_ content: [UInt8], blockSize: Int) -> [UInt8] {
    var stream: [UInt8] = []
    for start in stride(from: 0, to: content.count, by: blockSize) {
      let block = content[start..<min(start + blockSize, content.count)]
      stream.append(start + blockSize >= content.count ? 1 : 0)
      let count = UInt16(block.count)
      for number in [count, ~count] { stream += [UInt8(number & 0xFF), UInt8(number >> 8)] }
      stream += block
    }
    return stream
  }

  private func index(_ stream: [UInt8], limit: Int) throws -> (InflateIndex, TemporaryFolder) {
    let folder = try TemporaryFolder()
    try Data([1, 2, 3] + stream + [9]).write(to: folder.file("x"))
    let file = try ReadableFile(path: folder.file("x").path)
    return (try InflateIndex(file, range: 3..<UInt64(3 + stream.count), limit: UInt64(limit)), folder)
  }

  @Test(arguments: [1, 1000, 65_535])
  func readsAnyPart(_ blockSize: Int) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let size = blockSize == 1 ? 5000 : 3_500_000
    let content = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
    let (index, folder) = try index(storedBlocks(content, blockSize: blockSize), limit: size)
    #expect(index.byteCount == UInt64(size))
    #expect(index.checksum == CRC32.checksum(content.span))
    for _ in 0..<50 {
      let start = Int.random(in: 0...size, using: &random)
      let end = Int.random(in: start...min(size, start + 100_000), using: &random)
      var buffer = [UInt8](repeating: 0, count: end - start)
      var span = buffer.mutableSpan
      try index.read(at: UInt64(start), into: &span)
      #expect(buffer == Array(content[start..<end]), "seed \(seed)")
    }
    _ = folder
  }

  @Test func refusesWhatIsTooLongOrCutShortOrNoStream() throws {
    let stream = storedBlocks([UInt8](repeating: 7, count: 100), blockSize: 40)
    #expect(throws: ParseFailure.self) { try index(stream, limit: 99) }
    #expect(throws: ParseFailure.self) { try index(Array(stream.dropLast()), limit: 100) }
    #expect(throws: ParseFailure.self) { try index(stream + [0], limit: 100) }
    #expect(throws: ParseFailure.self) { try index([0xFF, 0xFF, 0xFF], limit: 100) }
    #expect(throws: ParseFailure.self) { try index([], limit: 100) }
  }

  /// Origin of the checks: zlib.crc32 of CPython.
  @Test func joinsChecksums() {
    let bytes = Array("123456789".utf8)
    #expect(CRC32.checksum(bytes.span) == 0xCBF4_3926)
    let first = CRC32.checksum(bytes.span.extracting(0..<4))
    let second = CRC32.checksum(bytes.span.extracting(4..<9))
    #expect(CRC32.combined(first, second, secondByteCount: 5) == 0xCBF4_3926)
  }

  /// Bit by bit, as ISO 3309 has it: every length up to several folds and some, continued from any state.
  @Test func checksumsFollowTheDefinition() {
    func slow(_ bytes: ArraySlice<UInt8>, _ start: UInt32) -> UInt32 {
      var register = ~start
      for byte in bytes {
        register ^= UInt32(byte)
        for _ in 0..<8 { register = register & 1 == 1 ? register >> 1 ^ 0xEDB8_8320 : register >> 1 }
      }
      return ~register
    }
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = (0..<5000).map { _ in UInt8.random(in: 0...255, using: &random) }
    for length in Array(0..<800) + [1023, 1024, 1025, 4999] {
      let offset = length % 7
      let part = bytes[offset..<min(offset + length, bytes.count)]
      let start = UInt32.random(in: 0...UInt32.max, using: &random)
      let found = CRC32.checksum(Array(part).span, startingWith: start)
      #expect(found == slow(part, start), "length \(length), seed \(seed)")
    }
  }
}
