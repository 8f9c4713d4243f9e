import ByteIO
import Checkpoints
import Llama
import Support
import Synchronization
import Tensors
import Testing

/// Named matrices of bytes in memory.
private struct Memory: TensorSource {
  let tensors: [TensorInfo]
  let bytes: [String: [UInt8]]
  var log: Log? = nil

  /// What was read and what was announced, byte by byte of the one source's tensors.
  final class Log: Sendable {
    let read = Mutex<Set<String>>([])
    let announced = Mutex<Set<String>>([])
  }

  private func places(_ name: String, _ range: Range<Int>) -> [String] { range.map { "\(name) \($0)" } }

  func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    log?.announced.withLock { $0.formUnion(places(name, range)) }
  }

  func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    log?.read.withLock { $0.formUnion(places(name, offset..<offset + buffer.count)) }
    guard let all = bytes[name], offset + buffer.count <= all.count else { throw ParseFailure("outside", item: name) }
    for index in 0..<buffer.count { buffer[index] = all[offset + index] }
  }
}

/// An expression with the matrix that it stands for, computed whole and row by row.
private struct Sample {
  let expression: RowExpression
  let rows: [[UInt8]]
  let stored: Int

  /// A random expression, some levels deep.
  static func random(_ rowCount: Int, _ width: Int, depth: Int, _ random: inout SeededRandom) throws -> Sample {
    if depth == 0 { return try leaf(rowCount, width, &random) }
    switch Int.random(in: 0..<6, using: &random) {
    case 0: return try leaf(rowCount, width, &random)
    case 1: return try permuted(rowCount, width, depth, &random)
    case 2:
      let cut = Int.random(in: 0...rowCount, using: &random)
      let parts = try [cut, rowCount - cut].map { try Sample.random($0, width, depth: depth - 1, &random) }
      return Sample(
        expression: .concatenatedRows(parts.map(\.expression)), rows: parts.flatMap(\.rows),
        stored: parts.reduce(0) { $0 + $1.stored })
    case 3 where width > 1:
      let cut = Int.random(in: 1..<width, using: &random)
      let parts = try [cut, width - cut].map { try Sample.random(rowCount, $0, depth: depth - 1, &random) }
      return Sample(
        expression: .concatenatedColumns(parts.map(\.expression)),
        rows: (0..<rowCount).map { parts[0].rows[$0] + parts[1].rows[$0] }, stored: parts.reduce(0) { $0 + $1.stored })
    case 4:
      let (before, after) = (Int.random(in: 0...5, using: &random), Int.random(in: 0...5, using: &random))
      let operand = try Sample.random(before + rowCount + after, width, depth: depth - 1, &random)
      let range = before..<before + rowCount
      return Sample(
        expression: .slicedRows(operand.expression, range), rows: Array(operand.rows[range]), stored: operand.stored)
    default:
      let (before, after) = (Int.random(in: 0...3, using: &random), Int.random(in: 0...3, using: &random))
      let operand = try Sample.random(rowCount, before + width + after, depth: depth - 1, &random)
      let range = before..<before + width
      return Sample(
        expression: .slicedColumns(operand.expression, range), rows: operand.rows.map { Array($0[range]) },
        stored: operand.stored)
    }
  }

  private static func leaf(_ rowCount: Int, _ width: Int, _ random: inout SeededRandom) throws -> Sample {
    let rows = (0..<rowCount).map { _ in (0..<width).map { _ in UInt8.random(in: 0...255, using: &random) } }
    let info = try TensorInfo(name: "m", elementType: .u8, shape: [rowCount, width])
    let source = Memory(tensors: [info], bytes: ["m": rows.flatMap { $0 }])
    return Sample(expression: .stored(StoredRows(source: source, tensor: info)), rows: rows, stored: 1)
  }

  private static func permuted(
    _ rowCount: Int, _ width: Int, _ depth: Int, _ random: inout SeededRandom
  ) throws -> Sample {
    let operand = try Sample.random(rowCount, width, depth: depth - 1, &random)
    guard let size = [16, 10, 8, 6, 4].first(where: { rowCount % $0 == 0 }), rowCount > 0 else { return operand }
    let forward = RowPermutation.halvesToPairs(headDimension: size)
    let permutation = Bool.random(using: &random) ? forward : forward.inverse
    return Sample(
      expression: operand.expression.permuted(by: permutation),
      rows: (0..<rowCount).map { operand.rows[permutation.source(of: $0)] }, stored: operand.stored)
  }
}

@Suite struct RowExpressionTests {
  /// Rows 8…11 of a matrix that is cut in columns over two tensors, in heads of four.
  @Test func whatIsAnnouncedIsWhatIsRead() throws {
    let log = Memory.Log()
    let info = try ["a", "b"].map { try TensorInfo(name: $0, elementType: .u8, shape: [20, 3]) }
    let bytes = (0..<60).map { UInt8($0) }
    let source = Memory(tensors: info, bytes: ["a": bytes, "b": bytes], log: log)
    let parts = info.map { RowExpression.slicedRows(.stored(StoredRows(source: source, tensor: $0)), 2..<18) }
    let expression = RowExpression.concatenatedColumns(parts).permuted(by: .halvesToPairs(headDimension: 4))
    _ = try expression.bytes(rows: 8..<12)
    #expect(log.announced.withLock { $0.isEmpty })
    expression.advise(.soon, rows: 8..<12)
    let read = log.read.withLock { $0 }
    #expect(read.count == 24 && log.announced.withLock { $0 } == read)
  }

  @Test func randomTilesOfRandomExpressionsAreThoseOfTheWholeMatrix() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for round in 0..<400 {
      let rowCount = [1, 7, 16, 24, 40, 48, 80].randomElement(using: &random) ?? 1
      let width = Int.random(in: 1...12, using: &random)
      let sample = try Sample.random(rowCount, width, depth: Int.random(in: 0...5, using: &random), &random)
      #expect(sample.expression.rowCount == rowCount && sample.expression.rowByteCount == width)
      #expect(sample.expression.storedTensors.count == sample.stored)
      for _ in 0..<6 {
        let start = Int.random(in: 0...rowCount, using: &random)
        let end = Int.random(in: start...rowCount, using: &random)
        let found = try sample.expression.bytes(rows: start..<end)
        try #require(
          found == sample.rows[start..<end].flatMap { $0 }, "seed \(seed), round \(round), rows \(start)..<\(end)")
      }
    }
  }

  @Test("tiles of every size join to the whole, permuted in large heads", arguments: [1, 2, 3, 31, 64, 128, 257])
  func tilesJoin(_ step: Int) throws {
    // One row of a tile of a head of 128 comes from its first half, the next from its second: far apart in small tiles.
    let info = try TensorInfo(name: "m", elementType: .bf16, shape: [256, 3])
    let all = (0..<256 * 6).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 / 251) }
    let stored = RowExpression.stored(
      StoredRows(source: Memory(tensors: [info], bytes: ["m": all]), tensor: info))
    let expression = stored.permuted(by: .halvesToPairs(headDimension: 128))
    let joined = try stride(from: 0, to: 256, by: step).flatMap { start in
      try expression.bytes(rows: start..<min(start + step, 256))
    }
    #expect(joined == interleaved(all, headRows: 128, columns: 6))
  }

  @Test func reorderingsThatUndoEachOtherVanish() throws {
    let info = try TensorInfo(name: "m", elementType: .u8, shape: [16, 1])
    let stored = RowExpression.stored(
      StoredRows(source: Memory(tensors: [info], bytes: ["m": Array(0..<16)]), tensor: info))
    let permutation = RowPermutation.halvesToPairs(headDimension: 8)
    let there = stored.permuted(by: permutation)
    guard case .permutedRows = there else { throw ParseFailure("no permutation is left") }
    guard case .stored = there.permuted(by: permutation.inverse) else {
      throw ParseFailure("a permutation and its inverse are left")
    }
    guard case .stored = stored.permuted(by: .identity) else { throw ParseFailure("the identity is left") }
    // Twice the same is not nothing.
    #expect(try there.permuted(by: permutation).bytes(rows: 0..<16) != Array(0..<16))
  }

  @Test func failuresOfTheSourceComeThrough() throws {
    let info = try TensorInfo(name: "m", elementType: .u8, shape: [8, 4])
    let broken = RowExpression.stored(StoredRows(source: Memory(tensors: [info], bytes: [:]), tensor: info))
    let expressions = [
      broken, .concatenatedRows([broken, broken]), .concatenatedColumns([broken]), .slicedColumns(broken, 1..<2),
      .slicedRows(broken, 1..<3), broken.permuted(by: .halvesToPairs(headDimension: 4)),
    ]
    for expression in expressions {
      #expect(throws: ParseFailure.self) { try expression.bytes(rows: 0..<2) }
      #expect(try expression.bytes(rows: 1..<1).isEmpty)
    }
  }
}
