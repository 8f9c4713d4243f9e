#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What the system says about a file or directory without reading it; symbolic links are followed.
public struct FileFacts: Sendable, Hashable {
  public let byteCount: UInt64
  /// When the content changed last, in nanoseconds since 1970.
  public let modified: Int64
  /// Together they tell one file from all others of the machine, whatever it is called.
  public let device: UInt64
  public let inode: UInt64

  /// - Throws: `FileFailure`.
  public init(path: String) throws(FileFailure) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw FileFailure(path: path, operation: "look up", errno: errno) }
    byteCount = UInt64(status.st_size)
    #if canImport(Darwin)
      let time = status.st_mtimespec
    #else
      let time = status.st_mtim
    #endif
    modified = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }
}
