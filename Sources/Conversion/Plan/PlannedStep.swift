public import Checkpoints
internal import Llama
public import Quantization
public import Tensors

/// What happens to one logical tensor: its rows in the output's order, the operation, and the tensors written.
public struct PlannedStep: Sendable {
  public private(set) var input: LogicalTensor
  /// The input with its rows, and scales of rows, in the row order of the output layout.
  public private(set) var source: LogicalTensor
  /// Row i of the output is row `rowOrder.source(of: i)` of the input's canonical order; nil for the same order.
  let rowOrder: RowPermutation?
  public let operation: Operation
  /// How much each column matters to a quantizer of blocks or integers; nil for one that does without.
  public private(set) var columnWeights: [Float]?
  public let weight: PlannedTensor
  /// The scales written beside the weight, if any.
  public let scale: PlannedTensor?
  /// Zero points written beside the weight, int8, in the shape of the scales.
  public let zeroPoint: PlannedTensor?
  /// In which words codes, scales and zero points are written; nil where they are written as they are.
  public let packing: PackedWeight?
  /// The model's own tensor, where calibration's took its place as the input.
  public private(set) var calibratedFrom: LogicalTensor?
  /// What rounding did, where calibration has measured it.
  public private(set) var measured: QuantizationStatistics?
  /// What else is carried over with the weight as it is stored.
  public private(set) var companions: [(rows: RowExpression, tensor: PlannedTensor)]

  public var rows: RowExpression { source.rows }

  /// The step as it is run, with what calibration has found in place of the input.
  func bound(to found: CalibratedTensor) -> PlannedStep {
    var step = self
    step.calibratedFrom = input
    step.input = found.tensor
    step.source = rowOrder.map { found.tensor.permuted(by: $0) } ?? found.tensor
    step.measured = found.statistics
    return step
  }

  /// What the scale of a linear's activations is called behind its module's name.
  static let activationScaleSuffix = "input_scale"

  /// The step with the scale of the linear's activations.
  /// - Parameter bytes: in BF16.
  func scaled(byActivations bytes: [UInt8]) -> PlannedStep {
    var step = self
    step.companions = companions.map {
      ($0.tensor.name.hasSuffix(Self.activationScaleSuffix) ? .bytes(bytes, rowByteCount: 2) : $0.rows, $0.tensor)
    }
    return step
  }

  /// The step with weights for the columns.
  func weighted(by columnWeights: [Float]) -> PlannedStep {
    var step = self
    step.columnWeights = columnWeights
    return step
  }

  public enum Operation: Sendable, Equatable, CustomStringConvertible {
    /// Bytes as they are, scales too.
    case copy
    /// Values widened (and codes multiplied by their scales) in binary32, then rounded once to the type.
    case convert(ElementType)
    /// - Parameter columns: elements of a row that share a scale: a whole row, or the part of it that a shard holds.
    case quantizeFP8(FP8Recipe, columns: Int)
    case quantizeIntegers(IntegerRecipe)
    /// Integer codes with a scale, and perhaps a zero point, for each group of a row.
    case quantizeGroups(IntegerQuantizer)
    /// The same, found by calibration before the run.
    case calibrate(IntegerQuantizer)
    /// A norm that takes over the factors of scaled channels, found by calibration before the run.
    case fold
    case quantizeBlocks(BlockType)

    /// The values of the output are exactly the values of the input.
    public var isExact: Bool { self == .copy }

    public var description: String {
      switch self {
      case .copy: "copy"
      case .convert(let type): "convert to \(type)"
      case .quantizeFP8(let recipe, _): "quantize \(recipe.rawValue)"
      case .quantizeIntegers(let recipe): "quantize to \(recipe)"
      case .quantizeGroups(let quantizer), .calibrate(let quantizer): "quantize to \(quantizer)"
      case .fold: "take over factors of scaled channels"
      case .quantizeBlocks(let type): "quantize to \(type)"
      }
    }
  }

  /// Input bytes of one tile of work. A constant: neither threads nor memory change the tiles, so that statistics, which
  /// are added up tile by tile, do not depend on them.
  static let tileByteCount = 1 << 20

  /// Rows of one tile.
  var rowsPerTile: Int {
    guard rows.rowByteCount > 0 else { return max(1, rows.rowCount) }
    let wanted = max(1, Self.tileByteCount / rows.rowByteCount)
    // Words hold up to eight rows, and where they lie across rows, longer stretches are written faster.
    guard let packing else { return wanted }
    return packing.layout == .compressedTensors ? max(8, wanted / 8 * 8) : max(64, wanted / 8 * 8)
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

  /// Bytes of the input, or of what calibration made of it, are the output's.
  var isTakenOver: Bool {
    switch operation {
    case .copy, .calibrate, .fold: true
    default: false
    }
  }

  /// Bits of an integer code of the weight.
  var codeBits: Int {
    switch operation {
    case .quantizeGroups(let quantizer), .calibrate(let quantizer): quantizer.grid.bits
    case .quantizeIntegers(.int4Groups): 4
    case .copy: input.quantization?.bits ?? 8
    default: 8
    }
  }

  /// Bytes read to do this step.
  public var inputByteCount: Int { input.storedByteCount }
  /// Bytes written by this step.
  public var outputByteCount: Int { written.reduce(0) { $0 + $1.byteCount } }
  /// All tensors written by this step.
  public var written: [PlannedTensor] { [weight] + [scale, zeroPoint].compactMap { $0 } + companions.map(\.tensor) }
}

/// One tensor of the output, in the output's dialect.
public struct PlannedTensor: Sendable, Equatable {
  public let name: String
  public let elementType: ElementType
  public let shape: Shape
  public let byteCount: Int
}
