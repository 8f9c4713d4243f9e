public import ByteIO
public import Tensors

/// A model in one GGUF file or several, as one source. Only headers are read on opening.
public final class GGUFSplitSet: TensorSource {
  /// By their numbers; the first has the model's metadata.
  public let pieces: [GGUFFile]
  /// Piece by piece, in each in the file's order.
  public let tensors: [TensorInfo]
  /// The model's metadata, without the keys that say how it was split.
  public let metadata: GGUFMetadata
  /// The first piece's path.
  public var place: String { pieces[0].path }
  private let pieceByTensor: [UTF8Key: Int]

  /// Opens all pieces of the set to which a file belongs.
  /// - Parameter path: any piece, or a file that is not split.
  /// - Throws: `FileFailure` of kind `.missing` when a piece is not there; `ParseFailure` for a bad piece, one of another
  ///   set, a tensor that is in two, and when the number of tensors is not what the keys say.
  public init(path: String) throws {
    let pieces = try Self.open(path)
    var holder: [UTF8Key: Int] = [:]
    for (number, piece) in pieces.enumerated() {
      for tensor in piece.tensors {
        if let other = holder.updateValue(number, forKey: UTF8Key(tensor.name)) {
          let first = FileSystem.lastComponent(of: pieces[other].path)
          throw ParseFailure(
            "the tensor is in two pieces, this one and \(first)", file: piece.path, item: tensor.name,
            advice: "the pieces may be of different models")
        }
      }
    }
    var metadata = pieces[0].metadata
    if let keys = try GGUFSplitKeys(metadata), keys.tensorCount != holder.count {
      throw ParseFailure(
        "the pieces hold \(holder.count) tensors, the key says \(keys.tensorCount)", file: pieces[0].path,
        item: GGUFSplit.tensorCountKey, offset: metadata.entry(GGUFSplit.tensorCountKey)?.offset,
        advice: "the pieces may be of different downloads")
    }
    for key in GGUFSplit.keys { metadata.remove(key) }
    self.pieces = pieces
    self.metadata = metadata
    tensors = pieces.flatMap(\.tensors)
    pieceByTensor = holder
  }

  private static func open(_ path: String) throws -> [GGUFFile] {
    let given = try GGUFFile(path: path)
    guard let keys = try GGUFSplitKeys(given.metadata) else { return [given] }
    let fileName = FileSystem.lastComponent(of: path)
    guard keys.number < keys.count else {
      throw ParseFailure(
        "this is piece \(keys.number + 1) of \(keys.count)", file: path, item: GGUFSplit.numberKey,
        offset: given.metadata.entry(GGUFSplit.numberKey)?.offset)
    }
    if keys.count == 1 { return [given] }
    guard let name = GGUFSplit.name(of: fileName, keys.number + 1, of: keys.count) else {
      let expected = GGUFSplit.fileName("NAME", keys.number + 1, of: keys.count)
      throw ParseFailure(
        "this is piece \(keys.number + 1) of \(keys.count), but not named \(expected)", file: path,
        item: GGUFSplit.numberKey, advice: "the other pieces are found by that name: rename the file")
    }
    let names = (1...keys.count).map { GGUFSplit.fileName(name, $0, of: keys.count) }
    let directory = FileSystem.parent(of: path)
    try checkPresence(of: names, in: directory)
    var pieces: [GGUFFile] = []
    for (number, name) in names.enumerated() {
      let piece = number == keys.number ? given : try GGUFFile(path: directory + "/" + name)
      try check(piece, number, given, keys, first: pieces.first)
      pieces.append(piece)
    }
    return pieces
  }

  private static func checkPresence(of names: [String], in directory: String) throws(FileFailure) {
    var missing: [String] = []
    for name in names where try FileSystem.kind(of: directory + "/" + name) == nil { missing.append(name) }
    guard let first = missing.first else { return }
    let count = missing.count == 1 ? "it is missing" : "\(missing.count) of \(names.count) pieces are missing"
    throw FileFailure(
      path: directory + "/" + first, operation: "open the piece", kind: .missing,
      detail: "\(count); the download may be incomplete")
  }

  /// That a piece says of itself what the one that was given says, and nothing else of the model than the first.
  private static func check(
    _ piece: GGUFFile, _ number: Int, _ given: GGUFFile, _ expected: GGUFSplitKeys, first: GGUFFile?
  ) throws(ParseFailure) {
    func foreign(_ message: String, _ key: String) -> ParseFailure {
      ParseFailure(
        message, file: piece.path, item: key, offset: piece.metadata.entry(key)?.offset,
        advice: "the file belongs to another set, or was renamed")
    }
    let other = FileSystem.lastComponent(of: given.path)
    guard let keys = try GGUFSplitKeys(piece.metadata) else {
      throw foreign(
        "the file is no piece of a set, \(other) says that it is one of \(expected.count)", GGUFSplit.countKey)
    }
    guard keys.count == expected.count else {
      throw foreign("the set has \(keys.count) pieces, \(other) says \(expected.count)", GGUFSplit.countKey)
    }
    guard keys.number == number else {
      throw foreign("the number is \(keys.number), by its name it is \(number)", GGUFSplit.numberKey)
    }
    guard keys.tensorCount == expected.tensorCount else {
      throw foreign(
        "the set has \(keys.tensorCount) tensors, \(other) says \(expected.tensorCount)", GGUFSplit.tensorCountKey)
    }
    guard let first else { return }
    let own = GGUFSplit.keys + [GGUFHeader.alignmentKey]
    for entry in piece.metadata.entries where !own.contains(entry.key) && first.metadata[entry.key] != entry.value {
      throw foreign("the value is not the first piece's", entry.key)
    }
  }

  public func info(_ name: String) -> TensorInfo? { piece(of: name)?.info(name) }

  /// The piece that holds a tensor.
  public func piece(of name: String) -> GGUFFile? { pieceByTensor[UTF8Key(name)].map { pieces[$0] } }

  public func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let piece = piece(of: name) else {
      throw ParseFailure("there is no tensor of this name", file: place, item: name)
    }
    try piece.read(name, at: offset, into: &buffer)
  }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    piece(of: name)?.advise(advice, name, range)
  }
}
