public import ByteIO
public import Llama

/// The halves of a layer between which hidden states are sums again.
public enum LayerHalf: Sendable, Hashable {
  case attention, feedForward
}

/// Carries calibration text through a model a layer at a time, in steps between which the caller replaces weights by what
/// became of them: what a linear sees is then what the quantized layers before it make of the text.
public struct CalibrationStream {
  private var stream: LayerStream
  private let windows: [[Int32]]

  /// - Throws: whatever reading the embedding throws.
  public init(_ weights: any ModelWeights, windows: [[Int32]], settings: ForwardSettings) throws {
    stream = try LayerStream(weights, windows: windows, settings: settings)
    self.windows = windows
  }

  private init(_ stream: LayerStream, _ windows: [[Int32]]) {
    self.stream = stream
    self.windows = windows
  }

  /// Lends what the linears behind `input` multiply, `[tokens, columns]`, chunk by chunk. Hidden states stay.
  /// - Parameter weights: of the layer as they are now.
  public func visit(
    _ input: LinearInput, layer: Int, weights: any ModelWeights,
    _ body: (_ rows: [Float], _ columns: Int) throws -> Void
  ) throws {
    try stream.visit(input, layer: layer, weights: weights, body)
  }

  /// Carries hidden states through half a layer.
  public mutating func pass(through half: LayerHalf, layer: Int, weights: any ModelWeights) throws {
    try stream.pass(through: half, layer: layer, weights: weights)
  }

  /// A stream of its own of so many tokens at most, whole windows spread evenly, one at least.
  public func sample(tokens: Int) -> CalibrationStream {
    let average = max(1, windows.reduce(0) { $0 + $1.count } / max(1, windows.count))
    let wanted = min(windows.count, max(1, tokens / average))
    let picked = (0..<wanted).map { ($0 * windows.count * 2 + windows.count) / (2 * wanted) }
    return CalibrationStream(stream.picking(picked, of: windows), picked.map { windows[$0] })
  }
}

/// A model with some of its weights replaced in memory.
public struct SubstitutedWeights: ModelWeights {
  private let base: any ModelWeights
  private var matrices: [TensorRole: WeightMatrix] = [:]
  private var vectors: [TensorRole: [Float]] = [:]

  public init(_ base: any ModelWeights) { self.base = base }

  public var configuration: LlamaConfiguration { base.configuration }

  public mutating func replace(_ role: TensorRole, by matrix: WeightMatrix) { matrices[role] = matrix }
  public mutating func replace(_ role: TensorRole, by vector: [Float]) { vectors[role] = vector }

  public mutating func removeAll() {
    matrices.removeAll()
    vectors.removeAll()
  }

  public func matrix(_ role: TensorRole, rows: Range<Int>?) throws -> WeightMatrix {
    guard let matrix = matrices[role] else { return try base.matrix(role, rows: rows) }
    precondition(rows == nil || rows == 0..<matrix.rows, "replaced weights are taken whole")
    return matrix
  }

  public func vector(_ role: TensorRole) throws -> [Float] { try vectors[role] ?? base.vector(role) }

  public func bytesPerRow(_ role: TensorRole) -> Int { base.bytesPerRow(role) }

  public func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?) {
    if matrices[role] == nil { base.advise(advice, role, rows: rows) }
  }
}
