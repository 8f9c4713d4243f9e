internal import ByteIO
internal import Tensors

/// The records of torch's zip format: `PREFIX/data.pkl`, `PREFIX/data/KEY` for each storage, and small ones that describe
/// the file.
enum TorchArchive {
  static func open(_ file: ReadableFile) throws -> TorchFile.Contents {
    let archive = try ZipArchive(reading: file)
    let prefix = try prefix(of: archive)
    guard archive.entry(prefix + "constants.pkl") == nil else {
      throw ParseFailure(
        "this is a TorchScript archive: a program, not only tensors", item: prefix + "constants.pkl")
    }
    try checkVersion(archive, prefix, file)
    if let entry = archive.entry(prefix + "byteorder") {
      let order = try content(entry, in: file, limit: 64)
      guard order.elementsEqual("little".utf8) else {
        throw ParseFailure(
          "the byte order is \(String(decoding: order, as: UTF8.self)), expected little", item: entry.name,
          offset: entry.dataOffset)
      }
    }
    guard let pickle = archive.entry(prefix + "data.pkl") else {
      throw ParseFailure("the archive has no record \(prefix)data.pkl", advice: "this is no file of torch.save")
    }
    let dictionary = try dictionary(pickle, in: file)
    // Storages of one key share one record, and its checksum is proven once.
    var known: [UTF8Key: StorageRecord] = [:]
    var records: [StorageRecord] = []
    let spacing = archive.indexSpacing
    for storage in dictionary.storages {
      let entry = try entry(of: storage, archive, prefix)
      let record = known[UTF8Key(entry.name)] ?? StorageRecord(entry, in: file, indexSpacing: spacing)
      known[UTF8Key(entry.name)] = record
      records.append(record)
    }
    let documents = archive.entries.filter { !$0.name.utf8.starts(with: (prefix + "data/").utf8) }
    return TorchFile.Contents(
      dictionary: dictionary, records: records, documents: documents.map { StorageRecord($0, in: file) })
  }

  /// One folder holds all records; its name says nothing, a renamed file keeps the old one.
  private static func prefix(of archive: ZipArchive) throws(ParseFailure) -> String {
    guard let first = archive.entries.first, let slash = first.name.utf8.firstIndex(of: UInt8(ascii: "/")) else {
      throw ParseFailure("the archive's records are in no folder", advice: "this is no file of torch.save")
    }
    let prefix = String(decoding: first.name.utf8[...slash], as: UTF8.self)
    for entry in archive.entries where !entry.name.utf8.starts(with: prefix.utf8) {
      throw ParseFailure("the record is not in \(prefix)", item: entry.name, offset: entry.headerOffset)
    }
    return prefix
  }

  private static func checkVersion(_ archive: ZipArchive, _ prefix: String, _ file: ReadableFile) throws {
    guard let entry = archive.entry(prefix + ".data/version") ?? archive.entry(prefix + "version") else {
      throw ParseFailure("the archive has no record \(prefix)version", advice: "this is no file of torch.save")
    }
    let text = String(decoding: try content(entry, in: file, limit: 64), as: UTF8.self)
    guard let version = Int(text.split(whereSeparator: \.isWhitespace).first ?? ""), (1...10).contains(version) else {
      throw ParseFailure(
        "the version is \(text.prefix(20)), expected 1 to 10", item: entry.name, offset: entry.dataOffset)
    }
  }

  private static func dictionary(_ entry: ZipEntry, in file: ReadableFile) throws -> StateDictionary {
    let bytes = try content(entry, in: file, limit: PickleLimits.byteCount)
    // Offsets in a deflated record are those of its content; the record's name tells that they are not the file's.
    let base = entry.method == .stored ? entry.dataOffset : 0
    do throws(ParseFailure) {
      var machine = PickleMachine(PickleInput(bytes, base: base), persistentIDs: .zip)
      let value = try machine.run()
      let end = machine.rest
      guard end.offset == bytes.count else {
        throw end.failure("\(bytes.count - end.offset) bytes stand behind the pickle's end")
      }
      return try StateDictionary(value, machine.arena)
    } catch {
      var failure = error
      if failure.item == nil { failure.item = entry.name }
      throw failure
    }
  }

  /// The whole of a small record, checked.
  private static func content(_ entry: ZipEntry, in file: ReadableFile, limit: Int) throws -> [UInt8] {
    guard entry.byteCount <= UInt64(limit) else {
      throw ParseFailure(
        "the record has \(entry.byteCount) bytes, at most \(limit) are read", item: entry.name,
        offset: entry.headerOffset)
    }
    var bytes = [UInt8](repeating: 0, count: Int(entry.byteCount))
    var span = bytes.mutableSpan
    do {
      try StorageRecord(entry, in: file).read(at: 0, into: &span)
    } catch let failure as ParseFailure {
      var placed = failure
      placed.item = entry.name
      throw placed
    }
    return bytes
  }

  private static func entry(
    of storage: PickleStorage, _ archive: ZipArchive, _ prefix: String
  ) throws(ParseFailure) -> ZipEntry {
    let name = prefix + "data/" + storage.key.text
    guard let entry = archive.entry(name) else {
      throw ParseFailure("the pickle names this record, which is not in the archive", item: name)
    }
    let width = UInt64(storage.elementType.map { $0.bits / 8 } ?? 1)
    let (expected, overflow) = UInt64(storage.elementCount).multipliedReportingOverflow(by: width)
    guard !overflow, entry.byteCount == expected else {
      throw ParseFailure(
        "the record has \(entry.byteCount) bytes, the pickle says \(storage.elementCount) elements of \(width)",
        item: name, offset: entry.headerOffset)
    }
    return entry
  }
}

extension ZipArchive {
  /// Bytes between the places from which a deflated record is read: at least a mebibyte, and so many that the windows of
  /// the whole archive take 64 MiB at most.
  fileprivate var indexSpacing: UInt64 {
    let content = entries.reduce(UInt64(0)) { $1.method == .deflated ? $0 + $1.byteCount : $0 }
    return max(InflateIndex.spacing, content / 2048)
  }
}
