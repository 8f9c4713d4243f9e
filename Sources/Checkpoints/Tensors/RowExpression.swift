public import ByteIO
internal import Kernels
public import Llama
internal import Quantization
public import Tensors

/// The rows of a matrix as an expression over stored tensors: merging shards, splitting and reordering rows are
/// expressions, not programs. It is evaluated a tile of rows at a time, so that memory is the tile's, not the tensor's.
///
/// Elements are whole bytes; a row is `rowByteCount` bytes.
public indirect enum RowExpression: Sendable {
  /// The rows of one stored tensor, as they are.
  case stored(StoredRows)
  /// Row `i` of the result is row `permutation.source(of: i)` of the operand.
  case permutedRows(RowExpression, RowPermutation)
  /// The operands' rows one after another; all have the same row size.
  case concatenatedRows([RowExpression])
  /// Row `i` of the result is the operands' rows `i` one after another; all have the same number of rows.
  case concatenatedColumns([RowExpression])
  /// Copies of the same rows, as tensor-parallel shards have of norms: read all of them and compared.
  case replicas([RowExpression])
  /// A range of the operand's rows.
  case slicedRows(RowExpression, Range<Int>)
  /// A range of bytes of every row of the operand.
  case slicedColumns(RowExpression, Range<Int>)
  /// The operand's elements in another type that holds their values exactly; reading others is an error.
  case recast(RowExpression, from: ElementType, to: ElementType)
  /// Rows of the same bytes for ever: what no file has and a layout wants.
  case bytes([UInt8], rowByteCount: Int)
  /// Rows of zero bytes.
  case zeros(rowCount: Int, rowByteCount: Int)

  public var rowCount: Int {
    switch self {
    case .stored(let rows): rows.rowCount
    case .permutedRows(let operand, _), .slicedColumns(let operand, _), .recast(let operand, _, _): operand.rowCount
    case .bytes(let bytes, let size): bytes.count / max(1, size)
    case .zeros(let count, _): count
    case .concatenatedRows(let operands): operands.reduce(0) { $0 + $1.rowCount }
    case .concatenatedColumns(let operands), .replicas(let operands): operands.first?.rowCount ?? 0
    case .slicedRows(_, let range): range.count
    }
  }

  public var rowByteCount: Int {
    switch self {
    case .stored(let rows): rows.rowByteCount
    case .permutedRows(let operand, _), .slicedRows(let operand, _): operand.rowByteCount
    // An empty stored tensor has rows of no bytes.
    case .concatenatedRows(let operands): (operands.first { $0.rowCount > 0 } ?? operands.first)?.rowByteCount ?? 0
    case .concatenatedColumns(let operands): operands.reduce(0) { $0 + $1.rowByteCount }
    case .replicas(let operands): operands.first?.rowByteCount ?? 0
    case .slicedColumns(_, let range): range.count
    case .recast(let operand, let from, let to): operand.rowByteCount * to.bits / from.bits
    case .bytes(_, let size), .zeros(_, let size): size
    }
  }

  /// All stored tensors that the expression reads, in order of appearance.
  public var storedTensors: [StoredRows] {
    switch self {
    case .stored(let rows): [rows]
    case .permutedRows(let operand, _), .slicedRows(let operand, _), .slicedColumns(let operand, _),
      .recast(let operand, _, _):
      operand.storedTensors
    case .bytes, .zeros: []
    case .concatenatedRows(let operands), .concatenatedColumns(let operands), .replicas(let operands):
      operands.flatMap(\.storedTensors)
    }
  }

  /// The operand with its rows reordered; reorderings that undo each other vanish, so that reading and writing the same
  /// layout copies straight through.
  public func permuted(by permutation: RowPermutation) -> RowExpression {
    if permutation.isIdentity { return self }
    guard case .permutedRows(let operand, let inner) = self else { return .permutedRows(self, permutation) }
    return permutation.undoes(inner) ? operand : .permutedRows(self, permutation)
  }
}

/// A stored tensor seen as rows: its outermost extent, each row all the rest.
public struct StoredRows: Sendable {
  public let source: any TensorSource
  public let tensor: TensorInfo

  public init(source: any TensorSource, tensor: TensorInfo) {
    self.source = source
    self.tensor = tensor
  }

  public var rowCount: Int { tensor.shape.rows }
  public var rowByteCount: Int { tensor.rowByteCount }
  /// The file that the tensor is in, for messages.
  var place: String { source.place }
}

// MARK: - Evaluation

extension RowExpression {
  /// Reads the rows of `range` into `buffer`, which has exactly their size.
  /// May be called from several threads at once.
  public func read(rows range: Range<Int>, into buffer: inout MutableSpan<UInt8>) throws {
    precondition(range.lowerBound >= 0 && range.upperBound <= rowCount, "rows are within the matrix")
    precondition(buffer.count == range.count * rowByteCount, "the buffer has the size of the rows")
    if range.isEmpty || rowByteCount == 0 { return }
    switch self {
    case .stored(let rows):
      try rows.source.read(rows.tensor.name, at: range.lowerBound * rows.rowByteCount, into: &buffer)
    case .permutedRows(let operand, let permutation):
      try Self.readPermuted(operand, permutation, rows: range, into: &buffer)
    case .concatenatedRows(let operands):
      try Self.readConcatenatedRows(operands, rows: range, into: &buffer)
    case .concatenatedColumns(let operands):
      try Self.readConcatenatedColumns(operands, rows: range, into: &buffer)
    case .replicas(let operands): try Self.readReplicas(operands, rows: range, into: &buffer)
    case .slicedRows(let operand, let slice):
      try operand.read(
        rows: range.lowerBound + slice.lowerBound..<range.upperBound + slice.lowerBound, into: &buffer)
    case .slicedColumns(let operand, let slice):
      try Self.readSlicedColumns(operand, slice, rows: range, into: &buffer)
    case .recast(let operand, let from, let to):
      try Self.readRecast(operand, from, to, rows: range, into: &buffer)
    case .bytes(let bytes, let size):
      buffer.copy(from: bytes.span.extracting(range.lowerBound * size..<range.upperBound * size))
    case .zeros: for index in 0..<buffer.count { buffer[index] = 0 }
    }
  }

  /// The rows of `range` as a new array.
  public func bytes(rows range: Range<Int>) throws -> [UInt8] {
    try [UInt8](count: range.count * rowByteCount) { try read(rows: range, into: &$0) }
  }

  /// Tells the system what becomes of the stored bytes that the rows of `range` are read from.
  public func advise(_ advice: ReadingAdvice, rows range: Range<Int>) {
    if range.isEmpty || rowByteCount == 0 { return }
    switch self {
    case .stored(let rows):
      let size = rows.rowByteCount
      rows.source.advise(advice, rows.tensor.name, range.lowerBound * size..<range.upperBound * size)
    case .permutedRows(let operand, let permutation):
      let sources = range.lazy.map { permutation.source(of: $0) }
      guard let first = sources.min(), let last = sources.max() else { return }
      operand.advise(advice, rows: first..<last + 1)
    case .concatenatedRows(let operands):
      var start = 0
      for operand in operands {
        let part = range.clamped(to: start..<start + operand.rowCount)
        operand.advise(advice, rows: part.lowerBound - start..<part.upperBound - start)
        start += operand.rowCount
      }
    case .concatenatedColumns(let operands), .replicas(let operands):
      for operand in operands { operand.advise(advice, rows: range) }
    case .slicedRows(let operand, let slice):
      operand.advise(advice, rows: range.lowerBound + slice.lowerBound..<range.upperBound + slice.lowerBound)
    case .slicedColumns(let operand, _), .recast(let operand, _, _): operand.advise(advice, rows: range)
    case .bytes, .zeros: break
    }
  }

  private static func readPermuted(
    _ operand: RowExpression, _ permutation: RowPermutation, rows range: Range<Int>,
    into buffer: inout MutableSpan<UInt8>
  ) throws {
    let size = operand.rowByteCount
    let sources = range.map { permutation.source(of: $0) }
    guard let first = sources.min(), let last = sources.max() else { return }
    // Permutations stay within a head: the rows of a tile come from nearly the same place, read in one go.
    let spread = first..<last + 1
    if spread.count <= 4 * range.count {
      let block = try operand.bytes(rows: spread)
      for (index, source) in sources.enumerated() {
        let start = (source - first) * size
        buffer.copy(from: block.span.extracting(start..<start + size), to: index * size)
      }
    } else {
      for (index, source) in sources.enumerated() {
        var part = buffer.part(index * size..<(index + 1) * size)
        try operand.read(rows: source..<source + 1, into: &part)
      }
    }
  }

  private static func readConcatenatedRows(
    _ operands: [RowExpression], rows range: Range<Int>, into buffer: inout MutableSpan<UInt8>
  ) throws {
    var start = 0
    for operand in operands {
      let part = range.clamped(to: start..<start + operand.rowCount)
      if !part.isEmpty {
        let size = operand.rowByteCount
        var span = buffer.part(
          (part.lowerBound - range.lowerBound) * size..<(part.upperBound - range.lowerBound) * size)
        try operand.read(rows: part.lowerBound - start..<part.upperBound - start, into: &span)
      }
      start += operand.rowCount
    }
  }

  private static func readReplicas(
    _ operands: [RowExpression], rows range: Range<Int>, into buffer: inout MutableSpan<UInt8>
  ) throws {
    guard let first = operands.first else { return }
    try first.read(rows: range, into: &buffer)
    for other in operands.dropFirst() {
      let copy = try other.bytes(rows: range)
      guard let difference = copy.indices.first(where: { copy[$0] != buffer[$0] }) else { continue }
      let row = range.lowerBound + difference / max(1, first.rowByteCount)
      let (one, two) = (first.storedTensors.first?.place ?? "", other.storedTensors.first?.place ?? "")
      throw ParseFailure(
        "row \(row) differs between \(one) and \(two), which should hold the same",
        item: first.storedTensors.first?.tensor.name, advice: "the shards may be of two models")
    }
  }

  private static func readConcatenatedColumns(
    _ operands: [RowExpression], rows range: Range<Int>, into buffer: inout MutableSpan<UInt8>
  ) throws {
    let width = operands.reduce(0) { $0 + $1.rowByteCount }
    var column = 0
    for operand in operands {
      let size = operand.rowByteCount
      let block = try operand.bytes(rows: range)
      for row in 0..<range.count {
        buffer.copy(from: block.span.extracting(row * size..<(row + 1) * size), to: row * width + column)
      }
      column += size
    }
  }

  private static func readSlicedColumns(
    _ operand: RowExpression, _ slice: Range<Int>, rows range: Range<Int>, into buffer: inout MutableSpan<UInt8>
  ) throws {
    let size = operand.rowByteCount
    let block = try operand.bytes(rows: range)
    for row in 0..<range.count {
      let start = row * size + slice.lowerBound
      buffer.copy(from: block.span.extracting(start..<start + slice.count), to: row * slice.count)
    }
  }

  private static func readRecast(
    _ operand: RowExpression, _ from: ElementType, _ to: ElementType, rows range: Range<Int>,
    into buffer: inout MutableSpan<UInt8>
  ) throws {
    let block = try operand.bytes(rows: range)
    let values = NumberFormat.widened(block.span.rawBytes, from: from.floatFormat)
    _ = NumberFormat.narrow(values.span, to: to.floatFormat, into: &buffer)
    let again = NumberFormat.widened(buffer.span.rawBytes, from: to.floatFormat)
    // Bit patterns: zeros keep their signs, and what is NaN stays the same NaN or is refused.
    guard let index = values.indices.first(where: { values[$0].bitPattern != again[$0].bitPattern }) else { return }
    throw ParseFailure(
      "element \(range.lowerBound * operand.rowByteCount * 8 / from.bits + index) is \(values[index]), which \(to) does not hold exactly",
      item: operand.storedTensors.first?.tensor.name)
  }
}
