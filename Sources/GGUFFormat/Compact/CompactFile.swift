public import ByteIO
internal import Synchronization
public import Tensors

/// An open compact file: a GGUF whose keys say what its tensors were before they were packed. Tensors are read decoded, at
/// any offset, from any number of threads; their checksums are checked with what is read.
public final class CompactFile: TensorSource {
  /// Without the tensors that are files.
  public let tensors: [TensorInfo]
  /// Files inside: their names, and the tensors that hold their bytes.
  public let files: [(name: String, tensor: TensorInfo)]
  /// `config.json`.
  public let configuration: String
  public let quantized: [CompactQuantization]
  private let file: GGUFFile
  private let contents: [UTF8Key: Content]
  /// Tables of the compressed tensors read last.
  private let tables = Mutex<[(name: String, table: CompactTable)]>([])

  public var place: String { file.path }
  public var metadata: GGUFMetadata { file.metadata }

  private struct Content: Sendable {
    let tensor: CompactTensor
    let check: ChecksumGuard
    let storedByteCount: Int
  }

  private static let tableLimit = 8

  /// - Throws: `ParseFailure` when the file's keys do not describe it, `FileFailure`.
  public convenience init(path: String) throws { try self.init(GGUFFile(path: path)) }

  public init(_ file: GGUFFile) throws {
    self.file = file
    let directory = try CompactDirectory(file.metadata)
    configuration = directory.configuration
    quantized = directory.quantized
    var contents: [UTF8Key: Content] = [:]
    for (tensor, checksum) in zip(directory.tensors, directory.checksums) {
      func failure(_ message: String) -> ParseFailure {
        ParseFailure(message, file: file.path, item: tensor.info.name)
      }
      guard let stored = file.info(tensor.info.name) else {
        throw failure("the keys name this tensor, but it is not in the file")
      }
      let expected = try tensor.stored(byteCount: stored.byteCount)
      guard stored == expected else {
        throw failure(
          "it is stored as \(stored.elementType) \(stored.shape), expected \(expected.elementType) \(expected.shape)")
      }
      if tensor.encoding == .planes {
        // The table is there, every plane has a byte, and none is longer than its numbers.
        let chunks = CompactChunks(tensor.info)
        let least = chunks.tableByteCount + chunks.count * chunks.planeCount
        guard stored.byteCount >= least, stored.byteCount <= chunks.maximumByteCount else {
          throw failure(
            "it is compressed to \(stored.byteCount) bytes, expected \(least) to \(chunks.maximumByteCount)")
        }
      }
      let check = ChecksumGuard(
        tensor.info.name, byteCount: UInt64(tensor.info.byteCount), offset: file.fileOffset(of: tensor.info.name) ?? 0,
        expected: checksum)
      let content = Content(tensor: tensor, check: check, storedByteCount: stored.byteCount)
      guard contents.updateValue(content, forKey: UTF8Key(tensor.info.name)) == nil else {
        throw failure("the keys name this tensor twice")
      }
    }
    if let stray = file.tensors.first(where: { contents[UTF8Key($0.name)] == nil }) {
      throw ParseFailure("the keys say nothing about this tensor", file: file.path, item: stray.name)
    }
    self.contents = contents
    let infos = directory.tensors.map(\.info)
    tensors = infos.filter { !$0.name.hasPrefix(CompactProfile.filePrefix) }
    files = infos.filter { $0.name.hasPrefix(CompactProfile.filePrefix) }.map {
      (String($0.name.dropFirst(CompactProfile.filePrefix.count)), $0)
    }
    try checkFiles()
  }

  /// Files have names, not paths, and are bytes.
  private func checkFiles() throws(ParseFailure) {
    for (name, tensor) in files {
      guard !name.isEmpty, name != ".", name != "..", !name.contains("/"), tensor.elementType == .u8,
        tensor.shape.rank == 1
      else {
        throw ParseFailure("no file has this name and shape", file: file.path, item: tensor.name)
      }
    }
  }

  public func info(_ name: String) -> TensorInfo? { contents[UTF8Key(name)]?.tensor.info }

  public func encoding(of name: String) -> CompactEncoding? { contents[UTF8Key(name)]?.tensor.encoding }

  /// Bytes that a tensor takes in the file.
  public func storedByteCount(of name: String) -> Int? { contents[UTF8Key(name)]?.storedByteCount }

  public func checksum(of name: String) -> UInt32? { contents[UTF8Key(name)]?.check.expected }

  /// Whether the file begins with exactly this header and has the size that follows from it.
  func hasHeader(of layout: GGUFLayout) throws -> Bool {
    let header = try ReadableFile(path: file.path).bytes(at: 0, upTo: layout.headerBytes.count)
    return header == layout.headerBytes && file.byteCount == layout.fileByteCount
  }

  public func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let content = contents[UTF8Key(name)] else {
      throw ParseFailure("there is no tensor of this name", file: file.path, item: name)
    }
    let info = content.tensor.info
    guard offset >= 0, offset <= info.byteCount, buffer.count <= info.byteCount - offset else {
      throw ParseFailure(
        "\(buffer.count) bytes at byte \(offset) of the tensor are asked for, it has \(info.byteCount)",
        file: file.path, item: name)
    }
    do {
      try decode(content, at: offset, into: &buffer)
      try content.check.take(buffer.span, at: UInt64(offset))
    } catch var failure as ParseFailure {
      failure.item = failure.item ?? name
      throw failure.in(file: file.path)
    }
  }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    guard let content = contents[UTF8Key(name)] else { return }
    let part = range.clamped(to: 0..<content.tensor.info.byteCount)
    guard !part.isEmpty else { return }
    switch content.tensor.encoding {
    case .plain: file.advise(advice, name, part)
    case .int4: file.advise(advice, name, part.lowerBound / 2..<(part.upperBound + 1) / 2)
    case .planes:
      let chunks = CompactChunks(content.tensor.info)
      guard let table = try? table(content, chunks) else { return }
      let first = table.range(part.lowerBound / chunks.chunkByteCount)
      let last = table.range((part.upperBound - 1) / chunks.chunkByteCount)
      file.advise(advice, name, first.lowerBound..<last.upperBound)
    }
  }

  public func proveIntegrity() throws {
    for content in contents.values {
      let name = content.tensor.info.name
      do {
        try content.check.prove { try decode(content, at: Int($0), into: &$1) }
      } catch var failure as ParseFailure {
        failure.item = failure.item ?? name
        throw failure.in(file: file.path)
      }
    }
  }

  // MARK: Decoding

  private func decode(_ content: Content, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    if buffer.isEmpty { return }
    let name = content.tensor.info.name
    switch content.tensor.encoding {
    case .plain: try file.read(name, at: offset, into: &buffer)
    case .int4:
      let first = offset / 2
      var packed = [UInt8](repeating: 0, count: (offset + buffer.count + 1) / 2 - first)
      var span = packed.mutableSpan
      try file.read(name, at: first, into: &span)
      NibblePairs.unpack(packed.span, from: offset % 2, into: &buffer)
    case .planes: try decodePlanes(content, at: offset, into: &buffer)
    }
  }

  private func decodePlanes(_ content: Content, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    let info = content.tensor.info
    let chunks = CompactChunks(info)
    let table = try table(content, chunks)
    let wanted = offset..<offset + buffer.count
    let range = wanted.lowerBound / chunks.chunkByteCount...(wanted.upperBound - 1) / chunks.chunkByteCount
    for chunk in range {
      let place = table.range(chunk)
      var stored = [UInt8](repeating: 0, count: place.count)
      var span = stored.mutableSpan
      try file.read(info.name, at: place.lowerBound, into: &span)
      let numbers = chunks.range(chunk)
      let part = numbers.clamped(to: wanted)
      do throws(ParseFailure) {
        if part == numbers {
          var target = buffer.part(part.lowerBound - offset..<part.upperBound - offset)
          try chunks.decode(stored.span, sizes: table.sizes(chunk), into: &target)
        } else {
          var whole = [UInt8](repeating: 0, count: numbers.count)
          var target = whole.mutableSpan
          try chunks.decode(stored.span, sizes: table.sizes(chunk), into: &target)
          let held = part.lowerBound - numbers.lowerBound..<part.upperBound - numbers.lowerBound
          buffer.copy(from: whole.span.extracting(held), to: part.lowerBound - offset)
        }
      } catch {
        var failure = error
        failure.message = "chunk \(chunk): \(error.message)"
        failure.offset = file.fileOffset(of: info.name).map { $0 + UInt64(place.lowerBound) }
        failure.advice = "the file is damaged: download it again"
        throw failure
      }
    }
  }

  private func table(_ content: Content, _ chunks: CompactChunks) throws -> CompactTable {
    let name = content.tensor.info.name
    if let known = tables.withLock({ $0.first { $0.name == name }?.table }) { return known }
    var bytes = [UInt8](repeating: 0, count: chunks.tableByteCount)
    var span = bytes.mutableSpan
    try file.read(name, at: 0, into: &span)
    let table = try CompactTable(bytes, chunks, storedByteCount: content.storedByteCount)
    tables.withLock { tables in
      if tables.contains(where: { $0.name == name }) { return }
      if tables.count == Self.tableLimit { tables.removeFirst() }
      tables.append((name, table))
    }
    return table
  }
}

/// int4 codes, two in a byte.
enum NibblePairs {
  /// - Parameter start: 0 to begin with the low nibble of the first byte, 1 with its high one.
  static func unpack(_ packed: Span<UInt8>, from start: Int, into codes: inout MutableSpan<UInt8>) {
    for index in 0..<codes.count {
      let byte = packed[(start + index) / 2]
      let nibble = (start + index) % 2 == 0 ? byte & 15 : byte >> 4
      // The sign of four bits becomes that of eight.
      codes[index] = nibble & 8 == 0 ? nibble : nibble | 0xF0
    }
  }

  /// - Returns: nil when a code is none of four bits.
  static func packed(_ codes: Span<UInt8>) -> [UInt8]? {
    var packed = [UInt8](repeating: 0, count: codes.count / 2)
    for index in 0..<codes.count {
      let code = Int8(bitPattern: codes[index])
      guard (-8...7).contains(code) else { return nil }
      packed[index / 2] |= (codes[index] & 15) << (index % 2 == 0 ? 0 : 4)
    }
    return packed
  }
}
