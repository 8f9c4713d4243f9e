#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A directory that gets its final name only when everything in it is complete: it is built beside the target as
/// `NAME.partial`, flushed and renamed. Whatever kills the process leaves the target as it was.
///
/// The process holds an advisory lock on the staging directory, so that what a killed run left behind is told from what
/// a living one is writing.
public final class StagedDirectory: Sendable {
  /// Where the finished directory will be.
  public let target: String
  /// Where it is being built: a sibling, hence on the same file system.
  public let path: String
  private let lock: Int32

  public static func stagingPath(for target: String) -> String {
    let parent = FileSystem.parent(of: target)
    return (parent == "/" ? "" : parent) + "/" + FileSystem.lastComponent(of: target) + ".partial"
  }

  /// Creates the empty staging directory. One that a killed run left behind is cleared first.
  /// - Throws: `FileFailure` of kind `.exists` when another process is writing the same output.
  public init(creatingFor target: String) throws(FileFailure) {
    let path = Self.stagingPath(for: target)
    lock = try Self.locked(path)
    self.target = target
    self.path = path
    for name in try FileSystem.names(in: path) { try FileSystem.remove(path + "/" + name) }
    try Self.restore(target, from: Self.asidePath(for: path))
  }

  /// The staging directory for processes that have agreed on who writes what, and are locked by other means. Nothing is
  /// created or removed yet; only a replacement that was cut off is undone.
  /// - Throws: `FileFailure`.
  public init(sharedFor target: String) throws(FileFailure) {
    self.target = target
    path = Self.stagingPath(for: target)
    lock = -1
    try Self.restore(target, from: Self.asidePath(for: path))
  }

  /// Creates the directory unless it is there, and waits until its name is on the disk.
  public func create() throws(FileFailure) {
    do {
      try FileSystem.createDirectory(path)
    } catch  where error.kind == .exists {
      return
    }
    try FileSystem.synchronizeDirectory(FileSystem.parent(of: path))
  }

  /// - Throws: `FileFailure` of kind `.exists` when something has the name but is no empty directory.
  public func checkIsEmpty() throws(FileFailure) {
    guard FileSystem.nameIsTaken(path) else { return }
    if try FileSystem.kind(of: path) == .directory, try FileSystem.names(in: path).isEmpty { return }
    throw FileFailure(
      path: path, operation: "stage the output", kind: .exists,
      detail: "something of unknown origin has this name; remove it, or choose another output")
  }

  /// Removes what is in the directory, if there is one.
  public func clear() throws(FileFailure) {
    guard FileSystem.nameIsTaken(path) else { return }
    for name in try FileSystem.names(in: path) { try FileSystem.remove(path + "/" + name) }
  }

  /// Removes what ``publish(replacing:)`` has replaced, where it was cut off before.
  public func removeReplaced() throws(FileFailure) {
    try FileSystem.remove(path)
    try FileSystem.remove(Self.asidePath(for: path))
  }

  /// A directory beside the target for work that a later process may go on with, never published.
  /// - Parameters:
  ///   - suffix: behind the target's name.
  ///   - mark: the file by which such a directory is known: one that has other files and not this is somebody else's.
  ///   - isUsable: whether what a process before left in the directory may stay; else it is cleared.
  /// - Throws: `FileFailure` of kind `.exists` when another process is at it, or it is somebody else's.
  public init(
    resuming target: String, suffix: String, mark: String, ifUsable isUsable: (_ path: String) -> Bool
  ) throws(FileFailure) {
    let parent = FileSystem.parent(of: target)
    let path = (parent == "/" ? "" : parent) + "/" + FileSystem.lastComponent(of: target) + suffix
    lock = try Self.locked(path)
    self.target = target
    self.path = path
    if isUsable(path) { return }
    let names = try FileSystem.names(in: path)
    guard names.isEmpty || names.contains(mark) else {
      throw FileFailure(
        path: path, operation: "keep unfinished work", kind: .exists, detail: "the directory holds other files")
    }
    for name in names where name != mark { try FileSystem.remove(path + "/" + name) }
    try FileSystem.remove(path + "/" + mark)
  }

  /// Creates the directory unless it is there, and locks it.
  private static func locked(_ path: String) throws(FileFailure) -> Int32 {
    do {
      try FileSystem.createDirectory(path)
    } catch  where error.kind == .exists {
    }
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "open the directory", errno: errno) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      throw FileFailure(
        path: path, operation: "lock", kind: .exists, detail: "another process is writing this output")
    }
    return descriptor
  }

  /// Where an existing target is for a moment while it is replaced on file systems that cannot exchange names.
  private static func asidePath(for path: String) -> String { path + ".replaced" }

  /// Undoes a replacement that was cut off: a target that was moved aside and has no successor gets its name back.
  private static func restore(_ target: String, from aside: String) throws(FileFailure) {
    guard FileSystem.nameIsTaken(aside) else { return }
    if FileSystem.nameIsTaken(target) {
      try FileSystem.remove(aside)
    } else {
      try FileSystem.rename(aside, to: target, replacing: false)
    }
  }

  deinit { if lock >= 0 { close(lock) } }

  /// The path of a file inside, while staged.
  public func file(_ name: String) -> String { path + "/" + name }

  /// Flushes the directory and gives it its final name. Files in it must have been flushed by their writers. With
  /// `replacing`, an existing target is exchanged for the new directory in one step and then removed, so that at any
  /// moment the old or the new is complete under the name. (Where the file system cannot exchange, the old one is moved
  /// aside first; if the process is killed right then, the next one to stage the same output moves it back.)
  public func publish(replacing: Bool) throws(FileFailure) {
    try FileSystem.synchronizeDirectory(path)
    let parent = FileSystem.parent(of: target)
    guard replacing && FileSystem.nameIsTaken(target) else {
      try FileSystem.rename(path, to: target, replacing: false)
      return try FileSystem.synchronizeDirectory(parent)
    }
    var old = path
    if try !FileSystem.exchange(path, target) {
      old = Self.asidePath(for: path)
      try FileSystem.remove(old)
      try FileSystem.rename(target, to: old, replacing: false)
      do {
        try FileSystem.rename(path, to: target, replacing: false)
      } catch {
        try? FileSystem.rename(old, to: target, replacing: false)
        throw error
      }
    }
    try FileSystem.synchronizeDirectory(parent)
    try FileSystem.remove(old)
  }

  /// Gives single files their final names, one by one, beside the target, and removes the directory: for outputs that are
  /// one file and what belongs to it. The first is the output itself. What belonged to an older one is removed before, so
  /// that no moment has a file beside another one's sums. Files that have their names already are left, so that who was cut
  /// off may do it again.
  /// - Parameters:
  ///   - files: staged names and final paths, on the same file system.
  ///   - outdated: paths that an older output may have left.
  public func publish(
    files: [(staged: String, path: String)], outdated: [String] = [], replacing: Bool
  ) throws(FileFailure) {
    if replacing, let first = files.first, FileSystem.nameIsTaken(file(first.staged)) {
      for path in outdated where FileSystem.nameIsTaken(path) { try FileSystem.remove(path) }
    }
    for (staged, path) in files where FileSystem.nameIsTaken(file(staged)) || !FileSystem.nameIsTaken(path) {
      try FileSystem.rename(file(staged), to: path, replacing: replacing)
    }
    try FileSystem.synchronizeDirectory(FileSystem.parent(of: target))
    try FileSystem.remove(path)
  }

  /// Removes all that was staged.
  public func discard() throws(FileFailure) { try FileSystem.remove(path) }
}
