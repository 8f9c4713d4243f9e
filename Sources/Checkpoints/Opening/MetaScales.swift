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
    let expected = (0..<shards).map { "fp8_scales_\($0).pt" }
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
    guard case .layer(let layer, let part) = role, let name = Self.stem(part) else {
      throw ParseFailure(
        "the tensor is FP8; in Meta's checkpoints only the feed-forward block is", file: path,
        item: NamingDialect.meta.name(for: role))
    }
    guard !files.isEmpty else {
      throw ParseFailure(
        "the tensor is FP8, and its scales are missing: there is no fp8_scales_0.pt", file: path,
        item: NamingDialect.meta.name(for: role), advice: "download all of the checkpoint's files")
    }
    let rows = split == .rows ? shape.rows / files.count : shape.rows
    var parts: [RowExpression] = []
    for (rank, file) in files.enumerated() {
      let key = "\(layer)_feed_forward.\(name)_\(rank)"
      guard let info = file.info(key) else { throw ParseFailure("the scales are missing", file: file.path, item: key) }
      guard info.elementType == .f32, try info.shape.elementCount() == rows else {
        throw ParseFailure(
          "the scales are \(info.elementType) \(info.shape), expected F32 [\(rows)]", file: file.path, item: key)
      }
      parts.append(.stored(StoredRows(source: file, tensor: info)))
    }
    let isOne = parts.count == 1
    if split == .columns && !isOne {
      // Each rank has scaled its own columns of a row.
      return StoredQuantization(
        scheme: .block(rows: 1, columns: shape.dimensions[1] / files.count), scales: .concatenatedColumns(parts),
        scaleType: .f32, scaleShape: [rows, files.count], activations: Self.activations)
    }
    return StoredQuantization(
      scheme: .rowWise, scales: isOne ? parts[0] : .concatenatedRows(parts), scaleType: .f32,
      scaleShape: [shape.rows, 1], activations: Self.activations)
  }

  /// Meta's reference code: dynamic per token, row maxima bounded by 1200.
  private static let activations = ActivationScheme.dynamicPerToken(upperBound: 1200)

  private static func stem(_ role: LayerRole) -> String? {
    switch role {
    case .gate: "w1"
    case .up: "w3"
    case .down: "w2"
    default: nil
    }
  }
}
