internal import ByteIO
internal import Tensors

/// The format before torch 1.6: pickles of a magic number, a version, facts about the machine, the object and the list of
/// storage keys, then for each key an element count and raw bytes. No checksum protects it. It is read, never written.
enum LegacyTorchFile {
  /// The pickle of 0x1950A86A20F9469CFC6C.
  static let magic: [UInt8] = [
    0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
  ]

  static func open(_ file: ReadableFile) throws -> TorchFile.Contents {
    // All pickles stand at the front, within the limit of one.
    let bytes = try file.bytes(at: 0, count: Int(min(file.byteCount, UInt64(PickleLimits.byteCount))))
    var input = PickleInput(bytes, base: 0, startingAt: magic.count)
    let (version, _) = try run(&input)
    guard version == .integer(1001) else { throw input.failure("the legacy format's version is not 1001") }
    let (facts, factArena) = try run(&input)
    guard case .dictionary(let number) = facts,
      factArena.dictionaries[number].contains(where: { $0.key == .string("little_endian") && $0.value == .bool(true) })
    else { throw input.failure("the file was not written on a little-endian machine") }
    let (object, arena) = try run(&input)
    let dictionary = try StateDictionary(object, arena)
    let (keys, keyArena) = try run(&input)
    guard case .list(let list) = keys else { throw input.failure("the list of storage keys is missing") }
    let records = try records(keyArena.lists[list], dictionary.storages, in: file, from: UInt64(input.offset))
    return TorchFile.Contents(dictionary: dictionary, records: records, documents: [])
  }

  private static func run(_ input: inout PickleInput) throws(ParseFailure) -> (PickleValue, PickleArena) {
    var machine = PickleMachine(input, persistentIDs: .legacy)
    let value = try machine.run()
    input = machine.rest
    return (value, machine.arena)
  }

  private static func records(
    _ keys: [PickleValue], _ storages: [PickleStorage], in file: ReadableFile, from start: UInt64
  ) throws -> [StorageRecord] {
    var first: [UTF8Key: PickleStorage] = [:]
    for storage in storages where first[storage.key] == nil { first[storage.key] = storage }
    var records: [UTF8Key: StorageRecord] = [:]
    var offset = start
    for entry in keys {
      guard case .string(let text) = entry, let storage = first[UTF8Key(text)], records[storage.key] == nil else {
        throw ParseFailure("the list of storage keys names one twice or one that no tensor has", offset: offset)
      }
      let key = storage.key
      guard file.byteCount - offset >= 8 else {
        throw ParseFailure("the file ends before storage \(key)", offset: offset)
      }
      let header = try file.bytes(at: offset, count: 8)
      let span = header.span
      var cursor = ByteCursor(span.rawBytes, base: offset)
      let count = try cursor.read(Int64.self)
      guard count == storage.whole ?? storage.elementCount, let type = storage.elementType else {
        throw ParseFailure("storage \(key) has \(count) elements here and another count in the pickle", offset: offset)
      }
      let (byteCount, overflow) = UInt64(count).multipliedReportingOverflow(by: UInt64(type.bits / 8))
      offset += 8
      guard !overflow, byteCount <= file.byteCount - offset else {
        throw ParseFailure("storage \(key) reaches beyond the end of the file", offset: offset)
      }
      records[key] = StorageRecord(at: offset, byteCount: byteCount, in: file)
      offset += byteCount
    }
    guard offset == file.byteCount else {
      throw ParseFailure("\(file.byteCount - offset) bytes stand behind the last storage", offset: offset)
    }
    return try storages.map { storage in
      guard let record = records[storage.key] else {
        throw ParseFailure("storage \(storage.key) is missing from the file")
      }
      return record
    }
  }
}
