internal import ByteIO

enum LocalHeader {
  /// Reads the local header that a central record points at, checks that the two agree, and locates the content.
  static func entry(
    for record: CentralRecord, in file: ReadableFile, directoryOffset: UInt64
  ) throws -> ZipEntry {
    func failure(_ message: String) -> ParseFailure {
      ParseFailure(message, item: record.name, offset: record.headerOffset)
    }
    let fixed = UInt64(ZipFormat.localHeaderByteCount)
    guard record.headerOffset <= directoryOffset, directoryOffset - record.headerOffset >= fixed else {
      throw failure("the local header lies outside the records")
    }
    let nameCount = record.name.utf8.count
    let available = min(directoryOffset - record.headerOffset, fixed + UInt64(nameCount))
    let bytes = try file.bytes(at: record.headerOffset, count: Int(available))
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes, base: record.headerOffset)
    guard try cursor.read(UInt32.self) == ZipFormat.localHeader else { throw failure("no local header is here") }
    _ = try cursor.slice(2)  // Version needed.
    let flags = try cursor.read(UInt16.self)
    let method = try cursor.read(UInt16.self)
    _ = try cursor.slice(4)  // Time and date.
    let stated = (
      checksum: try cursor.read(UInt32.self), compressed: try cursor.read(UInt32.self),
      size: try cursor.read(UInt32.self)
    )
    let localNameCount = try cursor.read(UInt16.self)
    let extraCount = try cursor.read(UInt16.self)
    guard Int(localNameCount) == nameCount, cursor.remaining == nameCount,
      bytes[ZipFormat.localHeaderByteCount...].elementsEqual(record.name.utf8)
    else { throw failure("the local header has another name than the central directory") }
    guard flags == record.flags, method == record.method.rawValue else {
      throw failure("local header and central directory disagree about flags or compression")
    }
    try checkSizes(stated, record, failure)
    let dataOffset = record.headerOffset + fixed + UInt64(nameCount) + UInt64(extraCount)
    guard dataOffset <= directoryOffset, record.compressedByteCount <= directoryOffset - dataOffset else {
      throw failure("the record's \(record.compressedByteCount) bytes reach into the central directory")
    }
    return ZipEntry(
      name: record.name, method: record.method, checksum: record.checksum,
      compressedByteCount: record.compressedByteCount, byteCount: record.byteCount, headerOffset: record.headerOffset,
      dataOffset: dataOffset)
  }

  /// Sizes in the local header are zero when a data descriptor follows, else the central ones (or all ones, zip64).
  private static func checkSizes(
    _ stated: (checksum: UInt32, compressed: UInt32, size: UInt32), _ record: CentralRecord,
    _ failure: (String) -> ParseFailure
  ) throws(ParseFailure) {
    let isDeferred = record.flags & ZipFormat.descriptorFlag != 0
    func agrees(_ local: UInt32, _ central: UInt64) -> Bool {
      UInt64(local) == central || local == ZipFormat.overflow32 || isDeferred && local == 0
    }
    guard agrees(stated.compressed, record.compressedByteCount), agrees(stated.size, record.byteCount),
      stated.checksum == record.checksum || isDeferred && stated.checksum == 0
    else { throw failure("local header and central directory disagree about size or CRC") }
  }

  /// Between records stand data descriptors and nothing else, and the first record begins the file.
  static func checkGaps(
    _ entries: [ZipEntry], _ records: [CentralRecord], in file: ReadableFile, directoryOffset: UInt64
  ) throws {
    let order = entries.indices.sorted { entries[$0].headerOffset < entries[$1].headerOffset }
    guard entries.isEmpty || entries[order[0]].headerOffset == 0 else {
      throw ParseFailure("bytes stand before the first record", offset: 0)
    }
    for (position, index) in order.enumerated() {
      let entry = entries[index]
      let next = position + 1 < order.count ? entries[order[position + 1]].headerOffset : directoryOffset
      guard entry.dataEnd <= next else {
        throw ParseFailure("the record overlaps the next one", item: entry.name, offset: next)
      }
      let hasDescriptor = records[index].flags & ZipFormat.descriptorFlag != 0
      try checkGap(entry, next: next, hasDescriptor: hasDescriptor, in: file)
    }
  }

  private static func checkGap(_ entry: ZipEntry, next: UInt64, hasDescriptor: Bool, in file: ReadableFile) throws {
    let gap = next - entry.dataEnd
    if gap == 0 && !hasDescriptor { return }
    // With and without signature, 32-bit and 64-bit sizes.
    guard hasDescriptor, [12, 16, 20, 24].contains(gap) else {
      throw ParseFailure(
        "\(gap) bytes stand behind the record that belong to none", item: entry.name, offset: entry.dataEnd)
    }
    let bytes = try file.bytes(at: entry.dataEnd, count: Int(gap))
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes, base: entry.dataEnd)
    var agrees = true
    if gap == 16 || gap == 24 { agrees = try cursor.read(UInt32.self) == ZipFormat.dataDescriptor }
    agrees = try cursor.read(UInt32.self) == entry.checksum && agrees
    if gap <= 16 {
      agrees = try cursor.read(UInt32.self) == UInt32(truncatingIfNeeded: entry.compressedByteCount) && agrees
      agrees = try cursor.read(UInt32.self) == UInt32(truncatingIfNeeded: entry.byteCount) && agrees
    } else {
      agrees = try cursor.read(UInt64.self) == entry.compressedByteCount && agrees
      agrees = try cursor.read(UInt64.self) == entry.byteCount && agrees
    }
    guard agrees else {
      throw ParseFailure(
        "the data descriptor contradicts the central directory", item: entry.name, offset: entry.dataEnd)
    }
  }
}
