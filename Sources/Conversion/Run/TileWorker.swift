internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Quantization
internal import Tensors

/// Does one tile of a step: reads rows, applies the operation, hands the bytes to the sink. Each thread has its own, and
/// its buffers are reused from tile to tile.
struct TileWorker {
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var scales: [UInt8] = []
  private var floats: [Float] = []

  /// - Returns: error statistics of a quantized tile.
  mutating func run(_ step: PlannedStep, tile: Int, into sink: any TensorSink) throws -> QuantizationStatistics? {
    let rows = step.rowRange(ofTile: tile)
    let byteCount = rows.count * step.rows.rowByteCount
    Self.grow(&input, to: byteCount)
    var span = input.mutableSpan
    var part = span.part(0..<byteCount)
    try step.rows.read(rows: rows, into: &part)

    switch step.operation {
    case .copy:
      try sink.write(
        step.weight.name, at: rows.lowerBound * step.rows.rowByteCount, input.span.extracting(0..<byteCount))
      if tile == 0, let scale = step.scale, let rows = step.scales {
        let bytes = try rows.bytes(rows: 0..<rows.rowCount)
        try sink.write(scale.name, at: 0, bytes.span)
      }
      return nil
    case .convert(let type):
      try convert(step, rows: rows, byteCount: byteCount, to: type, into: sink)
      return nil
    case .quantizeFP8(let recipe):
      return try quantize(step, rows: rows, byteCount: byteCount, recipe: recipe, into: sink)
    }
  }

  private static func grow(_ buffer: inout [UInt8], to count: Int) {
    if buffer.count < count { buffer.append(contentsOf: repeatElement(0, count: count - buffer.count)) }
  }
}

// MARK: - Operations on values

extension TileWorker {
  /// Widens the rows (multiplying codes by their scales), rounds once to `type` and writes.
  private mutating func convert(
    _ step: PlannedStep, rows: Range<Int>, byteCount: Int, to type: ElementType, into sink: any TensorSink
  ) throws {
    let columns = step.input.columnCount
    let count = rows.count * columns
    if floats.count < count { floats.append(contentsOf: repeatElement(0, count: count - floats.count)) }
    var values = floats.mutableSpan
    var valuePart = values.part(0..<count)
    try step.widen(
      input.span.extracting(0..<byteCount).rawBytes, rows: rows, inOutputOrder: true, into: &valuePart)
    let size = count * type.bits / 8
    Self.grow(&output, to: size)
    var span = output.mutableSpan
    var part = span.part(0..<size)
    let overflow = NumberFormat.narrow(floats.span.extracting(0..<count), to: type.floatFormat, into: &part)
    if let overflow {
      throw ParseFailure(
        "element \(rows.lowerBound * columns + overflow) is \(floats[overflow]), beyond the range of \(type)",
        item: step.rows.storedTensors.first?.tensor.name, advice: "convert to bf16 or f32 instead")
    }
    try sink.write(step.weight.name, at: rows.lowerBound * columns * type.bits / 8, output.span.extracting(0..<size))
  }

  private mutating func quantize(
    _ step: PlannedStep, rows: Range<Int>, byteCount: Int, recipe: FP8Recipe, into sink: any TensorSink
  ) throws -> QuantizationStatistics {
    let columns = step.input.columnCount
    let count = rows.count * columns
    let scaleType = recipe.scaleType(forWeight: step.input.elementType)
    let scaleBytes = rows.count * scaleType.bits / 8
    Self.grow(&output, to: count)
    Self.grow(&scales, to: scaleBytes)
    var codeSpan = output.mutableSpan
    var codes = codeSpan.part(0..<count)
    var scaleSpan = scales.mutableSpan
    var scalePart = scaleSpan.part(0..<scaleBytes)
    let statistics = try recipe.quantize(
      input.span.extracting(0..<byteCount).rawBytes, type: step.input.elementType, firstRow: rows.lowerBound,
      columns: columns, codes: &codes, scales: &scalePart)
    try sink.write(step.weight.name, at: rows.lowerBound * columns, output.span.extracting(0..<count))
    if let scale = step.scale {
      try sink.write(
        scale.name, at: rows.lowerBound * scaleType.bits / 8, scales.span.extracting(0..<scaleBytes))
    }
    return statistics
  }
}
