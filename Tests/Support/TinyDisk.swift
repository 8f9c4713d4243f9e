public import Foundation

/// A small file system in memory, unmounted when the value dies. Needs the right to mount (Linux, root).
public final class TinyDisk: Sendable {
  private let folder: TemporaryFolder
  public var url: URL { folder.url }
  public var path: String { folder.url.path }

  /// Use it in `.enabled(if:)`, so that the test shows as skipped where mounting is not allowed.
  public static let isPossible: Bool = {
    guard getuid() == 0, let disk = try? TinyDisk() else { return false }
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: disk.path)
    return (attributes?[.systemSize] as? NSNumber)?.intValue == 1 << 20
  }()

  /// - Parameter mebibytes: the size of the file system.
  public init(mebibytes: Int = 1) throws {
    folder = try TemporaryFolder()
    #if os(Linux)
      guard mount("tmpfs", folder.url.path, "tmpfs", 0, "size=\(mebibytes)m") == 0 else {
        throw CocoaError(.fileWriteUnknown)
      }
    #else
      throw CocoaError(.featureUnsupported)
    #endif
  }

  /// From now on nothing can be written here, not even by root.
  public func makeReadOnly() throws {
    #if os(Linux)
      guard mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 else {
        throw CocoaError(.fileWriteUnknown)
      }
    #endif
  }

  deinit {
    #if os(Linux)
      umount2(folder.url.path, Int32(MNT_DETACH))
    #endif
  }
}
