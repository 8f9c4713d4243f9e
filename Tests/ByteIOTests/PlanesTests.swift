import ByteIO
import Support
import Testing

@Suite("Planes of bytes")
struct PlanesTests {
  /// By hand: BF16 −1.5 is 0xBFC0: rotated left 0x7F81, exponent 0x7F first, then mantissa 100 0000 and the sign.
  @Test func takesNumbersApart() {
    func split(_ bytes: [UInt8], width: Int) -> [UInt8] {
      let count = bytes.count / width
      var planes = [UInt8](
        repeating: 0xEE,
        count: BytePlanes.planeCount(width: width) * BytePlanes.planeByteCount(count, width: width))
      var span = planes.mutableSpan
      BytePlanes.split(bytes.span, width: width, into: &span)
      return planes
    }
    #expect(split([0xC0, 0xBF, 0x80, 0x3F], width: 2) == [0x7F, 0x7F, 0x81, 0x00])
    // e4m3 −1.5 is 1 0111 100, 1.25 is 0 0111 010, 2 is 0 1000 000.
    #expect(split([0xBC, 0x3A, 0x40], width: 1) == [0x77, 0x08, 0x49, 0x00])
    // F32 −1.5 is 0xBFC00000: rotated 0x7F800001.
    #expect(split([0x00, 0x00, 0xC0, 0xBF], width: 4) == [0x7F, 0x80, 0x00, 0x01])
  }

  @Test(arguments: [1, 2, 4], [0, 1, 2, 3, 63, 64, 65, 1000])
  func joinsThemAgain(_ width: Int, _ count: Int) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = (0..<count * width).map { _ in UInt8.random(in: 0...255, using: &random) }
    var planes = [UInt8](
      repeating: 0, count: BytePlanes.planeCount(width: width) * BytePlanes.planeByteCount(count, width: width))
    var span = planes.mutableSpan
    BytePlanes.split(bytes.span, width: width, into: &span)
    var again = [UInt8](repeating: 0, count: bytes.count)
    var target = again.mutableSpan
    BytePlanes.join(planes.span, width: width, into: &target)
    #expect(again == bytes, "seed \(seed)")
  }
}

@Suite("zlib streams")
struct ZlibStreamTests {
  private func inflated(_ stream: [UInt8], count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    try ZlibStream.decompress(stream.span, into: &span)
    return bytes
  }

  @Test func noiseIsNotCompressed() {
    var random = SeededRandom(seed: 7)
    for count in [0, 1, 63, 64, 1000, 65_536] {
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      let stream = ZlibStream.compressed(bytes.span)
      #expect(stream == nil, "\(count) bytes")
    }
  }

  /// Bytes as frequent as exponents are: half of them one value, a quarter the next.
  @Test func frequenciesAreUsed() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = (0..<65_536).map { _ in UInt8(UInt64.random(in: 1 ... .max, using: &random).leadingZeroBitCount) }
    let compressed = ZlibStream.compressed(bytes.span)
    let stream = try #require(compressed)
    // Two bits each by Shannon's formula, and the table of codes.
    #expect(stream.count < 65_536 / 4 + 1024, "seed \(seed)")
    #expect(try inflated(stream, count: bytes.count) == bytes)
    #expect(throws: ParseFailure.self) { try inflated(stream, count: bytes.count - 1) }
    #expect(throws: ParseFailure.self) { try inflated(stream, count: bytes.count + 1) }
    #expect(throws: ParseFailure.self) { try inflated(Array(stream.dropLast()), count: bytes.count) }
    #expect(throws: ParseFailure.self) { try inflated(stream + [0], count: bytes.count) }
    for place in [0, 2, 100, stream.count / 2, stream.count - 1] {
      var damaged = stream
      damaged[place] ^= 0x10
      #expect(throws: ParseFailure.self, "byte \(place)") { try inflated(damaged, count: bytes.count) }
    }
  }

  @Test func runsTakeNoSpace() throws {
    let bytes = [UInt8](repeating: 0, count: 65_536)
    let compressed = ZlibStream.compressed(bytes.span)
    let stream = try #require(compressed)
    #expect(stream.count < 400)
    #expect(try inflated(stream, count: bytes.count) == bytes)
  }
}
