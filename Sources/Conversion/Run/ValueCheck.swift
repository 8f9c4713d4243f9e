internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Quantization
internal import Tensors

/// Compares what was written with its source. Copies byte by byte. Others in two ways: value by value against the bound that
/// any correct rounding keeps (every code within e4m3's rounding of its weight, every converted value within half a unit in
/// the last place), and byte by byte against the operation done again on input read again. The first would notice a
/// quantizer that is wrong, the second any bit that was lost on the way.
struct ValueCheck: Sendable {
  let step: PlannedStep
  let written: LogicalTensor

  /// - Throws: `ConversionFailure` of kind `.selfCheck` when type or shape are not those planned.
  func checkForm() throws {
    guard written.elementType == step.weight.elementType || isNarrowed, written.shape == step.input.shape else {
      throw failure("it is \(written.elementType) \(written.shape)")
    }
  }

  /// Written in F32, and read in the narrower type that holds the same values: norms of a GGUF.
  private var isNarrowed: Bool {
    step.weight.elementType == .f32 && written.quantization == nil
      && (written.elementType == .bf16 || written.elementType == .f16)
  }

  /// - Parameter after: the written rows of `rows` in canonical order.
  /// - Throws: `ConversionFailure` of kind `.selfCheck` naming tensor and element.
  func check(_ after: Span<UInt8>, rows: Range<Int>) throws {
    let before: [UInt8]
    do {
      // Canonical too, whatever the order in the files.
      before = try step.input.rows.bytes(rows: rows)
    } catch let error as ParseFailure {
      throw failure("it cannot be compared: the input changed (\(error))")
    }
    if isNarrowed {
      let values = try widened(before, rows: rows)
      var found = [Float](repeating: 0, count: values.count)
      var span = found.mutableSpan
      try written.widen(after.rawBytes, rows: rows, into: &span)
      guard zip(values, found).allSatisfy({ $0.bitPattern == $1.bitPattern }) else {
        throw failure("rows from \(rows.lowerBound) on differ from the input")
      }
      return
    }
    switch step.operation {
    case .copy:
      guard before.span.isEqual(to: after) else {
        throw failure("rows from \(rows.lowerBound) on differ from the input")
      }
    case .quantizeFP8(let recipe, let columns): try codes(before, after, rows, recipe, scaleColumns: columns)
    case .quantizeIntegers(let recipe): try codes(before, after, rows, recipe)
    case .quantizeBlocks(let type): try blocks(before, after, rows, BlockFormat(type))
    case .convert(let type): try rounding(before, after, rows, to: type)
    }
  }

  /// Blocks have no bound that every correct quantizer keeps for each value (scales are searched for the least error of a
  /// whole block): what was read back is the same when done again, and the run has seen how near it is to the weights.
  private func blocks(_ before: [UInt8], _ after: Span<UInt8>, _ rows: Range<Int>, _ format: BlockFormat) throws {
    let values = try widened(before, rows: rows)
    var again = [UInt8](repeating: 0, count: after.count)
    var span = again.mutableSpan
    do {
      try GGMLQuantization.quantize(
        values.span, columns: written.columnCount, format: format, columnWeights: step.columnWeights, into: &span)
    } catch {
      throw failure("it cannot be done again: \(error)")
    }
    guard again.span.isEqual(to: after) else {
      throw failure("its rows from \(rows.lowerBound) on differ from what the same weights give again")
    }
  }

  /// - Parameter statistics: of the whole tensor, as the run found them.
  func checkLikeness(_ statistics: QuantizationStatistics?) throws {
    guard case .quantizeBlocks = step.operation, let statistics else { return }
    // Weights a thousandth of usual ones have scales among F16's subnormals and may be lost, in llama.cpp's blocks too; and
    // a column that an importance matrix calls unimportant may have any error.
    let isTiny = statistics.signalEnergy <= 1e-6 * Double(step.input.rowCount * step.input.columnCount)
    guard isTiny || step.columnWeights != nil || statistics.errorEnergy <= statistics.signalEnergy / 4 else {
      throw failure("it is no likeness of its weights")
    }
  }

  /// What is carried over beside codes: scales and the like.
  func checkCarriedQuantization(_ digest: ModelDigest.Tensor) throws {
    guard step.operation == .copy, step.input.quantization != nil else { return }
    guard try step.input.digest() == digest.digest else { throw failure("its scales differ from the input's") }
  }

  /// The scales of rows as bytes and as numbers.
  /// - Parameter count: how many there are for each row. Where every shard has the same ones, the reader finds one.
  private func scales(_ rows: Range<Int>, forEach count: Int) throws -> (bytes: [UInt8], values: [Float]) {
    guard let quantization = written.quantization else { throw failure("it has no scales") }
    var bytes = try quantization.scales.bytes(rows: rows)
    if count > 1, quantization.scheme.isRowWise {
      let width = quantization.scaleType.bits / 8
      bytes = rows.indices.flatMap { row -> [UInt8] in
        let start = (row - rows.lowerBound) * width
        return (0..<count).flatMap { _ in bytes[start..<start + width] }
      }
    }
    do {
      return (bytes, try WeightScheme.scales(from: bytes, type: quantization.scaleType))
    } catch {
      throw failure("it has bad scales from row \(rows.lowerBound) on: \(error)")
    }
  }

  private func codes(_ before: [UInt8], _ after: Span<UInt8>, _ rows: Range<Int>, _ recipe: IntegerRecipe) throws {
    let columns = written.columnCount
    let (bytes, scales) = try scales(rows, forEach: 1)
    let values = try widened(before, rows: rows)
    if let index = recipe.firstViolation(values.span, columns: columns, codes: after, scales: scales) {
      throw failure("element \(rows.lowerBound * columns + index) is further from its weight than half a step")
    }
    var codes = [UInt8](repeating: 0, count: after.count)
    var factors = [UInt8](repeating: 0, count: bytes.count)
    var codeSpan = codes.mutableSpan
    var factorSpan = factors.mutableSpan
    _ = recipe.quantize(values.span, columns: columns, codes: &codeSpan, scales: &factorSpan)
    guard codes.span.isEqual(to: after) && factors == bytes else {
      throw failure("its rows from \(rows.lowerBound) on differ from what the same weights give again")
    }
  }

  private func codes(
    _ before: [UInt8], _ after: Span<UInt8>, _ rows: Range<Int>, _ recipe: FP8Recipe, scaleColumns: Int
  ) throws {
    let (bytes, scales) = try scales(rows, forEach: written.columnCount / scaleColumns)
    if let index = NumberFormat.firstNonFinite(after.rawBytes, format: .e4m3) {
      throw failure("element \(rows.lowerBound * written.columnCount + index) is a NaN code")
    }
    if let index = FP8Rows.firstViolation(
      before.span.rawBytes, format: step.input.elementType.floatFormat, columns: scaleColumns,
      codes: after.rawBytes, scales: scales.span)
    {
      throw failure(
        "element \(rows.lowerBound * written.columnCount + index) is further from its weight than rounding can carry it"
      )
    }
    var codes = [UInt8](repeating: 0, count: after.count)
    var factors = [UInt8](repeating: 0, count: bytes.count)
    var codeSpan = codes.mutableSpan
    var factorSpan = factors.mutableSpan
    _ = try recipe.quantize(
      before.span.rawBytes, type: step.input.elementType, firstRow: rows.lowerBound, columns: written.columnCount,
      scaleColumns: scaleColumns, codes: &codeSpan, scales: &factorSpan)
    guard codes.span.isEqual(to: after) && factors == bytes else {
      throw failure("its rows from \(rows.lowerBound) on differ from what the same weights give again")
    }
  }

  private func rounding(_ before: [UInt8], _ after: Span<UInt8>, _ rows: Range<Int>, to type: ElementType) throws {
    let source = try widened(before, rows: rows)
    let target = NumberFormat.widened(after.rawBytes, from: type.floatFormat)
    // Half a unit in the last place of the type, relative; and half its smallest subnormal.
    let (relative, least): (Float, Float) =
      switch type {
      case .f16: (0x1p-11, 0x1p-25)
      case .bf16: (0x1p-8, 0x1p-134)
      default: (0, 0)
      }
    for index in source.indices {
      let off = abs(source[index] - target[index])
      guard off <= max(abs(source[index]) * relative, least) else {
        throw failure(
          "element \(rows.lowerBound * written.columnCount + index) is \(target[index]), expected \(source[index])")
      }
    }
    var again = [UInt8](repeating: 0, count: after.count)
    var bytes = again.mutableSpan
    _ = NumberFormat.narrow(source.span, to: type.floatFormat, into: &bytes)
    guard again.span.isEqual(to: after) else {
      throw failure("its rows from \(rows.lowerBound) on differ from what the same values give again")
    }
  }

  /// Rows of the input as values.
  private func widened(_ bytes: [UInt8], rows range: Range<Int>) throws -> [Float] {
    var values = [Float](repeating: 0, count: range.count * step.input.columnCount)
    var span = values.mutableSpan
    try step.input.widen(bytes.span.rawBytes, rows: range, into: &span)
    return values
  }

  private func failure(_ text: String) -> ConversionFailure {
    ConversionFailure(.selfCheck, "\(step.weight.name): as written, \(text); the disk or this program is at fault")
  }
}
