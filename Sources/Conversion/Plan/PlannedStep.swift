public import Checkpoints
internal import Llama
public import Quantization
public import Tensors

/// What happens to one logical tensor: its rows in the output's order, the operation, and the tensors written.
public struct PlannedStep: Sendable {
  public let input: LogicalTensor
  /// The input with its rows, and scales of rows, in the row order of the output layout.
  public let source: LogicalTensor
  public let operation: Operation
  /// How much each column matters to a quantizer of blocks; nil for one that does without.
  public let columnWeights: [Float]?
  public let weight: PlannedTensor
  /// The scales written beside the weight, if any.
  public let scale: PlannedTensor?
  /// What else is carried over with the weight as it is stored.
  public let companions: [(rows: RowExpression, tensor: PlannedTensor)]

  public var rows: RowExpression { source.rows }

  public enum Operation: Sendable, Equatable, CustomStringConvertible {
    /// Bytes as they are, scales too.
    case copy
    /// Values widened (and codes multiplied by their scales) in binary32, then rounded once to the type.
    case convert(ElementType)
    /// - Parameter columns: elements of a row that share a scale: a whole row, or the part of it that a shard holds.
    case quantizeFP8(FP8Recipe, columns: Int)
    case quantizeIntegers(IntegerRecipe)
    case quantizeBlocks(BlockType)

    /// The values of the output are exactly the values of the input.
    public var isExact: Bool { self == .copy }

    public var description: String {
      switch self {
      case .copy: "copy"
      case .convert(let type): "convert to \(type)"
      case .quantizeFP8(let recipe, _): "quantize \(recipe.rawValue)"
      case .quantizeIntegers(let recipe): "quantize to \(recipe)"
      case .quantizeBlocks(let type): "quantize to \(type)"
      }
    }
  }

  /// Input bytes of one tile of work. A constant: neither threads nor memory change the tiles, so that statistics, which
  /// are added up tile by tile, do not depend on them.
  static let tileByteCount = 1 << 20

  /// Rows of one tile.
  var rowsPerTile: Int {
    rows.rowByteCount == 0 ? max(1, rows.rowCount) : max(1, Self.tileByteCount / rows.rowByteCount)
  }
  var tileCount: Int { (rows.rowCount + rowsPerTile - 1) / rowsPerTile }

  /// Elements of a tile of written rows.
  var checkedElements: UInt64 {
    let rowSize = max(1, weight.byteCount / max(1, weight.shape.rows))
    return UInt64(min(max(1, Self.tileByteCount / rowSize), input.rowCount) * input.columnCount)
  }

  func rowRange(ofTile tile: Int) -> Range<Int> {
    tile * rowsPerTile..<min((tile + 1) * rowsPerTile, rows.rowCount)
  }

  /// Bytes read to do this step.
  public var inputByteCount: Int { input.storedByteCount }
  /// Bytes written by this step.
  public var outputByteCount: Int { written.reduce(0) { $0 + $1.byteCount } }
  /// All tensors written by this step.
  public var written: [PlannedTensor] { [weight] + (scale.map { [$0] } ?? []) + companions.map(\.tensor) }
}

/// One tensor of the output, in the output's dialect.
public struct PlannedTensor: Sendable, Equatable {
  public let name: String
  public let elementType: ElementType
  public let shape: Shape
  public let byteCount: Int
}
