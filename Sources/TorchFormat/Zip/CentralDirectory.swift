internal import ByteIO

/// One entry of the central directory.
struct CentralRecord {
  let name: String
  let flags: UInt16
  let method: ZipEntry.Method
  let checksum: UInt32
  let compressedByteCount: UInt64
  let byteCount: UInt64
  let headerOffset: UInt64
}

enum CentralDirectory {
  /// - Parameter bytes: the whole directory.
  static func parse(_ bytes: [UInt8], _ end: ZipEnd) throws(ParseFailure) -> [CentralRecord] {
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes, base: end.directory.lowerBound)
    var records: [CentralRecord] = []
    for _ in 0..<end.entryCount { records.append(try record(&cursor, end.directory.lowerBound)) }
    guard cursor.remaining == 0 else {
      throw ParseFailure(
        "\(cursor.remaining) bytes stand behind the central directory's last record",
        offset: end.directory.lowerBound + UInt64(cursor.offset))
    }
    return records
  }

  private static func record(_ cursor: inout ByteCursor, _ base: UInt64) throws(ParseFailure) -> CentralRecord {
    let start = base + UInt64(cursor.offset)
    guard try cursor.read(UInt32.self) == ZipFormat.centralHeader else {
      throw ParseFailure("no central header where one is expected", offset: start)
    }
    _ = try cursor.slice(4)  // Versions made by and needed.
    let flags = try cursor.read(UInt16.self)
    let methodNumber = try cursor.read(UInt16.self)
    _ = try cursor.slice(4)  // Time and date.
    let checksum = try cursor.read(UInt32.self)
    let compressed = try cursor.read(UInt32.self)
    let size = try cursor.read(UInt32.self)
    let nameCount = try cursor.read(UInt16.self)
    let extraCount = try cursor.read(UInt16.self)
    let commentCount = try cursor.read(UInt16.self)
    let disk = try cursor.read(UInt16.self)
    _ = try cursor.slice(6)  // Attributes.
    let offset = try cursor.read(UInt32.self)
    let name = try ZipName.parse(try cursor.slice(UInt64(nameCount)), at: start)
    let extraOffset = base + UInt64(cursor.offset)
    var wide = try ExtraField(
      parsing: try cursor.slice(UInt64(extraCount)), at: extraOffset,
      wanted: [size, compressed, offset].map { $0 == ZipFormat.overflow32 })
    guard commentCount == 0, disk == 0 else {
      throw ParseFailure("the record has a comment or lies on another disk", item: name, offset: start)
    }
    guard flags & ~(ZipFormat.descriptorFlag | ZipFormat.utf8Flag) == 0 else {
      throw ParseFailure(
        "the record has flags \(flags), such as encryption, that no checkpoint needs", item: name, offset: start)
    }
    guard let method = ZipEntry.Method(rawValue: methodNumber) else {
      throw ParseFailure(
        "the record is compressed by method \(methodNumber), expected 0 or 8", item: name, offset: start)
    }
    let byteCount = wide.next() ?? UInt64(size)
    let compressedByteCount = wide.next() ?? UInt64(compressed)
    let headerOffset = wide.next() ?? UInt64(offset)
    guard method == .deflated || compressedByteCount == byteCount else {
      throw ParseFailure(
        "a stored record of \(byteCount) bytes takes \(compressedByteCount)", item: name, offset: start)
    }
    guard byteCount / ZipLimits.inflateRatio <= compressedByteCount else {
      throw ParseFailure(
        "\(compressedByteCount) bytes cannot hold \(byteCount) deflated ones", item: name, offset: start)
    }
    return CentralRecord(
      name: name, flags: flags, method: method, checksum: checksum, compressedByteCount: compressedByteCount,
      byteCount: byteCount, headerOffset: headerOffset)
  }
}

enum ZipName {
  /// A relative path of plain parts.
  static func parse(_ bytes: RawSpan, at offset: UInt64) throws(ParseFailure) -> String {
    guard bytes.byteCount <= ZipLimits.nameBytes else {
      throw ParseFailure(
        "a record's name has \(bytes.byteCount) bytes, at most \(ZipLimits.nameBytes) are read", offset: offset)
    }
    var units: [UInt8] = []
    var cursor = ByteCursor(bytes)
    for _ in 0..<bytes.byteCount { units.append(try cursor.read()) }
    guard let name = String(validating: units, as: UTF8.self) else {
      throw ParseFailure("a record's name is not UTF-8", offset: offset)
    }
    let parts = units.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let isPlain =
      !units.isEmpty && units.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }
      && parts.dropLast().allSatisfy { !$0.isEmpty }
      && parts.allSatisfy { !$0.elementsEqual("..".utf8) && !$0.elementsEqual(".".utf8) }
    guard isPlain else {
      throw ParseFailure("a record's name is no plain relative path", item: name, offset: offset)
    }
    return name
  }
}

/// The extra field of a record: its 64-bit values, in their fixed order, for the 32-bit fields that overflowed.
struct ExtraField {
  private var values: [UInt64?]

  /// - Parameter wanted: which of size, compressed size and, in the central directory, offset must be here.
  init(parsing bytes: RawSpan, at offset: UInt64, wanted: [Bool]) throws(ParseFailure) {
    var cursor = ByteCursor(bytes, base: offset)
    var found: [UInt64?]?
    while cursor.remaining > 0 {
      let id = try cursor.read(UInt16.self)
      let size = try cursor.read(UInt16.self)
      let place = offset + UInt64(cursor.offset)
      var field = ByteCursor(try cursor.slice(UInt64(size)), base: place)
      guard id != ZipFormat.unicodePathExtra else {
        throw ParseFailure("a record has a second name in its extra field", offset: place)
      }
      guard id == ZipFormat.zip64Extra else { continue }
      guard found == nil else { throw ParseFailure("a record has two zip64 fields", offset: place) }
      var list: [UInt64?] = []
      for isWanted in wanted { list.append(isWanted ? try field.read(UInt64.self) : nil) }
      guard field.remaining == 0 else { throw ParseFailure("a record's zip64 field is too long", offset: place) }
      found = list
    }
    guard let found = found ?? (wanted.contains(true) ? nil : wanted.map { _ in nil }) else {
      throw ParseFailure("a record's sizes need a zip64 field, which is missing", offset: offset)
    }
    values = found
  }

  /// The next value; nil when its 32-bit field did not overflow.
  mutating func next() -> UInt64? { values.removeFirst() }
}
