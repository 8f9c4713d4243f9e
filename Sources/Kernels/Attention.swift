internal import CKernels

/// Causal attention with grouped key/value heads (GQA), softmax included.
///
/// Keys are taken in blocks of 256 with a softmax that grows block by block (Milakov and Gimelshein 2018; the order of
/// FlashAttention, Dao et al. 2022), so no row of scores is ever longer than a block. Products are the kernel's, sums and
/// exponentials binary32. Blocks start at the window's first token, and keys that a token does not see have weight zero
/// and change nothing: results depend neither on threads nor on how tokens are tiled.
public enum Attention {
  /// The heads of one model.
  public struct Heads: Sendable {
    public let queries: Int
    public let keysAndValues: Int
    /// Elements of one head.
    public let dimension: Int
    /// Position i sees j with i − window < j ≤ i; nil for all earlier ones.
    public let slidingWindow: Int?

    public init(queries: Int, keysAndValues: Int, dimension: Int, slidingWindow: Int?) {
      precondition(queries % keysAndValues == 0, "query heads are a multiple of key/value heads")
      self.queries = queries
      self.keysAndValues = keysAndValues
      self.dimension = dimension
      self.slidingWindow = slidingWindow
    }
  }

  /// Packed keys and values in memory at a time, about, and at least of one head of one window.
  private static let packedByteCount = 64 << 20

  /// Bytes of packed keys and values that `apply` holds, at most, for so many tokens in windows of that length.
  public static func packedByteCount(tokens: Int, window: Int, heads: Heads, kernel: ProductKernel) -> Int {
    let shape = AttentionShape(heads: heads, kernel: kernel, math: MathKernels.table(.best))
    let unit = AttentionUnit(shape: shape, keyHead: 0, tokens: 0..<max(window, 1)).packedByteCount
    let units = (tokens + max(window, 1) - 1) / max(window, 1) * heads.keysAndValues
    return max(unit, min(packedByteCount, units * unit))
  }

  /// One window after another: tokens of a window see only that window.
  /// - Parameters:
  ///   - queries: `[tokens, heads.queries · dimension]`, turned by RoPE; replaced by the attention's output.
  ///   - keys: `[tokens, heads.keysAndValues · dimension]`, turned by RoPE.
  ///   - values: the same shape.
  ///   - windows: ranges of tokens, without overlap.
  public static func apply(
    queries: inout MutableSpan<Float>, keys: Span<Float>, values: Span<Float>, windows: [Range<Int>], heads: Heads,
    threads: Int, kernel: ProductKernel = ProductKernel(), instructionSet: InstructionSet = .best
  ) {
    let keyWidth = heads.keysAndValues * heads.dimension
    let perKey = heads.queries / heads.keysAndValues
    precondition(keys.count == values.count && queries.count == keys.count * perKey, "heads of the same tokens")
    precondition(
      windows.allSatisfy { $0.lowerBound >= 0 && $0.upperBound * keyWidth <= keys.count }, "windows of these tokens")
    queries.withUnsafeMutableBufferPointer { queries in
      keys.withUnsafeBufferPointer { keys in
        values.withUnsafeBufferPointer { values in
          guard let queries = queries.baseAddress, let keys = keys.baseAddress, let values = values.baseAddress else {
            return
          }
          let shape = AttentionShape(heads: heads, kernel: kernel, math: MathKernels.table(instructionSet))
          let units = windows.filter { !$0.isEmpty }.flatMap { window in
            (0..<heads.keysAndValues).map { AttentionUnit(shape: shape, keyHead: $0, tokens: window) }
          }
          var next = 0
          while next < units.count {
            var (end, byteCount) = (next + 1, units[next].packedByteCount)
            while end < units.count, byteCount + units[end].packedByteCount <= packedByteCount {
              byteCount += units[end].packedByteCount
              end += 1
            }
            AttentionRound(units: Array(units[next..<end])).run(queries, keys, values, threads: threads)
            next = end
          }
        }
      }
    }
  }
}

/// What all heads of all windows have in common.
struct AttentionShape: @unchecked Sendable {
  // Sound: the pointer is to a constant table.
  let heads: Attention.Heads
  let kernel: ProductKernel
  let math: UnsafePointer<ck_math>

  /// Blocks of inputs that a head is packed in, one behind the other.
  let blocksOfDimension: [Range<Int>]
  /// Bytes of one panel of keys.
  let keyPanelBytes: Int
  let queryPanelBytes: Int
  let valuePanelBytes: Int

  init(heads: Attention.Heads, kernel: ProductKernel, math: UnsafePointer<ck_math>) {
    self.heads = heads
    self.kernel = kernel
    self.math = math
    let (dimension, terms) = (heads.dimension, kernel.terms)
    blocksOfDimension = stride(from: 0, to: dimension, by: kernel.block).map { $0..<min($0 + kernel.block, dimension) }
    keyPanelBytes = blocksOfDimension.reduce(0) { $0 + kernel.outputPanelBytes($1.count, terms: terms) }
    queryPanelBytes = blocksOfDimension.reduce(0) { $0 + kernel.tokenPanelBytes($1.count, terms: terms) }
    valuePanelBytes = kernel.outputPanelBytes(Self.keyBlock, terms: terms)
  }

  /// Keys of a block.
  static let keyBlock = 256
  var dimension: Int { heads.dimension }
  var perKey: Int { heads.queries / heads.keysAndValues }
  /// Tokens of a piece of work: whole tiles, about as many rows as a block of scores in the first-level cache has.
  var tokensPerPiece: Int { kernel.tileTokens * max(2, 48 / kernel.tileTokens) }
  var terms: Int { kernel.terms }
  /// Panels of values: as many elements of a head as a tile has outputs.
  var valuePanels: Int { (dimension + kernel.tileOutputs - 1) / kernel.tileOutputs }
  /// Panels of a block of keys.
  var keyPanels: Int { (Self.keyBlock + kernel.tileOutputs - 1) / kernel.tileOutputs }
}

/// The query heads of one window that share a key/value head: its keys and values are packed once for all of them.
struct AttentionUnit: Sendable {
  let shape: AttentionShape
  let keyHead: Int
  let tokens: Range<Int>

  var count: Int { tokens.count }
  var keyBlocks: Int { (count + AttentionShape.keyBlock - 1) / AttentionShape.keyBlock }
  var blockByteCount: Int {
    shape.keyPanels * shape.keyPanelBytes + shape.valuePanels * shape.valuePanelBytes
  }
  var packedByteCount: Int { keyBlocks * blockByteCount }
  var pieces: Int { (count + shape.tokensPerPiece - 1) / shape.tokensPerPiece }

  /// Packs one block of keys, and behind it the values.
  func pack(
    block: Int, _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>, to packed: UnsafeMutableRawPointer
  ) {
    let kernel = shape.kernel
    let stride = shape.heads.keysAndValues * shape.dimension
    let first = block * AttentionShape.keyBlock
    let used = min(AttentionShape.keyBlock, count - first)
    let start = (tokens.lowerBound + first) * stride + keyHead * shape.dimension
    for panel in 0..<(used + kernel.tileOutputs - 1) / kernel.tileOutputs {
      var to = packed + panel * shape.keyPanelBytes
      let row = panel * kernel.tileOutputs
      for part in shape.blocksOfDimension {
        var rows = ck_weights(
          rows: keys + start + row * stride + part.lowerBound, format: .f32, stride: stride * 4,
          count: min(kernel.tileOutputs, used - row), k: part.count, scales: nil, scale_stride: 0, scale_run: 1,
          first_column: 0)
        kernel.table.pointee.pack_outputs(&rows, Int32(shape.terms), to)
        to += kernel.outputPanelBytes(part.count, terms: shape.terms)
      }
    }
    for panel in 0..<shape.valuePanels {
      let column = panel * kernel.tileOutputs
      kernel.table.pointee.pack_columns(
        values + start + column, stride, min(kernel.tileOutputs, shape.dimension - column), used, Int32(shape.terms),
        packed + shape.keyPanels * shape.keyPanelBytes + panel * shape.valuePanelBytes)
    }
  }
}

/// Heads of windows whose keys and values are packed together, so that all threads have work.
private struct AttentionRound: Sendable {
  let units: [AttentionUnit]

  func run(
    _ queries: UnsafeMutablePointer<Float>, _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>, threads: Int
  ) {
    var starts = [0]
    for unit in units { starts.append(starts[starts.count - 1] + unit.packedByteCount) }
    let packed = AlignedBytes(byteCount: starts[units.count])
    let offsets = starts
    let blocks = units.indices.flatMap { unit in (0..<units[unit].keyBlocks).map { (unit, $0) } }
    // The last tokens of a window see the most keys: they come first, so that what is left at the end is short.
    let pieces = units.indices.flatMap { unit in
      (0..<units[unit].shape.perKey).flatMap { head in (0..<units[unit].pieces).map { (unit, head, $0) } }
    }.sorted { ($1.2, $0.0, $0.1) < ($0.2, $1.0, $1.1) }
    // Sound: every piece writes its own block, then its own tokens' rows of its own head; both loops are synchronous.
    let lent = Lent((queries, keys, values))
    try? Parallel.forEach(count: blocks.count, threads: threads) { index in
      let (unit, block) = blocks[index]
      units[unit].pack(
        block: block, lent.value.1, lent.value.2,
        to: packed.start + offsets[unit] + block * units[unit].blockByteCount)
    }
    try? Parallel.forEach(count: pieces.count, threads: threads) { index in
      let (unit, head, piece) = pieces[index]
      let owner = units[unit]
      let first = piece * owner.shape.tokensPerPiece
      AttentionPiece(
        unit: owner, head: owner.keyHead * owner.shape.perKey + head,
        rows: first..<min(first + owner.shape.tokensPerPiece, owner.count), packed: packed.start + offsets[unit]
      ).run(lent.value.0)
    }
  }
}
