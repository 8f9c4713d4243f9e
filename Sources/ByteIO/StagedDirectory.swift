/// A directory that gets its final name only when everything in it is complete: it is built beside the target as
/// `NAME.partial`, flushed and renamed. Whatever kills the process leaves the target as it was.
public struct StagedDirectory: Sendable {
  /// Where the finished directory will be.
  public let target: String
  /// Where it is being built: a sibling, hence on the same file system.
  public let path: String

  public static func stagingPath(for target: String) -> String {
    FileSystem.parent(of: target) + "/" + FileSystem.lastComponent(of: target) + ".partial"
  }

  /// Creates the empty staging directory.
  /// - Throws: `FileFailure` of kind `.exists` when another run's staging directory is there.
  public init(creatingFor target: String) throws(FileFailure) {
    self.target = target
    path = Self.stagingPath(for: target)
    try FileSystem.createDirectory(path)
  }

  /// The path of a file inside, while staged.
  public func file(_ name: String) -> String { path + "/" + name }

  /// Flushes the directory and gives it its final name. Files in it must have been flushed by their writers. With
  /// `replacing`, an existing target is first moved aside, so that at any moment either the old or the new is complete,
  /// and removed at the end.
  public func publish(replacing: Bool) throws(FileFailure) {
    try FileSystem.synchronizeDirectory(path)
    let parent = FileSystem.parent(of: target)
    if replacing && FileSystem.nameIsTaken(target) {
      let old = path + ".replaced"
      try FileSystem.remove(old)
      try FileSystem.rename(target, to: old, replacing: false)
      do {
        try FileSystem.rename(path, to: target, replacing: false)
      } catch {
        try? FileSystem.rename(old, to: target, replacing: false)
        throw error
      }
      try FileSystem.synchronizeDirectory(parent)
      try FileSystem.remove(old)
    } else {
      try FileSystem.rename(path, to: target, replacing: false)
      try FileSystem.synchronizeDirectory(parent)
    }
  }

  /// Removes all that was staged.
  public func discard() throws(FileFailure) { try FileSystem.remove(path) }
}
