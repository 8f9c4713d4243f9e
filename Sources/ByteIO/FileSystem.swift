#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// Questions to and changes of the file system, each with a named failure.
public enum FileSystem {
  public enum Kind: Sendable, Equatable { case file, directory, other }

  /// What is at `path`, following symbolic links; nil when nothing is there (or a dangling link).
  public static func kind(of path: String) throws(FileFailure) -> Kind? {
    var status = stat()
    guard stat(path, &status) == 0 else {
      let code = errno
      // A link that leads to itself leads nowhere, like one whose target is gone.
      if code == ENOENT || code == ENOTDIR || code == ELOOP { return nil }
      throw FileFailure(path: path, operation: "look up", errno: code)
    }
    return switch status.st_mode & S_IFMT {
    case S_IFREG: .file
    case S_IFDIR: .directory
    default: .other
    }
  }

  /// True when the name is taken, even by a dangling symbolic link.
  public static func nameIsTaken(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
  }

  /// Names in a directory, sorted by UTF-8 bytes, without `.` and `..`.
  public static func names(in path: String) throws(FileFailure) -> [String] {
    guard let stream = opendir(path) else { throw FileFailure(path: path, operation: "list", errno: errno) }
    defer { closedir(stream) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: tuple.pointee)) {
          String(cString: $0)
        }
      }
      if name != "." && name != ".." { names.append(name) }
      errno = 0
    }
    guard errno == 0 else { throw FileFailure(path: path, operation: "list", errno: errno) }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  public static func createDirectory(_ path: String) throws(FileFailure) {
    guard mkdir(path, 0o755) == 0 else {
      throw FileFailure(path: path, operation: "create the directory", errno: errno)
    }
  }

  /// Removes a file, or a directory with all that is in it; symbolic links are removed, not followed.
  public static func remove(_ path: String) throws(FileFailure) {
    var status = stat()
    guard lstat(path, &status) == 0 else {
      if errno == ENOENT { return }
      throw FileFailure(path: path, operation: "remove", errno: errno)
    }
    if status.st_mode & S_IFMT == S_IFDIR {
      for name in try names(in: path) { try remove(path + "/" + name) }
      guard rmdir(path) == 0 else { throw FileFailure(path: path, operation: "remove", errno: errno) }
    } else {
      guard unlink(path) == 0 else { throw FileFailure(path: path, operation: "remove", errno: errno) }
    }
  }

  /// Renames within one file system. With `replacing` false an existing target is left alone and is a failure of kind
  /// `.exists`. (A directory with content is never replaced by a rename, whoever creates it between check and rename.)
  public static func rename(_ source: String, to target: String, replacing: Bool) throws(FileFailure) {
    if !replacing && nameIsTaken(target) { throw FileFailure(path: target, operation: "publish", errno: EEXIST) }
    guard Self.systemRename(source, target) == 0 else {
      throw FileFailure(path: target, operation: "publish", errno: errno)
    }
  }

  /// Swaps what two names stand for in one step. False, with nothing done, when the system or file system cannot.
  static func exchange(_ first: String, _ second: String) throws(FileFailure) -> Bool {
    #if os(Linux)
      let exchangeFlag: UInt32 = 2  // RENAME_EXCHANGE of renameat2(2)
      guard let renameat2 else { return false }
      if renameat2(AT_FDCWD, first, AT_FDCWD, second, exchangeFlag) == 0 { return true }
      if errno == EINVAL || errno == ENOSYS { return false }
      throw FileFailure(path: second, operation: "publish", errno: errno)
    #else
      return false
    #endif
  }

  private typealias Rename =
    @convention(c) (
      Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32
    ) -> Int32

  /// Looked up at run time: the C library declares it for GNU sources only, which Swift's import is not.
  private static let renameat2: Rename? = dlsym(nil, "renameat2").map { unsafeBitCast($0, to: Rename.self) }

  private static func systemRename(_ source: String, _ target: String) -> Int32 {
    #if canImport(Glibc)
      Glibc.rename(source, target)
    #elseif canImport(Musl)
      Musl.rename(source, target)
    #else
      Darwin.rename(source, target)
    #endif
  }

  /// Waits until a directory's entries (new names, renames) are on the disk.
  public static func synchronizeDirectory(_ path: String) throws(FileFailure) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "open the directory", errno: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw FileFailure(path: path, operation: "flush the directory", errno: errno)
    }
  }

  /// Bytes that an unprivileged process may still write on the file system holding `path`.
  public static func freeSpace(at path: String) throws(FileFailure) -> UInt64 {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else {
      throw FileFailure(path: path, operation: "ask for free space", errno: errno)
    }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }

  public static func mayWrite(_ path: String) -> Bool { access(path, W_OK) == 0 }

  /// The absolute path with symbolic links, `.` and `..` resolved. The path must exist.
  public static func canonicalPath(_ path: String) throws(FileFailure) -> String {
    guard let resolved = realpath(path, nil) else { throw FileFailure(path: path, operation: "resolve", errno: errno) }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// Creates a file with these bytes and waits until they are on the disk. The path must not exist.
  public static func write(_ bytes: [UInt8], toNew path: String) throws(FileFailure) {
    let file = try WritableFile(creating: path, byteCount: UInt64(bytes.count))
    try file.write(bytes.span, at: 0)
    try file.synchronize()
  }

  /// Replaces or creates a file in one step: a temporary sibling is written, flushed and renamed over it. Either the old
  /// content or all of the new is there at any moment.
  public static func writeAtomically(_ bytes: [UInt8], to path: String) throws(FileFailure) {
    let temporary = "\(path).\(getpid()).partial"
    try? remove(temporary)
    do {
      try write(bytes, toNew: temporary)
      try rename(temporary, to: path, replacing: true)
      try synchronizeDirectory(parent(of: path))
    } catch {
      try? remove(temporary)
      throw error
    }
  }

  /// Creates a file that has all of its bytes from the moment its name is there, for processes that all may be the first.
  /// - Returns: false, with nothing done, when the name is taken.
  public static func writeExclusively(_ bytes: [UInt8], to path: String) throws(FileFailure) -> Bool {
    // Part of the name of whoever writes: the others are at it too, on other machines with the same numbers perhaps.
    let temporary = "\(path).\(UInt64.random(in: 0...UInt64.max))"
    defer { try? remove(temporary) }
    try write(bytes, toNew: temporary)
    if link(temporary, path) != 0 {
      let code = errno
      if code == EEXIST { return false }
      // No hard links here: the check and the renaming are two steps then.
      guard code == EPERM || code == EOPNOTSUPP || code == ENOSYS || code == EMLINK else {
        throw FileFailure(path: path, operation: "create", errno: code)
      }
      if nameIsTaken(path) { return false }
      try rename(temporary, to: path, replacing: true)
    }
    try synchronizeDirectory(parent(of: path))
    return true
  }

  /// - Throws: `FileFailure`, of kind `.exists` when something is in the directory.
  public static func removeEmptyDirectory(_ path: String) throws(FileFailure) {
    guard rmdir(path) == 0 else { throw FileFailure(path: path, operation: "remove", errno: errno) }
  }

  /// The directory part of a path; `.` for a bare name.
  public static func parent(of path: String) -> String {
    let trimmed = trimmingSlashes(path)
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  /// The last component of a path.
  public static func lastComponent(of path: String) -> String {
    let trimmed = trimmingSlashes(path)
    guard let slash = trimmed.lastIndex(of: "/") else { return trimmed }
    return String(trimmed[trimmed.index(after: slash)...])
  }

  private static func trimmingSlashes(_ path: String) -> String {
    var text = Substring(path)
    while text.count > 1 && text.hasSuffix("/") { text = text.dropLast() }
    return String(text)
  }
}
