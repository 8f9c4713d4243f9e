internal import ByteIO

/// The bytes of a header, front to back, a piece of the file in memory at a time. Every count is compared with what the
/// file still has, and with the limit, before memory is taken for it.
struct HeaderInput {
  let fileByteCount: UInt64
  /// Offset of the next byte.
  private(set) var offset: UInt64 = 0
  /// Nil when all bytes are in `piece`.
  private let file: ReadableFile?
  private var piece: [UInt8]
  /// Offset in the file of the first byte of `piece`.
  private var pieceStart: UInt64 = 0

  init(_ file: ReadableFile) {
    self.file = file
    fileByteCount = file.byteCount
    piece = []
  }

  /// - Parameters:
  ///   - bytes: the start of a file.
  ///   - fileByteCount: size of the whole file.
  init(_ bytes: [UInt8], fileByteCount: UInt64) {
    file = nil
    piece = bytes
    self.fileByteCount = fileByteCount
  }

  var remaining: UInt64 { fileByteCount - offset }

  /// - Parameter what: what the bytes are, for the message.
  func require(_ count: UInt64, _ what: String) throws(ParseFailure) {
    guard count <= remaining else {
      throw ParseFailure(
        "\(what) takes \(count) bytes, the file has only \(remaining) left", offset: offset,
        advice: "the download may be incomplete")
    }
    guard count <= GGUFLimits.headerByteCount, offset <= GGUFLimits.headerByteCount - count else {
      throw ParseFailure(
        "\(what) takes \(count) bytes, with which metadata and tensor table pass \(GGUFLimits.headerByteCount)",
        offset: offset, advice: "the file is damaged, or made to fill memory")
    }
  }

  mutating func integer<T: FixedWidthInteger>(_ what: String, as type: T.Type = T.self) throws -> T {
    let size = MemoryLayout<T>.size
    return T(truncatingIfNeeded: try bits(byteCount: size, what))
  }

  /// The next `byteCount` bytes as a little-endian number; at most 8.
  mutating func bits(byteCount: Int, _ what: String) throws -> UInt64 {
    try require(UInt64(byteCount), what)
    var bits: UInt64 = 0
    for index in 0..<byteCount {
      bits |= UInt64(try nextByte()) << (8 * UInt64(index))
    }
    return bits
  }

  /// Moves the next `count` bytes behind those of `target`.
  mutating func take(_ count: UInt64, into target: inout [UInt8], _ what: String) throws {
    try require(count, what)
    var left = count
    while left > 0 {
      try fill()
      let start = Int(offset - pieceStart)
      let size = Int(min(left, UInt64(piece.count - start)))
      target += piece[start..<start + size]
      offset += UInt64(size)
      left -= UInt64(size)
    }
  }

  /// A length, and so many bytes of UTF-8 without NUL: names and keys, which programs in C read to the first NUL.
  mutating func name(_ what: String, limit: Int) throws -> String {
    let start = offset
    let count: UInt64 = try integer("the length of \(what)")
    guard count > 0 else { throw ParseFailure("\(what) is empty", offset: start) }
    guard count <= UInt64(limit) else {
      throw ParseFailure("\(what) has \(count) bytes, at most \(limit) are allowed", offset: start)
    }
    var bytes: [UInt8] = []
    try take(count, into: &bytes, what)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ParseFailure("\(what) is no UTF-8", offset: start)
    }
    guard !bytes.contains(0) else { throw ParseFailure("\(what) has a NUL in it", item: text, offset: start) }
    return text
  }

  private mutating func nextByte() throws -> UInt8 {
    try fill()
    let byte = piece[Int(offset - pieceStart)]
    offset += 1
    return byte
  }

  /// Makes sure that the next byte is in `piece`. It is in the file: `require` was asked before.
  private mutating func fill() throws {
    guard offset - pieceStart >= UInt64(piece.count) else { return }
    guard let file else { throw ParseFailure("the header goes on behind the bytes given", offset: offset) }
    pieceStart = offset
    piece = try file.bytes(at: offset, count: Int(min(remaining, GGUFLimits.pieceByteCount)))
  }
}
