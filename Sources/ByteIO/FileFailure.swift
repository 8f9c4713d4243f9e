#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What kind of trouble the system reported. Programs map this to an exit code.
public enum FileFailureKind: Sendable, Equatable {
  /// The path does not exist.
  case missing
  /// The output already exists.
  case exists
  /// The system refused access.
  case permission
  /// The disk or quota is full.
  case noSpace
  /// The file or directory cannot be created there (read-only file system, parent is no directory).
  case cannotCreate
  /// Any other failure while reading or writing.
  case inputOutput
}

/// A failed file operation: which path, what was tried, what the system said.
public struct FileFailure: Error, Sendable, CustomStringConvertible {
  public let path: String
  public let operation: String
  public let kind: FileFailureKind
  /// The system's error number, 0 when the failure was not the system's.
  public let code: Int32
  public let detail: String

  public init(path: String, operation: String, kind: FileFailureKind, code: Int32 = 0, detail: String) {
    self.path = path
    self.operation = operation
    self.kind = kind
    self.code = code
    self.detail = detail
  }

  /// From `errno`, read at once by the caller.
  init(path: String, operation: String, errno code: Int32) {
    let kind: FileFailureKind =
      switch code {
      case ENOENT: .missing
      case EEXIST, ENOTEMPTY: .exists
      case EACCES, EPERM: .permission
      case ENOSPC, EDQUOT, EFBIG: .noSpace
      case EROFS, ENOTDIR, ENAMETOOLONG, ELOOP: .cannotCreate
      default: .inputOutput
      }
    self.init(path: path, operation: operation, kind: kind, code: code, detail: String(cString: strerror(code)))
  }

  public var description: String { "\(path): cannot \(operation): \(detail)" }
}
