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

  public let layout: TorchLayout
  private let file: WritableFile
  /// Parts written of each record, by offset.
  private let parts: Mutex<[Int: [Int: Part]]>

  /// Creates the file with its final size, reserved on the disk, and writes headers and small records.
  /// - Throws: `FileFailure`.
  public init(creating layout: TorchLayout, in directory: String) throws(FileFailure) {
    self.layout = layout
    file = try WritableFile(creating: directory + "/" + layout.fileName, byteCount: layout.fileByteCount)
    parts = Mutex([:])
    for record in layout.archive.records {
      let header = ZipLayout.localHeader(record)
      try file.write(header.span, at: record.headerOffset)
    }
    for (number, bytes) in layout.documents { try put(bytes.span, record: number, at: 0) }
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
    let part = Part(byteCount: bytes.count, checksum: CRC32.checksum(bytes))
    parts.withLock { $0[record, default: [:]][offset] = part }
  }

  /// Writes descriptors and the central directory, and waits until all is on the disk. Traps when a part is missing.
  public func finish() throws(FileFailure) {
    try complete()
    try synchronize()
  }

  /// Waits until all that was written is on the disk.
  public func synchronize() throws(FileFailure) { try file.synchronize() }

  /// Writes descriptors and the central directory. Traps when a part is missing.
  public func complete() throws(FileFailure) {
    let last = layout.archive.records.count - 1
    var checksums = layout.archive.records.indices.dropLast().map { checksum(ofRecord: $0) }
    let identifier = serializationID(checksums)
    try put(identifier.span, record: last, at: 0)
    checksums.append(checksum(ofRecord: last))
    for (record, checksum) in zip(layout.archive.records, checksums) {
      let descriptor = ZipLayout.descriptor(record, checksum: checksum)
      try file.write(descriptor.span, at: record.dataOffset + record.byteCount)
    }
    let directory = layout.archive.directory(checksums: checksums)
    try file.write(directory.span, at: layout.archive.directoryOffset)
  }

  private func checksum(ofRecord number: Int) -> UInt32 {
    let parts = parts.withLock { $0[number] ?? [:] }
    var checksum: UInt32 = 0
    var next = 0
    for (offset, part) in parts.sorted(by: { $0.key < $1.key }) {
      precondition(offset == next, "the parts of a record follow each other")
      checksum = CRC32.combined(checksum, part.checksum, secondByteCount: UInt64(part.byteCount))
      next += part.byteCount
    }
    precondition(UInt64(next) == layout.archive.records[number].byteCount, "all of a record was written")
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
