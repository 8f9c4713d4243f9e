internal import CKernels

/// Causal attention with grouped key/value heads (GQA) in binary32, softmax included.
///
/// Sums over keys are chains of fused multiply-adds in order of the key within blocks of 256; keys that a token does not
/// see have weight zero and change nothing. So results do not depend on threads or on how tokens are tiled.
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

  /// One window after another: tokens of a window see only that window.
  /// - Parameters:
  ///   - queries: `[tokens, heads.queries · dimension]`, turned by RoPE; replaced by the attention's output.
  ///   - keys: `[tokens, heads.keysAndValues · dimension]`, turned by RoPE.
  ///   - values: the same shape.
  ///   - windows: ranges of tokens, without overlap.
  public static func apply(
    queries: inout MutableSpan<Float>, keys: Span<Float>, values: Span<Float>, windows: [Range<Int>], heads: Heads,
    threads: Int, instructionSet: InstructionSet = .best
  ) {
    let pieces = windows.count * heads.keysAndValues
    queries.withUnsafeMutableBufferPointer { queries in
      keys.withUnsafeBufferPointer { keys in
        values.withUnsafeBufferPointer { values in
          guard let queries = queries.baseAddress, let keys = keys.baseAddress, let values = values.baseAddress else {
            return
          }
          // Sound: every piece writes its own window's rows of its own heads, and the loop is synchronous.
          let lent = Lent((queries, keys, values))
          try? Parallel.forEach(count: pieces, threads: threads) { piece in
            let (queries, keys, values) = lent.value
            let group = AttentionGroup(
              heads, keyHead: piece % heads.keysAndValues, tokens: windows[piece / heads.keysAndValues],
              math: MathKernels.table(instructionSet))
            group.apply(queries: queries, keys: keys, values: values)
          }
        }
      }
    }
  }
}

/// The query heads of one window that share a key/value head: its keys and values are packed once for all of them.
private struct AttentionGroup {
  let heads: Attention.Heads
  let keyHead: Int
  let first: Int
  let count: Int
  let math: UnsafePointer<ck_math>

  init(_ heads: Attention.Heads, keyHead: Int, tokens: Range<Int>, math: UnsafePointer<ck_math>) {
    self.heads = heads
    self.keyHead = keyHead
    first = tokens.lowerBound
    count = tokens.count
    self.math = math
  }

  private var tile: Int { math.pointee.tile_tokens }
  private var width: Int { math.pointee.tile_outputs }
  private var dimension: Int { heads.dimension }
  /// Panels of keys, each `width` keys of `dimension` elements.
  private var keyPanels: Int { (count + width - 1) / width }
  /// Panels of values, each `width` elements of all keys.
  private var valuePanels: Int { (dimension + width - 1) / width }
  /// Keys rounded up to whole panels: the row stride of the scores.
  private var stride: Int { keyPanels * width }

  func apply(queries: UnsafeMutablePointer<Float>, keys: UnsafePointer<Float>, values: UnsafePointer<Float>) {
    let keyStride = heads.keysAndValues * dimension
    let keyStart = keys + first * keyStride + keyHead * dimension
    let valueStart = values + first * keyStride + keyHead * dimension
    withScratch { packedKeys, packedValues, scores, packedTokens in
      for panel in 0..<keyPanels {
        pack(keyStart, keyStride, panel, to: packedKeys + panel * width * dimension)
      }
      packValues(valueStart, keyStride, to: packedValues)
      let perKey = heads.queries / heads.keysAndValues
      let queryStride = heads.queries * dimension
      for head in keyHead * perKey..<(keyHead + 1) * perKey {
        for token in Swift.stride(from: 0, to: count, by: tile) {
          let rows = min(tile, count - token)
          let query = queries + (first + token) * queryStride + head * dimension
          score(query, queryStride, token, rows, packedKeys, packedTokens, scores)
          weigh(scores, token: token, rows: rows)
          mix(scores, token, rows, packedValues, packedTokens, into: query, queryStride)
        }
      }
    }
  }

  private func withScratch(
    _ body: (
      _ keys: UnsafeMutablePointer<Float>, _ values: UnsafeMutablePointer<Float>,
      _ scores: UnsafeMutablePointer<Float>, _ tokens: UnsafeMutablePointer<Float>
    ) -> Void
  ) {
    let sizes = (
      keyPanels * width * dimension, valuePanels * width * count, tile * stride, tile * max(dimension, count)
    )
    withUnsafeTemporaryAllocation(of: Float.self, capacity: sizes.0 + sizes.1 + sizes.2 + sizes.3) { scratch in
      guard let base = scratch.baseAddress else { return }
      body(base, base + sizes.0, base + sizes.0 + sizes.1, base + sizes.0 + sizes.1 + sizes.2)
    }
  }

  /// Heads may be longer than a block of inputs: packed block by block, one behind the other.
  private func pack(
    _ keys: UnsafePointer<Float>, _ keyStride: Int, _ panel: Int, to packed: UnsafeMutablePointer<Float>
  ) {
    let rows = min(width, count - panel * width)
    for block in Swift.stride(from: 0, to: dimension, by: MatrixProduct.blockLength) {
      math.pointee.pack_outputs(
        keys + panel * width * keyStride + block, .f32, keyStride * 4, rows,
        min(MatrixProduct.blockLength, dimension - block), nil, 0, 1, block, packed + block * width)
    }
  }

  private func packValues(_ values: UnsafePointer<Float>, _ valueStride: Int, to packed: UnsafeMutablePointer<Float>) {
    for panel in 0..<valuePanels {
      let used = min(width, dimension - panel * width)
      for key in 0..<count {
        let to = packed + (panel * count + key) * width
        let from = values + key * valueStride + panel * width
        for index in 0..<used { to[index] = from[index] }
        for index in used..<width { to[index] = 0 }
      }
    }
  }

  /// scores[row, key] = query · key for all keys up to the last one that the tile sees.
  private func score(
    _ query: UnsafePointer<Float>, _ queryStride: Int, _ token: Int, _ rows: Int,
    _ packedKeys: UnsafePointer<Float>, _ packedTokens: UnsafeMutablePointer<Float>,
    _ scores: UnsafeMutablePointer<Float>
  ) {
    let visible = token + rows
    for block in Swift.stride(from: 0, to: dimension, by: MatrixProduct.blockLength) {
      let k = min(MatrixProduct.blockLength, dimension - block)
      math.pointee.pack_tokens(query + block, queryStride, rows, k, packedTokens)
      for panel in 0..<(visible + width - 1) / width {
        math.pointee.tile(
          packedTokens, packedKeys + panel * width * dimension + block * width, k, scores + panel * width, stride,
          rows, width, block > 0 ? 1 : 0)
      }
    }
  }

  /// Scores become weights: softmax over the keys that each token sees, zero elsewhere.
  private func weigh(_ scores: UnsafeMutablePointer<Float>, token: Int, rows: Int) {
    let factor = 1 / Float(dimension).squareRoot()
    for row in 0..<rows {
      let position = token + row
      let lowest = max(0, position + 1 - (heads.slidingWindow ?? count))
      let line = scores + row * stride
      for key in 0..<lowest { line[key] = 0 }
      math.pointee.softmax(line + lowest, position + 1 - lowest, factor)
      for key in position + 1..<max(position + 1, token + rows) { line[key] = 0 }
    }
  }

  /// output[row, :] = Σ weight[row, key] · value[key, :]
  private func mix(
    _ scores: UnsafePointer<Float>, _ token: Int, _ rows: Int, _ packedValues: UnsafePointer<Float>,
    _ packedTokens: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>, _ outputStride: Int
  ) {
    let visible = token + rows
    for block in Swift.stride(from: 0, to: visible, by: MatrixProduct.blockLength) {
      let k = min(MatrixProduct.blockLength, visible - block)
      math.pointee.pack_tokens(scores + block, stride, rows, k, packedTokens)
      for panel in 0..<valuePanels {
        math.pointee.tile(
          packedTokens, packedValues + (panel * count + block) * width, k, output + panel * width, outputStride, rows,
          min(width, dimension - panel * width), block > 0 ? 1 : 0)
      }
    }
  }
}
