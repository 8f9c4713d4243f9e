internal import ByteIO
internal import Inference
internal import Kernels
internal import Llama
internal import Tensors

/// A model with a fault, which is planted in each weight as it is read: nothing is copied and memory stays a layer's.
struct FaultyWeights: ModelWeights {
  private let base: any ModelWeights
  private let fault: PlantedFault

  init(_ base: any ModelWeights, _ fault: PlantedFault) {
    self.base = base
    self.fault = fault
  }

  var configuration: LlamaConfiguration { fault.configuration }

  func vector(_ role: TensorRole) throws -> [Float] { try base.vector(role) }

  func matrix(_ role: TensorRole, rows: Range<Int>?) throws -> WeightMatrix {
    switch fault.edits[role] {
    case nil: return try base.matrix(role, rows: rows)
    case .rows(let other): return try base.matrix(other, rows: rows)
    case .uninitialized: return uninitialized(role, rows: rows)
    case .halvesForPairs(let dimension):
      let order = RowPermutation.halvesToPairs(headDimension: dimension).inverse
      return try whole(role, rows).reordered { order.source(of: $0) }
    case .exchangedHalves:
      let matrix = try whole(role, rows)
      return matrix.reordered { ($0 + matrix.rows / 2) % matrix.rows }
    case .transposed: return try whole(role, rows).transposedInPlace
    case .zeroScale(let row): return try whole(role, rows).scaled(withZeroAt: row)
    }
  }

  private func whole(_ role: TensorRole, _ rows: Range<Int>?) throws -> WeightMatrix {
    precondition(rows == nil, "weights of layers are taken whole")
    return try base.matrix(role, rows: nil)
  }

  /// A standard deviation of 0.02 from uniform numbers, the same for a row however many are asked for.
  private func uninitialized(_ role: TensorRole, rows range: Range<Int>?) -> WeightMatrix {
    let (all, columns) = (configuration.vocabularySize, configuration.hiddenSize)
    let rows = range ?? 0..<all
    let width: Float = 0.02 * Float(12).squareRoot()
    var values: [Float] = []
    values.reserveCapacity(rows.count * columns)
    for row in rows {
      var random = SplitMix64(seed: UInt64(row))
      for _ in 0..<columns { values.append(width * (Float(random.next() >> 40) / Float(1 << 24) - 0.5)) }
    }
    return WeightMatrix(rows: rows.count, columns: columns, values: values)
  }

  func bytesPerRow(_ role: TensorRole) -> Int {
    let size = base.bytesPerRow(role)
    let columns = configuration.shape(of: role).dimensions.dropFirst().reduce(1, *)
    return switch fault.edits[role] {
    case nil: size
    case .rows(let other): base.bytesPerRow(other)
    case .uninitialized: 4 * columns
    // The weight as it was beside what becomes of it, widened where it has scales.
    default: size + max(size, 4 * columns)
    }
  }

  func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?) {
    switch fault.edits[role] {
    case .rows(let other): base.advise(advice, other, rows: rows)
    case .uninitialized: break
    default: base.advise(advice, role, rows: rows)
    }
  }
}

extension WeightMatrix {
  /// The scales, one for each row.
  var rowScales: [Float]? { if case .rowWise(let factors) = scales { factors } else { nil } }

  /// In binary32 where scales do not go with rows.
  private var withoutBlocks: WeightMatrix {
    guard case .blocks = scales else { return self }
    return WeightMatrix(rows: rows, columns: columns, values: values)
  }

  /// - Parameter source: the row that stands at a row of the result.
  fileprivate func reordered(_ source: (Int) -> Int) -> WeightMatrix {
    let matrix = withoutBlocks
    let size = matrix.bytes.count / max(1, rows)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(matrix.bytes.count)
    for row in 0..<rows { bytes += matrix.bytes[source(row) * size..<(source(row) + 1) * size] }
    let factors = matrix.rowScales.map { scales in (0..<rows).map { scales[source($0)] } }
    return WeightMatrix(
      rows: rows, columns: columns, format: matrix.format, bytes: bytes, scales: factors.map { .rowWise($0) } ?? .none,
      activations: activations)
  }

  /// Element (i, j) of the transposed matrix, counted row by row, at that place of this one's shape.
  fileprivate var transposedInPlace: WeightMatrix {
    let matrix: WeightMatrix
    if case .none = scales {
      matrix = self
    } else {
      matrix = WeightMatrix(rows: rows, columns: columns, values: values)
    }
    let size = matrix.format.byteCount
    var bytes = [UInt8](repeating: 0, count: matrix.bytes.count)
    for row in 0..<rows {
      for column in 0..<columns {
        let (from, to) = ((row * columns + column) * size, (column * rows + row) * size)
        for byte in 0..<size { bytes[to + byte] = matrix.bytes[from + byte] }
      }
    }
    return WeightMatrix(rows: rows, columns: columns, format: matrix.format, bytes: bytes, activations: activations)
  }

  /// FP8 codes with one scale a row, that of `row` 0: the weight's own, or those of its values.
  fileprivate func scaled(withZeroAt row: Int) -> WeightMatrix {
    var (codes, factors) = (bytes, rowScales ?? [])
    if rowScales == nil {
      codes = [UInt8](repeating: 0, count: rows * columns)
      factors = [Float](repeating: 0, count: rows)
      let plain = WeightMatrix(rows: rows, columns: columns, values: values)
      var codeSpan = codes.mutableSpan
      var factorSpan = factors.mutableSpan
      var measures = FP8Rows.Measures()
      let fault = FP8Rows.quantize(
        plain.bytes.span.rawBytes, format: .f32, columns: columns, arithmetic: .bf16Scale, codes: &codeSpan,
        scales: &factorSpan, measures: &measures)
      // A weight that is not finite has been refused before: its scores are no numbers.
      precondition(fault == nil, "the model's weights are finite")
    }
    factors[row] = 0
    return WeightMatrix(
      rows: rows, columns: columns, format: rowScales == nil ? .e4m3 : format, bytes: codes, scales: .rowWise(factors),
      activations: activations)
  }
}
