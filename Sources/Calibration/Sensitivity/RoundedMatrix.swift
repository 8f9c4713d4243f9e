internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Kernels
internal import Llama
internal import Quantization
internal import Synchronization
internal import Tensors

extension LinearRecipe {
  /// Bytes of rows that a thread rounds at a time.
  private static let tileByteCount = 1 << 20

  /// A weight as the recipe rounds it, in canonical row order: the codes and scales that a conversion writes.
  /// - Parameter tensor: not quantized.
  /// - Throws: `ParseFailure` for a NaN or infinity and for scales that their type does not hold, `FileFailure`.
  func rounded(_ tensor: LogicalTensor, threads: Int) throws -> WeightMatrix {
    let columns = tensor.columnCount
    let rowsPerTile = max(1, Self.tileByteCount / max(1, tensor.rows.rowByteCount))
    let scales = Mutex<[Int: [Float]]>([:])
    let failure = Mutex<(any Error)?>(nil)
    let codes = [UInt8](count: tensor.rowCount * columns) { codes in
      Parallel.stripes(of: &codes, stripe: rowsPerTile * columns, threads: threads) { start, part in
        let first = start / columns
        do {
          let found = try round(tensor, rows: first..<first + part.count / columns, into: &part)
          scales.withLock { $0[first] = found }
        } catch {
          failure.withLock { $0 = $0 ?? error }
        }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
    let all = scales.withLock { found in found.sorted { $0.key < $1.key }.flatMap(\.value) }
    switch self {
    case .fp8:
      return WeightMatrix(
        rows: tensor.rowCount, columns: columns, format: .e4m3, bytes: codes, scales: .rowWise(all))
    case .integers(let quantizer):
      let size = quantizer.grid.groupSize(columns: columns)
      return WeightMatrix(
        rows: tensor.rowCount, columns: columns, format: .i8, bytes: codes,
        scales: size == columns ? .rowWise(all) : .blocks(all, rows: 1, columns: size))
    }
  }

  /// - Returns: the scales of the rows.
  private func round(_ tensor: LogicalTensor, rows: Range<Int>, into codes: inout MutableSpan<UInt8>) throws -> [Float]
  {
    let bytes = try tensor.rows.bytes(rows: rows)
    do {
      switch self {
      case .fp8(let recipe): return try round(bytes, tensor, rows, recipe, into: &codes)
      case .integers(let quantizer): return try round(bytes, tensor, rows, quantizer, into: &codes)
      }
    } catch var failure as ParseFailure {
      let stored = tensor.rows.storedTensors.first
      failure.item = failure.item ?? stored?.tensor.name
      throw failure
    }
  }

  private func round(
    _ bytes: [UInt8], _ tensor: LogicalTensor, _ rows: Range<Int>, _ recipe: FP8Recipe,
    into codes: inout MutableSpan<UInt8>
  ) throws -> [Float] {
    let type = recipe.scaleType(forWeight: tensor.elementType)
    let scales = try [UInt8](count: rows.count * type.bits / 8) { scales in
      _ = try recipe.quantize(
        bytes.span.rawBytes, type: tensor.elementType, firstRow: rows.lowerBound, columns: tensor.columnCount,
        codes: &codes, scales: &scales)
    }
    return NumberFormat.widened(scales.span.rawBytes, from: type.floatFormat)
  }

  private func round(
    _ bytes: [UInt8], _ tensor: LogicalTensor, _ rows: Range<Int>, _ quantizer: IntegerQuantizer,
    into codes: inout MutableSpan<UInt8>
  ) throws -> [Float] {
    let values = NumberFormat.widened(bytes.span.rawBytes, from: tensor.elementType.floatFormat)
    if let stray = values.firstIndex(where: { !$0.isFinite }) {
      throw ParseFailure(
        "element \(rows.lowerBound * tensor.columnCount + stray) is NaN or infinite",
        advice: "the weights are damaged; repair the checkpoint or download it again")
    }
    let type = quantizer.scaleType(forWeight: tensor.elementType)
    let groups = rows.count * quantizer.grid.groupCount(columns: tensor.columnCount)
    var zeroPoints = [UInt8](repeating: 0, count: groups)
    var zeroSpan = zeroPoints.mutableSpan
    var scratch = IntegerQuantizer.Scratch()
    let scales = try [UInt8](count: groups * type.bits / 8) { scales in
      _ = try quantizer.quantize(
        values.span, columns: tensor.columnCount, weightType: tensor.elementType, weights: [], codes: &codes,
        scales: &scales, zeroPoints: &zeroSpan, scratch: &scratch)
    }
    return NumberFormat.widened(scales.span.rawBytes, from: type.floatFormat)
  }
}
