internal import CKernels

/// Row-wise FP8 e4m3: one scale per row, value = code · scale. The arithmetic of each recipe is in
/// `formats/quantization.md`. The same bytes on every instruction set.
public enum FP8Rows {
  /// How the scale of a row with largest magnitude A is found, and how elements are divided by it.
  public enum Arithmetic: Sendable, Hashable {
    /// scale = bf16(A/448), 1 when that is zero; quotients in binary32.
    case bf16Scale
    /// scale and quotients rounded to the format after each step; a zero scale becomes the format's epsilon.
    case stepsRounded(to: FloatFormat)
    /// scale = max(A/448, 1/(448·512)) and quotients in binary32.
    case flooredScale
  }

  /// What a range of rows gave besides codes and scales. Energies are in the weights' units, squared.
  public struct Measures: Sendable, Equatable {
    public var signalEnergy = 0.0
    public var errorEnergy = 0.0
    /// Elements whose quotient passed ±448.
    public var saturated = 0
    /// The largest |x − code · scale|.
    public var largestError: Float = 0
    public var zeroRows = 0
    public init() {}
  }

  /// Quantizes rows of `columns` elements each.
  /// - Parameters:
  ///   - codes: one byte per element.
  ///   - scales: one per row.
  ///   - measures: added to, row by row in order.
  /// - Returns: the index of the first NaN or infinity, nil when all is finite. Rows from there on are not written.
  public static func quantize(
    _ source: RawSpan, format: FloatFormat, columns: Int, arithmetic: Arithmetic,
    codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<Float>, measures: inout Measures,
    instructionSet: InstructionSet = .best
  ) -> Int? {
    precondition(columns > 0 && codes.count == scales.count * columns, "whole rows")
    precondition(source.byteCount == codes.count * format.byteCount, "as many codes as elements")
    precondition(!format.isCode, "codes without their scale are no weights")
    let table = NumberFormat.numbers(instructionSet)
    let (native, step) = arithmetic.native
    return source.withUnsafeBytes { source in
      codes.withUnsafeMutableBufferPointer { codes in
        guard let from = source.baseAddress, let to = codes.baseAddress else { return nil }
        for row in 0..<scales.count {
          let start = from + row * columns * format.byteCount
          var result = ck_fp8_row()
          guard
            table.pointee.fp8_quantize_row(
              start, format.native, columns, native, step, to + row * columns, &result) == 0
          else {
            return row * columns + table.pointee.first_nonfinite(start, format.native, columns)
          }
          scales[row] = result.scale
          let unit = Double(result.scale) * Double(result.scale)
          measures.signalEnergy += result.signal * unit
          measures.errorEnergy += result.error * unit
          measures.saturated += result.saturated
          measures.largestError = max(measures.largestError, result.largest * result.scale)
          measures.zeroRows += Int(result.is_zero)
        }
        return nil
      }
    }
  }

  /// The index of the first element whose code is not within e4m3's rounding of it, nil when all are: the self-check of
  /// what was written, by a bound that any correct quantizer keeps and not by quantizing again.
  public static func firstViolation(
    _ source: RawSpan, format: FloatFormat, columns: Int, codes: RawSpan, scales: Span<Float>,
    instructionSet: InstructionSet = .best
  ) -> Int? {
    precondition(codes.byteCount == scales.count * columns, "whole rows")
    precondition(source.byteCount == codes.byteCount * format.byteCount, "as many codes as elements")
    let table = NumberFormat.numbers(instructionSet)
    return source.withUnsafeBytes { source in
      codes.withUnsafeBytes { codes in
        guard let from = source.baseAddress, let to = codes.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
          return nil
        }
        for row in scales.indices {
          let index = table.pointee.fp8_first_violation(
            from + row * columns * format.byteCount, format.native, columns, to + row * columns, scales[row])
          if index >= 0 { return row * columns + index }
        }
        return nil
      }
    }
  }
}

extension FP8Rows.Arithmetic {
  fileprivate var native: (ck_fp8_arithmetic, ck_format) {
    switch self {
    case .bf16Scale: (.grid_bf16, .f32)
    case .stepsRounded(let format): (.steps_rounded, format.native)
    case .flooredScale: (.floor, .f32)
    }
  }
}
