internal import CKernels

/// Activations rounded as serving rounds them, in place. Rows are finite; the arithmetic, binary32 throughout, is in
/// `formats/quantization.md`. The same bytes on every instruction set.
public enum ActivationRows {
  /// Dynamic per-token e4m3: each row of `columns` values is replaced by the values of its codes, and its scale is
  /// max(min(A, upperBound)/448, 1/(448·512)) for its largest magnitude A.
  public static func roundToFP8(
    _ rows: inout MutableSpan<Float>, columns: Int, upperBound: Float?, scales: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    let table = NumberFormat.numbers(instructionSet)
    forEachRow(&rows, columns, &scales) { table.pointee.fp8_activations_row($0, columns, upperBound ?? .infinity) }
  }

  /// Dynamic per-token symmetric int8: each row is replaced by its codes, whole numbers from −128 to 127, and its scale is
  /// A/127.5, or 2⁻²³ when that is zero.
  public static func roundToInt8(
    _ rows: inout MutableSpan<Float>, columns: Int, scales: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    let table = IntegerGroups.integers(instructionSet)
    forEachRow(&rows, columns, &scales) { table.pointee.int8_activations_row($0, columns) }
  }

  /// Static e4m3: all values are replaced by the values of their codes against `scale`, which is positive and finite.
  public static func roundToFP8(
    _ values: inout MutableSpan<Float>, scale: Float, instructionSet: InstructionSet = .best
  ) {
    precondition(scale > 0 && scale.isFinite, "a scale is positive and finite")
    let table = NumberFormat.numbers(instructionSet)
    values.withUnsafeMutableBufferPointer { values in
      guard let base = values.baseAddress else { return }
      table.pointee.fp8_activations_static(base, values.count, scale)
    }
  }

  /// Dynamic per-group e4m3: within each row of `columns` values, groups of `size` are replaced by code · scale, rounded to
  /// binary32, with the group's scale A/448, or 2⁻²³ when that is zero. The last group of a row may be shorter.
  public static func roundToFP8(
    _ rows: inout MutableSpan<Float>, columns: Int, groups size: Int, instructionSet: InstructionSet = .best
  ) {
    precondition(size > 0 && (rows.isEmpty || columns > 0 && rows.count % columns == 0), "whole rows")
    let table = NumberFormat.numbers(instructionSet)
    rows.withUnsafeMutableBufferPointer { rows in
      guard let base = rows.baseAddress else { return }
      for start in stride(from: 0, to: rows.count, by: columns) {
        table.pointee.fp8_activations_groups(base + start, columns, size)
      }
    }
  }

  private static func forEachRow(
    _ rows: inout MutableSpan<Float>, _ columns: Int, _ scales: inout MutableSpan<Float>,
    _ round: (UnsafeMutablePointer<Float>) -> Float
  ) {
    precondition(rows.count == scales.count * columns, "whole rows")
    rows.withUnsafeMutableBufferPointer { rows in
      guard let base = rows.baseAddress else { return }
      for row in 0..<scales.count { scales[row] = round(base + row * columns) }
    }
  }
}
