#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A whole file mapped read-only and lent as bytes: for headers and small files that are parsed in place.
///
/// A file that is cut short while it is mapped kills the process at the next access; nothing but replacing files by
/// renaming prevents that, which is how this toolkit writes. Bulk data is read with `ReadableFile` instead: mapped pages
/// count as resident memory.
public final class MappedFile: Sendable {
  public let path: String
  private nonisolated(unsafe) let base: UnsafeRawBufferPointer

  public init(path: String) throws(FileFailure) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "open", errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileFailure(path: path, operation: "read the size", errno: errno)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw FileFailure(path: path, operation: "map", kind: .inputOutput, detail: "it is not a regular file")
    }
    let size = Int(status.st_size)
    if size == 0 {
      base = UnsafeRawBufferPointer(start: nil, count: 0)
    } else {
      let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0)
      guard let address, address != MAP_FAILED else { throw FileFailure(path: path, operation: "map", errno: errno) }
      base = UnsafeRawBufferPointer(start: address, count: size)
    }
    self.path = path
  }

  /// The file's bytes; valid as long as the owner is held.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get { _overrideLifetime(RawSpan(_unsafeBytes: base), borrowing: self) }
  }

  deinit {
    if let address = base.baseAddress { munmap(UnsafeMutableRawPointer(mutating: address), base.count) }
  }
}
