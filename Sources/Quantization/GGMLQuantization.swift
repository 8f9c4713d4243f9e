internal import ByteIO
public import Kernels

/// Rows of weights as ggml blocks, with what the rounding did to them.
public enum GGMLQuantization {
  /// - Parameters:
  ///   - values: whole rows of finite values.
  ///   - firstRow: which row of the tensor they begin with, for the message.
  ///   - columns: elements of a row, whole blocks.
  ///   - columnWeights: how much each column matters; see `BlockRows.quantize`.
  ///   - blocks: of the size that the values take.
  ///   - statistics: the rows' errors are added to it. Rows in one call or in several come to the same bits.
  ///   - scratch: grown where too small; holds the blocks' values.
  /// - Throws: `ParseFailure` for a block whose scale passes the range of F16.
  public static func quantize(
    _ values: Span<Float>, firstRow: Int, columns: Int, format: BlockFormat, columnWeights: [Float]?,
    into blocks: inout MutableSpan<UInt8>, addingTo statistics: inout QuantizationStatistics, scratch: inout [Float]
  ) throws {
    if let columnWeights {
      BlockRows.quantize(values, columns: columns, format: format, columnWeights: columnWeights.span, into: &blocks)
    } else {
      BlockRows.quantize(values, columns: columns, format: format, into: &blocks)
    }
    if let block = BlockRows.firstNonFiniteScale(blocks.span.rawBytes, format: format) {
      throw ParseFailure(
        "elements from \(firstRow * columns + block * format.elementCount) on are so large that a scale of \(format) passes F16",
        advice: "give the tensor another type with --tensor-type")
    }
    if scratch.count < values.count {
      scratch.append(contentsOf: repeatElement(0, count: values.count - scratch.count))
    }
    var span = scratch.mutableSpan
    var again = span.part(0..<values.count)
    BlockRows.dequantize(blocks.span.rawBytes, format: format, into: &again)
    var sums = (off: statistics.errorEnergy, whole: statistics.signalEnergy)
    RowMath.addDifference(values, again.span, width: columns, to: &sums, threads: 1)
    (statistics.errorEnergy, statistics.signalEnergy) = sums
    statistics.rows += values.count / columns
    statistics.elements += values.count
    statistics.largestError = max(statistics.largestError, GroupCodes.largestDifference(values, again.span))
  }
}
