public import ByteIO

/// The table of a zip archive, read and proven consistent: one end record at the very end, a central directory right
/// before it, and for each entry a local header that agrees; no two entries overlap, nothing hides between them, and no
/// name occurs twice. Readers of zip differ on all of these points, and an archive that relies on one is refused.
///
/// Sources: PKWARE's APPNOTE 6.3.10; what torch writes and tolerates: `formats/pth.md`.
public struct ZipArchive: Sendable {
  /// In the order of the central directory.
  public let entries: [ZipEntry]
  private let index: [UTF8Key: Int]

  /// - Throws: `ParseFailure` with the offset, `FileFailure`.
  public init(reading file: ReadableFile) throws {
    let end = try ZipEnd(reading: file)
    let bytes = try file.bytes(
      at: end.directory.lowerBound, count: Int(end.directory.upperBound - end.directory.lowerBound))
    let records = try CentralDirectory.parse(bytes, end)
    let entries = try LocalHeader.entries(for: records, in: file, directoryOffset: end.directory.lowerBound)
    var index: [UTF8Key: Int] = [:]
    var folded: Set<UTF8Key> = []
    for (position, entry) in entries.enumerated() {
      // torch looks names up without regard to case, Python's zipfile takes the last of two: refuse what is ambiguous.
      guard folded.insert(UTF8Key(entry.name.lowercased())).inserted else {
        throw ParseFailure("two records have this name (case aside)", item: entry.name, offset: entry.headerOffset)
      }
      index[UTF8Key(entry.name)] = position
    }
    self.entries = entries
    self.index = index
  }

  public func entry(_ name: String) -> ZipEntry? { index[UTF8Key(name)].map { entries[$0] } }
}

/// Where the central directory is, by the end record and, if there is one, the zip64 end record.
struct ZipEnd {
  let directory: Range<UInt64>
  let entryCount: UInt64

  init(reading file: ReadableFile) throws {
    guard file.byteCount >= UInt64(ZipFormat.endRecordByteCount) else {
      throw ParseFailure("the file has \(file.byteCount) bytes, too few for a zip archive")
    }
    let endOffset = file.byteCount - UInt64(ZipFormat.endRecordByteCount)
    let classic = try Classic(
      parsing: try file.bytes(at: endOffset, count: ZipFormat.endRecordByteCount), at: endOffset)
    let wide = try Self.wide(before: endOffset, in: file)
    directory = try Self.directory(classic, wide, endOffset)
    entryCount = wide?.entries ?? UInt64(classic.entries)
    let limit = UInt64(ZipLimits.directoryBytes)
    guard directory.upperBound - directory.lowerBound <= limit else {
      throw ParseFailure(
        "the central directory has \(directory.count) bytes, at most \(limit) are read", offset: endOffset)
    }
    guard entryCount <= UInt64(ZipLimits.entries),
      entryCount * UInt64(ZipFormat.centralHeaderByteCount) <= directory.upperBound - directory.lowerBound
    else {
      throw ParseFailure(
        "\(entryCount) records do not fit the central directory of \(directory.count) bytes", offset: endOffset)
    }
  }

  private struct Classic {
    let entries: UInt16
    let size: UInt32
    let offset: UInt32

    init(parsing bytes: [UInt8], at position: UInt64) throws(ParseFailure) {
      let span = bytes.span
      var cursor = ByteCursor(span.rawBytes, base: position)
      guard try cursor.read(UInt32.self) == ZipFormat.endRecord else {
        throw ParseFailure(
          "no zip end record at the end of the file", offset: position,
          advice: "the file is cut short, or something was appended to it: download it again")
      }
      let disk = try cursor.read(UInt16.self)
      let directoryDisk = try cursor.read(UInt16.self)
      let here = try cursor.read(UInt16.self)
      entries = try cursor.read()
      size = try cursor.read()
      offset = try cursor.read()
      let comment = try cursor.read(UInt16.self)
      guard disk == 0, directoryDisk == 0, here == entries, comment == 0 else {
        throw ParseFailure("the zip end record speaks of several disks or of a comment", offset: position)
      }
    }
  }

  private struct Wide {
    let recordOffset: UInt64
    let entries: UInt64
    let size: UInt64
    let offset: UInt64
  }

  /// The zip64 end record that ends at the locator before the end record, if the locator is there.
  private static func wide(before endOffset: UInt64, in file: ReadableFile) throws -> Wide? {
    let (locatorSize, recordSize) = (UInt64(ZipFormat.zip64LocatorByteCount), UInt64(ZipFormat.zip64EndRecordByteCount))
    guard endOffset >= locatorSize + recordSize else { return nil }
    let locatorOffset = endOffset - locatorSize
    let bytes = try file.bytes(at: locatorOffset - recordSize, count: Int(locatorSize + recordSize))
    let span = bytes.span
    var locator = ByteCursor(span.extracting(Int(recordSize)...).rawBytes, base: locatorOffset)
    guard try locator.read(UInt32.self) == ZipFormat.zip64Locator else { return nil }
    let disk = try locator.read(UInt32.self)
    let recordOffset = try locator.read(UInt64.self)
    let disks = try locator.read(UInt32.self)
    guard disk == 0, disks == 1, recordOffset == locatorOffset - recordSize else {
      throw ParseFailure("the zip64 locator does not point at the record right before it", offset: locatorOffset)
    }
    var cursor = ByteCursor(span.rawBytes, base: recordOffset)
    guard try cursor.read(UInt32.self) == ZipFormat.zip64EndRecord, try cursor.read(UInt64.self) == recordSize - 12
    else {
      throw ParseFailure("no zip64 end record of \(recordSize) bytes where one is announced", offset: recordOffset)
    }
    _ = try cursor.slice(4)  // Versions made by and needed.
    let disksAreZero = try cursor.read(UInt64.self) == 0
    let here = try cursor.read(UInt64.self)
    let entries = try cursor.read(UInt64.self)
    guard disksAreZero, here == entries else {
      throw ParseFailure("the zip64 end record speaks of several disks", offset: recordOffset)
    }
    return Wide(recordOffset: recordOffset, entries: entries, size: try cursor.read(), offset: try cursor.read())
  }

  private static func directory(_ classic: Classic, _ wide: Wide?, _ endOffset: UInt64) throws(ParseFailure) -> Range<
    UInt64
  > {
    let size = wide?.size ?? UInt64(classic.size)
    let offset = wide?.offset ?? UInt64(classic.offset)
    if let wide {
      let agree =
        (classic.entries == 0xFFFF || UInt64(classic.entries) == wide.entries)
        && (classic.size == ZipFormat.overflow32 || UInt64(classic.size) == wide.size)
        && (classic.offset == ZipFormat.overflow32 || UInt64(classic.offset) == wide.offset)
      guard agree else {
        throw ParseFailure("the zip end record and the zip64 end record contradict each other", offset: endOffset)
      }
    }
    let (end, overflow) = offset.addingReportingOverflow(size)
    guard !overflow, end == wide?.recordOffset ?? endOffset else {
      throw ParseFailure(
        "the central directory (\(size) bytes at byte \(offset)) does not end where the end record begins",
        offset: endOffset)
    }
    return offset..<end
  }
}
