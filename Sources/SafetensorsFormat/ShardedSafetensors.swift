public import Tensors

public import ByteIO

/// A checkpoint cut into several safetensors files with an index. Only headers are read on opening.
public final class ShardedSafetensors: TensorSource {
  /// A tensor that is in a shard, but not in the index. vLLM loads such tensors, transformers does not.
  public struct Unlisted: Sendable, Hashable {
    public let tensor: TensorInfo
    public let fileName: String
  }

  public let directory: String
  public var place: String { directory }
  public let index: SafetensorsIndex
  /// The shards by the bytes of their names.
  public let shards: [SafetensorsFile]
  /// The indexed tensors: shard by shard, in each by offset.
  public let tensors: [TensorInfo]
  /// Tensors of the shards that the index does not list; they cannot be read from here.
  public let unlisted: [Unlisted]
  /// The index's remarks, and what does not fit between index and shards, as sentences.
  public let remarks: [String]
  private let shardByTensor: [UTF8Key: Int]

  /// Opens the shards of `directory` that its index names.
  /// - Throws: `FileFailure` of kind `.missing` when a shard is not there; `ParseFailure` for a bad index or shard, a tensor
  ///   that is not in the shard the index says, and a tensor that is in two shards.
  public init(directory: String, indexFileName: String = SafetensorsIndex.fileName) throws {
    self.directory = directory
    let indexPath = directory + "/" + indexFileName
    let index = try SafetensorsIndex(reading: indexPath)
    self.index = index
    let names = index.fileNames
    try Self.checkPresence(of: names, in: directory)
    let shards = try names.map { try SafetensorsFile(path: directory + "/" + $0) }

    var holder: [UTF8Key: Int] = [:]
    var tensors: [TensorInfo] = []
    var unlisted: [Unlisted] = []
    for (number, shard) in shards.enumerated() {
      for tensor in shard.tensors {
        if let other = holder.updateValue(number, forKey: UTF8Key(tensor.name)) {
          throw ParseFailure(
            "the tensor is in two shards, \(names[other]) and \(names[number])", file: indexPath, item: tensor.name)
        }
        if index.fileName(of: tensor.name) == nil {
          unlisted.append(Unlisted(tensor: tensor, fileName: names[number]))
        } else {
          tensors.append(tensor)
        }
      }
    }
    for location in index.locations {
      let found = holder[UTF8Key(location.tensor)].map { names[$0] }
      guard let found, found.utf8.elementsEqual(location.fileName.utf8) else {
        throw ParseFailure(
          "the index says that the tensor is in \(location.fileName), "
            + (found.map { "it is in \($0)" } ?? "it is in no shard"),
          file: indexPath, item: location.tensor, advice: "index and shards may be of different downloads")
      }
    }
    for entry in unlisted { holder[UTF8Key(entry.tensor.name)] = nil }
    self.shards = shards
    self.tensors = tensors
    self.unlisted = unlisted
    shardByTensor = holder
    remarks = index.remarks + Self.sizeRemark(index, tensors)
  }

  private static func checkPresence(of names: [String], in directory: String) throws(FileFailure) {
    var missing: [String] = []
    for name in names where try FileSystem.kind(of: directory + "/" + name) == nil { missing.append(name) }
    guard let first = missing.first else { return }
    let count = missing.count == 1 ? "it is missing" : "\(missing.count) of \(names.count) shards are missing"
    throw FileFailure(
      path: directory + "/" + first, operation: "open the shard", kind: .missing,
      detail: "the index names it, but \(count); the download may be incomplete")
  }

  private static func sizeRemark(_ index: SafetensorsIndex, _ tensors: [TensorInfo]) -> [String] {
    let size = tensors.reduce(UInt64(0)) { $0 &+ UInt64($1.byteCount) }
    guard let stated = index.totalSize, stated != size else { return [] }
    return ["the index states a total_size of \(stated) bytes, its tensors take \(size)"]
  }

  public func info(_ name: String) -> TensorInfo? { shard(of: name)?.info(name) }

  /// The shard that holds an indexed tensor.
  public func shard(of name: String) -> SafetensorsFile? { shardByTensor[UTF8Key(name)].map { shards[$0] } }

  public func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let shard = shard(of: name) else {
      throw ParseFailure("there is no tensor of this name", file: directory, item: name)
    }
    try shard.read(name, at: offset, into: &buffer)
  }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    shard(of: name)?.advise(advice, name, range)
  }
}
