internal import ByteIO
internal import Inference
internal import Kernels
internal import Quantization
internal import Synchronization
internal import Tensors

/// The rows of a weight rounded to integers.
struct RoundedRows {
  let codes: [UInt8]
  let scales: [Float]
  let zeroPoints: [Int8]
  let statistics: QuantizationStatistics
  /// For each column its group; nil where groups are runs of columns.
  let columnGroups: [Int32]?
  private let columns: Int
  private let grid: IntegerGrid

  /// - Parameters:
  ///   - parameters: `[rows, groups]` both.
  ///   - order: in which columns fall into groups; nil for their own.
  init(
    _ values: [Float], columns: Int, _ grid: IntegerGrid, parameters: (scales: [Float], zeroPoints: [Int8]),
    order: ColumnOrder?, feedback: ErrorFeedback?, threads: Int
  ) {
    let rows = values.count / columns
    let (scales, zeroPoints) = parameters
    let groups = order?.groups(of: grid.groupSize(columns: columns))
    let size = grid.groupSize(columns: columns)
    let codes = [UInt8](count: values.count) { codes in
      if let feedback {
        feedback.quantize(
          values.span, rows: rows, scales: scales.span, zeroPoints: zeroPoints.span,
          groupOfColumn: groups ?? (0..<columns).map { Int32($0 / size) }, codes: grid.codes, into: &codes,
          threads: threads)
      } else {
        for group in scales.indices {
          var part = codes.part(group * size..<(group + 1) * size)
          GroupCodes.quantize(
            values.span.extracting(group * size..<(group + 1) * size),
            .init(scale: scales[group], zeroPoint: Float(zeroPoints[group])), codes: grid.codes, into: &part)
        }
      }
    }
    var measures = GroupCodes.Measures()
    // Group by group.
    let (ordered, orderedCodes) = (order?.ordered(values) ?? values, order?.ordered(codes) ?? codes)
    for group in scales.indices {
      let part = group * size..<(group + 1) * size
      GroupCodes.measure(
        ordered.span.extracting(part), codes: orderedCodes.span.extracting(part),
        .init(scale: scales[group], zeroPoint: Float(zeroPoints[group])), codes: grid.codes, addingTo: &measures)
    }
    let zeroRows = (0..<rows).filter { row in
      values[row * columns..<(row + 1) * columns].allSatisfy { $0 == 0 }
    }.count
    statistics = QuantizationStatistics(
      rows: rows, zeroRows: zeroRows, saturated: measures.saturated, signalEnergy: measures.signalEnergy,
      errorEnergy: measures.errorEnergy, elements: values.count, largestError: measures.largestError)
    columnGroups = groups
    self.columns = columns
    self.grid = grid
    (self.codes, self.scales, self.zeroPoints) = (codes, scales, zeroPoints)
  }

  /// For the forward pass: codes where they need no zero points, values in binary32 else.
  var matrix: WeightMatrix {
    let rows = codes.count / columns
    let size = grid.groupSize(columns: columns)
    guard grid.isSymmetric, columnGroups == nil else {
      return WeightMatrix(rows: rows, columns: columns, values: values)
    }
    return WeightMatrix(
      rows: rows, columns: columns, format: .i8, bytes: codes,
      scales: size == columns ? .rowWise(scales) : .blocks(scales, rows: 1, columns: size))
  }

  var values: [Float] {
    var values = [Float](repeating: 0, count: codes.count)
    var span = values.mutableSpan
    let zeros = zeroPoints.map { UInt8(bitPattern: $0) }
    GroupCodes.dequantize(
      rows: codes.span.rawBytes, columns: columns, size: grid.groupSize(columns: columns),
      groups: columnGroups, scales: scales.span, zeroPoints: zeros.span, into: &span)
    return values
  }
}

/// Columns by how strongly text drives them, the strongest first, the first of equals first.
struct ColumnOrder {
  private let columns: [Int]

  init(_ meanSquares: [Float]) {
    columns = meanSquares.indices.sorted {
      meanSquares[$0] == meanSquares[$1] ? $0 < $1 : meanSquares[$0] > meanSquares[$1]
    }
  }

  /// Rows with their columns in this order.
  func ordered<Element>(_ rows: [Element]) -> [Element] {
    stride(from: 0, to: rows.count, by: max(1, columns.count)).flatMap { start in columns.map { rows[start + $0] } }
  }

  /// For each column the number of its group of `size`.
  func groups(of size: Int) -> [Int32] {
    var groups = [Int32](repeating: 0, count: columns.count)
    for (rank, column) in columns.enumerated() { groups[column] = Int32(rank / size) }
    return groups
  }
}

/// Scales and zero points of a weight's groups, before codes are found.
struct GroupScales {
  let quantizer: IntegerQuantizer
  let weightType: ElementType
  let columns: Int
  let settings: CalibrationSettings

  /// Rows whose scales are found at a time.
  private static let rowsPerTile = 32
  /// Parts of the spanning range that clipping leaves: AWQ's, down to 0.55 in steps of 0.05, and some between and above,
  /// since symmetric codes reach less far above zero than below.
  private static let shrinks = (0..<24).map { 1.075 - 0.025 * Float($0) }

  init(_ quantizer: IntegerQuantizer, weightType: ElementType, columns: Int, _ settings: CalibrationSettings) {
    self.quantizer = quantizer
    self.weightType = weightType
    self.columns = columns
    self.settings = settings
  }

  /// With the least Σ weight · error², both `[rows, groups]`.
  func searched(_ values: [Float], weights: [Float]) -> (scales: [Float], zeroPoints: [Int8]) {
    let rows = values.count / columns
    let tiles = (rows + Self.rowsPerTile - 1) / Self.rowsPerTile
    let found = Mutex<[Int: (scales: [Float], zeroPoints: [Int8])]>([:])
    try? Parallel.forEach(count: tiles, threads: settings.threads) { tile in
      let part = tile * Self.rowsPerTile * columns..<min((tile + 1) * Self.rowsPerTile, rows) * columns
      let parameters = quantizer.parameters(
        values.span.extracting(part), columns: columns, weightType: weightType, weights: weights)
      found.withLock { $0[tile] = parameters }
    }
    let all = found.withLock { $0 }
    return ((0..<tiles).flatMap { all[$0]?.scales ?? [] }, (0..<tiles).flatMap { all[$0]?.zeroPoints ?? [] })
  }

  /// With the least error of what the group adds to the outputs, among ranges that clip.
  /// - Parameter blocks: for each group Σ x·xᵀ of its inputs.
  func clipped(_ values: [Float], _ blocks: [[Float]]) -> (scales: [Float], zeroPoints: [Int8]) {
    let rows = values.count / columns
    let size = quantizer.grid.groupSize(columns: columns)
    let (search, grid) = (quantizer.search(forWeight: weightType), quantizer.grid)
    let found = GroupClipSearch.best(
      values, rows: rows, size: size, grams: blocks, shrinks: Self.shrinks, threads: settings.threads,
      kernel: settings.forward.kernel
    ) { values, shrink in
      let parameters = stride(from: 0, to: values.count, by: size).map {
        search.spanning(values.span.extracting($0..<$0 + size), shrink: shrink)
      }
      return GroupRounding.values(
        values, parameters.map(\.scale), parameters.map { Int8($0.zeroPoint) }, grid, columns: size)
    }
    var scales: [Float] = []
    var zeroPoints: [Int8] = []
    for group in found.shrinks.indices {
      let parameters = search.spanning(
        values.span.extracting(group * size..<(group + 1) * size), shrink: found.shrinks[group])
      scales.append(parameters.scale)
      zeroPoints.append(Int8(parameters.zeroPoint))
    }
    return (scales, zeroPoints)
  }
}

/// Values rounded to the nearest codes of their groups, as values again.
enum GroupRounding {
  static func values(
    _ values: [Float], _ scales: [Float], _ zeroPoints: [Int8], _ grid: IntegerGrid, columns: Int
  ) -> [Float] {
    let size = grid.groupSize(columns: columns)
    var codes = [UInt8](repeating: 0, count: values.count)
    var result = [Float](repeating: 0, count: values.count)
    var codeSpan = codes.mutableSpan
    for group in scales.indices {
      let range = group * size..<(group + 1) * size
      var part = codeSpan.part(range)
      GroupCodes.quantize(
        values.span.extracting(range), .init(scale: scales[group], zeroPoint: Float(zeroPoints[group])),
        codes: grid.codes, into: &part)
    }
    let zeros = zeroPoints.map { UInt8(bitPattern: $0) }
    var span = result.mutableSpan
    GroupCodes.dequantize(
      rows: codes.span.rawBytes, columns: columns, size: size, groups: nil, scales: scales.span,
      zeroPoints: zeros.span, into: &span)
    return result
  }
}
