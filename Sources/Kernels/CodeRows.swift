internal import CKernels

/// Quantized weights as values: codes multiplied by the scales of their rows or blocks.
public enum CodeRows {
  /// values[r, c] = codes[r, c] · scales[r], rounded once to binary32.
  public static func dequantize(
    _ codes: RawSpan, format: FloatFormat, columns: Int, scales: Span<Float>, into values: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    dequantizeBlocks(
      codes, format: format, firstRow: 0, columns: columns, blockRows: 1, blockColumns: columns, scales: scales,
      into: &values, instructionSet: instructionSet)
  }

  /// values[r, c] = codes[r, c] · scales[(firstRow + r) / blockRows, c / blockColumns], rounded once to binary32. Blocks
  /// at the lower and right edge may be partial.
  /// - Parameters:
  ///   - codes: whole rows, the first of which is row `firstRow` of the tensor.
  ///   - scales: of the whole tensor, block row by block row, ⌈columns / blockColumns⌉ in each.
  public static func dequantizeBlocks(
    _ codes: RawSpan, format: FloatFormat, firstRow: Int, columns: Int, blockRows: Int, blockColumns: Int,
    scales: Span<Float>,
    into values: inout MutableSpan<Float>, instructionSet: InstructionSet = .best
  ) {
    precondition(format.isCode, "codes have scales")
    precondition(columns > 0 && blockRows > 0 && blockColumns > 0 && firstRow >= 0, "sizes are positive")
    precondition(codes.byteCount == values.count && codes.byteCount % columns == 0, "whole rows")
    let rows = values.count / columns
    let blocksInRow = 1 + (columns - 1) / blockColumns
    precondition(
      rows == 0 || scales.count >= ((firstRow + rows - 1) / blockRows + 1) * blocksInRow, "a scale per block")
    let table = NumberFormat.numbers(instructionSet)
    codes.withUnsafeBytes { codes in
      values.withUnsafeMutableBufferPointer { values in
        guard let from = codes.baseAddress?.assumingMemoryBound(to: UInt8.self), let to = values.baseAddress else {
          return
        }
        for row in 0..<rows {
          let firstScale = (firstRow + row) / blockRows * blocksInRow
          for block in 0..<blocksInRow {
            let column = block * blockColumns
            let start = row * columns + column
            table.pointee.dequantize_row(
              from + start, format.native, min(blockColumns, columns - column), scales[firstScale + block], to + start)
          }
        }
      }
    }
  }
}
