internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Quantization
internal import Tensors

/// Does one tile of a step: reads rows, applies the operation, hands the bytes to the sink. Each thread has its own, and
/// its buffers are reused from tile to tile.
struct TileWorker: Sendable {
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var scales: [UInt8] = []
  private var zeroPoints: [UInt8] = []
  private var groups = IntegerQuantizer.Scratch()
  private var floats: [Float] = []
  private var again: [Float] = []

  /// What a quantized tile leaves behind.
  struct Result: Sendable {
    let statistics: QuantizationStatistics
    /// CRC-32 of what the quantizer made: of all blocks, or of each row's codes, scales and zero points.
    var checksums: [UInt32] = []
  }

  /// - Parameter checksCopies: whether a NaN or infinity in a tensor that stays as it is stops the conversion too.
  mutating func run(
    _ step: PlannedStep, tile: Int, checksCopies: Bool, into sink: any TensorSink
  ) throws -> Result? {
    let rows = step.rowRange(ofTile: tile)
    let byteCount = rows.count * step.rows.rowByteCount
    try Self.read(step.rows, rows, byteCount, into: &input)
    switch step.operation {
    case .copy, .calibrate, .fold:
      if checksCopies { try Self.checkFinite(input.span.extracting(0..<byteCount).rawBytes, step, rows) }
      try sink.write(
        step.weight.name, at: rows.lowerBound * step.rows.rowByteCount, input.span.extracting(0..<byteCount))
      if tile == 0 {
        if let scale = step.scale, let rows = step.source.quantization?.scales {
          try Self.copy(rows, to: scale.name, of: sink)
        }
        if let zeroPoint = step.zeroPoint, let rows = step.source.quantization?.zeroPoints {
          try Self.copy(rows, to: zeroPoint.name, of: sink)
        }
        for companion in step.companions { try Self.copy(companion.rows, to: companion.tensor.name, of: sink) }
      }
      return nil
    case .convert(let type):
      let count = rows.count * step.input.columnCount
      let size = count * type.bits / 8
      try Self.checkFinite(input.span.extracting(0..<byteCount).rawBytes, step, rows)
      try Self.widen(step, rows, input, 0..<byteCount, into: &floats, count)
      if let overflow = Self.narrow(floats, count, to: type, into: &output, size) {
        throw ParseFailure(
          "element \(rows.lowerBound * step.input.columnCount + overflow) is \(floats[overflow]), beyond the range of \(type)",
          advice: "convert to bf16 or f32 instead")
      }
      try sink.write(
        step.weight.name, at: rows.lowerBound * step.input.columnCount * type.bits / 8,
        output.span.extracting(0..<size))
      return nil
    case .quantizeFP8(let recipe, let columns):
      if tile == 0 {
        for companion in step.companions { try Self.copy(companion.rows, to: companion.tensor.name, of: sink) }
      }
      return Result(statistics: try quantize(step, rows, byteCount, recipe, scaleColumns: columns, into: sink))
    case .quantizeIntegers(let recipe):
      return Result(statistics: try quantize(step, rows, byteCount, recipe, into: sink))
    case .quantizeGroups(let quantizer):
      return try quantize(step, rows, byteCount, quantizer, into: sink)
    case .quantizeBlocks(let type):
      return try quantize(step, rows, BlockFormat(type), into: sink)
    }
  }

  /// What belongs to a weight and is small beside it, in pieces of a tile's size.
  private static func copy(_ rows: RowExpression, to name: String, of sink: any TensorSink) throws {
    guard rows.rowByteCount > 0 else { return }
    // Zero points of eight rows are in a word.
    let count = max(8, PlannedStep.tileByteCount / rows.rowByteCount / 8 * 8)
    for start in stride(from: 0, to: rows.rowCount, by: count) {
      let bytes = try rows.bytes(rows: start..<min(start + count, rows.rowCount))
      try sink.write(name, at: start * rows.rowByteCount, bytes.span)
    }
  }

  private mutating func quantize(
    _ step: PlannedStep, _ rows: Range<Int>, _ byteCount: Int, _ recipe: FP8Recipe, scaleColumns: Int,
    into sink: any TensorSink
  ) throws -> QuantizationStatistics {
    let columns = step.input.columnCount
    let count = rows.count * columns
    let scaleSize = columns / scaleColumns * recipe.scaleType(forWeight: step.input.elementType).bits / 8
    Self.grow(&output, to: count, with: 0)
    Self.grow(&scales, to: rows.count * scaleSize, with: 0)
    let input = input
    let statistics = try Self.borrowing(&output, count, &scales, rows.count * scaleSize) { codes, scales in
      try recipe.quantize(
        input.span.extracting(0..<byteCount).rawBytes, type: step.input.elementType, firstRow: rows.lowerBound,
        columns: columns, scaleColumns: scaleColumns, codes: &codes, scales: &scales)
    }
    try write(step, rows, scaleSize: scaleSize, into: sink)
    return statistics
  }

  private mutating func quantize(
    _ step: PlannedStep, _ rows: Range<Int>, _ byteCount: Int, _ recipe: IntegerRecipe, into sink: any TensorSink
  ) throws -> QuantizationStatistics {
    let columns = step.input.columnCount
    let count = rows.count * columns
    let scaleSize = columns / recipe.groupSize(columns) * IntegerRecipe.scaleType.bits / 8
    try Self.checkFinite(input.span.extracting(0..<byteCount).rawBytes, step, rows)
    try Self.widen(step, rows, input, 0..<byteCount, into: &floats, count)
    Self.grow(&output, to: count, with: 0)
    Self.grow(&scales, to: rows.count * scaleSize, with: 0)
    let floats = floats
    let statistics = Self.borrowing(&output, count, &scales, rows.count * scaleSize) { codes, scales in
      recipe.quantize(floats.span.extracting(0..<count), columns: columns, codes: &codes, scales: &scales)
    }
    try write(step, rows, scaleSize: scaleSize, into: sink)
    return statistics
  }

  private mutating func quantize(
    _ step: PlannedStep, _ rows: Range<Int>, _ byteCount: Int, _ quantizer: IntegerQuantizer, into sink: any TensorSink
  ) throws -> Result {
    let columns = step.input.columnCount
    let count = rows.count * columns
    let groupCount = quantizer.grid.groupCount(columns: columns)
    let scaleSize = groupCount * quantizer.scaleType(forWeight: step.input.elementType).bits / 8
    try Self.checkFinite(input.span.extracting(0..<byteCount).rawBytes, step, rows)
    try Self.widen(step, rows, input, 0..<byteCount, into: &floats, count)
    Self.grow(&output, to: count, with: 0)
    Self.grow(&scales, to: rows.count * scaleSize, with: 0)
    Self.grow(&zeroPoints, to: rows.count * groupCount, with: 0)
    let statistics = try Self.quantize(
      quantizer, floats, step, count, codes: &output, scales: &scales, rows.count * scaleSize, zeroPoints: &zeroPoints,
      rows.count * groupCount, &groups)
    try write(step, rows, scaleSize: scaleSize, into: sink)
    if let zeroPoint = step.zeroPoint {
      try sink.write(
        zeroPoint.name, at: rows.lowerBound * groupCount, zeroPoints.span.extracting(0..<rows.count * groupCount))
    }
    let checksums = rows.indices.map { row in
      let index = row - rows.lowerBound
      return GroupChecksum.ofRow(
        codes: output.span.extracting(index * columns..<(index + 1) * columns),
        scales: scales.span.extracting(index * scaleSize..<(index + 1) * scaleSize),
        zeroPoints: zeroPoints.span.extracting(
          step.zeroPoint == nil ? 0..<0 : index * groupCount..<(index + 1) * groupCount))
    }
    return Result(statistics: statistics, checksums: checksums)
  }

  /// Elements that are widened, quantized and compared at a time: with their blocks they stay in a core's own cache.
  private static let chunkElementCount = 1 << 14

  private mutating func quantize(
    _ step: PlannedStep, _ rows: Range<Int>, _ format: BlockFormat, into sink: any TensorSink
  ) throws -> Result {
    let columns = step.input.columnCount
    let rowSize = columns / format.elementCount * format.byteCount
    // Scales beside the weight are read for each chunk: one chunk then.
    let chunk = step.input.quantization == nil ? max(1, Self.chunkElementCount / max(1, columns)) : rows.count
    var statistics = QuantizationStatistics()
    Self.grow(&output, to: rows.count * rowSize, with: 0)
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: chunk) {
      let part = first..<min(first + chunk, rows.upperBound)
      let start = first - rows.lowerBound
      let bytes = start * step.rows.rowByteCount..<(start + part.count) * step.rows.rowByteCount
      try Self.checkFinite(input.span.extracting(bytes).rawBytes, step, part)
      try Self.widen(step, part, input, bytes, into: &floats, part.count * columns)
      try Self.encode(
        floats, step, part, format, into: &output, start * rowSize..<(start + part.count) * rowSize,
        addingTo: &statistics, scratch: &again)
    }
    let written = output.span.extracting(0..<rows.count * rowSize)
    try sink.write(step.weight.name, at: rows.lowerBound * rowSize, written)
    return Result(statistics: statistics, checksums: [CRC32.checksum(written)])
  }

  /// Codes and scales of rows, as the last quantization left them.
  private func write(_ step: PlannedStep, _ rows: Range<Int>, scaleSize: Int, into sink: any TensorSink) throws {
    let columns = step.input.columnCount
    try sink.write(
      step.weight.name, at: rows.lowerBound * columns, output.span.extracting(0..<rows.count * columns))
    if let scale = step.scale {
      try sink.write(
        scale.name, at: rows.lowerBound * scaleSize, scales.span.extracting(0..<rows.count * scaleSize))
    }
  }

  /// Of types that the toolkit computes with; of blocks, their scales.
  private static func checkFinite(_ values: RawSpan, _ step: PlannedStep, _ rows: Range<Int>) throws {
    if let type = step.input.elementType.block {
      guard let index = BlockRows.firstNonFiniteScale(values, format: BlockFormat(type)) else { return }
      let block = rows.lowerBound * (step.rows.rowByteCount / type.size.bytes) + index
      throw ParseFailure("a scale of block \(block) is NaN or infinite", advice: "the weights are damaged")
    }
    guard let format = step.input.elementType.floatFormatIfComputable else { return }
    guard let index = NumberFormat.firstNonFinite(values, format: format) else { return }
    throw ParseFailure(
      "element \(rows.lowerBound * step.input.columnCount + index) is NaN or infinite",
      advice: "the weights are damaged; repair the checkpoint or download it again")
  }

  // MARK: On buffers, so that each is lent alone

  private static func grow<Element>(_ buffer: inout [Element], to count: Int, with zero: Element) {
    if buffer.count < count { buffer.append(contentsOf: repeatElement(zero, count: count - buffer.count)) }
  }

  private static func read(
    _ expression: RowExpression, _ rows: Range<Int>, _ byteCount: Int, into buffer: inout [UInt8]
  ) throws {
    grow(&buffer, to: byteCount, with: 0)
    var span = buffer.mutableSpan
    var part = span.part(0..<byteCount)
    try expression.read(rows: rows, into: &part)
  }

  private static func widen(
    _ step: PlannedStep, _ rows: Range<Int>, _ bytes: [UInt8], _ place: Range<Int>, into values: inout [Float],
    _ count: Int
  ) throws {
    grow(&values, to: count, with: 0)
    var span = values.mutableSpan
    var part = span.part(0..<count)
    try step.source.widen(bytes.span.extracting(place).rawBytes, rows: rows, into: &part)
    guard step.input.isQuantized else { return }
    // Plain values were looked at before; codes can be sound and their products with scales not.
    for index in 0..<count where !part[index].isFinite {
      throw ParseFailure(
        "element \(rows.lowerBound * step.input.columnCount + index) is \(part[index]) once its code is multiplied by its scale",
        advice: "the scales are damaged; lint shows more")
    }
  }

  private static func encode(
    _ values: [Float], _ step: PlannedStep, _ rows: Range<Int>, _ format: BlockFormat, into buffer: inout [UInt8],
    _ place: Range<Int>, addingTo statistics: inout QuantizationStatistics, scratch: inout [Float]
  ) throws {
    let columns = step.input.columnCount
    var span = buffer.mutableSpan
    var blocks = span.part(place)
    try GGMLQuantization.quantize(
      values.span.extracting(0..<rows.count * columns), firstRow: rows.lowerBound, columns: columns, format: format,
      columnWeights: step.columnWeights, into: &blocks, addingTo: &statistics, scratch: &scratch)
  }

  private static func narrow(
    _ values: [Float], _ count: Int, to type: ElementType, into buffer: inout [UInt8], _ size: Int
  ) -> Int? {
    grow(&buffer, to: size, with: 0)
    var span = buffer.mutableSpan
    var part = span.part(0..<size)
    return NumberFormat.narrow(values.span.extracting(0..<count), to: type.floatFormat, into: &part)
  }

  private static func quantize(
    _ quantizer: IntegerQuantizer, _ values: [Float], _ step: PlannedStep, _ count: Int, codes: inout [UInt8],
    scales: inout [UInt8], _ scaleCount: Int, zeroPoints: inout [UInt8], _ zeroPointCount: Int,
    _ scratch: inout IntegerQuantizer.Scratch
  ) throws -> QuantizationStatistics {
    var codeSpan = codes.mutableSpan
    var codePart = codeSpan.part(0..<count)
    var scaleSpan = scales.mutableSpan
    var scalePart = scaleSpan.part(0..<scaleCount)
    var zeroSpan = zeroPoints.mutableSpan
    var zeroPart = zeroSpan.part(0..<zeroPointCount)
    return try quantizer.quantize(
      values.span.extracting(0..<count), columns: step.input.columnCount, weightType: step.input.elementType,
      weights: step.columnWeights ?? [], codes: &codePart, scales: &scalePart, zeroPoints: &zeroPart,
      scratch: &scratch)
  }

  private static func borrowing<Result>(
    _ codes: inout [UInt8], _ codeCount: Int, _ scales: inout [UInt8], _ scaleCount: Int,
    _ body: (inout MutableSpan<UInt8>, inout MutableSpan<UInt8>) throws -> Result
  ) rethrows -> Result {
    var codeSpan = codes.mutableSpan
    var codePart = codeSpan.part(0..<codeCount)
    var scaleSpan = scales.mutableSpan
    var scalePart = scaleSpan.part(0..<scaleCount)
    return try body(&codePart, &scalePart)
  }
}

/// The CRC-32 of all that a row of integer codes is: what the quantizer gave is compared with what is read back.
enum GroupChecksum {
  /// - Parameter zeroPoints: empty where there are none.
  static func ofRow(codes: Span<UInt8>, scales: Span<UInt8>, zeroPoints: Span<UInt8>) -> UInt32 {
    let sum = CRC32.checksum(scales, startingWith: CRC32.checksum(codes))
    return CRC32.checksum(zeroPoints, startingWith: sum)
  }
}
