internal import ByteIO
internal import Synchronization

/// The bytes of one storage, wherever they are.
final class StorageRecord: Sendable {
  private enum Form: Sendable {
    /// Bytes of the file from an offset on; the legacy format has no checksum.
    case plain(offset: UInt64, check: ChecksumGuard?)
    /// Inflated at random access; the index is made, and the checksum compared, when the first byte is asked for.
    case deflated(ZipEntry, spacing: UInt64)
  }

  let byteCount: UInt64
  /// CRC-32 as the archive states it; nil in the legacy format.
  let checksum: UInt32?
  private let file: ReadableFile
  private let form: Form
  private let index = Mutex<InflateIndex?>(nil)

  /// A record of a zip archive.
  init(_ entry: ZipEntry, in file: ReadableFile, indexSpacing: UInt64 = InflateIndex.spacing) {
    self.file = file
    byteCount = entry.byteCount
    checksum = entry.checksum
    switch entry.method {
    case .stored:
      form = .plain(
        offset: entry.dataOffset,
        check: ChecksumGuard(
          entry.name, byteCount: entry.byteCount, offset: entry.dataOffset, expected: entry.checksum))
    case .deflated: form = .deflated(entry, spacing: indexSpacing)
    }
  }

  /// A range of a legacy file.
  init(at offset: UInt64, byteCount: UInt64, in file: ReadableFile) {
    self.file = file
    self.byteCount = byteCount
    checksum = nil
    form = .plain(offset: offset, check: nil)
  }

  /// Whether a read inflates more than it is asked for.
  var isDeflated: Bool { if case .deflated = form { true } else { false } }

  func read(at offset: UInt64, into buffer: inout MutableSpan<UInt8>) throws {
    guard offset <= byteCount, UInt64(buffer.count) <= byteCount - offset else {
      throw ParseFailure("\(buffer.count) bytes at byte \(offset) are asked for, the record has \(byteCount)")
    }
    switch form {
    case .plain(let start, let check):
      try file.read(at: start + offset, into: &buffer)
      try check?.take(buffer.span, at: offset)
    case .deflated(let entry, let spacing): try inflated(entry, spacing).read(at: offset, into: &buffer)
    }
  }

  /// Passes a hint on; where bytes are deflated it is of no use.
  func advise(_ advice: ReadingAdvice, _ range: Range<UInt64>) {
    guard case .plain(let start, _) = form else { return }
    file.advise(advice, start + range.lowerBound..<start + range.upperBound)
  }

  func prove() throws {
    switch form {
    case .plain(let start, let check): try check?.prove { try file.read(at: start + $0, into: &$1) }
    case .deflated(let entry, let spacing): _ = try inflated(entry, spacing)
    }
  }

  private func inflated(_ entry: ZipEntry, _ spacing: UInt64) throws -> InflateIndex {
    try index.withLock { known in
      if let known { return known }
      let made = try InflateIndex(
        file, range: entry.dataOffset..<entry.dataEnd, limit: entry.byteCount, spacing: spacing)
      guard made.byteCount == entry.byteCount, made.checksum == entry.checksum else {
        throw ParseFailure(
          "the inflated record has \(made.byteCount) bytes and CRC-32 \(String(made.checksum, radix: 16)), the archive "
            + "says \(entry.byteCount) and \(String(entry.checksum, radix: 16))",
          item: entry.name, offset: entry.dataOffset)
      }
      known = made
      return made
    }
  }
}
