internal import ByteIO
internal import Kernels
internal import Quantization
internal import Tensors

extension LogicalTensor {
  /// Whether values were rounded to few bits: codes with scales beside them, or blocks.
  public var isQuantized: Bool { quantization != nil || elementType.block != nil }

  /// Turns stored rows into values in binary32: exact for unquantized types; for blocks by ggml's formulas; for other quantized ones codes times scales, then
  /// what the quantization adds to them.
  /// - Parameters:
  ///   - bytes: the rows of `range` as `rows` gives them.
  ///   - values: takes `range.count` × `columnCount` values.
  /// - Throws: `ParseFailure` for scales that are no scales, `FileFailure` when they cannot be read.
  public func widen(_ bytes: RawSpan, rows range: Range<Int>, into values: inout MutableSpan<Float>) throws {
    if let block = elementType.block {
      BlockRows.dequantize(bytes, format: BlockFormat(block), into: &values)
      return
    }
    guard let quantization else {
      NumberFormat.widen(bytes, from: elementType.floatFormat, into: &values)
      return
    }
    let scaleBytes = try quantization.scales.bytes(rows: quantization.scheme.scaleRows(for: range))
    let factors = try WeightScheme.scales(from: scaleBytes, type: quantization.scaleType)
    if quantization.zeroPoints != nil || quantization.columnGroups != nil {
      return try dequantize(bytes, quantization, factors, rows: range, into: &values)
    }
    quantization.scheme.dequantize(
      codes: bytes, format: elementType.floatFormat, rows: range, columns: columnCount, scales: factors.span,
      into: &values)
    if let adapter = quantization.adapter { try adapter.add(to: &values, rows: range, columns: columnCount) }
    if quantization.isRotated { RowTransforms.hadamard(&values, columns: columnCount) }
  }

  /// Integer codes with zero points, or with groups that are not runs of columns.
  private func dequantize(
    _ bytes: RawSpan, _ quantization: StoredQuantization, _ scales: [Float], rows range: Range<Int>,
    into values: inout MutableSpan<Float>
  ) throws {
    let columns = columnCount
    let size = columns / max(1, scales.count / max(1, range.count))
    let groups = quantization.columnGroups
    let zeroPoints = try quantization.zeroPoints?.bytes(rows: range) ?? []
    GroupCodes.dequantize(
      rows: bytes, columns: columns, size: size, groups: groups, scales: scales.span, zeroPoints: zeroPoints.span,
      into: &values)
  }

  /// The values of the rows of `range`, in the order of `rows`.
  public func values(rows range: Range<Int>) throws -> [Float] {
    try values(of: try rows.bytes(rows: range), rows: range)
  }

  /// The values of the rows of `range` from their stored bytes.
  public func values(of bytes: [UInt8], rows range: Range<Int>) throws -> [Float] {
    var values = [Float](repeating: 0, count: range.count * columnCount)
    var span = values.mutableSpan
    try widen(bytes.span.rawBytes, rows: range, into: &span)
    return values
  }
}

extension LowRankAdapter {
  fileprivate func add(to values: inout MutableSpan<Float>, rows range: Range<Int>, columns: Int) throws {
    let (leftBytes, rightBytes) = (try b.bytes(rows: range), try a.source.bytes(of: a.tensor.name))
    let left = NumberFormat.widened(leftBytes.span.rawBytes, from: bType.floatFormat)
    let right = NumberFormat.widened(rightBytes.span.rawBytes, from: a.tensor.elementType.floatFormat)
    RowTransforms.addProduct(
      left.span, right.span, rank: rank, factor: Float(factor), to: &values, columns: columns)
  }
}
