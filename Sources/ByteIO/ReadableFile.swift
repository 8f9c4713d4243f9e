internal import CKernels
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif
internal import Synchronization

/// What becomes of bytes of a file next, so that the system can have them ready, or give their place to others.
public enum ReadingAdvice: Sendable {
  /// They are read soon.
  case soon
  /// They are not read again for a long time.
  case done
}

/// A file opened for reading at any offset, from several threads at once. Reads copy into the caller's buffer, so the
/// process's resident memory is its buffers, however large the file is.
public final class ReadableFile: Sendable {
  public let path: String
  /// Size when the file was opened, in bytes.
  public let byteCount: UInt64
  private let descriptor: Int32

  /// Opens a regular file; symbolic links are followed.
  public init(path: String) throws(FileFailure) {
    // A pipe that nobody writes to is refused below, not waited for.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileFailure(path: path, operation: "open", errno: errno) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw FileFailure(path: path, operation: "read the size", errno: code)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw FileFailure(path: path, operation: "open", kind: .inputOutput, detail: "it is not a regular file")
    }
    self.path = path
    self.descriptor = descriptor
    self.byteCount = UInt64(status.st_size)
  }

  deinit { close(descriptor) }

  static let byteCounter = Atomic<UInt64>(0)
  /// Linux reads ahead no more of one range than the device's read-ahead or request size, and 128 KiB is the least
  /// usual one.
  private static let advicePiece: UInt64 = 128 << 10

  /// Tells the system what becomes of the bytes of `range`: they are brought into its page cache, not into this
  /// process's memory, or leave it. A hint: nothing depends on it. May wait while the device is busy.
  public func advise(_ advice: ReadingAdvice, _ range: Range<UInt64>) {
    #if os(Linux)
      let range = range.clamped(to: 0..<byteCount)
      switch advice {
      case .done:
        posix_fadvise(descriptor, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_DONTNEED)
      case .soon:
        // Hints about what is there already would cost a tenth of a conversion's time.
        let probes = [range.lowerBound, range.lowerBound + UInt64(range.count) / 2, max(range.upperBound, 1) - 1]
        if range.isEmpty || probes.allSatisfy({ ck_is_cached(descriptor, Int64($0)) != 0 }) { return }
        for start in stride(from: range.lowerBound, to: range.upperBound, by: Int(Self.advicePiece)) {
          let count = min(Self.advicePiece, range.upperBound - start)
          posix_fadvise(descriptor, off_t(start), off_t(count), POSIX_FADV_WILLNEED)
        }
      }
    #endif
  }

  /// Fills `buffer` from byte `offset` on.
  /// - Throws: `FileFailure` when the system fails, or when the file ends before the buffer is full (it was cut short
  ///   after it was opened).
  public func read(at offset: UInt64, into buffer: inout MutableSpan<UInt8>) throws(FileFailure) {
    var done = 0
    let total = buffer.count
    while done < total {
      let count = buffer.withUnsafeMutableBufferPointer { part in
        part.baseAddress.map { pread(descriptor, $0 + done, total - done, off_t(offset) + off_t(done)) } ?? 0
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileFailure(path: path, operation: "read", errno: errno)
      }
      Self.byteCounter.add(UInt64(count), ordering: .relaxed)
      guard count > 0 else {
        throw FileFailure(
          path: path, operation: "read", kind: .inputOutput,
          detail:
            "the file ends at byte \(offset + UInt64(done)), \(total - done) bytes early; was it changed meanwhile?")
      }
      done += count
    }
  }

  /// `count` bytes from byte `offset` on. The count is checked against the file's size before memory is taken.
  public func bytes(at offset: UInt64, count: Int) throws(FileFailure) -> [UInt8] {
    guard count >= 0, offset <= byteCount, UInt64(count) <= byteCount - offset else {
      throw FileFailure(
        path: path, operation: "read", kind: .inputOutput,
        detail: "\(count) bytes at byte \(offset) are asked for, the file has \(byteCount)")
    }
    var buffer = [UInt8](repeating: 0, count: count)
    var span = buffer.mutableSpan
    try read(at: offset, into: &span)
    return buffer
  }

  /// `count` bytes from byte `offset` on, or those that there are.
  public func bytes(at offset: UInt64, upTo count: Int) throws(FileFailure) -> [UInt8] {
    try bytes(at: offset, count: Int(min(UInt64(count), byteCount - min(offset, byteCount))))
  }

  /// Lends all bytes front to back, in pieces of one buffer: fresh memory for each would cost more than reading it.
  /// - Throws: `FileFailure` when reading fails, what `body` throws.
  public func forEachPiece(_ body: (_ offset: UInt64, _ bytes: ArraySlice<UInt8>) throws -> Void) throws {
    var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, 1 << 20)))
    var offset: UInt64 = 0
    while offset < byteCount {
      let count = Int(min(UInt64(buffer.count), byteCount - offset))
      var span = buffer.mutableSpan
      var part = span.part(0..<count)
      try read(at: offset, into: &part)
      try body(offset, buffer[0..<count])
      offset += UInt64(count)
    }
  }

  /// The whole of a small file.
  /// - Throws: `ParseFailure` when it is larger than `limit`, `FileFailure` when it cannot be read.
  public static func contents(of path: String, limit: Int) throws -> [UInt8] {
    let file = try ReadableFile(path: path)
    guard file.byteCount <= UInt64(limit) else {
      throw ParseFailure("the file has \(file.byteCount) bytes, at most \(limit) are expected of its kind", file: path)
    }
    return try file.bytes(at: 0, count: Int(file.byteCount))
  }
}
