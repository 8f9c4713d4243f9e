import ByteIO

/// A zip archive in which every field can be made to lie. Left alone it is what a plain zip tool writes: sizes in the local
/// header, no descriptors, no zip64.
struct ZipBytes: Sendable {
  struct Record: Sendable {
    var name: [UInt8]
    var content: [UInt8]
    /// As stored in the archive; the content when nil.
    var packed: [UInt8]?
    var method: UInt16 = 0
    var flags: UInt16 = 0x0800
    /// Fields of the central directory.
    var checksum: UInt32
    var size: UInt32
    var packedSize: UInt32
    var extra: [UInt8] = []
    var comment: [UInt8] = []
    var disk: UInt16 = 0
    /// Nil: where the local header is.
    var headerOffset: UInt32?
    /// Fields of the local header; nil: those of the central directory.
    var localName: [UInt8]?
    var localFlags: UInt16?
    var localMethod: UInt16?
    var localChecksum: UInt32?
    var localSize: UInt32?
    var localPackedSize: UInt32?
    var localExtra: [UInt8] = []
    var localSignature: UInt32 = 0x0403_4B50
    var signature: UInt32 = 0x0201_4B50
    /// Whatever stands behind the content.
    var behind: [UInt8] = []
    /// Bytes at the content's end that are not written, so that the next record begins in them.
    var overlap = 0

    init(_ name: String, _ content: [UInt8], deflated packed: [UInt8]? = nil) {
      self.name = Array(name.utf8)
      self.content = content
      self.packed = packed
      method = packed == nil ? 0 : 8
      checksum = CRC32.checksum(content.span)
      size = UInt32(content.count)
      packedSize = UInt32((packed ?? content).count)
    }

    /// Sizes and CRC stand behind the content only, as torch writes.
    mutating func describe(isWide: Bool = false, hasSignature: Bool = true) {
      flags |= 8
      (localChecksum, localSize, localPackedSize) = (0, 0, 0)
      behind = hasSignature ? littleEndian(UInt32(0x0807_4B50)) : []
      behind += littleEndian(checksum)
      for value in [packedSize, size] { behind += isWide ? littleEndian(UInt64(value)) : littleEndian(value) }
    }
  }

  struct End: Sendable {
    var disk: UInt16 = 0
    var directoryDisk: UInt16 = 0
    /// Nil: the truth.
    var entriesHere: UInt16?
    var entries: UInt16?
    var size: UInt32?
    var offset: UInt32?
    var commentCount: UInt16 = 0
  }

  struct WideEnd: Sendable {
    var signature: UInt32 = 0x0606_4B50
    var recordSize: UInt64 = 44
    var disks: UInt64 = 0
    var entriesHere: UInt64?
    var entries: UInt64?
    var size: UInt64?
    var offset: UInt64?
    var locatorDisk: UInt32 = 0
    var locatorDisks: UInt32 = 1
    var locatorOffset: UInt64?
  }

  var records: [Record]
  var inFront: [UInt8] = []
  var beforeDirectory: [UInt8] = []
  var behindDirectory: [UInt8] = []
  var behind: [UInt8] = []
  var end = End()
  var wideEnd: WideEnd?

  /// Offsets in the file, by the first record of a name.
  struct Places {
    var headers: [String: UInt64] = [:]
    var contents: [String: UInt64] = [:]
    var descriptors: [String: UInt64] = [:]
    var centrals: [String: UInt64] = [:]
    var wideEnd: UInt64?
    var locator: UInt64?
    var end: UInt64 = 0
  }

  subscript(_ name: String) -> Record {
    get { records[position(name)] }
    set { records[position(name)] = newValue }
  }

  private func position(_ name: String) -> Int {
    guard let position = records.firstIndex(where: { $0.name == Array(name.utf8) }) else {
      preconditionFailure("there is no record \(name)")
    }
    return position
  }

  var encoded: (bytes: [UInt8], places: Places) {
    var bytes = inFront
    var places = Places()
    var headers: [UInt32] = []
    for record in records {
      let name = String(decoding: record.name, as: UTF8.self)
      headers.append(record.headerOffset ?? UInt32(bytes.count))
      places.headers[name] = places.headers[name] ?? UInt64(bytes.count)
      bytes += localHeader(record)
      places.contents[name] = places.contents[name] ?? UInt64(bytes.count)
      bytes += (record.packed ?? record.content).dropLast(record.overlap)
      places.descriptors[name] = places.descriptors[name] ?? UInt64(bytes.count)
      bytes += record.behind
    }
    bytes += beforeDirectory
    let start = bytes.count
    for (record, header) in zip(records, headers) {
      let name = String(decoding: record.name, as: UTF8.self)
      places.centrals[name] = places.centrals[name] ?? UInt64(bytes.count)
      bytes += centralHeader(record, header)
    }
    bytes += behindDirectory
    let size = bytes.count - start
    if let wideEnd {
      places.wideEnd = UInt64(bytes.count)
      places.locator = UInt64(bytes.count + 56)
      bytes += wide(wideEnd, start: start, size: size)
    }
    places.end = UInt64(bytes.count)
    let count = UInt16(records.count)
    bytes += littleEndian(UInt32(0x0605_4B50)) + littleEndian(end.disk) + littleEndian(end.directoryDisk)
    bytes += littleEndian(end.entriesHere ?? end.entries ?? count) + littleEndian(end.entries ?? count)
    bytes += littleEndian(end.size ?? UInt32(size)) + littleEndian(end.offset ?? UInt32(start))
    bytes += littleEndian(end.commentCount)
    return (bytes + behind, places)
  }

  private func localHeader(_ record: Record) -> [UInt8] {
    let name = record.localName ?? record.name
    var bytes = littleEndian(record.localSignature) + littleEndian(UInt16(20))
    bytes += littleEndian(record.localFlags ?? record.flags) + littleEndian(record.localMethod ?? record.method)
    bytes += littleEndian(UInt32(0))
    bytes += littleEndian(record.localChecksum ?? record.checksum)
    bytes += littleEndian(record.localPackedSize ?? record.packedSize)
    bytes += littleEndian(record.localSize ?? record.size)
    bytes += littleEndian(UInt16(name.count)) + littleEndian(UInt16(record.localExtra.count))
    return bytes + name + record.localExtra
  }

  private func centralHeader(_ record: Record, _ offset: UInt32) -> [UInt8] {
    var bytes = littleEndian(record.signature) + littleEndian(UInt32(0x0014_0014))
    bytes += littleEndian(record.flags) + littleEndian(record.method) + littleEndian(UInt32(0))
    bytes += littleEndian(record.checksum) + littleEndian(record.packedSize) + littleEndian(record.size)
    bytes += littleEndian(UInt16(record.name.count)) + littleEndian(UInt16(record.extra.count))
    bytes += littleEndian(UInt16(record.comment.count)) + littleEndian(record.disk)
    bytes += [UInt8](repeating: 0, count: 6) + littleEndian(offset)
    return bytes + record.name + record.extra + record.comment
  }

  private func wide(_ wide: WideEnd, start: Int, size: Int) -> [UInt8] {
    let count = UInt64(records.count)
    var bytes = littleEndian(wide.signature) + littleEndian(wide.recordSize) + littleEndian(UInt32(0x002D_031E))
    bytes += littleEndian(wide.disks) + littleEndian(wide.entriesHere ?? wide.entries ?? count)
    bytes += littleEndian(wide.entries ?? count)
    bytes += littleEndian(wide.size ?? UInt64(size)) + littleEndian(wide.offset ?? UInt64(start))
    bytes += littleEndian(UInt32(0x0706_4B50)) + littleEndian(wide.locatorDisk)
    return bytes + littleEndian(wide.locatorOffset ?? UInt64(start + size)) + littleEndian(wide.locatorDisks)
  }

  /// An extra field: id, size, content.
  static func field(_ id: UInt16, _ content: [UInt8]) -> [UInt8] {
    littleEndian(id) + littleEndian(UInt16(content.count)) + content
  }
}

/// Raw deflate streams (RFC 1951), made by hand.
struct DeflateBytes {
  private(set) var bytes: [UInt8] = []
  private var bitCount = 0

  /// One block of stored bytes, at most 65,535.
  static func stored(_ content: [UInt8]) -> [UInt8] {
    let count = UInt16(content.count)
    return [1] + littleEndian(count) + littleEndian(~count) + content
  }

  /// Zeros in one block of fixed codes: a literal, then copies of 258.
  static func zeros(_ copies: Int) -> [UInt8] {
    var stream = DeflateBytes()
    stream.add(0b011, 3)  // Last block, fixed codes.
    stream.addCode(0b0011_0000, 8)  // Literal 0.
    for _ in 0..<copies {
      stream.addCode(0b1100_0101, 8)  // Length 258.
      stream.addCode(0, 5)  // Distance 1.
    }
    stream.addCode(0, 7)  // End of block.
    return stream.bytes
  }

  private mutating func add(_ value: Int, _ count: Int) {
    for bit in 0..<count { addBit(value >> bit & 1) }
  }

  /// Codes stand with their first bit first.
  private mutating func addCode(_ code: Int, _ count: Int) {
    for bit in (0..<count).reversed() { addBit(code >> bit & 1) }
  }

  private mutating func addBit(_ bit: Int) {
    if bitCount % 8 == 0 { bytes.append(0) }
    bytes[bytes.count - 1] |= UInt8(bit << (bitCount % 8))
    bitCount += 1
  }
}
