import ByteIO
import Foundation
import Support
import Testing

@Suite("Reading files")
struct ReadableFileTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func file(_ bytes: [UInt8]) throws -> String {
    let path = folder.file("file").path
    try FileSystem.write(bytes, toNew: path)
    return path
  }

  @Test func readsParts() throws {
    let file = try ReadableFile(path: try file([1, 2, 3, 4, 5]))
    #expect(file.byteCount == 5)
    #expect(try file.bytes(at: 1, count: 3) == [2, 3, 4])
    #expect(try file.bytes(at: 5, count: 0) == [])
    #expect(try file.bytes(at: 0, count: 5) == [1, 2, 3, 4, 5])
  }

  @Test("Hints change nothing, wherever they point; what is read is counted, whoever else reads")
  func hintsAndCount() throws {
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let file = try ReadableFile(path: try file(bytes))
    for range in [0..<0, 0..<300_000, 299_999..<1 << 62, 1 << 62..<1 << 63] as [Range<UInt64>] {
      for advice in [ReadingAdvice.soon, .done] { file.advise(advice, range) }
    }
    let before = ProcessFacts.bytesRead
    #expect(try file.bytes(at: 0, count: bytes.count) == bytes)
    #expect(ProcessFacts.bytesRead >= before + 300_000)
    #expect(try [UInt8](count: 3) { try file.read(at: 1, into: &$0) } == [7, 14, 21])
  }

  @Test("Resident memory is between a MiB and the machine's; it is no more than it ever was")
  func memory() {
    let resident = ProcessFacts.residentBytes
    #expect(resident > 1 << 20 && resident <= ProcessFacts.peakResidentBytes + (1 << 20))
    #expect(ProcessFacts.machineMemory > resident)
  }

  @Test(arguments: [(0, 6), (5, 1), (6, 0), (UInt64.max, 1), (0, Int.max), (0, -1), (1 << 63, 0)] as [(UInt64, Int)])
  func rangesOutsideTheFileAreFailures(_ offset: UInt64, _ count: Int) throws {
    let file = try ReadableFile(path: try file([1, 2, 3, 4, 5]))
    #expect(throws: FileFailure.self) { try file.bytes(at: offset, count: count) }
  }

  @Test func aFileCutShortAfterOpeningIsAFailure() throws {
    let path = try file([UInt8](repeating: 7, count: 100))
    let file = try ReadableFile(path: path)
    #expect(truncate(path, 40) == 0)
    #expect(try file.bytes(at: 0, count: 40).count == 40)
    let failure = #expect(throws: FileFailure.self) { try file.bytes(at: 30, count: 50) }
    #expect(failure?.kind == .inputOutput && failure?.path == path)
    #expect(failure?.detail.contains("ends at byte 40, 40 bytes early") == true)
  }

  @Test func missingFilesAndDirectories() throws {
    #expect(#expect(throws: FileFailure.self) { try ReadableFile(path: folder.file("no").path) }?.kind == .missing)
    #expect(throws: FileFailure.self) { try ReadableFile(path: folder.url.path) }
    #expect(throws: FileFailure.self) { try MappedFile(path: folder.url.path) }
    #expect(throws: FileFailure.self) { try ReadableFile(path: "/dev/null") }
  }

  @Test func linksAreFollowed() throws {
    let path = try file([1, 2])
    let link = folder.file("link").path
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "file")
    #expect(try ReadableFile.contents(of: link, limit: 2) == [1, 2])
    #expect(try FileSystem.kind(of: link) == .file)
    #expect(try FileSystem.canonicalPath(link) == FileSystem.canonicalPath(path))
    try FileSystem.remove(path)
    #expect(try FileSystem.kind(of: link) == nil)
    #expect(FileSystem.nameIsTaken(link))
    #expect(#expect(throws: FileFailure.self) { try ReadableFile(path: link) }?.kind == .missing)
  }

  @Test func contentsRespectTheLimit() throws {
    let path = try file([1, 2, 3])
    #expect(try ReadableFile.contents(of: path, limit: 3) == [1, 2, 3])
    #expect(#expect(throws: ParseFailure.self) { try ReadableFile.contents(of: path, limit: 2) }?.file == path)
  }

  @Test func mappedBytes() throws {
    let path = try file([1, 2, 3])
    #expect(try Self.firstWord(path) == 0x0201)
    let empty = folder.file("empty").path
    try FileSystem.write([], toNew: empty)
    #expect(throws: ParseFailure.self) { try Self.firstWord(empty) }
  }

  /// Apart from the test: Swift 6.3.1 crashes on a lent span in a function with `#expect`.
  private static func firstWord(_ path: String) throws -> UInt16 {
    let mapped = try MappedFile(path: path)
    var cursor = ByteCursor(mapped.bytes)
    return try cursor.read(UInt16.self)
  }
}

@Suite("Writing files")
struct WritableFileTests {
  private let folder: TemporaryFolder
  private let path: String
  init() throws {
    folder = try TemporaryFolder()
    path = folder.file("out").path
  }

  @Test func writesAtPlannedOffsets() throws {
    let file = try WritableFile(creating: path, byteCount: 6)
    let (head, tail): ([UInt8], [UInt8]) = ([1, 2], [5, 6])
    try file.write(tail.span, at: 4)
    try file.write(head.span, at: 0)
    try file.synchronize()
    #expect(try ReadableFile.contents(of: path, limit: 10) == [1, 2, 0, 0, 5, 6])
    let again = try WritableFile(sharing: path, byteCount: 6)
    let middle: [UInt8] = [3, 4]
    try again.write(middle.span, at: 2)
    #expect(try ReadableFile.contents(of: path, limit: 10) == [1, 2, 3, 4, 5, 6])
  }

  @Test func aSharedFileKeepsWhatIsThereAndGrowsToItsSize() throws {
    try FileSystem.write([1, 2], toNew: path)
    let first = try WritableFile(sharing: path, byteCount: 4)
    let second = try WritableFile(sharing: path, byteCount: 4)
    let (three, four): ([UInt8], [UInt8]) = ([3], [4])
    try first.write(three.span, at: 2)
    try second.write(four.span, at: 3)
    #expect(try ReadableFile.contents(of: path, limit: 10) == [1, 2, 3, 4])
    let failure = #expect(throws: FileFailure.self) { try WritableFile(sharing: path, byteCount: 3) }
    #expect(failure?.kind == .inputOutput && failure?.detail.contains("4 bytes, 3 were planned") == true)
    #expect(try ReadableFile.contents(of: path, limit: 10) == [1, 2, 3, 4])
    let link = folder.file("link").path
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    #expect(#expect(throws: FileFailure.self) { try WritableFile(sharing: link, byteCount: 9) }?.kind == .cannotCreate)
  }

  @Test func refusesAnExistingPath() throws {
    try FileSystem.write([9], toNew: path)
    #expect(#expect(throws: FileFailure.self) { try WritableFile(creating: path, byteCount: 1) }?.kind == .exists)
    #expect(try ReadableFile.contents(of: path, limit: 1) == [9])
  }

  @Test func refusesALinkEvenADanglingOne() throws {
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "elsewhere")
    #expect(#expect(throws: FileFailure.self) { try WritableFile(creating: path, byteCount: 1) }?.kind == .exists)
    #expect(!FileSystem.nameIsTaken(folder.file("elsewhere").path))
  }

  @Test func failuresHaveTheirKind() throws {
    func kind(_ path: String) -> FileFailureKind? {
      #expect(throws: FileFailure.self) { try WritableFile(creating: path, byteCount: 1) }?.kind
    }
    #expect(kind(folder.file("no/out").path) == .missing)
    try FileSystem.write([9], toNew: path)
    #expect(kind(path + "/below") == .cannotCreate)
    #expect(kind(folder.file(String(repeating: "x", count: 300)).path) == .cannotCreate)
    #expect(
      #expect(throws: FileFailure.self) { try WritableFile(sharing: folder.file("no/out").path, byteCount: 1) }?.kind
        == .missing)
  }

  @Test func replacesAtomically() throws {
    try FileSystem.writeAtomically([1], to: path)
    // Who has the old file open keeps the old bytes.
    let old = try ReadableFile(path: path)
    try FileSystem.writeAtomically([2, 3], to: path)
    #expect(try old.bytes(at: 0, count: 1) == [1])
    #expect(try ReadableFile.contents(of: path, limit: 2) == [2, 3])
    #expect(try FileSystem.names(in: folder.url.path) == ["out"])
  }

  @Test func aFailedReplacementLeavesTheTargetAndNoRest() throws {
    // A directory with something in it cannot be replaced by a file.
    try FileSystem.createDirectory(path)
    try FileSystem.write([1], toNew: path + "/inside")
    #expect(throws: FileFailure.self) { try FileSystem.writeAtomically([2], to: path) }
    #expect(try FileSystem.names(in: folder.url.path) == ["out"])
    #expect(try FileSystem.names(in: path) == ["inside"])
  }
}

@Suite("File system")
struct FileSystemTests {
  @Test(arguments: [
    ("a", ".", "a"), ("a/b", "a", "b"), ("/a", "/", "a"), ("/a/b/", "/a", "b"), ("a//", ".", "a"), ("/", "/", ""),
    ("./a", ".", "a"),
    ("../a", "..", "a"),
  ])
  func pathParts(_ path: String, _ parent: String, _ last: String) {
    #expect(FileSystem.parent(of: path) == parent)
    #expect(FileSystem.lastComponent(of: path) == last)
  }

  @Test func namesAreSortedByBytes() throws {
    let folder = try TemporaryFolder()
    let names = ["A", "a", "a.b", "ab", "\u{E9}", "\u{1F600}"]
    for name in names.reversed() { try FileSystem.write([], toNew: folder.file(name).path) }
    #expect(try FileSystem.names(in: folder.url.path) == names)
  }

  @Test func removesTreesButNotWhatLinksPointTo() throws {
    let folder = try TemporaryFolder()
    let (kept, tree) = (folder.file("kept").path, folder.file("tree").path)
    try FileSystem.createDirectory(kept)
    try FileSystem.write([1], toNew: kept + "/file")
    try FileSystem.createDirectory(tree)
    try FileSystem.createDirectory(tree + "/deep")
    try FileSystem.write([1], toNew: tree + "/deep/file")
    try FileManager.default.createSymbolicLink(atPath: tree + "/deep/link", withDestinationPath: kept)
    try FileSystem.remove(tree)
    #expect(try FileSystem.names(in: folder.url.path) == ["kept"])
    #expect(try FileSystem.names(in: kept) == ["file"])
    try FileSystem.remove(tree)
  }

  @Test func renameWithoutReplacingKeepsTheTarget() throws {
    let folder = try TemporaryFolder()
    let (a, b) = (folder.file("a").path, folder.file("b").path)
    try FileSystem.write([1], toNew: a)
    try FileSystem.write([2], toNew: b)
    #expect(#expect(throws: FileFailure.self) { try FileSystem.rename(a, to: b, replacing: false) }?.kind == .exists)
    #expect(try ReadableFile.contents(of: b, limit: 1) == [2])
    try FileSystem.rename(a, to: b, replacing: true)
    #expect(try ReadableFile.contents(of: b, limit: 1) == [1])
  }

  @Test func kinds() throws {
    let folder = try TemporaryFolder()
    #expect(try FileSystem.kind(of: folder.url.path) == .directory)
    #expect(try FileSystem.kind(of: "/dev/null") == .other)
    #expect(try FileSystem.kind(of: folder.file("no").path) == nil)
    try FileSystem.write([], toNew: folder.file("file").path)
    #expect(try FileSystem.kind(of: folder.file("file/below").path) == nil)
    #expect(try FileSystem.freeSpace(at: folder.url.path) > 0)
  }
}
