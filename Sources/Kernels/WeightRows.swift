internal import CKernels

/// The stored rows of a weight matrix `[outputs, inputs]`, lent: what a matrix product multiplies with.
public struct WeightRows: ~Escapable {
  /// `outputs` rows of `inputs` elements, little-endian, without gaps.
  public let bytes: RawSpan
  public let format: FloatFormat
  public let outputs: Int
  public let inputs: Int
  /// One factor per row, applied to the finished sums: exact codes are multiplied exactly.
  public let rowScales: Span<Float>?
  /// One factor per block, `[ceil(outputs/blockRows), ceil(inputs/blockColumns)]`, applied to the weights.
  public let blockScales: Span<Float>?
  public let blockRows: Int
  public let blockColumns: Int

  @_lifetime(copy bytes, copy rowScales, copy blockScales)
  public init(
    bytes: RawSpan, format: FloatFormat, outputs: Int, inputs: Int, rowScales: Span<Float>?,
    blockScales: Span<Float>?, blockRows: Int, blockColumns: Int
  ) {
    precondition(outputs >= 0 && inputs > 0 && bytes.byteCount == outputs * inputs * format.byteCount, "whole rows")
    precondition(rowScales == nil || blockScales == nil, "one kind of scales")
    precondition(blockRows > 0 && blockColumns > 0, "blocks have elements")
    self.bytes = bytes
    self.format = format
    self.outputs = outputs
    self.inputs = inputs
    self.rowScales = rowScales
    self.blockScales = blockScales
    self.blockRows = blockRows
    self.blockColumns = blockColumns
  }

  /// Weights that are float32 already, `[outputs, inputs]`.
  @_lifetime(copy values)
  public init(values: Span<Float>, outputs: Int, inputs: Int) {
    self.init(
      bytes: values.bytes, format: .f32, outputs: outputs, inputs: inputs, rowScales: nil, blockScales: nil,
      blockRows: 1, blockColumns: 1)
  }
}

/// A `WeightRows` as pointers, for the time of one call.
struct WeightPointers {
  var bytes: UnsafeRawPointer?
  let format: FloatFormat
  let inputs: Int
  var rowScales: UnsafePointer<Float>?
  var blockScales: UnsafePointer<Float>?
  let blockRows: Int
  let blockColumns: Int

  /// Whether BF16 holds every weight that is multiplied: one term is then exact.
  var areExactInBF16: Bool { blockScales == nil && (format == .bf16 || format == .e4m3 || format == .i8) }

  /// Packs `count` rows from `firstRow`, columns `column ..< column + k`, widened and multiplied by their block's scale.
  func pack(
    _ kernel: ProductKernel, terms: Int, firstRow: Int, count: Int, column: Int, k: Int,
    to packed: UnsafeMutableRawPointer
  ) {
    guard let bytes else { return }
    let rowBytes = inputs * format.byteCount
    var weights = ck_weights(
      rows: bytes + firstRow * rowBytes + column * format.byteCount, format: format.native, stride: rowBytes,
      count: count, k: k, scales: nil, scale_stride: 0, scale_run: 1, first_column: column)
    guard let blockScales else {
      kernel.table.pointee.pack_outputs(&weights, Int32(terms), packed)
      return
    }
    // One row of scales per row of weights, so that a panel may straddle blocks.
    let columns = (inputs + blockColumns - 1) / blockColumns
    withUnsafeTemporaryAllocation(of: Float.self, capacity: count * columns) { scales in
      for row in 0..<count {
        let source = blockScales + (firstRow + row) / blockRows * columns
        for index in 0..<columns { scales[row * columns + index] = source[index] }
      }
      weights.scales = UnsafePointer(scales.baseAddress)
      weights.scale_stride = columns
      weights.scale_run = blockColumns
      kernel.table.pointee.pack_outputs(&weights, Int32(terms), packed)
    }
  }
}

extension WeightRows {
  borrowing func withPointers(_ body: (WeightPointers) -> Void) {
    let outputs = outputs
    var pointers = WeightPointers(
      format: format, inputs: inputs, blockRows: blockRows, blockColumns: blockColumns)
    bytes.withUnsafeBytes { pointers.bytes = $0.baseAddress }
    // Spans are lent for the whole call, so their addresses stay good behind the closures that give them.
    if let rowScales {
      precondition(rowScales.count == outputs, "one factor per row")
      rowScales.withUnsafeBufferPointer { pointers.rowScales = $0.baseAddress }
    } else if let blockScales {
      let expected =
        ((outputs + blockRows - 1) / blockRows) * ((inputs + blockColumns - 1) / blockColumns)
      precondition(blockScales.count == expected, "one factor per block")
      blockScales.withUnsafeBufferPointer { pointers.blockScales = $0.baseAddress }
    }
    body(pointers)
  }
}
