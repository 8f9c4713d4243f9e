internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Tensors
internal import TorchFormat

/// A Meta directory: `consolidated.NN.pth`, one for each tensor-parallel rank, and where weights are FP8 a file of their
/// scales for each rank.
struct MetaOutput: PlannedOutput {
  private let layouts: [TorchLayout]
  private let cuts: [UTF8Key: TensorCut]

  /// - Throws: `ParseFailure` when the model cannot be cut into so many shards.
  init(
    _ steps: [PlannedStep], _ configuration: LlamaConfiguration, _ rules: TensorParallelRules, shards: Int
  ) throws {
    try rules.checkDivisible(configuration, shards: shards)
    var contents = [TorchContents](repeating: TorchContents(), count: shards)
    var scaleFiles = [TorchContents](repeating: TorchContents(), count: shards)
    var cuts: [UTF8Key: TensorCut] = [:]
    for step in steps {
      let blocks = (0..<shards).map { rank in
        (
          rows: rules.rowRange(of: step.input.role, configuration, shard: rank, of: shards),
          columns: rules.columnRange(of: step.input.role, configuration, shard: rank, of: shards)
        )
      }
      for tensor in step.written {
        let names: (Int) -> String
        var file = 0
        if tensor == step.scale, step.weight.elementType == .f8e4m3 {
          names = { MetaQuantizedNames.fp8ScalesName(of: step.input.role, rank: $0) ?? "" }
          file = shards
        } else {
          names = { _ in tensor.name }
        }
        let parts = try blocks.enumerated().map { rank, block in
          let part = try TensorCut.Part(
            tensor, of: step, block, file: file + rank, name: names(rank), isVector: file > 0)
          if file > 0 { scaleFiles[rank].tensors.append(part.info) } else { contents[rank].tensors.append(part.info) }
          return part
        }
        cuts[UTF8Key(tensor.name)] = TensorCut(tensor, parts)
      }
    }
    self.cuts = cuts
    if configuration.tiesEmbeddings { for rank in contents.indices { contents[rank].shareEmbedding() } }
    var layouts = try contents.enumerated().map { try $1.layout(fileName: MetaShard.fileName(rank: $0)) }
    if !scaleFiles[0].tensors.isEmpty {
      layouts += try scaleFiles.enumerated().map {
        try $1.layout(fileName: MetaQuantizedNames.fp8ScalesFileName(rank: $0))
      }
    }
    self.layouts = layouts
  }

  var files: [PlannedFile] { layouts.map { PlannedFile(name: $0.fileName, byteCount: $0.fileByteCount) } }

  func places(of tensor: String) -> [PlannedPlace] {
    guard let cut = cuts[UTF8Key(tensor)] else { return [] }
    return cut.parts.map { part in
      let layout = layouts[part.file]
      return PlannedPlace(
        file: layout.fileName, offset: layout.fileOffset(of: part.info.name) ?? 0, byteCount: part.info.byteCount)
    }
  }

  func writer(in directory: String, writesFixedBytes: Bool) throws -> any OutputWriter {
    MetaWriter(
      try layouts.map { try TorchWriter(sharing: $0, in: directory, writesFixedParts: writesFixedBytes) }, cuts)
  }

  /// Headers and pickle are those planned; the reader checks descriptors and central directory against them. Tensors' CRCs
  /// are proven with their digests.
  func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)? {
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

/// The tensors of one file, in its order.
private struct TorchContents {
  var tensors: [TensorInfo] = []
  private var aliases: [String: String] = [:]

  /// Meta's loaders want the head by name: it shares the embedding's storage, and its scales those of the embedding.
  mutating func shareEmbedding() {
    let names = [NamingDialect.meta.name(for:), MetaQuantizedNames.integerScalesName(of:)].map {
      (head: $0(.outputHead), embedding: $0(.tokenEmbedding))
    }
    for (head, embedding) in names {
      guard let info = tensors.first(where: { $0.name == embedding }) else { continue }
      tensors.append(
        TensorInfo(name: head, elementType: info.elementType, shape: info.shape, byteCount: info.byteCount))
      aliases[head] = embedding
    }
  }

  func layout(fileName: String) throws(ParseFailure) -> TorchLayout {
    try TorchLayout(fileName: fileName, tensors: tensors, aliases: aliases)
  }
}

/// Which bytes of a tensor each rank holds: a range of rows, and of every row a range of bytes.
struct TensorCut: Sendable {
  /// What one rank holds.
  struct Part: Sendable {
    /// Number of the file among the output's.
    let file: Int
    /// As it stands in that file.
    let info: TensorInfo
    let rows: Range<Int>
    let columns: Range<Int>
  }

  let rowByteCount: Int
  let parts: [Part]

  init(_ tensor: PlannedTensor, _ parts: [Part]) {
    rowByteCount = tensor.shape.rows == 0 ? 0 : tensor.byteCount / tensor.shape.rows
    self.parts = parts
  }

  /// Which rows of `range` a rank holds, and at which of its bytes they begin; nil when it holds none of them.
  func part(rows range: Range<Int>, rank: Int) -> (offset: Int, rows: Range<Int>)? {
    let part = parts[rank]
    let held = range.clamped(to: part.rows)
    guard !held.isEmpty, !part.columns.isEmpty else { return nil }
    return ((held.lowerBound - part.rows.lowerBound) * part.columns.count, held)
  }
}

extension TensorCut.Part {
  /// - Parameters:
  ///   - block: rows and columns of the weight that the rank holds.
  ///   - isVector: the file has no second extent of 1: FP8 scales.
  init(
    _ tensor: PlannedTensor, of step: PlannedStep, _ block: (rows: Range<Int>, columns: Range<Int>), file: Int,
    name: String, isVector: Bool
  ) throws {
    let width = tensor.elementType.bits / 8
    let own = tensor.shape.rank < 2 ? 1 : tensor.shape.dimensions[1]
    let whole = max(step.input.columnCount, 1)
    // Rows are the weight's, but for an adapter's A. Columns are its columns, or groups of them; one that is a whole row's
    // goes to every rank.
    rows = tensor.shape.rows == step.input.rowCount ? block.rows : 0..<tensor.shape.rows
    let held = own == 1 ? 0..<1 : block.columns.lowerBound * own / whole..<block.columns.upperBound * own / whole
    columns = held.lowerBound * width..<held.upperBound * width
    let shape: Shape = isVector || tensor.shape.rank < 2 ? [rows.count] : [rows.count, held.count]
    info = try TensorInfo(name: name, elementType: tensor.elementType, shape: shape)
    self.file = file
  }
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
    for (rank, part) in cut.parts.enumerated() {
      guard let (start, rows) = cut.part(rows: range, rank: rank) else { continue }
      let writer = writers[part.file]
      let first = rows.lowerBound - range.lowerBound
      if part.columns.count == cut.rowByteCount {
        let from = first * cut.rowByteCount
        try writer.write(part.info.name, at: start, bytes.extracting(from..<from + rows.count * cut.rowByteCount))
      } else {
        let gathered = Self.gather(bytes, part.columns, cut.rowByteCount, first: first, rows.count)
        try writer.write(part.info.name, at: start, gathered.span)
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

  func takeNotes() -> [WriteNote] {
    writers.enumerated().flatMap { number, writer in
      writer.takeNotes().map { note in
        var note = note
        note.file = UInt32(number)
        return note
      }
    }
  }

  func restore(_ notes: [WriteNote]) throws {
    for (number, notes) in Dictionary(grouping: notes, by: { Int($0.file) }) {
      guard writers.indices.contains(number) else { throw ParseFailure("a note on file \(number) fits no plan") }
      try writers[number].restore(notes)
    }
  }

  func complete(inputDigest: String?) throws {
    for writer in writers { try writer.complete() }
  }

  func synchronize() throws {
    for writer in writers { try writer.synchronize() }
  }
}
