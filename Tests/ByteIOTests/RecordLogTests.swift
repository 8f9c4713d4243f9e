import ByteIO
import Foundation
import Support
import Testing

@Suite("Logs of records")
struct RecordLogTests {
  private let folder: TemporaryFolder
  private let path: String
  init() throws {
    folder = try TemporaryFolder()
    path = folder.file("log").path
  }

  private let records: [[UInt8]] = [[1, 2, 3], [], [UInt8](repeating: 7, count: 1000), [9]]

  private func written() throws -> [UInt8] {
    let (log, found) = try RecordLog.open(path)
    #expect(found.isEmpty)
    for record in records { try log.append(record) }
    return try Fixtures.bytes(URL(filePath: path))
  }

  @Test func recordsComeBack() throws {
    _ = try written()
    #expect(try RecordLog.records(of: path) == records)
    let (log, found) = try RecordLog.open(path)
    #expect(found == records)
    try log.append([4])
    #expect(try RecordLog.records(of: path) == records + [[4]])
  }

  /// Lengths and sums by hand: 4 bytes each, little-endian; the CRC-32 of "123456789" is CBF43926 in every list of them.
  @Test func theBytesAreThoseDescribed() throws {
    let (log, _) = try RecordLog.open(path)
    try log.append(Array("123456789".utf8))
    #expect(
      try Fixtures.bytes(URL(filePath: path)) == [9, 0, 0, 0, 0x26, 0x39, 0xF4, 0xCB] + Array("123456789".utf8))
  }

  @Test("Wherever the file is cut, the whole records before are there, and more can be appended")
  func cut() throws {
    let bytes = try written()
    var ends: [Int] = [0]
    for record in records { ends.append(ends[ends.count - 1] + 8 + record.count) }
    for count in 0..<bytes.count {
      try Data(bytes[0..<count]).write(to: URL(filePath: path))
      let whole = ends.lastIndex { $0 <= count } ?? 0
      #expect(try RecordLog.records(of: path) == Array(records[0..<whole]), "\(count) bytes")
      let (log, found) = try RecordLog.open(path)
      #expect(found.count == whole)
      try log.append([5])
      #expect(try RecordLog.records(of: path) == Array(records[0..<whole]) + [[5]], "\(count) bytes")
    }
  }

  @Test("A changed byte ends the log before its record")
  func changed() throws {
    let bytes = try written()
    for place in [0, 3, 4, 7, 8, 10, 20, 30, bytes.count - 1] {
      var damaged = bytes
      damaged[place] ^= 0x40
      try Data(damaged).write(to: URL(filePath: path))
      let found = try RecordLog.records(of: path)
      #expect(found.count < records.count && found == Array(records[0..<found.count]), "byte \(place)")
    }
  }
}
