internal import ByteIO
internal import Quantization
internal import Tensors

/// What the journal holds of tiles that are done: their positions in the schedule, error statistics and checksums, and what
/// the writer has to know again of the bytes written.
struct TileRecord: Sendable {
  struct Tile: Sendable {
    let position: Int
    /// Nil for a tile that was copied or converted.
    let result: TileWorker.Result?
  }

  var tiles: [Tile] = []
  var notes: [WriteNote] = []
  /// The last record of a part: all its tiles are done.
  var isLast = false

  private static let version: UInt8 = 1

  var bytes: [UInt8] {
    var bytes: [UInt8] = [Self.version, isLast ? 1 : 0]
    bytes.append(number: UInt64(tiles.count))
    for tile in tiles {
      bytes.append(number: UInt64(tile.position))
      bytes.append(tile.result == nil ? 0 : 1)
      guard let result = tile.result else { continue }
      let statistics = result.statistics
      for count in [statistics.rows, statistics.zeroRows, statistics.saturated, statistics.elements] {
        bytes.append(number: UInt64(count))
      }
      bytes.append(number: statistics.signalEnergy.bitPattern)
      bytes.append(number: statistics.errorEnergy.bitPattern)
      bytes.append(number: statistics.largestError.bitPattern)
      bytes.append(number: UInt32(result.checksums.count))
      for checksum in result.checksums { bytes.append(number: checksum) }
    }
    bytes.append(number: UInt64(notes.count))
    for note in notes {
      bytes.append(number: note.file)
      bytes.append(number: note.item)
      bytes.append(number: note.offset)
      bytes.append(number: note.byteCount)
      bytes.append(number: note.checksum)
    }
    return bytes
  }

  init(tiles: [Tile] = [], notes: [WriteNote] = [], isLast: Bool = false) {
    self.tiles = tiles
    self.notes = notes
    self.isLast = isLast
  }

  /// - Parameter tileCount: of the whole plan; a position beyond it is damage.
  /// - Throws: `ParseFailure`.
  init(parsing bytes: [UInt8], tileCount: Int) throws(ParseFailure) {
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes)
    let version = try cursor.read(UInt8.self)
    guard version == Self.version else { throw ParseFailure("the journal has version \(version)", offset: 0) }
    isLast = try cursor.read(UInt8.self) == 1
    let count = try cursor.read(UInt64.self)
    // A tile takes nine bytes at least: the count is bounded by what is there.
    guard count <= UInt64(cursor.remaining / 9) else { throw ParseFailure("\(count) tiles do not fit the record") }
    tiles.reserveCapacity(Int(count))
    for _ in 0..<count {
      let position = try cursor.read(UInt64.self)
      guard position < UInt64(tileCount) else { throw ParseFailure("tile \(position) is not one of \(tileCount)") }
      let result = try cursor.read(UInt8.self) == 0 ? nil : Self.result(&cursor)
      tiles.append(Tile(position: Int(position), result: result))
    }
    let noteCount = try cursor.read(UInt64.self)
    guard noteCount <= UInt64(cursor.remaining / 28) else {
      throw ParseFailure("\(noteCount) notes do not fit the record")
    }
    notes.reserveCapacity(Int(noteCount))
    for _ in 0..<noteCount {
      notes.append(
        WriteNote(
          file: try cursor.read(), item: try cursor.read(), offset: try cursor.read(), byteCount: try cursor.read(),
          checksum: try cursor.read()))
    }
    guard cursor.remaining == 0 else { throw ParseFailure("\(cursor.remaining) bytes are left over") }
  }

  private static func result(_ cursor: inout ByteCursor) throws(ParseFailure) -> TileWorker.Result {
    var statistics = QuantizationStatistics()
    statistics.rows = try count(&cursor)
    statistics.zeroRows = try count(&cursor)
    statistics.saturated = try count(&cursor)
    statistics.elements = try count(&cursor)
    statistics.signalEnergy = Double(bitPattern: try cursor.read())
    statistics.errorEnergy = Double(bitPattern: try cursor.read())
    statistics.largestError = Float(bitPattern: try cursor.read())
    let checksumCount = try cursor.read(UInt32.self)
    guard checksumCount <= UInt32(clamping: cursor.remaining / 4) else {
      throw ParseFailure("\(checksumCount) checksums do not fit the record")
    }
    var checksums: [UInt32] = []
    checksums.reserveCapacity(Int(checksumCount))
    for _ in 0..<checksumCount { checksums.append(try cursor.read()) }
    return TileWorker.Result(statistics: statistics, checksums: checksums)
  }

  private static func count(_ cursor: inout ByteCursor) throws(ParseFailure) -> Int {
    let number = try cursor.read(UInt64.self)
    guard let count = Int(exactly: number) else { throw ParseFailure("\(number) is no count") }
    return count
  }
}

extension [UInt8] {
  /// Appends a number, little-endian.
  fileprivate mutating func append(number: some FixedWidthInteger & UnsignedInteger) {
    for shift in stride(from: 0, to: number.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: number >> shift)) }
  }
}
