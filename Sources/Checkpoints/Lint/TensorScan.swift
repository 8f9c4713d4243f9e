internal import ByteIO
internal import Kernels
internal import Quantization
internal import Tensors

/// What one pass over a stored tensor's bytes tells, whatever the tensor is for. Memory is a piece of about a megabyte and
/// its values.
struct TensorScan: Sendable {
  /// The first value that is NaN or infinite, in words with its place: `element 7`, `a scale of block 3`.
  private(set) var nonFinite: String?
  /// CRC-32 of all bytes.
  private(set) var checksum: UInt32 = 0
  /// Sum of squares of values, or of codes.
  private(set) var squares = 0.0
  private(set) var largest: Float = 0
  /// The first element beyond what F16 holds.
  private(set) var beyondFloat16: (index: Int, value: Float)?
  private(set) var zeroRows = 0
  private(set) var firstZeroRow: Int?
  /// All rows hold the same bytes.
  private(set) var rowsAreEqual = false
  /// Codes of ±448.
  private(set) var saturatedCodes = 0
  /// All values of a vector that is not long: a norm's.
  private(set) var values: [Float] = []
  /// Rows whose values were looked at; 0 for types that have none here.
  private(set) var rowCount = 0

  /// Longest vector whose values are kept.
  static let keptCount = 1 << 16
  private static let pieceByteCount = 1 << 20
  /// Longer rows than any model has are not looked at as rows: memory is the piece's.
  private static let longestRow = 1 << 26
  /// The largest finite F16; what rounds to it is below 65520.
  static let largestFloat16: Float = 65504

  /// How values lie in the bytes.
  private enum Form {
    case numbers(FloatFormat)
    case blocks(BlockFormat)
    /// Integers and types whose values are not looked at.
    case other

    var hasRows: Bool { if case .other = self { false } else { true } }
  }

  /// - Throws: what reading throws.
  init(_ rows: StoredRows) throws {
    let info = rows.tensor
    guard info.byteCount > 0 else { return }
    let form = Self.form(info.elementType)
    // Vectors and scalars are one row.
    let isMatrix = info.shape.rank > 1
    let size = isMatrix ? info.rowByteCount : info.byteCount
    guard size <= Self.longestRow, form.hasRows else {
      try takeUnbroken(rows, form)
      return
    }
    rowsAreEqual = isMatrix && info.shape.rows > 1
    var first: [UInt8] = []
    let step = max(1, Self.pieceByteCount / max(1, size))
    let count = isMatrix ? info.shape.rows : 1
    var buffer = [Float]()
    for start in stride(from: 0, to: count, by: step) {
      let range = start..<min(start + step, count)
      let bytes = try [UInt8](count: range.count * size) {
        try rows.source.read(info.name, at: range.lowerBound * size, into: &$0)
      }
      checksum = CRC32.checksum(bytes.span, startingWith: checksum)
      if start == 0 { first = Array(bytes[0..<size]) }
      if rowsAreEqual { rowsAreEqual = Self.allEqual(bytes, to: first) }
      take(bytes, form, rows: range, rowByteCount: size, &buffer)
    }
    if !isMatrix, case .numbers = form, buffer.count <= Self.keptCount { values = buffer }
  }

  /// Bytes alone: their checksum, and numbers that are none.
  private mutating func takeUnbroken(_ rows: StoredRows, _ form: Form) throws {
    try Self.forEachPiece(of: rows) { offset, bytes in
      checksum = CRC32.checksum(bytes.span, startingWith: checksum)
      guard case .numbers(let format) = form, nonFinite == nil,
        let index = NumberFormat.firstNonFinite(bytes.span.rawBytes, format: format)
      else { return }
      nonFinite = "element \(offset / format.byteCount + index)"
    }
  }

  /// Lends all bytes front to back in pieces of a whole number of elements of any type.
  private static func forEachPiece(
    of rows: StoredRows, _ body: (_ offset: Int, _ bytes: [UInt8]) throws -> Void
  ) throws {
    let count = rows.tensor.byteCount
    for start in stride(from: 0, to: count, by: pieceByteCount) {
      let bytes = try [UInt8](count: min(pieceByteCount, count - start)) {
        try rows.source.read(rows.tensor.name, at: start, into: &$0)
      }
      try body(start, bytes)
    }
  }

  /// The first scale that is not positive and finite.
  /// - Returns: nil where all are, and for types that are no scales here.
  /// - Throws: what reading throws.
  static func firstBadScale(_ rows: StoredRows) throws -> (index: Int, value: Float)? {
    guard let format = rows.tensor.elementType.floatFormatIfComputable, !format.isCode else { return nil }
    var found: (index: Int, value: Float)?
    try forEachPiece(of: rows) { offset, bytes in
      if found != nil { return }
      let values = NumberFormat.widened(bytes.span.rawBytes, from: format)
      guard let index = values.firstIndex(where: { !($0 > 0 && $0.isFinite) }) else { return }
      found = (offset / format.byteCount + index, values[index])
    }
    return found
  }

  private static func form(_ type: ElementType) -> Form {
    if let block = type.block {
      let format = BlockFormat(block)
      return format.canDequantize ? .blocks(format) : .other
    }
    return type.floatFormatIfComputable.map { .numbers($0) } ?? .other
  }

  private static func allEqual(_ bytes: [UInt8], to first: [UInt8]) -> Bool {
    let size = first.count
    return stride(from: 0, to: bytes.count, by: size).allSatisfy { start in
      bytes[start] == first[0] && bytes[start..<start + size] == first[...]
    }
  }

  private mutating func take(
    _ bytes: [UInt8], _ form: Form, rows: Range<Int>, rowByteCount: Int, _ values: inout [Float]
  ) {
    let columns: Int
    switch form {
    case .other: return
    case .numbers(let format):
      columns = rowByteCount / format.byteCount
      if nonFinite == nil, let index = NumberFormat.firstNonFinite(bytes.span.rawBytes, format: format) {
        nonFinite = "element \(rows.lowerBound * columns + index)"
      }
      if format == .e4m3 { saturatedCodes += RowSummary.saturatedCodes(bytes.span.rawBytes) }
      resize(&values, rows.count * columns)
      var span = values.mutableSpan
      NumberFormat.widen(bytes.span.rawBytes, from: format, into: &span)
    case .blocks(let format):
      let blocks = rowByteCount / format.byteCount
      columns = blocks * format.elementCount
      if nonFinite == nil, let index = BlockRows.firstNonFiniteScale(bytes.span.rawBytes, format: format) {
        nonFinite = "a scale of block \(rows.lowerBound * blocks + index)"
      }
      resize(&values, rows.count * columns)
      var span = values.mutableSpan
      BlockRows.dequantize(bytes.span.rawBytes, format: format, into: &span)
    }
    for row in 0..<rows.count {
      let summary = RowSummary(values.span.extracting(row * columns..<(row + 1) * columns))
      take(summary, row: rows.lowerBound + row)
      if beyondFloat16 == nil, summary.largest > Self.largestFloat16, summary.largest.isFinite {
        let index = values[row * columns..<(row + 1) * columns].firstIndex { abs($0) > Self.largestFloat16 }
        if let index { beyondFloat16 = (rows.lowerBound * columns + index, values[index]) }
      }
    }
  }

  private mutating func take(_ summary: RowSummary, row: Int) {
    rowCount += 1
    squares += summary.squares
    largest = max(largest, summary.largest)
    if summary.largest == 0 {
      zeroRows += 1
      if firstZeroRow == nil { firstZeroRow = row }
    }
  }

  private func resize(_ values: inout [Float], _ count: Int) {
    if values.count != count { values = [Float](repeating: 0, count: count) }
  }
}
