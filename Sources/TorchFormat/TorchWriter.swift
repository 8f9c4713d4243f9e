public import ByteIO
internal import Synchronization
public import Tensors

/// Writes one planned file of `torch.save`: tensor parts in any order and from any number of threads. CRCs are joined from
/// the parts' own, so no byte is read again.
public final class TorchWriter: TensorSink {
  private struct Part: Sendable {
    let byteCount: Int
    let checksum: UInt32
  }

  private struct State: Sendable {
    /// Parts written of each record, by offset.
    var parts: [Int: [Int: Part]] = [:]
    /// What nobody has asked for yet.
    var notes: [WriteNote] = []
  }

  public let layout: TorchLayout
  private let file: WritableFile
  private let state = Mutex(State())
  private let keepsNotes: Bool

  /// Creates the file with its final size, reserved on the disk, and writes headers and small records.
  /// - Throws: `FileFailure`.
  public init(creating layout: TorchLayout, in directory: String) throws(FileFailure) {
    self.layout = layout
    file = try WritableFile(creating: directory + "/" + layout.fileName, byteCount: layout.fileByteCount)
    keepsNotes = false
    try writeFixedParts()
  }

  /// Opens the file for one of several writers of the same layout, at the same time or one after the other, and creates it
  /// unless it is there. What was written stays; the one that completes the file has to be told of it by ``restore(_:)``.
  /// - Parameter writesFixedParts: headers and small records, for one of them.
  /// - Throws: `FileFailure`.
  public init(sharing layout: TorchLayout, in directory: String, writesFixedParts: Bool) throws(FileFailure) {
    self.layout = layout
    file = try WritableFile(sharing: directory + "/" + layout.fileName, byteCount: layout.fileByteCount)
    keepsNotes = true
    if writesFixedParts {
      try self.writeFixedParts()
      return
    }
    for (number, bytes) in layout.documents { remember(bytes.span, record: number, at: 0) }
  }

  private func writeFixedParts() throws(FileFailure) {
    for record in layout.archive.records {
      let header = ZipLayout.localHeader(record)
      try file.write(header.span, at: record.headerOffset)
    }
    for (number, bytes) in layout.documents {
      try file.write(bytes.span, at: layout.archive.records[number].dataOffset)
      remember(bytes.span, record: number, at: 0)
    }
  }

  /// What was written since it was asked for last, for ``restore(_:)`` of another writer. Nothing of one that created the file
  /// for itself.
  public func takeNotes() -> [WriteNote] {
    state.withLock { state in
      defer { state.notes = [] }
      return state.notes
    }
  }

  /// Tells of what others have written.
  /// - Throws: `ParseFailure` for notes that do not fit the layout.
  public func restore(_ notes: [WriteNote]) throws(ParseFailure) {
    for note in notes {
      let record = Int(note.item)
      guard record < layout.archive.records.count else { throw ParseFailure("a note on record \(record) fits no plan") }
      let size = layout.archive.records[record].byteCount
      guard note.offset <= size, note.byteCount <= size - note.offset else {
        throw ParseFailure("a note on record \(record) fits no plan")
      }
      let part = Part(byteCount: Int(note.byteCount), checksum: note.checksum)
      state.withLock { $0.parts[record, default: [:]][Int(note.offset)] = part }
    }
  }

  /// Writes `bytes` at byte `offset` of a tensor. Traps when the plan has no such tensor or the range is not inside it.
  /// A tensor that shares another's storage need not be written.
  public func write(_ tensor: String, at offset: Int, _ bytes: Span<UInt8>) throws {
    guard let record = layout.recordNumbers[UTF8Key(tensor)] else {
      preconditionFailure("the plan has no tensor \(tensor)")
    }
    let size = Int(layout.archive.records[record].byteCount)
    precondition(offset >= 0 && offset <= size && bytes.count <= size - offset, "the range is in the tensor")
    try put(bytes, record: record, at: offset)
  }

  private func put(_ bytes: Span<UInt8>, record: Int, at offset: Int) throws(FileFailure) {
    guard bytes.count > 0 else { return }
    try file.write(bytes, at: layout.archive.records[record].dataOffset + UInt64(offset))
    let checksum = remember(bytes, record: record, at: offset)
    guard keepsNotes else { return }
    let note = WriteNote(
      item: UInt32(record), offset: UInt64(offset), byteCount: UInt64(bytes.count), checksum: checksum)
    state.withLock { $0.notes.append(note) }
  }

  @discardableResult
  private func remember(_ bytes: Span<UInt8>, record: Int, at offset: Int) -> UInt32 {
    let checksum = CRC32.checksum(bytes)
    let part = Part(byteCount: bytes.count, checksum: checksum)
    state.withLock { $0.parts[record, default: [:]][offset] = part }
    return checksum
  }

  /// Writes descriptors and the central directory, and waits until all is on the disk.
  /// - Throws: `FileFailure`; `ParseFailure` when a part is missing.
  public func finish() throws {
    try complete()
    try synchronize()
  }

  /// Waits until all that was written is on the disk.
  public func synchronize() throws(FileFailure) { try file.synchronize() }

  /// Writes descriptors and the central directory.
  /// - Throws: `FileFailure`; `ParseFailure` when a part is missing, also one that others should have written.
  public func complete() throws {
    let last = layout.archive.records.count - 1
    var checksums = try layout.archive.records.indices.dropLast().map { try checksum(ofRecord: $0) }
    let identifier = serializationID(checksums)
    try put(identifier.span, record: last, at: 0)
    checksums.append(try checksum(ofRecord: last))
    for (record, checksum) in zip(layout.archive.records, checksums) {
      let descriptor = ZipLayout.descriptor(record, checksum: checksum)
      try file.write(descriptor.span, at: record.dataOffset + record.byteCount)
    }
    let directory = layout.archive.directory(checksums: checksums)
    try file.write(directory.span, at: layout.archive.directoryOffset)
  }

  private func checksum(ofRecord number: Int) throws(ParseFailure) -> UInt32 {
    let name = layout.archive.records[number].name
    let parts = state.withLock { $0.parts[number] ?? [:] }
    var checksum: UInt32 = 0
    var next = 0
    for (offset, part) in parts.sorted(by: { $0.key < $1.key }) {
      guard offset == next else { throw ParseFailure("the record was not written in full", item: name) }
      checksum = CRC32.combined(checksum, part.checksum, secondByteCount: UInt64(part.byteCount))
      next += part.byteCount
    }
    guard UInt64(next) == layout.archive.records[number].byteCount else {
      throw ParseFailure("the record was not written in full", item: name)
    }
    return checksum
  }

  /// 40 digits that differ between files; readers ignore them. torch hashes record names in an order that varies; here
  /// equal files have equal digits.
  private func serializationID(_ checksums: [UInt32]) -> [UInt8] {
    var names: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a, 64 bits
    for record in layout.archive.records {
      for byte in record.name.utf8 { names = (names ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }
    var contents: UInt64 = 0xCBF2_9CE4_8422_2325
    for checksum in checksums { contents = (contents ^ UInt64(checksum)) &* 0x100_0000_01B3 }
    return [names, contents].flatMap { number in
      let digits = String(number)
      return Array((String(repeating: "0", count: 20 - digits.count) + digits).utf8)
    }
  }
}
