internal import CKernels

/// Rows of ggml blocks: the bytes that llama.cpp's scalar code writes, the values that it reads. The arithmetic of each
/// type is in `formats/ggml-blocks.md`. The same bytes on every instruction set and however rows are cut into calls.
public enum BlockRows {
  /// Quantizes whole rows.
  ///
  /// Values are finite: callers check, as ``NumberFormat/firstNonFinite(_:format:instructionSet:)`` does. A block that has
  /// a NaN or an infinity gets codes without meaning, the same on every instruction set; its neighbours are not touched.
  /// A block whose scale passes F16's range gets an infinite one, which ``firstNonFiniteScale(_:format:)`` finds.
  /// - Parameters:
  ///   - values: [rows][columns].
  ///   - columns: a multiple of the format's elements per block.
  ///   - columnWeights: the importance of each column (mean square of its activations), >= 0 and finite; nil weighs by
  ///     the values alone. Q8_0, MXFP4 and NVFP4 do not use it.
  ///   - bytes: rows · columns / elementCount blocks.
  public static func quantize(
    _ values: Span<Float>, columns: Int, format: BlockFormat, columnWeights: Span<Float>? = nil,
    into bytes: inout MutableSpan<UInt8>, instructionSet: InstructionSet = .best
  ) {
    precondition(format.canQuantize, "there is no quantizer for \(format)")
    precondition(columns > 0 && columns % format.elementCount == 0, "rows of whole blocks")
    precondition(values.count % columns == 0, "whole rows")
    precondition(bytes.count == values.count / format.elementCount * format.byteCount, "as many blocks as values")
    guard let native = format.native else { return }
    let table = blocks(instructionSet)
    let rows = values.count / columns
    values.withUnsafeBufferPointer { values in
      bytes.withUnsafeMutableBufferPointer { bytes in
        guard let from = values.baseAddress, let to = bytes.baseAddress else { return }
        guard let columnWeights else { return table.pointee.quantize(native, from, rows, columns, nil, to) }
        precondition(columnWeights.count == columns, "one weight per column")
        columnWeights.withUnsafeBufferPointer {
          table.pointee.quantize(native, from, rows, columns, $0.baseAddress, to)
        }
      }
    }
  }

  /// Dequantizes whole blocks in binary32, each product and sum rounded once. Any bytes are allowed: scales that are NaN
  /// or infinite give such values.
  /// - Parameter values: elementCount for each block.
  public static func dequantize(
    _ bytes: RawSpan, format: BlockFormat, into values: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    guard let native = format.native else { preconditionFailure("there is no dequantizer for \(format)") }
    precondition(values.count % format.elementCount == 0, "whole blocks")
    precondition(bytes.byteCount == values.count / format.elementCount * format.byteCount, "as many values as blocks")
    let table = blocks(instructionSet)
    bytes.withUnsafeBytes { bytes in
      values.withUnsafeMutableBufferPointer { values in
        guard let from = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), let to = values.baseAddress else {
          return
        }
        table.pointee.dequantize(native, from, values.count, to)
      }
    }
  }

  /// The index of the first block whose scale or offset is NaN or infinite, nil when all are finite: llama.cpp refuses
  /// such files. NVFP4's scales have no such codes.
  public static func firstNonFiniteScale(_ bytes: RawSpan, format: BlockFormat) -> Int? {
    guard let native = format.native else { preconditionFailure("the scales of \(format) are not known") }
    precondition(bytes.byteCount % format.byteCount == 0, "whole blocks")
    return bytes.withUnsafeBytes { bytes in
      guard let from = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return nil }
      let index = ck_first_nonfinite_scale(native, from, bytes.count / format.byteCount)
      return index < 0 ? nil : index
    }
  }

  private static func blocks(_ instructionSet: InstructionSet) -> UnsafePointer<ck_blocks> {
    precondition(instructionSet <= .best, "the processor has \(instructionSet)")
    return ck_blocks_at(Int32(instructionSet.rawValue))
  }
}
