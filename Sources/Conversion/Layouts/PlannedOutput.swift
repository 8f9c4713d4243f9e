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

  /// Opens the files in a directory, and creates those that are not there with their final sizes. Of several writers, at the
  /// same time or one after the other, each writes its tensors, and what was written stays.
  /// - Parameter writesFixedBytes: whether this one writes all that is known already: headers, small records.
  /// - Throws: `FileFailure`.
  func writer(in directory: String, writesFixedBytes: Bool) throws -> any OutputWriter

  /// Whether work can be cut into parts, and gone on with after it was cut off. Not where places follow from how well others
  /// can be compressed.
  var canBeContinued: Bool { get }

  /// The files say what they were made from: `OutputWriter.complete(inputDigest:)` and `firstFault` want it.
  var recordsInput: Bool { get }

  /// Looks at what was written and known before: headers.
  /// - Parameter inputDigest: as the writer was told.
  /// - Returns: the first file that is not as planned, and what is wrong with it; nil when all is well.
  func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)?
}

extension PlannedOutput {
  public var canBeContinued: Bool { files.allSatisfy(\.isExact) }
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
  /// What the writer that completes the files has to know of what this one wrote since it was asked last.
  func takeNotes() -> [WriteNote]

  /// Tells of what other writers wrote.
  /// - Throws: `ParseFailure` for notes of another plan.
  func restore(_ notes: [WriteNote]) throws

  /// Writes what is known only when all tensors are there. The files are then whole, though perhaps not on the disk yet.
  /// - Parameter inputDigest: of the input's files, where sums of files are taken.
  /// - Throws: `FileFailure`.
  func complete(inputDigest: String?) throws

  /// Waits until all that was written is on the disk.
  /// - Throws: `FileFailure`.
  func synchronize() throws
}

extension OutputWriter {
  public func takeNotes() -> [WriteNote] { [] }
  public func restore(_ notes: [WriteNote]) throws {}
}
