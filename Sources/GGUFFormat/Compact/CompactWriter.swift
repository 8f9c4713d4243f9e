public import ByteIO
internal import Synchronization
public import Tensors

/// Writes a planned compact file into a directory, tensor parts in any order and from any number of threads. The file does
/// not depend on the order: compressed chunks are put down in the plan's order, those that are early wait.
public final class CompactWriter: TensorSink {
  private let plan: CompactPlan
  private let file: WritableFile
  private let indices: [UTF8Key: Int]
  private let checksums: Mutex<[ChecksumRuns]>
  private let queue: ChunkQueue
  /// What nobody has asked for yet.
  private let notes = Mutex<[WriteNote]>([])
  private let keepsNotes: Bool

  /// Creates the file with its largest possible size, reserved on the disk.
  /// - Parameter directory: an existing directory in which the file does not exist; usually a staging directory.
  /// - Throws: `FileFailure`; nothing is left then.
  public convenience init(creating plan: CompactPlan, in directory: String) throws(FileFailure) {
    let file = try WritableFile(creating: directory + "/" + plan.fileName, byteCount: plan.maximumByteCount)
    self.init(plan, file, keepsNotes: false)
  }

  /// Opens the file for one of several writers of the same plan, at the same time or one after the other, and creates it
  /// unless it is there. What was written stays; the one that completes the file has to be told of it by ``restore(_:)``.
  /// Traps for a plan with compressed tensors: where their chunks lie depends on those before them.
  /// - Throws: `FileFailure`.
  public convenience init(sharing plan: CompactPlan, in directory: String) throws(FileFailure) {
    precondition(!plan.isCompressed, "compressed files are written by one writer")
    let file = try WritableFile(sharing: directory + "/" + plan.fileName, byteCount: plan.maximumByteCount)
    self.init(plan, file, keepsNotes: true)
  }

  private init(_ plan: CompactPlan, _ file: WritableFile, keepsNotes: Bool) {
    self.plan = plan
    self.file = file
    self.keepsNotes = keepsNotes
    var indices: [UTF8Key: Int] = [:]
    for (index, tensor) in plan.tensors.enumerated() { indices[UTF8Key(tensor.info.name)] = index }
    self.indices = indices
    checksums = Mutex(plan.tensors.map { ChecksumRuns(byteCount: UInt64($0.info.byteCount)) })
    let first = plan.tensors.firstIndex { $0.encoding == .planes }
    queue = ChunkQueue(
      plan.tensors.map { $0.encoding == .planes ? CompactChunks($0.info) : nil },
      start: first.flatMap { plan.layout.fileOffset(of: plan.tensors[$0].info.name) } ?? plan.maximumByteCount,
      alignment: plan.layout.alignment)
  }

  /// Writes decoded bytes at byte `offset` of a tensor. Traps when the plan has no such tensor or the range is not inside.
  /// - Throws: `FileFailure`; `ParseFailure` for a code that has no four bits.
  public func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws {
    guard let index = indices[UTF8Key(name)] else { preconditionFailure("the plan has no tensor \(name)") }
    let tensor = plan.tensors[index]
    precondition(
      offset >= 0 && offset <= tensor.info.byteCount && bytes.count <= tensor.info.byteCount - offset,
      "the range is in the tensor")
    switch tensor.encoding {
    case .plain: try file.write(bytes, at: place(of: tensor) + UInt64(offset))
    case .int4:
      precondition(offset % 2 == 0 && bytes.count % 2 == 0, "whole rows of even length")
      guard let packed = NibblePairs.packed(bytes) else {
        throw ParseFailure("a code is not within −8 to 7, which int4 holds", item: name)
      }
      try file.write(packed.span, at: place(of: tensor) + UInt64(offset / 2))
    case .planes: try writePlanes(index, CompactChunks(tensor.info), at: offset, bytes)
    }
    let note = WriteNote(
      item: UInt32(index), offset: UInt64(offset), byteCount: UInt64(bytes.count), checksum: CRC32.checksum(bytes))
    insert(note)
    if keepsNotes { notes.withLock { $0.append(note) } }
  }

  private func insert(_ note: WriteNote) {
    checksums.withLock {
      $0[Int(note.item)].insert(note.offset..<note.offset + note.byteCount, checksum: note.checksum)
    }
  }

  /// What was written since it was asked for last, for ``restore(_:)`` of another writer. Nothing of one that created the file
  /// for itself.
  public func takeNotes() -> [WriteNote] {
    notes.withLock { notes in
      defer { notes = [] }
      return notes
    }
  }

  /// Tells of what others have written.
  /// - Throws: `ParseFailure` for notes that do not fit the plan.
  public func restore(_ notes: [WriteNote]) throws(ParseFailure) {
    for note in notes {
      guard note.item < plan.tensors.count, note.offset <= UInt64(plan.tensors[Int(note.item)].info.byteCount),
        note.byteCount <= UInt64(plan.tensors[Int(note.item)].info.byteCount) - note.offset
      else { throw ParseFailure("a note on tensor \(note.item) fits no plan") }
      insert(note)
    }
  }

  private func place(of tensor: CompactTensor) -> UInt64 { plan.layout.fileOffset(of: tensor.info.name) ?? 0 }

  private func writePlanes(_ index: Int, _ chunks: CompactChunks, at offset: Int, _ bytes: Span<UInt8>) throws {
    var done = 0
    while done < bytes.count {
      let position = offset + done
      let chunk = position / chunks.chunkByteCount
      let range = chunks.range(chunk)
      let count = min(range.upperBound - position, bytes.count - done)
      let part = bytes.extracting(done..<done + count)
      done += count
      if count == range.count {
        try put(queue.deliver(chunks.encoded(part), index, chunk))
      } else if let whole = queue.collect(part, at: position - range.lowerBound, index, chunk, byteCount: range.count) {
        try put(queue.deliver(chunks.encoded(whole.span), index, chunk))
      }
    }
    queue.letOthersCatchUp()
  }

  private func put(_ pieces: [ChunkQueue.Piece]) throws(FileFailure) {
    for piece in pieces { try file.write(piece.bytes.span, at: piece.offset) }
  }

  /// Writes the header, which is known when all tensors are there, and gives back the space that was not needed.
  /// - Parameter metadata: other values of the plan's keys, of the same sizes.
  /// - Throws: `FileFailure`; `ParseFailure` when tensors were not written in full.
  public func complete(metadata: GGUFMetadata? = nil) throws {
    var found: [UInt32] = []
    for (tensor, checksum) in zip(plan.tensors, checksums.withLock({ $0.map(\.checksum) })) {
      guard let checksum else {
        throw ParseFailure("the tensor was not written in full", item: tensor.info.name)
      }
      found.append(checksum)
    }
    let sizes = zip(plan.tensors, queue.storedByteCounts).map { $1 ?? $0.maximumStoredByteCount }
    let layout = try plan.layout(
      storedByteCounts: sizes, checksums: found, metadata: metadata ?? plan.metadata)
    precondition(layout.headerBytes.count == plan.headerBytes.count, "the header keeps its size")
    try file.write(layout.headerBytes.span, at: 0)
    if layout.fileByteCount != plan.maximumByteCount { try file.truncate(to: layout.fileByteCount) }
  }

  /// Waits until all that was written is on the disk.
  /// - Throws: `FileFailure`.
  public func synchronize() throws { try file.synchronize() }
}
