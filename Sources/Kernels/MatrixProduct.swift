internal import CKernels

/// The stored rows of a weight matrix `[outputs, inputs]`, lent: what a matrix product multiplies with.
public struct WeightRows: ~Escapable {
  /// `outputs` rows of `inputs` elements, little-endian, without gaps.
  public let bytes: RawSpan
  public let format: FloatFormat
  public let outputs: Int
  public let inputs: Int
  /// One factor per row, applied to the finished sums: exact codes are multiplied exactly.
  public let rowScales: Span<Float>?
  /// One factor per block, `[ceil(outputs/blockRows), ceil(inputs/blockColumns)]`, applied to the weights.
  public let blockScales: Span<Float>?
  public let blockRows: Int
  public let blockColumns: Int

  @_lifetime(copy bytes, copy rowScales, copy blockScales)
  public init(
    bytes: RawSpan, format: FloatFormat, outputs: Int, inputs: Int, rowScales: Span<Float>?,
    blockScales: Span<Float>?, blockRows: Int, blockColumns: Int
  ) {
    precondition(outputs >= 0 && inputs > 0 && bytes.byteCount == outputs * inputs * format.byteCount, "whole rows")
    self.bytes = bytes
    self.format = format
    self.outputs = outputs
    self.inputs = inputs
    self.rowScales = rowScales
    self.blockScales = blockScales
    self.blockRows = blockRows
    self.blockColumns = blockColumns
  }
}

/// out[t, o] = tokenScale[t] · rowScale[o] · Σᵢ x[t, i] · w[o, i] in binary32.
///
/// Each sum is one chain of fused multiply-adds in order of i within blocks of 256, and the blocks are added in order, so
/// a result does not depend on threads, instruction set, or which tokens are multiplied together. Weights are widened to
/// binary32 in the packing pass, panel by panel: a dequantized matrix never exists.
public enum MatrixProduct {
  /// Activations `[tokens, inputs]`, packed once for any number of products.
  public struct PackedActivations: Sendable {
    public let tokens: Int
    public let inputs: Int
    /// One factor per token, or empty.
    let tokenScales: [Float]
    /// For each block of 256 inputs, tile after tile of tokens, `[k][tile]`.
    let panels: [Float]
    let instructionSet: InstructionSet

    /// - Parameter x: `[tokens, inputs]`, row-major.
    public init(
      _ x: Span<Float>, tokens: Int, inputs: Int, tokenScales: [Float] = [], threads: Int,
      instructionSet: InstructionSet = .best
    ) {
      precondition(x.count == tokens * inputs, "whole rows")
      precondition(tokenScales.isEmpty || tokenScales.count == tokens, "one factor per token")
      self.tokens = tokens
      self.inputs = inputs
      self.tokenScales = tokenScales
      self.instructionSet = instructionSet
      let math = MathKernels.table(instructionSet)
      let tile = math.pointee.tile_tokens
      let tiles = (tokens + tile - 1) / tile
      panels = [Float](unsafeUninitializedCapacity: tiles * tile * inputs) { buffer, count in
        x.withUnsafeBufferPointer { source in
          guard let from = source.baseAddress, let to = buffer.baseAddress else { return }
          // Sound: every tile writes its own panels, and the buffers outlive the synchronous loop.
          let lent = Lent((from, to, math))
          try? Parallel.forEach(count: tiles, threads: threads) { index in
            let (from, to, math) = lent.value
            let first = index * tile
            for block in stride(from: 0, to: inputs, by: blockLength) {
              let k = min(blockLength, inputs - block)
              math.pointee.pack_tokens(
                from + first * inputs + block, inputs, min(tile, tokens - first), k,
                to + block * tiles * tile + index * tile * k)
            }
          }
        }
        count = tiles * tile * inputs
      }
    }
  }

  static let blockLength = Int(CK_BLOCK_K)
  /// Outputs that one piece of work packs and multiplies: few enough that all threads have pieces, many enough that the
  /// activations are not read too often.
  private static let outputsPerPiece = 64
  /// Packed activations that stay in the second-level cache while panels of weights pass by: tokens × 256 × 4 bytes.
  private static let tokensPerBlock = 288

  /// - Parameters:
  ///   - out: `[tokens, rowStride]`; columns `columnOffset ..< columnOffset + w.outputs` are written.
  public static func multiply(
    _ x: PackedActivations, _ w: borrowing WeightRows, into out: inout MutableSpan<Float>, rowStride: Int,
    columnOffset: Int = 0, threads: Int
  ) {
    precondition(x.inputs == w.inputs, "the matrices fit")
    precondition(columnOffset >= 0 && columnOffset + w.outputs <= rowStride, "columns are within the row")
    precondition(out.count >= x.tokens * rowStride, "room for all tokens")
    guard x.tokens > 0, w.outputs > 0 else { return }
    let pieces = (w.outputs + outputsPerPiece - 1) / outputsPerPiece
    let outputs = w.outputs
    w.withPointers { weights in
      x.panels.withUnsafeBufferPointer { panels in
        out.withUnsafeMutableBufferPointer { out in
          guard let panels = panels.baseAddress, let out = out.baseAddress else { return }
          // Sound: every piece writes its own columns of `out`, and all buffers outlive the synchronous loop.
          let lent = Lent((weights, panels, out + columnOffset))
          try? Parallel.forEach(count: pieces, threads: threads) { piece in
            let (weights, panels, out) = lent.value
            let first = piece * outputsPerPiece
            multiplyPiece(
              x, panels, weights, outputs: first..<min(first + outputsPerPiece, outputs), into: out, stride: rowStride)
          }
        }
      }
    }
  }

  private static func multiplyPiece(
    _ x: PackedActivations, _ panels: UnsafePointer<Float>, _ w: WeightPointers, outputs: Range<Int>,
    into out: UnsafeMutablePointer<Float>, stride rowStride: Int
  ) {
    let math = MathKernels.table(x.instructionSet)
    let (tile, width) = (math.pointee.tile_tokens, math.pointee.tile_outputs)
    let tiles = (x.tokens + tile - 1) / tile
    let groups = (outputs.count + width - 1) / width
    withUnsafeTemporaryAllocation(of: Float.self, capacity: groups * width * x.inputs) { packed in
      guard let packed = packed.baseAddress else { return }
      for block in Swift.stride(from: 0, to: x.inputs, by: blockLength) {
        let k = min(blockLength, x.inputs - block)
        for group in 0..<groups {
          w.pack(
            math, firstRow: outputs.lowerBound + group * width,
            count: min(width, outputs.count - group * width), column: block, k: k,
            to: packed + block * groups * width + group * width * k)
        }
      }
      let tilesPerBlock = max(1, tokensPerBlock / tile)
      for firstTile in Swift.stride(from: 0, to: tiles, by: tilesPerBlock) {
        for block in Swift.stride(from: 0, to: x.inputs, by: blockLength) {
          let k = min(blockLength, x.inputs - block)
          for group in 0..<groups {
            let weights = packed + block * groups * width + group * width * k
            let column = outputs.lowerBound + group * width
            for index in firstTile..<min(firstTile + tilesPerBlock, tiles) {
              let token = index * tile
              math.pointee.tile(
                panels + block * tiles * tile + index * tile * k, weights, k, out + token * rowStride + column,
                rowStride, min(tile, x.tokens - token), min(width, outputs.upperBound - column), block > 0 ? 1 : 0)
            }
          }
        }
      }
      applyScales(x, w, outputs: outputs, to: out, stride: rowStride)
    }
  }

  private static func applyScales(
    _ x: PackedActivations, _ w: WeightPointers, outputs: Range<Int>, to out: UnsafeMutablePointer<Float>,
    stride rowStride: Int
  ) {
    guard w.rowScales != nil || !x.tokenScales.isEmpty else { return }
    for token in 0..<x.tokens {
      let row = out + token * rowStride
      let factor = x.tokenScales.isEmpty ? 1 : x.tokenScales[token]
      for output in outputs { row[output] = row[output] * factor * (w.rowScales?[output] ?? 1) }
    }
  }
}

/// A `WeightRows` as pointers, for the time of one call.
struct WeightPointers {
  var bytes: UnsafeRawPointer?
  let format: FloatFormat
  let inputs: Int
  var rowScales: UnsafePointer<Float>?
  var blockScales: UnsafePointer<Float>?
  let blockRows: Int
  let blockColumns: Int

  /// Packs `count` rows from `firstRow`, columns `column ..< column + k`, widened and multiplied by their block's scale.
  func pack(
    _ math: UnsafePointer<ck_math>, firstRow: Int, count: Int, column: Int, k: Int,
    to packed: UnsafeMutablePointer<Float>
  ) {
    guard let bytes else { return }
    let rowBytes = inputs * format.byteCount
    let start = bytes + firstRow * rowBytes + column * format.byteCount
    guard let blockScales else {
      math.pointee.pack_outputs(start, format.native, rowBytes, count, k, nil, 0, 1, column, packed)
      return
    }
    // One row of scales per row of weights, so that a panel may straddle blocks.
    let columns = (inputs + blockColumns - 1) / blockColumns
    withUnsafeTemporaryAllocation(of: Float.self, capacity: count * columns) { scales in
      for row in 0..<count {
        let source = blockScales + (firstRow + row) / blockRows * columns
        for index in 0..<columns { scales[row * columns + index] = source[index] }
      }
      math.pointee.pack_outputs(
        start, format.native, rowBytes, count, k, scales.baseAddress, columns, blockColumns, column, packed)
    }
  }
}

extension WeightRows {
  fileprivate borrowing func withPointers(_ body: (WeightPointers) -> Void) {
    let outputs = outputs
    var pointers = WeightPointers(
      format: format, inputs: inputs, blockRows: blockRows, blockColumns: blockColumns)
    bytes.withUnsafeBytes { pointers.bytes = $0.baseAddress }
    // Spans are lent for the whole call, so their addresses stay good behind the closures that give them.
    if let rowScales {
      precondition(rowScales.count == outputs, "one factor per row")
      rowScales.withUnsafeBufferPointer { pointers.rowScales = $0.baseAddress }
    } else if let blockScales {
      let expected =
        ((outputs + blockRows - 1) / blockRows) * ((inputs + blockColumns - 1) / blockColumns)
      precondition(blockScales.count == expected, "one factor per block")
      blockScales.withUnsafeBufferPointer { pointers.blockScales = $0.baseAddress }
    }
    body(pointers)
  }
}

/// Pointers handed to the threads of one synchronous loop. Each use says why it is sound.
struct Lent<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// The table of C functions of an instruction set.
enum MathKernels {
  static func table(_ instructionSet: InstructionSet) -> UnsafePointer<ck_math> {
    precondition(instructionSet <= .best, "the processor has \(instructionSet)")
    return ck_math_at(Int32(instructionSet.rawValue))
  }
}
