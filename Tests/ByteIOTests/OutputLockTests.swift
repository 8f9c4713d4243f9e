import ByteIO
import Foundation
import Support
import Testing

@Suite("Locks of outputs", .serialized)
struct OutputLockTests {
  private let folder: TemporaryFolder
  private let path: String
  init() throws {
    folder = try TemporaryFolder()
    path = folder.file("lock").path
  }

  private func content() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  @Test func theSecondIsToldWhoTheFirstIs() throws {
    let first = try OutputLock(path: path, output: "OUT")
    let failure = #expect(throws: FileFailure.self) { try OutputLock(path: path, output: "OUT") }
    #expect(failure?.kind == .exists && failure?.path == "OUT")
    #expect(failure?.detail.contains("process \(getpid()) on ") == true)
    try first.check()
  }

  @Test func itEndsWithItsOwner() throws {
    do { _ = try OutputLock(path: path, output: "OUT") }
    #expect(try content() == "")
    var waited = false
    _ = try OutputLock(path: path, output: "OUT") { _ in waited = true }
    #expect(!waited)
  }

  /// The kernel that knew of the lock is this one: nothing is waited for.
  @Test func aKilledProcessOfThisMachineLeavesNoLock() async throws {
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
      let lock = try OutputLock(path: path, output: "OUT")
      kill(getpid(), SIGKILL)
      try lock.check()
    }
    #expect(try content().hasPrefix("process "))
    var waited = false
    let next = try OutputLock(path: path, output: "OUT") { _ in waited = true }
    #expect(!waited)
    try next.check()
  }

  @Test("Another machine's lock counts while it shows signs of life", .timeLimit(.minutes(1)))
  func anotherMachine() throws {
    let holder = "process 7 on elsewhere, boot 00000000-0000-0000-0000-000000000000\n"
    try Data((holder + "1\n").utf8).write(to: URL(filePath: path))
    let path = path
    // Its sign of life comes while it is watched.
    let beat = Thread {
      usleep(600_000)
      // In place, as a holder does it: a file that was empty for a moment would be free.
      guard let file = FileHandle(forWritingAtPath: path) else { return }
      try? file.write(contentsOf: Data((holder + "2\n").utf8))
      try? file.close()
    }
    beat.start()
    var told = ""
    let failure = #expect(throws: FileFailure.self) { try OutputLock(path: path, output: "OUT") { told = $0 } }
    #expect(failure?.kind == .exists && failure?.detail.contains("elsewhere") == true)
    #expect(told.contains("elsewhere"))
    #expect(try content() == holder + "2\n")
  }

  @Test("Another machine's silent lock is taken over", .timeLimit(.minutes(1)))
  func silentMachine() throws {
    try Data("process 7 on elsewhere, boot 00000000-0000-0000-0000-000000000000\n1\n".utf8)
      .write(to: URL(filePath: path))
    let begin = Date()
    let lock = try OutputLock(path: path, output: "OUT", patience: 2)
    #expect(Date().timeIntervalSince(begin) >= 2)
    try lock.check()
    #expect(try content().contains("process \(getpid()) on "))
  }

  @Test("Who was taken for dead notices before it gives a name")
  func takenOver() throws {
    let lock = try OutputLock(path: path, output: "OUT")
    try FileManager.default.removeItem(atPath: path)
    try Data("process 7 on elsewhere, boot 0\n1\n".utf8).write(to: URL(filePath: path))
    #expect(#expect(throws: FileFailure.self) { try lock.check() }?.kind == .exists)
  }
}
