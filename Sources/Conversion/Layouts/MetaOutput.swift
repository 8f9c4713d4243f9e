internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Tensors
internal import TorchFormat

/// A Meta directory: `consolidated.NN.pth`, one for each tensor-parallel rank.
struct MetaOutput: PlannedOutput {
  private let layouts: [TorchLayout]
  private let cuts: [UTF8Key: TensorCut]

  /// - Throws: `ParseFailure` when the model cannot be cut into so many shards.
  init(_ steps: [PlannedStep], _ configuration: LlamaConfiguration, shards: Int) throws {
    let rules = TensorParallelRules(embeddingSplit: configuration.metaEmbeddingSplit)
    try rules.checkDivisible(configuration, shards: shards)
    var cuts: [UTF8Key: TensorCut] = [:]
    for step in steps {
      cuts[UTF8Key(step.weight.name)] = TensorCut(step.weight, step.input.role, rules, configuration, shards: shards)
    }
    self.cuts = cuts
    layouts = try (0..<shards).map { rank in
      var tensors = try steps.map { step in
        try TensorInfo(
          name: step.weight.name, elementType: step.weight.elementType,
          shape: try rules.shardShape(of: step.input.role, configuration, shards: shards))
      }
      var aliases: [String: String] = [:]
      if configuration.tiesEmbeddings, let embedding = tensors.first {
        // Meta's loaders want the head by name: it shares the embedding's storage.
        let head = NamingDialect.meta.name(for: .outputHead)
        tensors.append(try TensorInfo(name: head, elementType: embedding.elementType, shape: embedding.shape))
        aliases[head] = embedding.name
      }
      return try TorchLayout(fileName: MetaShard.fileName(rank: rank), tensors: tensors, aliases: aliases)
    }
  }

  var files: [PlannedFile] { layouts.map { PlannedFile(name: $0.fileName, byteCount: $0.fileByteCount) } }

  func places(of tensor: String) -> [PlannedPlace] {
    guard let cut = cuts[UTF8Key(tensor)] else { return [] }
    return layouts.enumerated().map { rank, layout in
      PlannedPlace(
        file: layout.fileName, offset: layout.fileOffset(of: tensor) ?? 0, byteCount: cut.byteCount(rank))
    }
  }

  func writer(in directory: String) throws -> any OutputWriter {
    MetaWriter(try layouts.map { try TorchWriter(creating: $0, in: directory) }, cuts)
  }

  /// Headers and pickle are those planned; the reader checks descriptors and central directory against them. Tensors' CRCs
  /// are proven with their digests.
  func firstFault(in directory: String) throws -> (file: String, fault: String)? {
    for layout in layouts {
      let path = directory + "/" + layout.fileName
      do {
        let file = try TorchFile(path: path)
        guard file.tensors == layout.tensors else { return (path, "holds other tensors than were planned") }
        let bytes = try ReadableFile(path: path)
        for part in layout.fixedParts where try bytes.bytes(at: part.offset, count: part.bytes.count) != part.bytes {
          return (path, "has another header than was planned at byte \(part.offset)")
        }
      } catch let failure as ParseFailure {
        return (path, "cannot be read back: \(failure.message)")
      }
    }
    return nil
  }
}

/// Which bytes of a tensor each rank holds: a range of rows, and of every row a range of bytes.
struct TensorCut: Sendable {
  let rowByteCount: Int
  private let rows: [Range<Int>]
  private let columns: [Range<Int>]

  init(
    _ tensor: PlannedTensor, _ role: TensorRole, _ rules: TensorParallelRules, _ configuration: LlamaConfiguration,
    shards: Int
  ) {
    let width = tensor.elementType.bits / 8
    rowByteCount = tensor.shape.rows == 0 ? 0 : tensor.byteCount / tensor.shape.rows
    rows = (0..<shards).map { rules.rowRange(of: role, configuration, shard: $0, of: shards) }
    columns = (0..<shards).map {
      let range = rules.columnRange(of: role, configuration, shard: $0, of: shards)
      return range.lowerBound * width..<range.upperBound * width
    }
  }

  var ranks: Range<Int> { rows.indices }
  func byteCount(_ rank: Int) -> Int { rows[rank].count * columns[rank].count }

  /// Which rows of `range` a rank holds, and at which of its bytes they begin; nil when it holds none of them.
  func part(rows range: Range<Int>, rank: Int) -> (offset: Int, rows: Range<Int>)? {
    let held = range.clamped(to: rows[rank])
    guard !held.isEmpty, !columns[rank].isEmpty else { return nil }
    return ((held.lowerBound - rows[rank].lowerBound) * columns[rank].count, held)
  }

  func columns(_ rank: Int) -> Range<Int> { columns[rank] }
}

/// Takes whole rows of whole tensors and gives each rank its part.
final class MetaWriter: OutputWriter {
  private let writers: [TorchWriter]
  private let cuts: [UTF8Key: TensorCut]

  init(_ writers: [TorchWriter], _ cuts: [UTF8Key: TensorCut]) {
    self.writers = writers
    self.cuts = cuts
  }

  func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws {
    guard let cut = cuts[UTF8Key(name)], cut.rowByteCount > 0 else { return }
    precondition(
      offset % cut.rowByteCount == 0 && bytes.count % cut.rowByteCount == 0, "tensors are written in whole rows")
    let range = offset / cut.rowByteCount..<(offset + bytes.count) / cut.rowByteCount
    for rank in cut.ranks {
      guard let (start, rows) = cut.part(rows: range, rank: rank) else { continue }
      let columns = cut.columns(rank)
      if columns.count == cut.rowByteCount {
        let from = (rows.lowerBound - range.lowerBound) * cut.rowByteCount
        try writers[rank].write(name, at: start, bytes.extracting(from..<from + rows.count * cut.rowByteCount))
      } else {
        let gathered = Self.gather(
          bytes, columns, cut.rowByteCount, first: rows.lowerBound - range.lowerBound, rows.count)
        try writers[rank].write(name, at: start, gathered.span)
      }
    }
  }

  private static func gather(
    _ bytes: Span<UInt8>, _ columns: Range<Int>, _ rowByteCount: Int, first: Int, _ count: Int
  ) -> [UInt8] {
    var gathered = [UInt8](repeating: 0, count: count * columns.count)
    var span = gathered.mutableSpan
    for row in 0..<count {
      let start = (first + row) * rowByteCount + columns.lowerBound
      span.copy(from: bytes.extracting(start..<start + columns.count), to: row * columns.count)
    }
    return gathered
  }

  func finish() throws {
    for writer in writers { try writer.finish() }
  }
}
