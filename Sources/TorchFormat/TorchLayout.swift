public import ByteIO
public import Tensors

/// A file of `torch.save` before its tensors exist: every record's place is known from names, types and shapes alone.
/// `torch.load` reads it with `weights_only=True` and `mmap=True`.
public struct TorchLayout: Sendable, Hashable {
  public let fileName: String
  /// The tensors in the dict's order.
  public let tensors: [TensorInfo]
  let archive: ZipLayout
  let pickle: [UInt8]
  /// By tensor name: the number of its record in the archive.
  let recordNumbers: [UTF8Key: Int]

  /// Size of the file in bytes.
  public var fileByteCount: UInt64 { archive.fileByteCount }

  /// Records before the first storage and behind the last.
  static let leading = ["data.pkl", ".format_version", ".storage_alignment", "byteorder"]
  static let trailing = ["version", ".data/serialization_id"]
  static let serializationDigits = 40

  /// - Parameters:
  ///   - fileName: such as `consolidated.00.pth`; its stem becomes the archive's folder, as with torch.
  ///   - aliases: tensors that share another's storage: their name, and the name of the one before them.
  /// - Throws: `ParseFailure` for a name given twice, an alias of another type or size or of none, an element type that
  ///   torch does not have.
  public init(fileName: String, tensors: [TensorInfo], aliases: [String: String] = [:]) throws(ParseFailure) {
    var keys: [UTF8Key: Int] = [:]
    var storages: [TensorInfo] = []
    var entries: [PickleWriter.Entry] = []
    for tensor in tensors {
      var number = storages.count
      if let original = aliases[tensor.name] {
        guard let known = keys[UTF8Key(original)], storages[known].byteCount == tensor.byteCount,
          storages[known].elementType == tensor.elementType
        else { throw ParseFailure("the tensor cannot share the storage of \(original)", item: tensor.name) }
        number = known
      } else {
        storages.append(tensor)
      }
      guard keys.updateValue(number, forKey: UTF8Key(tensor.name)) == nil else {
        throw ParseFailure("two tensors have this name", item: tensor.name)
      }
      entries.append(
        PickleWriter.Entry(
          name: tensor.name, elementType: tensor.elementType, sizes: tensor.shape.dimensions,
          storageKey: String(number), elementCount: try tensor.shape.elementCount()))
    }
    pickle = try PickleWriter(entries).bytes
    let prefix = Self.stem(fileName) + "/"
    var contents = zip(Self.leading, [UInt64(pickle.count), 1, 2, 6]).map { (name: prefix + $0, byteCount: $1) }
    for (number, storage) in storages.enumerated() {
      contents.append((name: prefix + "data/\(number)", byteCount: UInt64(storage.byteCount)))
    }
    contents.append((name: prefix + "version", byteCount: 2))
    contents.append((name: prefix + ".data/serialization_id", byteCount: UInt64(Self.serializationDigits)))
    archive = ZipLayout(contents)
    self.fileName = fileName
    self.tensors = tensors
    recordNumbers = keys.mapValues { Self.leading.count + $0 }
  }

  /// Offset in the file of a tensor's first byte.
  public func fileOffset(of name: String) -> UInt64? {
    recordNumbers[UTF8Key(name)].map { archive.records[$0].dataOffset }
  }

  private static func stem(_ fileName: String) -> String {
    guard let dot = fileName.lastIndex(of: "."), dot != fileName.startIndex else { return fileName }
    return String(fileName[..<dot])
  }

  /// All bytes that are known before any tensor is: local headers with their padding, and the small records.
  public var fixedParts: [(offset: UInt64, bytes: [UInt8])] {
    archive.records.map { ($0.headerOffset, ZipLayout.localHeader($0)) }
      + documents.map { (archive.records[$0.record].dataOffset, $0.bytes) }
  }

  /// Small records' contents by their place among the records.
  var documents: [(record: Int, bytes: [UInt8])] {
    [
      (0, pickle), (1, Array("1".utf8)), (2, Array(String(ZipLayout.alignment).utf8)), (3, Array("little".utf8)),
      (archive.records.count - 2, Array("3\n".utf8)),
    ]
  }
}
