internal import ByteIO
package import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Compares what was written with its source. Copies byte by byte. Others in two ways: value by value against the bound that
/// any correct rounding keeps (every code within e4m3's rounding of its weight, every converted value within half a unit in
/// the last place), and byte by byte against the operation done again on input read again. The first would notice a
/// quantizer that is wrong, the second any bit that was lost on the way. ``blocks(_:_:_:)`` says how blocks are compared.
package struct ValueCheck: Sendable {
  let step: PlannedStep
  let written: LogicalTensor
  /// Of each tile of a step that makes blocks, of each row of one that makes groups, as the quantizer gave it.
  let checksums: [UInt32]

  package init(step: PlannedStep, written: LogicalTensor, checksums: [UInt32]) {
    (self.step, self.written, self.checksums) = (step, written, checksums)
  }

  /// How many rows each call of ``check(_:rows:)`` wants, nil where that does not matter.
  package var rowsPerVisit: Int? {
    guard case .quantizeBlocks = step.operation else { return nil }
    return step.rowsPerTile
  }

  /// - Throws: `ConversionFailure` of kind `.selfCheck` when type or shape are not those planned.
  func checkForm() throws {
    guard written.elementType == step.weight.elementType || isNarrowed, written.shape == step.input.shape else {
      throw failure("it is \(written.elementType) \(written.shape)")
    }
  }

  /// What lies beside codes that were made now: the scale of activations.
  func checkCompanions() throws {
    guard !step.isTakenOver, !step.companions.isEmpty else { return }
    let found = written.quantization?.companions ?? []
    for companion in step.companions {
      let suffix = companion.tensor.name.split(separator: ".").last
      guard let stored = found.first(where: { $0.tensor.name.split(separator: ".").last == suffix }) else {
        throw failure("\(companion.tensor.name) is missing")
      }
      let expected = try companion.rows.bytes(rows: 0..<companion.rows.rowCount)
      guard try stored.source.bytes(of: stored.tensor.name) == expected else {
        throw failure("\(companion.tensor.name) differs from what calibration found")
      }
    }
  }

  /// Written in F32, and read in the narrower type that holds the same values: norms of a GGUF.
  private var isNarrowed: Bool {
    step.weight.elementType == .f32 && written.quantization == nil
      && (written.elementType == .bf16 || written.elementType == .f16)
  }

  /// - Parameter after: the written rows of `rows` in canonical order.
  /// - Throws: `ConversionFailure` of kind `.selfCheck` naming tensor and element.
  package func check(_ after: Span<UInt8>, rows: Range<Int>) throws {
    if case .quantizeBlocks(let type) = step.operation { return try blocks(after, rows, BlockFormat(type)) }
    let before = try input(rows)
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
    case .copy, .calibrate, .fold:
      guard before.span.isEqual(to: after) else {
        throw failure("rows from \(rows.lowerBound) on differ from the input")
      }
    case .quantizeFP8(let recipe, let columns): try codes(before, after, rows, recipe, scaleColumns: columns)
    case .quantizeIntegers(let recipe): try codes(before, after, rows, recipe)
    case .quantizeGroups(let quantizer): try groups(before, after, rows, quantizer)
    case .quantizeBlocks: break
    case .convert(let type): try rounding(before, after, rows, to: type)
    }
  }

  /// The input's rows in canonical order, whatever the order in the files.
  private func input(_ rows: Range<Int>) throws -> [UInt8] {
    do {
      return try step.input.rows.bytes(rows: rows)
    } catch let error as ParseFailure {
      throw failure("it cannot be compared: the input changed (\(error))")
    }
  }

  /// Blocks have no bound that every correct quantizer keeps for each value: scales are searched for the least error of a
  /// whole block. To quantize everything a second time would only show that the same code does the same twice. Instead:
  /// - Every byte read back is compared with what the quantizer gave, by the CRC-32 of each tile, which was taken before the
  ///   tile was written. It sees every change within 32 bits that lie together; of others one in 2³² passes.
  /// - The quantizer of this processor is compared with the definition, code without vectors that shares no arithmetic with
  ///   it, on rows all over the tensor, from input that is read again.
  /// - All blocks were dequantized during the run and compared with the weights: ``checkLikeness(_:)``.
  private func blocks(_ after: Span<UInt8>, _ rows: Range<Int>, _ format: BlockFormat) throws {
    let tile = rows.lowerBound / step.rowsPerTile
    precondition(rows == step.rowRange(ofTile: tile) && tile < checksums.count, "tile by tile, as the run did them")
    guard CRC32.checksum(after) == checksums[tile] else {
      throw failure("its rows from \(rows.lowerBound) on differ from what the quantizer gave")
    }
    let size = after.count / rows.count
    for row in rows where row % sampleDistance == 0 {
      let values = try widened(try input(row..<row + 1), rows: row..<row + 1)
      var again = [UInt8](repeating: 0, count: size)
      var span = again.mutableSpan
      BlockRows.quantize(
        values.span, columns: written.columnCount, format: format, columnWeights: step.columnWeights?.span, into: &span,
        instructionSet: .scalar)
      let start = (row - rows.lowerBound) * size
      guard again.span.isEqual(to: after.extracting(start..<start + size)) else {
        throw failure("row \(row) differs from what the definition of \(format) gives")
      }
    }
  }

  /// From one compared row to the next: one in a hundred, and sixteen of any tensor that has them.
  private var sampleDistance: Int { min(max(1, step.input.rowCount / 16), 100) }

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
    guard step.isTakenOver, step.input.quantization != nil else { return }
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

  /// Scales are searched for, so that no bound on them holds for every correct quantizer; on codes one does, given the
  /// scales. In three ways, then: every row's codes, scales and zero points are those that the quantizer gave, by a CRC-32
  /// taken before they were packed and written; every code is the one next to its weight; and rows all over the tensor are
  /// quantized again without vectors from input that is read again.
  private func groups(
    _ before: [UInt8], _ after: Span<UInt8>, _ rows: Range<Int>, _ quantizer: IntegerQuantizer
  ) throws {
    let columns = written.columnCount
    let (bytes, scales) = try scales(rows, forEach: 1)
    guard let quantization = written.quantization, !rows.isEmpty else { return }
    let zeroPoints = try quantization.zeroPoints?.bytes(rows: rows) ?? []
    let count = quantizer.grid.groupCount(columns: columns)
    let scaleSize = bytes.count / rows.count
    let values = try widened(before, rows: rows)
    for row in rows {
      let index = row - rows.lowerBound
      let codes = after.extracting(index * columns..<(index + 1) * columns)
      let outputRow = step.rowOrder?.inverse.source(of: row) ?? row
      let sum = GroupChecksum.ofRow(
        codes: codes, scales: bytes.span.extracting(index * scaleSize..<(index + 1) * scaleSize),
        zeroPoints: zeroPoints.span.extracting(zeroPoints.isEmpty ? 0..<0 : index * count..<(index + 1) * count))
      guard sum == checksums[outputRow] else { throw failure("row \(row) differs from what the quantizer gave") }
      let rowValues = values.span.extracting(index * columns..<(index + 1) * columns)
      let rowScales = Array(scales[index * count..<(index + 1) * count])
      let rowZeros =
        zeroPoints.isEmpty
        ? [Int8](repeating: 0, count: count)
        : zeroPoints[index * count..<(index + 1) * count].map { Int8(bitPattern: $0) }
      if let column = quantizer.firstViolation(rowValues, codes: codes, scales: rowScales, zeroPoints: rowZeros) {
        throw failure("element \(row * columns + column) has another code than its scale gives it")
      }
      guard row % sampleDistance == 0 else { continue }
      let again = try quantizer.row(
        rowValues, weightType: step.input.elementType, weights: step.columnWeights ?? [], instructionSet: .scalar)
      guard again.codes.span.isEqual(to: codes),
        again.scales[...] == bytes[index * scaleSize..<(index + 1) * scaleSize],
        again.zeroPoints == rowZeros.map({ UInt8(bitPattern: $0) })
      else { throw failure("row \(row) differs from what the same weights give again") }
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
