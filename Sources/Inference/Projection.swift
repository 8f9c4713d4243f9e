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
    guard settings.emulatesActivations, precision != .float32 else { return packed }
    var rounded = values
    let scales = precision.round(
      &rounded, tokens: tokens, columns: packed.inputs, instructionSet: settings.instructionSet)
    return PackedActivations(
      rounded.span, tokens: tokens, inputs: packed.inputs, tokenScales: scales, isBF16: !scales.isEmpty,
      threads: settings.threads, kernel: settings.kernel)
  }
}

extension ActivationPrecision {
  /// Replaces activations `[tokens, columns]` by what serving multiplies.
  /// - Returns: one factor per token where they were replaced by codes, all of which BF16 holds; else none.
  fileprivate func round(
    _ values: inout [Float], tokens: Int, columns: Int, instructionSet: InstructionSet
  ) -> [Float] {
    var rows = values.mutableSpan
    var scales = [Float](repeating: 0, count: tokens)
    switch self {
    case .float32: return []
    case .fp8PerToken(let bound):
      var factors = scales.mutableSpan
      ActivationRows.roundToFP8(
        &rows, columns: columns, upperBound: bound, scales: &factors, instructionSet: instructionSet)
    case .int8PerToken:
      var factors = scales.mutableSpan
      ActivationRows.roundToInt8(&rows, columns: columns, scales: &factors, instructionSet: instructionSet)
    case .fp8Static(let scale):
      ActivationRows.roundToFP8(&rows, scale: scale, instructionSet: instructionSet)
      scales = Array(repeating: scale, count: tokens)
    case .fp8PerGroup(let size):
      // A sum over groups has no factor of its own: the factors are multiplied in.
      ActivationRows.roundToFP8(&rows, columns: columns, groups: size, instructionSet: instructionSet)
      return []
    }
    return scales
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
