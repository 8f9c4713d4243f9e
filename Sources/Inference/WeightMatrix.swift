public import ByteIO
public import Kernels
public import Llama
internal import Tensors

/// The stored rows of a weight, in memory for as long as its layer is computed.
public struct WeightMatrix: Sendable {
  /// Rows held: outputs.
  public let rows: Int
  /// Elements of a row: inputs.
  public let columns: Int
  public let format: FloatFormat
  /// `rows` × `columns` elements, little-endian.
  public let bytes: [UInt8]
  public let scales: Scales
  public let activations: ActivationPrecision

  public enum Scales: Sendable {
    case none
    /// One per row.
    case rowWise([Float])
    /// One per block, `[ceil(rows/blockRows), ceil(columns/blockColumns)]`.
    case blocks([Float], rows: Int, columns: Int)
  }

  public init(
    rows: Int, columns: Int, format: FloatFormat, bytes: [UInt8], scales: Scales = .none,
    activations: ActivationPrecision = .float32
  ) {
    self.rows = rows
    self.columns = columns
    self.format = format
    self.bytes = bytes
    self.scales = scales
    self.activations = activations
  }
}

extension WeightMatrix {
  /// A matrix of values in binary32.
  public init(rows: Int, columns: Int, values: [Float]) {
    self.init(rows: rows, columns: columns, format: .f32, bytes: NumberFormat.bytes(of: values))
  }
}

/// What serving does with the activations that a matrix multiplies, when it is emulated.
public enum ActivationPrecision: Sendable, Hashable {
  /// They stay as they are.
  case float32
  /// Dynamic per-token e4m3: scale = max(min(A, upperBound)/448, 1/(448·512)).
  case fp8PerToken(upperBound: Float?)
  /// Dynamic e4m3 per token and group of so many values: scale = A/448.
  case fp8PerGroup(Int)
  /// e4m3 with a stored scale.
  case fp8Static(scale: Float)
  /// Dynamic per-token symmetric int8: scale = A/127.5.
  case int8PerToken
}

/// Where the forward pass gets its weights from, a layer at a time. Query and key rows are in canonical order, Meta's
/// interleaved pairs.
public protocol ModelWeights: Sendable {
  var configuration: LlamaConfiguration { get }

  /// The matrix of a role, or the rows of `rows` of it. A tied head is answered with the token embedding.
  func matrix(_ role: TensorRole, rows: Range<Int>?) throws -> WeightMatrix

  /// The values of a norm.
  func vector(_ role: TensorRole) throws -> [Float]

  /// Bytes that one row of the role's matrix takes in memory, scales included, as `matrix` gives it.
  func bytesPerRow(_ role: TensorRole) -> Int

  /// Says what becomes of the stored bytes of a role, or of the rows of `rows` of it. A hint that changes no result.
  func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?)
}

extension ModelWeights {
  /// As for binary32.
  public func bytesPerRow(_ role: TensorRole) -> Int {
    configuration.shape(of: role).dimensions.dropFirst().reduce(4, *)
  }

  public func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?) {}
}
