internal import ByteIO

/// Local headers: what stands before each record's content, and behind it.
enum LocalHeader {
  /// Reads the local headers that central records point at, checks that the two agree, and locates the contents. The first
  /// record begins the file, each next one begins where the last ends, and the directory where the very last ends: between
  /// them stand data descriptors and nothing else.
  /// - Returns: one entry for each record, in the same order.
  static func entries(
    for records: [CentralRecord], in file: ReadableFile, directoryOffset: UInt64
  ) throws -> [ZipEntry] {
    let order = records.indices.sorted { records[$0].headerOffset < records[$1].headerOffset }
    guard order.isEmpty || records[order[0]].headerOffset == 0 else {
      throw ParseFailure("bytes stand before the first record", offset: 0)
    }
    // A header is read within its record's room, so that no byte is read for two of them.
    var found: [ZipEntry] = []
    for (position, index) in order.enumerated() {
      let next = position + 1 < order.count ? records[order[position + 1]].headerOffset : directoryOffset
      let end = min(next, directoryOffset)
      let entry = try entry(for: records[index], in: file, end: end)
      try checkGap(entry, next: end, hasDescriptor: records[index].hasDescriptor, in: file)
      found.append(entry)
    }
    var entries = found
    for (position, index) in order.enumerated() { entries[index] = found[position] }
    return entries
  }

  /// - Parameter end: offset of the next record, or of the directory.
  private static func entry(for record: CentralRecord, in file: ReadableFile, end: UInt64) throws -> ZipEntry {
    func failure(_ message: String) -> ParseFailure {
      ParseFailure(message, item: record.name, offset: record.headerOffset)
    }
    let nameCount = record.name.utf8.count
    let fixed = UInt64(ZipFormat.localHeaderByteCount + nameCount)
    guard record.headerOffset <= end, end - record.headerOffset >= fixed else {
      throw failure("there is no room for a local header before byte \(end)")
    }
    let bytes = try file.bytes(at: record.headerOffset, count: Int(fixed))
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes, base: record.headerOffset)
    guard try cursor.read(UInt32.self) == ZipFormat.localHeader else { throw failure("no local header is here") }
    _ = try cursor.slice(2)  // Version needed.
    let flags = try cursor.read(UInt16.self)
    let method = try cursor.read(UInt16.self)
    _ = try cursor.slice(4)  // Time and date.
    let checksum = try cursor.read(UInt32.self)
    let compressed = try cursor.read(UInt32.self)
    let size = try cursor.read(UInt32.self)
    let localNameCount = try cursor.read(UInt16.self)
    let extraCount = UInt64(try cursor.read(UInt16.self))
    guard Int(localNameCount) == nameCount,
      bytes[ZipFormat.localHeaderByteCount...].elementsEqual(record.name.utf8)
    else { throw failure("the local header has another name than the central directory") }
    guard flags == record.flags, method == record.method.rawValue else {
      throw failure("local header and central directory disagree about flags or compression")
    }
    let room = end - record.headerOffset - fixed
    guard extraCount <= room, record.compressedByteCount <= room - extraCount else {
      throw failure("the record's \(record.compressedByteCount) bytes reach beyond byte \(end), where others begin")
    }
    let extraOffset = record.headerOffset + fixed
    var (wideSize, wideCompressed) = (UInt64(size), UInt64(compressed))
    if size == ZipFormat.overflow32 || compressed == ZipFormat.overflow32 {
      let extra = try file.bytes(at: extraOffset, count: Int(extraCount))
      let extraSpan = extra.span
      var wide = try ExtraField(
        parsing: extraSpan.rawBytes, at: extraOffset, wanted: [size, compressed].map { $0 == ZipFormat.overflow32 })
      wideSize = wide.next() ?? wideSize
      wideCompressed = wide.next() ?? wideCompressed
    }
    guard record.agrees(size: wideSize, compressed: wideCompressed, checksum: checksum) else {
      throw failure("local header and central directory disagree about size or CRC")
    }
    return ZipEntry(
      name: record.name, method: record.method, checksum: record.checksum,
      compressedByteCount: record.compressedByteCount, byteCount: record.byteCount, headerOffset: record.headerOffset,
      dataOffset: extraOffset + extraCount)
  }

  private static func checkGap(_ entry: ZipEntry, next: UInt64, hasDescriptor: Bool, in file: ReadableFile) throws {
    let gap = next - entry.dataEnd
    if gap == 0 && !hasDescriptor { return }
    // With and without signature, 32-bit and 64-bit sizes.
    guard hasDescriptor, [12, 16, 20, 24].contains(gap) else {
      throw ParseFailure(
        "\(gap) bytes stand behind the record, expected \(hasDescriptor ? "a data descriptor" : "none")",
        item: entry.name, offset: entry.dataEnd)
    }
    let bytes = try file.bytes(at: entry.dataEnd, count: Int(gap))
    let span = bytes.span
    var cursor = ByteCursor(span.rawBytes, base: entry.dataEnd)
    var agrees = true
    if gap == 16 || gap == 24 { agrees = try cursor.read(UInt32.self) == ZipFormat.dataDescriptor }
    agrees = try cursor.read(UInt32.self) == entry.checksum && agrees
    if gap <= 16 {
      agrees = try UInt64(cursor.read(UInt32.self)) == entry.compressedByteCount && agrees
      agrees = try UInt64(cursor.read(UInt32.self)) == entry.byteCount && agrees
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

extension CentralRecord {
  var hasDescriptor: Bool { flags & ZipFormat.descriptorFlag != 0 }

  /// What a local header says is the same; zero where it leaves that to a data descriptor.
  fileprivate func agrees(size: UInt64, compressed: UInt64, checksum: UInt32) -> Bool {
    func isSame<T: FixedWidthInteger>(_ local: T, _ central: T) -> Bool {
      local == central || hasDescriptor && local == 0
    }
    return isSame(size, byteCount) && isSame(compressed, compressedByteCount) && isSame(checksum, self.checksum)
  }
}
