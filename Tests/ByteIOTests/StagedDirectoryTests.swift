import ByteIO
import Dispatch
import Foundation
import Support
import Synchronization
import Testing

@Suite("Staged directories")
struct StagedDirectoryTests {
  private let folder: TemporaryFolder
  private let target: String
  init() throws {
    folder = try TemporaryFolder()
    target = folder.file("model").path
  }

  private var names: [String] { get throws { try FileSystem.names(in: folder.url.path) } }

  private func content(_ path: String) throws -> [String: [UInt8]] {
    var content: [String: [UInt8]] = [:]
    for name in try FileSystem.names(in: path) {
      content[name] = try ReadableFile.contents(of: path + "/" + name, limit: 100)
    }
    return content
  }

  @Test func publishes() throws {
    let staged = try StagedDirectory(creatingFor: target)
    try FileSystem.write([1], toNew: staged.file("a"))
    #expect(try names == ["model.partial"])
    try staged.publish(replacing: false)
    #expect(try names == ["model"])
    #expect(try content(target) == ["a": [1]])
  }

  @Test func aTargetWithTrailingSlashHasTheSameSibling() throws {
    #expect(StagedDirectory.stagingPath(for: "a/b/") == "a/b.partial")
    #expect(StagedDirectory.stagingPath(for: "b") == "./b.partial")
    #expect(StagedDirectory.stagingPath(for: "/b") == "/b.partial")
  }

  @Test(arguments: [true, false])
  func anExistingTargetIsReplacedOnlyWhenAsked(_ replacing: Bool) throws {
    try FileSystem.createDirectory(target)
    try FileSystem.write([9], toNew: target + "/old")
    let staged = try StagedDirectory(creatingFor: target)
    try FileSystem.write([1], toNew: staged.file("new"))
    if replacing {
      try staged.publish(replacing: true)
      #expect(try content(target) == ["new": [1]])
      #expect(try names == ["model"])
    } else {
      #expect(#expect(throws: FileFailure.self) { try staged.publish(replacing: false) }?.kind == .exists)
      #expect(try content(target) == ["old": [9]])
      try staged.discard()
      #expect(try names == ["model"])
    }
  }

  @Test func replacesAFileAndADanglingLinkToo() throws {
    try FileSystem.write([9], toNew: target)
    let first = try StagedDirectory(creatingFor: target)
    try first.publish(replacing: true)
    #expect(try FileSystem.kind(of: target) == .directory)
    try FileSystem.remove(target)
    try FileManager.default.createSymbolicLink(atPath: target, withDestinationPath: "nowhere")
    let second = try StagedDirectory(creatingFor: target)
    #expect(#expect(throws: FileFailure.self) { try second.publish(replacing: false) }?.kind == .exists)
    try second.publish(replacing: true)
    #expect(try names == ["model"] && FileSystem.kind(of: target) == .directory)
  }

  @Test func discardLeavesTheTarget() throws {
    try FileSystem.createDirectory(target)
    let staged = try StagedDirectory(creatingFor: target)
    try FileSystem.write([1], toNew: staged.file("a"))
    try staged.discard()
    #expect(try names == ["model"])
  }

  @Test func whatAKilledRunLeftIsCleared() throws {
    // What a run that was killed while writing, and one that was killed while replacing, leave behind.
    let partial = StagedDirectory.stagingPath(for: target)
    try FileSystem.createDirectory(partial)
    try FileSystem.write([1, 2], toNew: partial + "/half")
    try FileSystem.createDirectory(partial + "/deep")
    try FileSystem.write([3], toNew: partial + "/deep/half")
    try FileSystem.createDirectory(partial + ".replaced")
    try FileSystem.write([4], toNew: partial + ".replaced/older")
    try FileSystem.createDirectory(target)

    let staged = try StagedDirectory(creatingFor: target)
    #expect(try FileSystem.names(in: staged.path) == [])
    try FileSystem.write([5], toNew: staged.file("a"))
    try staged.publish(replacing: true)
    #expect(try content(target) == ["a": [5]])
    #expect(try names == ["model"])
  }

  @Test func twoWritersOfOneOutputAreToldApart() throws {
    let first = try StagedDirectory(creatingFor: target)
    try FileSystem.write([1], toNew: first.file("a"))
    let failure = #expect(throws: FileFailure.self) { try StagedDirectory(creatingFor: target) }
    #expect(failure?.kind == .exists && failure?.detail == "another process is writing this output")
    #expect(try content(first.path) == ["a": [1]])
    try first.publish(replacing: false)
    #expect(try content(target) == ["a": [1]])
  }

  /// A process that dies in the middle: its lock is gone with it, the target is as it was.
  @Test func aKilledProcessLeavesTheTargetAsItWas() async throws {
    try FileSystem.createDirectory(target)
    try FileSystem.write([9], toNew: target + "/old")
    await #expect(processExitsWith: .signal(SIGKILL)) { [target = target as String] in
      let staged = try StagedDirectory(creatingFor: target)
      try FileSystem.write([1], toNew: staged.file("half"))
      kill(getpid(), SIGKILL)
    }
    #expect(try content(target) == ["old": [9]])
    #expect(try names == ["model", "model.partial"])
    let staged = try StagedDirectory(creatingFor: target)
    #expect(try FileSystem.names(in: staged.path) == [])
    try staged.publish(replacing: true)
    #expect(try names == ["model"])
  }

  /// While an output is replaced again and again, its name never stands for nothing, nor for a half-written directory.
  @Test(.enabled(if: TinyDisk.isPossible, "needs a file system that is known to exchange names"))
  func theNameIsNeverGoneWhileItIsReplaced() throws {
    let disk = try TinyDisk()
    let target = disk.path + "/model"
    try FileSystem.createDirectory(target)
    try FileSystem.write([0], toNew: target + "/a")
    let isDone = Atomic<Bool>(false)
    let gone = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: 2) { worker in
      if worker == 0 {
        while !isDone.load(ordering: .relaxed) {
          if !FileSystem.nameIsTaken(target) { gone.add(1, ordering: .relaxed) }
        }
      } else {
        defer { isDone.store(true, ordering: .relaxed) }
        for round in 1...300 {
          do {
            let staged = try StagedDirectory(creatingFor: target)
            try FileSystem.write([UInt8(round % 256)], toNew: staged.file("a"))
            try staged.publish(replacing: true)
          } catch {
            Issue.record(error)
          }
        }
      }
    }
    #expect(gone.load(ordering: .relaxed) == 0)
    #expect(try content(target) == ["a": [UInt8(300 % 256)]])
    #expect(try FileSystem.names(in: disk.path) == ["model"])
  }

  /// Killed between moving the old target aside and naming the new one, where names cannot be exchanged.
  @Test func aTargetLeftAsideGetsItsNameBack() throws {
    let partial = StagedDirectory.stagingPath(for: target)
    try FileSystem.createDirectory(partial)
    try FileSystem.createDirectory(partial + ".replaced")
    try FileSystem.write([9], toNew: partial + ".replaced/old")
    let staged = try StagedDirectory(creatingFor: target)
    #expect(try content(target) == ["old": [9]])
    try staged.discard()
    #expect(try names == ["model"])
  }

  @Test func missingParentsAndFilesInTheWayAreFailures() throws {
    let below = folder.file("no/model").path
    #expect(#expect(throws: FileFailure.self) { try StagedDirectory(creatingFor: below) }?.kind == .missing)
    try FileSystem.write([1], toNew: target + ".partial")
    #expect(#expect(throws: FileFailure.self) { try StagedDirectory(creatingFor: target) }?.kind == .cannotCreate)
    #expect(try ReadableFile.contents(of: target + ".partial", limit: 1) == [1])
  }
}
