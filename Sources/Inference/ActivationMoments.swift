internal import ByteIO
public import Llama

/// How strongly each input of each linear of the layers is driven: sums of squares over tokens, column by column. What
/// quantizers weigh columns with.
public struct ActivationMoments: Sendable {
  /// Σ x² over all tokens for each input column, in binary64, in the order of the tokens.
  public private(set) var sums: [TensorRole: [Double]] = [:]
  /// The largest |x| of all tokens and columns.
  public private(set) var largest: [TensorRole: Float] = [:]
  /// Tokens that were summed over.
  public private(set) var tokens = 0

  public init() {}

  /// Carries windows through all layers and adds what their linears see. The result does not depend on how windows are
  /// divided among calls, nor on threads.
  /// - Parameter progress: told after each layer.
  /// - Throws: whatever reading weights throws.
  public mutating func add(
    _ windows: [[Int32]], through weights: any ModelWeights, settings: ForwardSettings,
    progress: (_ done: Int, _ of: Int) -> Void = { _, _ in }
  ) throws {
    var stream = try LayerStream(weights, windows: windows, settings: settings)
    let count = weights.configuration.layerCount
    for layer in 0..<count {
      let roles = LayerRole.allCases.filter(\.isLinear).map { TensorRole.layer(layer, $0) }
      var seen = LayerMoments()
      let next = layer + 1 < count ? [WeightStep.attention(weights, layer: layer + 1)] : []
      try stream.advance(through: layer, next: next) { part, values in seen.add(values, to: part) }
      for role in roles {
        guard case .layer(_, let part) = role, let squares = seen.squares[part.input] else { continue }
        largest[role] = max(largest[role] ?? 0, seen.largest[part.input] ?? 0)
        sums[role] = sums[role].map { zip($0, squares).map { $0 + $1 } } ?? squares
      }
      progress(layer + 1, count)
    }
    tokens += windows.reduce(0) { $0 + $1.count }
  }
}

/// The four inputs that the seven linears of a layer share, in the order in which they come about.
public enum LinearInput: Hashable, Sendable, CaseIterable {
  case attention, attentionOutput, feedForward, down

  /// The linears that multiply it.
  public var linears: [LayerRole] {
    switch self {
    case .attention: [.query, .key, .value]
    case .attentionOutput: [.attentionOutput]
    case .feedForward: [.gate, .up]
    case .down: [.down]
    }
  }
}

extension LayerRole {
  /// What a linear of the layer multiplies.
  public var input: LinearInput {
    switch self {
    case .attentionOutput: .attentionOutput
    case .gate, .up: .feedForward
    case .down: .down
    default: .attention
    }
  }
}

private struct LayerMoments {
  var squares: [LinearInput: [Double]] = [:]
  var largest: [LinearInput: Float] = [:]

  /// - Parameter values: `[tokens, columns]`.
  mutating func add(_ values: (rows: [Float], columns: Int), to input: LinearInput) {
    let columns = values.columns
    var sums = squares.removeValue(forKey: input) ?? [Double](repeating: 0, count: columns)
    for start in stride(from: 0, to: values.rows.count, by: columns) {
      for column in 0..<columns {
        let value = Double(values.rows[start + column])
        sums[column] += value * value
      }
    }
    squares[input] = sums
    largest[input] = values.rows.reduce(largest[input] ?? 0) { max($0, abs($1)) }
  }
}
