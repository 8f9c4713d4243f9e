internal import ByteIO
internal import Kernels

/// Activations that several matrices multiply: packed once for each precision that is asked for.
struct ProjectionInput {
  private let values: [Float]
  private let tokens: Int
  private let settings: ForwardSettings
  private let packed: PackedActivations

  init(_ values: [Float], tokens: Int, settings: ForwardSettings) {
    self.values = values
    self.tokens = tokens
    self.settings = settings
    packed = PackedActivations(
      values.span, tokens: tokens, inputs: values.count / max(tokens, 1), threads: settings.threads,
      kernel: settings.kernel)
  }

  /// x · Wᵀ, `[tokens, w.rows]`.
  func times(_ w: WeightMatrix) -> [Float] {
    let input = activations(w.activations)
    return w.withRows { rows in MatrixProduct.product(input, rows, threads: settings.threads) }
  }

  private func activations(_ precision: ActivationPrecision) -> PackedActivations {
    guard settings.emulatesActivations, case .fp8PerToken(let bound) = precision else { return packed }
    var rounded = values
    var scales = [Float](repeating: 0, count: tokens)
    var rows = rounded.mutableSpan
    var factors = scales.mutableSpan
    ActivationRows.roundToFP8(
      &rows, columns: packed.inputs, upperBound: bound, scales: &factors, instructionSet: settings.instructionSet)
    return PackedActivations(
      rounded.span, tokens: tokens, inputs: packed.inputs, tokenScales: scales, isBF16: true,
      threads: settings.threads, kernel: settings.kernel)
  }
}

extension WeightMatrix {
  /// Lends the rows to a matrix product.
  func withRows<Result>(_ body: (borrowing WeightRows) -> Result) -> Result {
    switch scales {
    case .none:
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: nil, blockScales: nil,
          blockRows: 1, blockColumns: 1))
    case .rowWise(let values):
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: values.span,
          blockScales: nil, blockRows: 1, blockColumns: 1))
    case .blocks(let values, let blockRows, let blockColumns):
      body(
        WeightRows(
          bytes: bytes.span.rawBytes, format: format, outputs: rows, inputs: columns, rowScales: nil,
          blockScales: values.span, blockRows: blockRows, blockColumns: blockColumns))
    }
  }
}
