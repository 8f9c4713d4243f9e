internal import ByteIO

/// Where every record of a zip archive of stored records will be, before a byte of content exists. Headers, padding and
/// end records are those that torch writes: `formats/pth.md`.
struct ZipLayout: Sendable, Hashable {
  struct Record: Sendable, Hashable {
    let name: String
    let byteCount: UInt64
    let headerOffset: UInt64
    let dataOffset: UInt64
    /// Bytes of padding in the extra field.
    let padding: Int

    var isEmpty: Bool { byteCount == 0 }
    var needsZip64: Bool { byteCount >= UInt64(ZipFormat.overflow32) || headerOffset >= UInt64(ZipFormat.overflow32) }
    var descriptorByteCount: UInt64 { isEmpty ? 0 : needsZip64 ? 24 : 16 }
    var end: UInt64 { dataOffset + byteCount + descriptorByteCount }
  }

  let records: [Record]
  let directoryOffset: UInt64
  let fileByteCount: UInt64

  static let alignment: UInt64 = 64

  init(_ contents: [(name: String, byteCount: UInt64)]) {
    var records: [Record] = []
    var offset: UInt64 = 0
    for (name, byteCount) in contents {
      var start = offset + UInt64(ZipFormat.localHeaderByteCount + name.utf8.count) + 4
      start += Self.zip64ByteCount(byteCount, offset)
      let padding = (Self.alignment - start % Self.alignment) % Self.alignment
      let record = Record(
        name: name, byteCount: byteCount, headerOffset: offset, dataOffset: start + padding, padding: Int(padding))
      records.append(record)
      offset = record.end
    }
    self.records = records
    directoryOffset = offset
    let directory = records.reduce(UInt64(0)) { $0 + UInt64(Self.centralHeader($1, checksum: 0).count) }
    fileByteCount =
      offset + directory
      + UInt64(ZipFormat.zip64EndRecordByteCount + ZipFormat.zip64LocatorByteCount + ZipFormat.endRecordByteCount)
  }

  private static func zip64ByteCount(_ byteCount: UInt64, _ offset: UInt64) -> UInt64 {
    let limit = UInt64(ZipFormat.overflow32)
    let fields: UInt64 = (byteCount >= limit ? 16 : 0) + (offset >= limit ? 8 : 0)
    return fields == 0 ? 0 : fields + 4
  }

  private static func flags(_ record: Record) -> UInt16 {
    ZipFormat.utf8Flag | (record.isEmpty ? 0 : ZipFormat.descriptorFlag)
  }

  /// Local header and padding; size and CRC are in the descriptor.
  static func localHeader(_ record: Record) -> [UInt8] {
    var bytes = LittleEndianBytes()
    bytes.add(ZipFormat.localHeader)
    bytes.add(UInt16(0))  // version needed
    bytes.add(flags(record))
    for _ in 0..<3 { bytes.add(UInt16(0)) }  // method, time, date
    for _ in 0..<3 { bytes.add(UInt32(0)) }  // CRC and sizes
    let wide = zip64ByteCount(record.byteCount, record.headerOffset)
    bytes.add(UInt16(record.name.utf8.count))
    bytes.add(UInt16(wide + 4 + UInt64(record.padding)))
    bytes.add(Array(record.name.utf8))
    if wide > 0 {
      bytes.add(ZipFormat.zip64Extra)
      bytes.add(UInt16(wide - 4))
      if record.byteCount >= UInt64(ZipFormat.overflow32) {
        bytes.add(record.byteCount)
        bytes.add(UInt64(0))
      }
      if record.headerOffset >= UInt64(ZipFormat.overflow32) { bytes.add(record.headerOffset) }
    }
    bytes.add(Array("FB".utf8))
    bytes.add(UInt16(record.padding))
    bytes.add([UInt8](repeating: UInt8(ascii: "Z"), count: record.padding))
    return bytes.bytes
  }

  /// What stands behind a record's content; nothing behind an empty one.
  static func descriptor(_ record: Record, checksum: UInt32) -> [UInt8] {
    guard !record.isEmpty else { return [] }
    var bytes = LittleEndianBytes()
    bytes.add(ZipFormat.dataDescriptor)
    bytes.add(checksum)
    for _ in 0..<2 {
      if record.needsZip64 { bytes.add(record.byteCount) } else { bytes.add(UInt32(record.byteCount)) }
    }
    return bytes.bytes
  }

  private static func centralHeader(_ record: Record, checksum: UInt32) -> [UInt8] {
    let limit = UInt64(ZipFormat.overflow32)
    let (bigSize, bigOffset) = (record.byteCount >= limit, record.headerOffset >= limit)
    var bytes = LittleEndianBytes()
    bytes.add(ZipFormat.centralHeader)
    bytes.add(UInt32(0))  // versions made by and needed
    bytes.add(flags(record))
    for _ in 0..<3 { bytes.add(UInt16(0)) }  // method, time, date
    bytes.add(checksum)
    for _ in 0..<2 { bytes.add(bigSize ? ZipFormat.overflow32 : UInt32(record.byteCount)) }
    bytes.add(UInt16(record.name.utf8.count))
    let wide = (bigSize ? 16 : 0) + (bigOffset ? 8 : 0)
    bytes.add(UInt16(wide > 0 ? wide + 4 : 0))
    for _ in 0..<3 { bytes.add(UInt16(0)) }  // comment, disk, internal attributes
    bytes.add(UInt32(0))  // external attributes
    bytes.add(bigOffset ? ZipFormat.overflow32 : UInt32(record.headerOffset))
    bytes.add(Array(record.name.utf8))
    if wide > 0 {
      bytes.add(ZipFormat.zip64Extra)
      bytes.add(UInt16(wide))
      if bigSize {
        bytes.add(record.byteCount)
        bytes.add(record.byteCount)
      }
      if bigOffset { bytes.add(record.headerOffset) }
    }
    return bytes.bytes
  }

  /// Central directory and end records.
  func directory(checksums: [UInt32]) -> [UInt8] {
    var bytes = LittleEndianBytes()
    for (record, checksum) in zip(records, checksums) { bytes.add(Self.centralHeader(record, checksum: checksum)) }
    let size = UInt64(bytes.bytes.count)
    let count = UInt64(records.count)
    bytes.add(ZipFormat.zip64EndRecord)
    bytes.add(UInt64(ZipFormat.zip64EndRecordByteCount - 12))
    bytes.add(UInt16(798))  // made by, as miniz writes
    bytes.add(UInt16(45))
    bytes.add(UInt64(0))  // disks
    bytes.add(count)
    bytes.add(count)
    bytes.add(size)
    bytes.add(directoryOffset)
    bytes.add(ZipFormat.zip64Locator)
    bytes.add(UInt32(0))
    bytes.add(directoryOffset + size)
    bytes.add(UInt32(1))
    bytes.add(ZipFormat.endRecord)
    bytes.add(UInt32(0))  // disks
    for _ in 0..<2 { bytes.add(UInt16(clamping: count)) }
    bytes.add(UInt32(clamping: size))
    bytes.add(UInt32(clamping: directoryOffset))
    bytes.add(UInt16(0))
    return bytes.bytes
  }
}

/// Bytes put together from little-endian numbers.
struct LittleEndianBytes {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  mutating func add(_ more: [UInt8]) { bytes += more }
}
