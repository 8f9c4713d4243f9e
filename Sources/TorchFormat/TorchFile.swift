public import ByteIO
public import Tensors

/// An open file of `torch.save`: zip archive (torch 1.6 and later) or the legacy sequence of pickles. Opening reads the
/// archive's table and the pickle; tensors are read part by part, views of any stride and shared storages included, and
/// records are checked against their CRC-32 on the way.
public final class TorchFile: TensorSource {
  /// In the pickle's order.
  public let tensors: [TensorInfo]
  /// Names in the pickle that are left out: no tensors, or beside the dict of tensors.
  public let others: [String]
  private let views: [UTF8Key: TensorView]
  private let records: [StorageRecord]
  private let documents: [StorageRecord]
  private let file: ReadableFile

  public var path: String { file.path }
  public var place: String { path }
  /// Size of the file in bytes.
  public var byteCount: UInt64 { file.byteCount }

  /// - Throws: `FileFailure` when the file cannot be opened or read; `ParseFailure` when it is no file of tensors, with
  ///   record and offset.
  public init(path: String) throws {
    file = try ReadableFile(path: path)
    do {
      let contents = try Self.open(file)
      var tensors: [TensorInfo] = []
      var views: [UTF8Key: TensorView] = [:]
      for (name, tensor) in contents.dictionary.tensors {
        let view = try TensorView(
          name: name, tensor, contents.dictionary.storages[tensor.storage],
          storageByteCount: contents.records[tensor.storage].byteCount)
        guard view.isContiguous || !contents.records[view.storage].isDeflated else {
          // Its bytes would be inflated over and over again.
          throw ParseFailure(
            "the tensor is a strided view of a deflated record", item: name,
            advice: "save it with torch.save again, or unpack the archive and pack it without compression")
        }
        tensors.append(view.info)
        views[UTF8Key(name)] = view
      }
      self.tensors = tensors
      self.views = views
      others = contents.dictionary.others
      records = contents.records
      documents = contents.documents
    } catch let failure as ParseFailure {
      throw failure.in(file: path)
    }
  }

  /// The tensors of a file, and for each of the pickle's storages where its bytes are.
  struct Contents {
    let dictionary: StateDictionary
    let records: [StorageRecord]
    /// The records that are no storages, whether anybody reads them or not.
    let documents: [StorageRecord]
  }

  private static func open(_ file: ReadableFile) throws -> Contents {
    let start = try file.bytes(at: 0, count: Int(min(file.byteCount, 512)))
    if start.starts(with: [0x50, 0x4B, 0x03, 0x04]) { return try TorchArchive.open(file) }
    if start.starts(with: LegacyTorchFile.magic) { return try LegacyTorchFile.open(file) }
    let advice = "convert it with torch.save of a current PyTorch"
    if start.count > 262, start[257..<262].elementsEqual("ustar".utf8) {
      throw ParseFailure("this is a tar file of torch 0.1", advice: advice)
    }
    throw ParseFailure("this is no file of torch.save: it begins with neither a zip record nor torch's magic number")
  }

  public func info(_ name: String) -> TensorInfo? { views[UTF8Key(name)]?.info }

  /// CRC-32 for tensors that fill their record; nil for others and in the legacy format.
  public func checksum(of name: String) -> UInt32? {
    guard let view = views[UTF8Key(name)], view.isContiguous, view.offset == 0 else { return nil }
    let record = records[view.storage]
    return record.byteCount == UInt64(view.info.byteCount) ? record.checksum : nil
  }

  /// Whether two names stand for the same bytes of one storage.
  public func areAliases(_ name: String, _ other: String) -> Bool {
    guard let view = views[UTF8Key(name)], let otherView = views[UTF8Key(other)] else { return false }
    return records[view.storage] === records[otherView.storage] && view.offset == otherView.offset
      && view.sizes == otherView.sizes && view.strides == otherView.strides
      && view.info.elementType == otherView.info.elementType
  }

  public func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let view = views[UTF8Key(name)] else {
      throw ParseFailure("there is no tensor of this name", file: path, item: name)
    }
    guard offset >= 0, offset <= view.info.byteCount, buffer.count <= view.info.byteCount - offset else {
      throw ParseFailure(
        "\(buffer.count) bytes at byte \(offset) of the tensor are asked for, it has \(view.info.byteCount)",
        file: path, item: name)
    }
    let record = records[view.storage]
    do {
      try view.read(at: offset, into: &buffer) { try record.read(at: $0, into: &$1) }
    } catch let failure as ParseFailure {
      throw place(failure, name)
    }
  }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    // Views that are not contiguous are few and small: nobody waits for them.
    guard let view = views[UTF8Key(name)], view.isContiguous else { return }
    let part = range.clamped(to: 0..<view.info.byteCount)
    records[view.storage].advise(
      advice, view.offset + UInt64(part.lowerBound)..<view.offset + UInt64(part.upperBound))
  }

  public func proveIntegrity() throws {
    for tensor in tensors {
      guard let view = views[UTF8Key(tensor.name)] else { continue }
      do {
        try records[view.storage].prove()
      } catch let failure as ParseFailure {
        throw place(failure, tensor.name)
      }
    }
    do {
      for document in documents { try document.prove() }
    } catch let failure as ParseFailure {
      throw failure.in(file: path)
    }
  }

  private func place(_ failure: ParseFailure, _ name: String) -> ParseFailure {
    var placed = failure.in(file: path)
    if placed.item == nil { placed.item = name }
    return placed
  }
}
