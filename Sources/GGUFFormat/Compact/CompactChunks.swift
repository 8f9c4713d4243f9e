internal import ByteIO
internal import Tensors

/// How the numbers of a compressed tensor are cut into chunks, and chunks into planes. Stored are, first, the size of every
/// plane of every chunk, 4 bytes each; then the planes one behind the other. A plane that has its full size is stored as it
/// is, a shorter one is a zlib stream.
struct CompactChunks: Sendable {
  /// Numbers of a chunk: enough that the tables of codes do not count, little enough for reading at random.
  static let elementCount = 1 << 16
  /// Bytes of a plane's size.
  static let sizeByteCount = 4

  /// Bytes of the numbers.
  let byteCount: Int
  /// Bytes of one number.
  let width: Int

  init(_ info: TensorInfo) {
    byteCount = info.byteCount
    width = info.elementType.bits / 8
  }

  var chunkByteCount: Int { Self.elementCount * width }
  var count: Int { (byteCount + chunkByteCount - 1) / chunkByteCount }
  var planeCount: Int { BytePlanes.planeCount(width: width) }
  /// Bytes of the table of sizes.
  var tableByteCount: Int { count * planeCount * Self.sizeByteCount }

  /// Where the numbers of a chunk are among the tensor's bytes.
  func range(_ chunk: Int) -> Range<Int> {
    chunk * chunkByteCount..<min((chunk + 1) * chunkByteCount, byteCount)
  }

  /// Bytes of one plane of a chunk, not compressed.
  func planeByteCount(_ chunk: Int) -> Int { BytePlanes.planeByteCount(range(chunk).count / width, width: width) }

  /// With every plane as it is.
  var maximumByteCount: Int {
    if count == 0 { return 0 }
    let last = count - 1
    return tableByteCount + planeCount * (last * planeByteCount(0) + planeByteCount(last))
  }

  // MARK: One chunk

  /// - Parameter numbers: all bytes of the chunk.
  /// - Returns: the stored planes, and the size of each.
  func encoded(_ numbers: Span<UInt8>) -> (bytes: [UInt8], sizes: [Int]) {
    let size = BytePlanes.planeByteCount(numbers.count / width, width: width)
    var planes = [UInt8](repeating: 0, count: planeCount * size)
    var span = planes.mutableSpan
    BytePlanes.split(numbers, width: width, into: &span)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(planes.count)
    var sizes: [Int] = []
    for plane in 0..<planeCount {
      let part = planes[plane * size..<(plane + 1) * size]
      if let stream = ZlibStream.compressed(planes.span.extracting(plane * size..<(plane + 1) * size)) {
        bytes += stream
        sizes.append(stream.count)
      } else {
        bytes += part
        sizes.append(part.count)
      }
    }
    return (bytes, sizes)
  }

  /// - Parameters:
  ///   - bytes: the stored planes of the chunk.
  ///   - sizes: of each plane; their sum is the number of bytes.
  ///   - numbers: takes all bytes of the chunk.
  /// - Throws: `ParseFailure` for a plane that is no zlib stream of its size.
  func decode(_ bytes: Span<UInt8>, sizes: [Int], into numbers: inout MutableSpan<UInt8>) throws(ParseFailure) {
    let size = BytePlanes.planeByteCount(numbers.count / width, width: width)
    var planes = [UInt8](repeating: 0, count: planeCount * size)
    var span = planes.mutableSpan
    var start = 0
    for (plane, stored) in sizes.enumerated() {
      var target = span.part(plane * size..<(plane + 1) * size)
      let part = bytes.extracting(start..<start + stored)
      if stored == size { target.copy(from: part) } else { try ZlibStream.decompress(part, into: &target) }
      start += stored
    }
    BytePlanes.join(planes.span, width: width, into: &numbers)
  }
}

/// Where the planes of a compressed tensor are: its table of sizes, checked.
struct CompactTable: Sendable {
  /// Of each plane of each chunk.
  private let sizes: [UInt32]
  /// Of the first byte of each chunk among the stored bytes, and where the last ends.
  private let offsets: [UInt64]
  private let planeCount: Int

  /// - Parameters:
  ///   - bytes: the table.
  ///   - storedByteCount: of the whole tensor.
  /// - Throws: `ParseFailure` for a plane without bytes or larger than it can be, and when the planes are not what is stored.
  init(_ bytes: [UInt8], _ chunks: CompactChunks, storedByteCount: Int) throws(ParseFailure) {
    planeCount = chunks.planeCount
    var sizes: [UInt32] = []
    var offsets: [UInt64] = []
    sizes.reserveCapacity(chunks.count * planeCount)
    offsets.reserveCapacity(chunks.count + 1)
    var next = UInt64(chunks.tableByteCount)
    for chunk in 0..<chunks.count {
      offsets.append(next)
      let limit = chunks.planeByteCount(chunk)
      for plane in 0..<planeCount {
        let place = (chunk * planeCount + plane) * CompactChunks.sizeByteCount
        let size = bytes.littleEndian(at: place, byteCount: CompactChunks.sizeByteCount)
        guard size > 0, size <= UInt64(limit) else {
          throw ParseFailure("plane \(plane) of chunk \(chunk) has \(size) bytes, expected 1 to \(limit)")
        }
        sizes.append(UInt32(truncatingIfNeeded: size))
        next += size
      }
    }
    offsets.append(next)
    guard next == UInt64(storedByteCount) else {
      throw ParseFailure("the planes take \(next) bytes, the tensor has \(storedByteCount)")
    }
    self.sizes = sizes
    self.offsets = offsets
  }

  func range(_ chunk: Int) -> Range<Int> { Int(offsets[chunk])..<Int(offsets[chunk + 1]) }

  func sizes(_ chunk: Int) -> [Int] { (0..<planeCount).map { Int(sizes[chunk * planeCount + $0]) } }
}
