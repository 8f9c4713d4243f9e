internal import ByteIO
public import Kernels

/// Rows of weights as ggml blocks, with what the rounding did to them.
public enum GGMLQuantization {
  /// - Parameters:
  ///   - values: whole rows of finite values.
  ///   - columns: elements of a row, whole blocks.
  ///   - columnWeights: how much each column matters; see `BlockRows.quantize`.
  ///   - bytes: grown where too small; the blocks stand at its beginning.
  /// - Throws: `ParseFailure` for a block whose scale passes the range of F16.
  public static func quantize(
    _ values: Span<Float>, columns: Int, format: BlockFormat, columnWeights: [Float]? = nil, into bytes: inout [UInt8]
  ) throws -> QuantizationStatistics {
    let size = values.count / format.elementCount * format.byteCount
    if bytes.count < size { bytes.append(contentsOf: repeatElement(0, count: size - bytes.count)) }
    var span = bytes.mutableSpan
    var part = span.part(0..<size)
    try quantize(values, columns: columns, format: format, columnWeights: columnWeights, into: &part)
    var again = [Float](repeating: 0, count: values.count)
    var other = again.mutableSpan
    BlockRows.dequantize(part.span.rawBytes, format: format, into: &other)
    var sums = (off: 0.0, whole: 0.0)
    RowMath.addDifference(values, again.span, width: columns, to: &sums, threads: 1)
    return QuantizationStatistics(
      rows: values.count / columns, signalEnergy: sums.whole, errorEnergy: sums.off)
  }

  /// The same without statistics, into a buffer of the blocks' size.
  public static func quantize(
    _ values: Span<Float>, columns: Int, format: BlockFormat, columnWeights: [Float]?,
    into blocks: inout MutableSpan<UInt8>
  ) throws {
    if let columnWeights {
      BlockRows.quantize(values, columns: columns, format: format, columnWeights: columnWeights.span, into: &blocks)
    } else {
      BlockRows.quantize(values, columns: columns, format: format, into: &blocks)
    }
    if let block = BlockRows.firstNonFiniteScale(blocks.span.rawBytes, format: format) {
      throw ParseFailure(
        "elements from \(block * format.elementCount) of these rows on are so large that a scale of \(format) passes F16",
        advice: "give the tensor another type with --tensor-type")
    }
  }
}
