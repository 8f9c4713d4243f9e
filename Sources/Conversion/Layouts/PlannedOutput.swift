public import Tensors

/// The files of an output before they exist: which bytes of which tensor go where. A layout is one implementation of it;
/// the run, the self-check and the plan's print know nothing else of a layout.
public protocol PlannedOutput: Sendable {
  /// Files that hold tensors, in order.
  var files: [PlannedFile] { get }

  /// Where the bytes of a planned tensor go; several places when it is split or replicated.
  func places(of tensor: String) -> [PlannedPlace]

  /// SHA-256 over all that the files hold besides tensors and that does not follow from the tensors' names, types and
  /// places; empty where there is no such.
  var headerDigest: String { get }

  /// Creates the files with their final sizes in a directory, and writes all that is known already.
  /// - Throws: `FileFailure`.
  func writer(in directory: String) throws -> any OutputWriter

  /// The files say what they were made from: `OutputWriter.complete(inputDigest:)` and `firstFault` want it.
  var recordsInput: Bool { get }

  /// Looks at what was written and known before: headers.
  /// - Parameter inputDigest: as the writer was told.
  /// - Returns: the first file that is not as planned, and what is wrong with it; nil when all is well.
  func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)?
}

extension PlannedOutput {
  public var headerDigest: String { "" }
  public var recordsInput: Bool { false }
}

public struct PlannedFile: Sendable, Equatable {
  public let name: String
  /// The file's size, or the largest that it can have.
  public let byteCount: UInt64
  /// False where the size follows from how well bytes can be compressed.
  public let isExact: Bool

  public init(name: String, byteCount: UInt64, isExact: Bool = true) {
    self.name = name
    self.byteCount = byteCount
    self.isExact = isExact
  }
}

/// A stretch of a file that takes bytes of a tensor.
public struct PlannedPlace: Sendable, Equatable {
  public let file: String
  /// Of the first byte in the file; nil where it follows from how well others can be compressed.
  public let offset: UInt64?
  public let byteCount: Int
}

/// Takes planned tensors under their planned names, in parts of whole rows, in any order and from several threads.
public protocol OutputWriter: TensorSink {
  /// Writes what is known only when all tensors are there. The files are then whole, though perhaps not on the disk yet.
  /// - Parameter inputDigest: of the input's files, where sums of files are taken.
  /// - Throws: `FileFailure`.
  func complete(inputDigest: String?) throws

  /// Waits until all that was written is on the disk.
  /// - Throws: `FileFailure`.
  func synchronize() throws
}
