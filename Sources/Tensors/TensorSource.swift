public import ByteIO

/// One stored tensor: its name in the file's own dialect, its type and shape, and where its bytes are.
public struct TensorInfo: Sendable, Hashable {
  public let name: String
  public let elementType: ElementType
  public let shape: Shape
  /// Size of the tensor in the file. A reader has checked that shape and type give exactly this.
  public let byteCount: Int

  public init(name: String, elementType: ElementType, shape: Shape, byteCount: Int) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
    self.byteCount = byteCount
  }

  /// A dense tensor: its size follows from type and shape.
  /// - Throws: `ParseFailure` when the size overflows or is no whole number of bytes.
  public init(name: String, elementType: ElementType, shape: Shape) throws(ParseFailure) {
    do throws(ParseFailure) {
      byteCount = try shape.byteCount(of: elementType)
    } catch {
      var failure = error
      failure.item = name
      throw failure
    }
    self.name = name
    self.elementType = elementType
    self.shape = shape
  }

  /// Bytes of one row (all but the outermost extent). Zero for an empty tensor.
  public var rowByteCount: Int { shape.rows == 0 ? 0 : byteCount / shape.rows }
}

/// Something that holds named tensors: a file, a directory of shards, memory.
public protocol TensorSource: Sendable {
  /// All tensors, in the source's own order. Names are unique.
  var tensors: [TensorInfo] { get }

  /// Where the tensors are, for messages: the path of the file or directory.
  var place: String { get }

  /// The tensor called `name`, compared by UTF-8 bytes. The default looks through all; sources with many tensors have an
  /// index.
  func info(_ name: String) -> TensorInfo?

  /// Reads `buffer.count` bytes of the tensor called `name`, from byte `offset` of that tensor on.
  /// May be called from several threads at once.
  /// - Throws: `ParseFailure` for an unknown name or a range outside the tensor, `FileFailure` when reading fails.
  func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws

  /// Tells the system what becomes of the bytes of `range` of the tensor called `name`. A hint that changes no result:
  /// ranges that do not exist are passed over.
  func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>)

  /// CRC-32 of a tensor's bytes as the container states it; nil where it states none for this tensor alone. Equal tensors
  /// have equal ones; that equal ones are of equal tensors is very likely, not certain.
  func checksum(of name: String) -> UInt32?

  /// Whether two names stand for the same stored bytes.
  func areAliases(_ name: String, _ other: String) -> Bool

  /// Checks what checksums the container itself has (CRC-32 of zip records), for all bytes that reading has not checked
  /// yet. Sources without any do nothing.
  /// - Throws: `ParseFailure` for a checksum that does not agree, `FileFailure` when reading fails.
  func proveIntegrity() throws
}

extension TensorSource {
  public var place: String { "memory" }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {}

  public func checksum(of name: String) -> UInt32? { nil }

  public func areAliases(_ name: String, _ other: String) -> Bool { false }

  public func proveIntegrity() throws {}

  public func info(_ name: String) -> TensorInfo? {
    tensors.first { $0.name.utf8.elementsEqual(name.utf8) }
  }

  /// All bytes of the tensor called `name`, for small tensors.
  public func bytes(of name: String) throws -> [UInt8] {
    guard let info = info(name) else { throw ParseFailure("there is no tensor of this name", item: name) }
    return try [UInt8](count: info.byteCount) { try read(name, at: 0, into: &$0) }
  }
}
