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
  private var floats: [Float] = []

  /// - Parameter checksCopies: whether a NaN or infinity in a tensor that stays as it is stops the conversion too.
  /// - Returns: error statistics of a quantized tile.
  mutating func run(
    _ step: PlannedStep, tile: Int, checksCopies: Bool, into sink: any TensorSink
  ) throws -> QuantizationStatistics? {
    let rows = step.rowRange(ofTile: tile)
    let byteCount = rows.count * step.rows.rowByteCount
    try Self.read(step.rows, rows, byteCount, into: &input)
    switch step.operation {
    case .copy:
      if checksCopies, let format = step.input.elementType.floatFormatIfComputable {
        try Self.checkFinite(input.span.extracting(0..<byteCount).rawBytes, format, step, rows)
      }
      try sink.write(
        step.weight.name, at: rows.lowerBound * step.rows.rowByteCount, input.span.extracting(0..<byteCount))
      if tile == 0, let scale = step.scale, let rows = step.scales {
        let bytes = try rows.bytes(rows: 0..<rows.rowCount)
        try sink.write(scale.name, at: 0, bytes.span)
      }
      for companion in tile == 0 ? step.companions : [] {
        let bytes = try companion.source.source.bytes(of: companion.source.tensor.name)
        try sink.write(companion.tensor.name, at: 0, bytes.span)
      }
      return nil
    case .convert(let type):
      let count = rows.count * step.input.columnCount
      let size = count * type.bits / 8
      try Self.checkFinite(
        input.span.extracting(0..<byteCount).rawBytes, step.input.elementType.floatFormat, step, rows)
      try Self.widen(step, rows, input, byteCount, into: &floats, count)
      if let overflow = Self.narrow(floats, count, to: type, into: &output, size) {
        throw ParseFailure(
          "element \(rows.lowerBound * step.input.columnCount + overflow) is \(floats[overflow]), beyond the range of \(type)",
          advice: "convert to bf16 or f32 instead")
      }
      try sink.write(
        step.weight.name, at: rows.lowerBound * step.input.columnCount * type.bits / 8,
        output.span.extracting(0..<size))
      return nil
    case .quantizeFP8(let recipe):
      return try quantize(step, rows, byteCount, recipe, into: sink)
    }
  }

  private mutating func quantize(
    _ step: PlannedStep, _ rows: Range<Int>, _ byteCount: Int, _ recipe: FP8Recipe, into sink: any TensorSink
  ) throws -> QuantizationStatistics {
    let columns = step.input.columnCount
    let width = recipe.scaleType(forWeight: step.input.elementType).bits / 8
    let statistics = try Self.quantize(
      step, rows, input, byteCount, recipe, codes: &output, scales: &scales, scaleWidth: width)
    try sink.write(
      step.weight.name, at: rows.lowerBound * columns, output.span.extracting(0..<rows.count * columns))
    if let scale = step.scale {
      try sink.write(scale.name, at: rows.lowerBound * width, scales.span.extracting(0..<rows.count * width))
    }
    return statistics
  }

  private static func checkFinite(
    _ values: RawSpan, _ format: FloatFormat, _ step: PlannedStep, _ rows: Range<Int>
  ) throws {
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
    _ step: PlannedStep, _ rows: Range<Int>, _ bytes: [UInt8], _ byteCount: Int, into values: inout [Float],
    _ count: Int
  ) throws {
    grow(&values, to: count, with: 0)
    var span = values.mutableSpan
    var part = span.part(0..<count)
    try step.widen(bytes.span.extracting(0..<byteCount).rawBytes, rows: rows, inOutputOrder: true, into: &part)
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
    _ step: PlannedStep, _ rows: Range<Int>, _ bytes: [UInt8], _ byteCount: Int, _ recipe: FP8Recipe,
    codes: inout [UInt8], scales: inout [UInt8], scaleWidth: Int
  ) throws -> QuantizationStatistics {
    let columns = step.input.columnCount
    grow(&codes, to: rows.count * columns, with: 0)
    grow(&scales, to: rows.count * scaleWidth, with: 0)
    var codeSpan = codes.mutableSpan
    var codePart = codeSpan.part(0..<rows.count * columns)
    var scaleSpan = scales.mutableSpan
    var scalePart = scaleSpan.part(0..<rows.count * scaleWidth)
    return try recipe.quantize(
      bytes.span.extracting(0..<byteCount).rawBytes, type: step.input.elementType, firstRow: rows.lowerBound,
      columns: columns, codes: &codePart, scales: &scalePart)
  }
}
