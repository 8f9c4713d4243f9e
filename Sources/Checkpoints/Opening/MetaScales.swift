internal import ByteIO
internal import Llama
internal import Quantization
internal import Tensors
internal import TorchFormat

/// The scales of Meta's FP8 checkpoints: `fp8_scales_0.pt` and so on, one file for each rank, with a vector for each
/// quantized weight of the rank's shard: one scale for each of its rows.
struct MetaScales {
  /// By rank; empty when the checkpoint has none.
  private let files: [TorchFile]
  let fileNames: [String]

  /// - Parameter names: all names in the directory.
  /// - Throws: `ParseFailure` when some ranks' files are missing.
  init(in path: String, _ names: Set<String>, shards: Int) throws {
    let expected = (0..<shards).map { MetaQuantizedNames.fp8ScalesFileName(rank: $0) }
    let present = expected.filter(names.contains)
    guard present.isEmpty || present == expected else {
      let missing = expected.first { !names.contains($0) } ?? ""
      throw ParseFailure(
        "\(missing) is missing, \(present[0]) is there", file: path, advice: "the download may be incomplete")
    }
    fileNames = present
    files = try present.map { try TorchFile(path: path + "/" + $0) }
  }

  /// How a weight's codes become values.
  /// - Parameter split: how the weight is cut.
  /// - Throws: `ParseFailure` for a weight without scales, or with scales of another type or number.
  func quantization(
    of role: TensorRole, shape: Shape, split: ParallelSplit, path: String
  ) throws(ParseFailure) -> StoredQuantization {
    guard MetaQuantizedNames.fp8ScalesName(of: role, rank: 0) != nil else {
      throw ParseFailure(
        "the tensor is FP8; in Meta's checkpoints only the feed-forward block is", file: path,
        item: NamingDialect.meta.name(for: role))
    }
    guard !files.isEmpty else {
      throw ParseFailure(
        "the tensor is FP8, and its scales are missing: there is no \(MetaQuantizedNames.fp8ScalesFileName(rank: 0))",
        file: path, item: NamingDialect.meta.name(for: role), advice: "download all of the checkpoint's files")
    }
    let rows = split == .rows ? shape.rows / files.count : shape.rows
    var parts: [StoredRows] = []
    for (rank, file) in files.enumerated() {
      let key = MetaQuantizedNames.fp8ScalesName(of: role, rank: rank) ?? ""
      guard let info = file.info(key) else { throw ParseFailure("the scales are missing", file: file.path, item: key) }
      guard info.elementType == .f32, try info.shape.elementCount() == rows else {
        throw ParseFailure(
          "the scales are \(info.elementType) \(info.shape), expected F32 [\(rows)]", file: file.path, item: key)
      }
      parts.append(StoredRows(source: file, tensor: info))
    }
    let (scheme, scales) = MergedRowScales.merged(parts, split: split, columns: shape.dimensions[1])
    return StoredQuantization(
      scheme: scheme, scales: scales, scaleType: .f32, scaleShape: [scales.rowCount, scales.rowByteCount / 4],
      activations: Self.activations)
  }

  /// Meta's reference code: dynamic per token, row maxima bounded by 1200.
  private static let activations = ActivationScheme.dynamicPerToken(
    upperBound: Float(QuantizationConfiguration.metaActivationBound))
}

/// One scale for each row of each shard, seen as scales of the whole weight.
enum MergedRowScales {
  /// - Parameter columns: of the whole weight.
  /// - Returns: row-wise scales where rows are cut, and where the columns are but all ranks have the same ones; else, since
  ///   each rank has scaled its own columns of a row, blocks of one row and a rank's columns.
  static func merged(
    _ parts: [StoredRows], split: ParallelSplit, columns: Int
  ) -> (scheme: WeightScheme, scales: RowExpression) {
    let rows = parts.map { RowExpression.stored($0) }
    if parts.count == 1 { return (.rowWise, rows[0]) }
    switch split {
    case .rows: return (.rowWise, .concatenatedRows(rows))
    case .replicated: return (.rowWise, .replicas(rows))
    case .columns:
      // Checksums tell it without reading; that they are equal to the bit is checked when they are read.
      let checksums = parts.map { $0.source.checksum(of: $0.tensor.name) }
      if let first = checksums[0], checksums.allSatisfy({ $0 == first }) { return (.rowWise, .replicas(rows)) }
      return (.block(rows: 1, columns: columns / parts.count), .concatenatedColumns(rows))
    }
  }
}
