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
