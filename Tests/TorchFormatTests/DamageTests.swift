import ByteIO
import Foundation
import Support
import Testing
import TorchFormat

/// Files of torch, cut short and overwritten. A zip archive is never taken for another one: what is read from a damaged file
/// is what the whole one holds. The legacy format has no checksum: its bytes may change unseen.
@Suite("Damaged files", .timeLimit(.minutes(5)))
struct DamageTests {
  static let names = TorchVector.all.map(\.name) + ["many.pth", "more.pth"]

  private func fixture(_ name: String) throws -> [UInt8] { try Fixtures.bytes(Fixtures.bundled("torch/\(name)")) }

  @Test(arguments: names)
  func refusesEveryPrefix(_ name: String) throws {
    let bytes = try fixture(name)
    let file = try EditedFile(bytes)
    for count in stride(from: 0, to: bytes.count, by: bytes.count > 10_000 ? 7 : 1).reversed() {
      try file.cut(to: count)
      #expect(throws: ParseFailure.self, "the first \(count) bytes") { try TorchFile(path: file.path) }
    }
  }

  @Test(arguments: names)
  func neverReadsOtherValues(_ name: String) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = try fixture(name)
    let whole = try TorchContents(bytes)
    for round in 0..<(bytes.count > 10_000 ? 100 : 1000) {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let start = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, start + (Bool.random(using: &random) ? 1 : Int.random(in: 1...8, using: &random)))
        let byte: UInt8? = Bool.random(using: &random) ? [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) : nil
        for index in start..<end { damaged[index] = byte ?? UInt8.random(in: 0...255, using: &random) }
      }
      do {
        let content = try TorchContents(damaged)
        #expect(name == "legacy.pth" || content == whole, "round \(round), seed \(seed)")
      } catch is ParseFailure {
        // Anything else is a failure of the test.
      }
    }
  }

  /// Parts taken out, doubled or moved.
  @Test(arguments: names)
  func refusesBytesMoved(_ name: String) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let bytes = try fixture(name)
    let whole = try TorchContents(bytes)
    for round in 0..<100 {
      var moved = bytes
      let start = Int.random(in: 0..<bytes.count, using: &random)
      let end = Int.random(in: start + 1...min(bytes.count, start + 200), using: &random)
      if Bool.random(using: &random) { moved.removeSubrange(start..<end) }
      if Bool.random(using: &random) || moved.count == bytes.count {
        moved.insert(contentsOf: bytes[start..<end], at: Int.random(in: 0...moved.count, using: &random))
      }
      if moved == bytes { continue }
      do {
        let content = try TorchContents(moved)
        #expect(name == "legacy.pth" || content == whole, "round \(round), seed \(seed)")
      } catch is ParseFailure {
        // Anything else is a failure of the test.
      }
    }
  }

  /// Every byte of an archive matters, but for those that nobody reads: versions, dates and attributes of headers, the
  /// local extra fields with torch's padding. (A size in a local header may be the true one as well as zero: no record here
  /// has 4 bytes.)
  @Test(arguments: ["single.pth", "fp8.pth"], [0x04, 0x80, 0xFF] as [UInt8])
  func everyByteCounts(_ name: String, _ pattern: UInt8) throws {
    let bytes = try fixture(name)
    let whole = try TorchContents(bytes)
    let ignored = try ignoredBytes(Fixtures.bundled("torch/\(name)").path, bytes.count)
    let file = try EditedFile(bytes)
    var accepted: Set<Int> = []
    for index in bytes.indices {
      try file.set(bytes[index] ^ pattern, at: index)
      defer { try? file.set(bytes[index], at: index) }
      if let content = try? TorchContents(TorchFile(path: file.path)) {
        #expect(content == whole, "byte \(index)")
        accepted.insert(index)
      }
    }
    #expect(accepted.subtracting(ignored).sorted() == [])
    #expect(ignored.subtracting(accepted).sorted() == [])
  }

  private func ignoredBytes(_ path: String, _ count: Int) throws -> Set<Int> {
    let archive = try ZipArchive(reading: ReadableFile(path: path))
    var ignored: Set<Int> = []
    // torch's end records: 56, 20 and 22 bytes; versions stand 12 bytes behind the start of the first.
    ignored.formUnion(count - 98 + 12..<count - 98 + 16)
    var central = count - 98
    for entry in archive.entries.reversed() {
      central -= 46 + entry.name.utf8.count
      for range in [4..<8, 12..<16, 36..<42] {
        ignored.formUnion(central + range.lowerBound..<central + range.upperBound)
      }
    }
    for entry in archive.entries {
      let (header, data) = (Int(entry.headerOffset), Int(entry.dataOffset))
      ignored.formUnion(header + 4..<header + 6)
      ignored.formUnion(header + 10..<header + 14)
      ignored.formUnion(header + 30 + entry.name.utf8.count..<data)
    }
    return ignored
  }
}

/// Inputs that led the fuzzer (`Tests/Fuzz`, target `torch`) to new places, in hexadecimal: kept so that they stay harmless.
@Suite("Inputs found by fuzzing")
struct FuzzCorpusTests {
  static let inputs: [[UInt8]] = {
    let text = (try? String(contentsOf: Fixtures.bundled("torch/corpus.txt"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").map { line in
      let digits = Array(line.utf8)
      return stride(from: 0, to: digits.count, by: 2).compactMap {
        UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
      }
    }
  }()

  @Test func endWithValuesOrAParseFailure() throws {
    #expect(Self.inputs.count == 303)
    let storage = (0..<64).map { UInt8($0) }
    for input in Self.inputs {
      let rest = Array(input.dropFirst())
      let isFile = input[0] % 2 == 0
      let bytes = isFile ? rest : TorchBytes.archive(rest, ["0": storage, "1": storage]).encoded.bytes
      do {
        _ = try TorchContents(bytes)
      } catch is ParseFailure {
        // Anything else is a failure of the test.
      }
    }
  }
}

/// A file on the disk that is changed in place.
private final class EditedFile {
  private let folder: TemporaryFolder
  private let handle: FileHandle
  var path: String { folder.file("x.pth").path }

  init(_ bytes: [UInt8]) throws {
    folder = try TemporaryFolder()
    try Data(bytes).write(to: folder.file("x.pth"))
    handle = try FileHandle(forUpdating: folder.file("x.pth"))
  }

  func cut(to count: Int) throws { try handle.truncate(atOffset: UInt64(count)) }

  func set(_ byte: UInt8, at offset: Int) throws {
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: [byte])
  }
}
