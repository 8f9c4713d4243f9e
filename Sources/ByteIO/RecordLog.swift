internal import Synchronization

/// A file to which records are appended and which is read again after a crash: whatever tore the last record, those before
/// it are whole. Each record is its length and its CRC-32, both 4 bytes little-endian, and its bytes.
public final class RecordLog: Sendable {
  /// Of one record, in bytes; a longer one in a file is damage.
  public static let maximumRecordByteCount = 1 << 30
  private static let headByteCount = 8

  private let file: WritableFile
  /// Where the next record goes. Callers append one after the other.
  private let end: Atomic<UInt64>

  /// Opens or creates the log and cuts off what is torn.
  /// - Returns: the log, and its whole records in their order.
  /// - Throws: `FileFailure`.
  public static func open(_ path: String) throws(FileFailure) -> (log: RecordLog, records: [[UInt8]]) {
    let file = try WritableFile(sharing: path, byteCount: 0)
    let (records, end) = try read(path)
    try file.truncate(to: end)
    return (RecordLog(file, end), records)
  }

  /// The whole records of a log that perhaps another process writes.
  /// - Throws: `FileFailure`.
  public static func records(of path: String) throws(FileFailure) -> [[UInt8]] { try read(path).records }

  private init(_ file: WritableFile, _ end: UInt64) {
    self.file = file
    self.end = Atomic(end)
  }

  private static func read(_ path: String) throws(FileFailure) -> (records: [[UInt8]], end: UInt64) {
    let file = try ReadableFile(path: path)
    var records: [[UInt8]] = []
    var offset: UInt64 = 0
    while file.byteCount - offset >= UInt64(headByteCount) {
      let head = try file.bytes(at: offset, count: headByteCount)
      let length = Int(number(head[0..<4]))
      let start = offset + UInt64(headByteCount)
      guard length <= maximumRecordByteCount, UInt64(length) <= file.byteCount - start else { break }
      let record = try file.bytes(at: start, count: length)
      guard CRC32.checksum(record.span) == number(head[4..<8]) else { break }
      records.append(record)
      offset = start + UInt64(length)
    }
    return (records, offset)
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Appends a record and waits until it is on the disk.
  /// - Throws: `FileFailure`; the log is then as it was, or has a torn end.
  public func append(_ record: [UInt8]) throws(FileFailure) {
    precondition(record.count <= Self.maximumRecordByteCount, "a record has its limit")
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headByteCount + record.count)
    for number in [UInt32(record.count), CRC32.checksum(record.span)] {
      for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: number >> UInt32(shift))) }
    }
    bytes += record
    try file.write(bytes.span, at: end.load(ordering: .relaxed))
    try file.synchronize()
    end.add(UInt64(bytes.count), ordering: .relaxed)
  }
}
