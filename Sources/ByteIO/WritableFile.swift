#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A new file written at planned offsets, from several threads at once. It never overwrites: the path must not exist.
public final class WritableFile: Sendable {
  public let path: String
  private let descriptor: Int32

  /// Creates the file and reserves `byteCount` bytes on the disk, so that a full disk shows now and not hours later.
  /// - Throws: `FileFailure` with kind `.noSpace` when the disk cannot hold the file; the file is removed again.
  public init(creating path: String, byteCount: UInt64) throws(FileFailure) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "create", errno: errno) }
    self.path = path
    self.descriptor = descriptor
    guard byteCount > 0 else { return }
    let code = Self.reserve(descriptor, byteCount)
    guard code == 0 else {
      unlink(path)
      throw FileFailure(path: path, operation: "reserve \(byteCount) bytes", errno: code)
    }
  }

  /// Opens a file that other processes write too, or that one before has begun; creates it unless it is there, with
  /// `byteCount` bytes reserved. Bytes that are there stay; nothing is removed on failure, since others may be at it.
  /// - Throws: `FileFailure`, also for a file that has more bytes.
  public init(sharing path: String, byteCount: UInt64) throws(FileFailure) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "open for writing", errno: errno) }
    self.path = path
    self.descriptor = descriptor
    guard byteCount > 0 else { return }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileFailure(path: path, operation: "read the size", errno: errno)
    }
    guard UInt64(status.st_size) <= byteCount else {
      throw FileFailure(
        path: path, operation: "go on writing", kind: .inputOutput,
        detail: "it has \(status.st_size) bytes, \(byteCount) were planned; remove it")
    }
    // Asked for again: whoever set the size may have been stopped before all was reserved.
    let code = Self.reserve(descriptor, byteCount)
    guard code == 0 else { throw FileFailure(path: path, operation: "reserve \(byteCount) bytes", errno: code) }
  }

  deinit { close(descriptor) }

  private static func reserve(_ descriptor: Int32, _ byteCount: UInt64) -> Int32 {
    #if os(Linux)
      let code = posix_fallocate(descriptor, 0, off_t(byteCount))
      // Some file systems cannot reserve; then the size alone is set and writing finds out.
      if code != EOPNOTSUPP && code != EINVAL { return code }
    #endif
    return ftruncate(descriptor, off_t(byteCount)) == 0 ? 0 : errno
  }

  /// Writes all of `bytes` at byte `offset`.
  public func write(_ bytes: Span<UInt8>, at offset: UInt64) throws(FileFailure) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBufferPointer { part in
        part.baseAddress.map { pwrite(descriptor, $0 + done, bytes.count - done, off_t(offset) + off_t(done)) } ?? 0
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileFailure(
          path: path, operation: "write \(bytes.count - done) bytes at byte \(offset + UInt64(done))", errno: errno)
      }
      done += count
    }
  }

  /// Gives back what was reserved behind byte `byteCount`.
  public func truncate(to byteCount: UInt64) throws(FileFailure) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      throw FileFailure(path: path, operation: "set the size", errno: errno)
    }
  }

  /// Waits until the file's bytes are on the disk.
  public func synchronize() throws(FileFailure) {
    guard fsync(descriptor) == 0 else { throw FileFailure(path: path, operation: "flush to the disk", errno: errno) }
  }
}
