import ByteIO
import Support
import Testing

@Suite("Full disk", .enabled(if: TinyDisk.isPossible, "needs the right to mount a file system in memory"))
struct FullDiskTests {
  let disk: TinyDisk
  init() throws { disk = try TinyDisk() }

  @Test func creatingReservesAndLeavesNothing() throws {
    let failure = #expect(throws: FileFailure.self) {
      try WritableFile(creating: disk.path + "/large", byteCount: 2 << 20)
    }
    #expect(failure?.kind == .noSpace)
    #expect(try FileSystem.names(in: disk.path) == [])
    // What was reserved in vain is free again.
    _ = try WritableFile(creating: disk.path + "/small", byteCount: 900_000)
  }

  @Test func writingPastTheReservationIsAFailure() throws {
    let file = try WritableFile(creating: disk.path + "/file", byteCount: 4096)
    let bytes = [UInt8](repeating: 1, count: 2 << 20)
    #expect(#expect(throws: FileFailure.self) { try file.write(bytes.span, at: 0) }?.kind == .noSpace)
  }

  @Test func aReservedFileCanBeFilledThoughTheRestOfTheDiskIs() throws {
    let file = try WritableFile(creating: disk.path + "/file", byteCount: 500_000)
    let free = try FileSystem.freeSpace(at: disk.path)
    _ = try WritableFile(creating: disk.path + "/filler", byteCount: free)
    #expect(try FileSystem.freeSpace(at: disk.path) == 0)
    let bytes = [UInt8](repeating: 1, count: 500_000)
    try file.write(bytes.span, at: 0)
    try file.synchronize()
  }

  @Test func replacingKeepsTheOldFile() throws {
    let path = disk.path + "/file"
    try FileSystem.writeAtomically([1, 2, 3], to: path)
    let large = [UInt8](repeating: 1, count: 2 << 20)
    #expect(#expect(throws: FileFailure.self) { try FileSystem.writeAtomically(large, to: path) }?.kind == .noSpace)
    #expect(try ReadableFile.contents(of: path, limit: 3) == [1, 2, 3])
    #expect(try FileSystem.names(in: disk.path) == ["file"])
  }
}
