internal import CKernels

/// Some tokens of a window under one query head: their scores, block by block of the keys, and what they mix.
struct AttentionPiece {
  let unit: AttentionUnit
  let head: Int
  /// Positions in the window.
  let rows: Range<Int>
  /// The unit's packed keys and values.
  let packed: UnsafeMutableRawPointer

  private var shape: AttentionShape { unit.shape }
  private var kernel: ProductKernel { unit.shape.kernel }
  private var math: ck_math { unit.shape.math.pointee }
  private var tiles: Int { (rows.count + kernel.tileTokens - 1) / kernel.tileTokens }
  private static let keyBlock = AttentionShape.keyBlock

  /// Working memory of a piece.
  private struct Scratch {
    let queries: UnsafeMutableRawPointer
    let weights: UnsafeMutableRawPointer
    /// `[tokens of a tile, keys of a block]`
    let scores: UnsafeMutablePointer<Float>
    /// `[tokens, dimension]`
    let mixed: UnsafeMutablePointer<Float>
    let states: UnsafeMutablePointer<ck_softmax>
  }

  /// Replaces the rows' queries by what they attend to.
  func run(_ queries: UnsafeMutablePointer<Float>) {
    let stride = shape.heads.queries * shape.dimension
    let start = queries + (unit.tokens.lowerBound + rows.lowerBound) * stride + head * shape.dimension
    withScratch { scratch in
      packQueries(start, stride, to: scratch.queries)
      for row in 0..<rows.count { scratch.states[row] = ck_softmax(largest: -.infinity, sum: 0) }
      kernel.onThisThread {
        for tile in 0..<tiles { attend(tile, scratch) }
      }
      for row in 0..<rows.count {
        let mixed = scratch.mixed + row * shape.dimension
        math.scale(mixed, Float(1 / scratch.states[row].sum), shape.dimension)
        (start + row * stride).update(from: mixed, count: shape.dimension)
      }
    }
  }

  private func withScratch(_ body: (Scratch) -> Void) {
    let sizes = [
      tiles * shape.queryPanelBytes, kernel.tokenPanelBytes(Self.keyBlock, terms: shape.terms),
      kernel.tileTokens * Self.keyBlock * 4, tiles * kernel.tileTokens * shape.dimension * 4,
      tiles * kernel.tileTokens * MemoryLayout<ck_softmax>.stride,
    ].map { ($0 + 63) / 64 * 64 }
    withUnsafeTemporaryAllocation(byteCount: sizes.reduce(0, +), alignment: 64) { buffer in
      guard let base = buffer.baseAddress else { return }
      let starts = sizes.reduce(into: [base]) { $0.append($0[$0.count - 1] + $1) }
      body(
        Scratch(
          queries: starts[0], weights: starts[1], scores: starts[2].assumingMemoryBound(to: Float.self),
          mixed: starts[3].assumingMemoryBound(to: Float.self),
          states: starts[4].assumingMemoryBound(to: ck_softmax.self)))
    }
  }

  private func packQueries(_ start: UnsafePointer<Float>, _ stride: Int, to packed: UnsafeMutableRawPointer) {
    for tile in 0..<tiles {
      let row = tile * kernel.tileTokens
      var to = packed + tile * shape.queryPanelBytes
      for part in shape.blocksOfDimension {
        kernel.table.pointee.pack_tokens(
          start + row * stride + part.lowerBound, stride, min(kernel.tileTokens, rows.count - row), part.count,
          Int32(shape.terms), to)
        to += kernel.tokenPanelBytes(part.count, terms: shape.terms)
      }
    }
  }

  /// The first key that a position sees.
  private func lowest(_ position: Int) -> Int {
    shape.heads.slidingWindow.map { max(0, position + 1 - $0) } ?? 0
  }

  private func attend(_ tile: Int, _ scratch: Scratch) {
    let first = rows.lowerBound + tile * kernel.tileTokens
    let positions = first..<min(first + kernel.tileTokens, rows.upperBound)
    let blocks = lowest(positions.lowerBound) / Self.keyBlock...(positions.upperBound - 1) / Self.keyBlock
    for block in blocks {
      let keys = block * Self.keyBlock..<min((block + 1) * Self.keyBlock, positions.upperBound)
      let packedKeys = packed + block * unit.blockByteCount
      score(tile, positions.count, keys.count, packedKeys, scratch)
      weigh(positions, keys, scratch, isFirst: block == blocks.lowerBound)
      mix(
        tile, positions.count, keys.count, packedKeys + shape.keyPanels * shape.keyPanelBytes, scratch,
        isFirst: block == blocks.lowerBound)
    }
  }

  /// scores[row, key] = query · key
  private func score(_ tile: Int, _ count: Int, _ keys: Int, _ packedKeys: UnsafeRawPointer, _ scratch: Scratch) {
    let width = kernel.tileOutputs
    for panel in 0..<(keys + width - 1) / width {
      var queries = UnsafeRawPointer(scratch.queries + tile * shape.queryPanelBytes)
      var rows = packedKeys + panel * shape.keyPanelBytes
      for part in shape.blocksOfDimension {
        // Keys behind the last one that is seen are computed with it and left alone: a whole tile takes no detour.
        kernel.table.pointee.tile(
          queries, Int32(shape.terms), rows, Int32(shape.terms), part.count, scratch.scores + panel * width,
          Self.keyBlock, count, width, part.lowerBound > 0 ? 1 : 0)
        queries += kernel.tokenPanelBytes(part.count, terms: shape.terms)
        rows += kernel.outputPanelBytes(part.count, terms: shape.terms)
      }
    }
  }

  /// Scores become weights relative to the largest score so far; what was mixed before is brought to the same measure.
  private func weigh(_ positions: Range<Int>, _ keys: Range<Int>, _ scratch: Scratch, isFirst: Bool) {
    let factor = 1 / Float(shape.dimension).squareRoot()
    for (line, position) in positions.enumerated() {
      let row = position - rows.lowerBound
      let scores = scratch.scores + line * Self.keyBlock
      let start = min(max(lowest(position), keys.lowerBound), keys.upperBound) - keys.lowerBound
      let end = min(position + 1, keys.upperBound) - keys.lowerBound
      (scores).update(repeating: 0, count: start)
      (scores + max(start, end)).update(repeating: 0, count: keys.count - max(start, end))
      guard start < end else { continue }
      let earlier = math.softmax_block(scores + start, end - start, factor, scratch.states + row)
      if !isFirst && earlier != 1 { math.scale(scratch.mixed + row * shape.dimension, earlier, shape.dimension) }
    }
  }

  /// mixed[row, :] (+)= Σ weight[row, key] · value[key, :]
  private func mix(
    _ tile: Int, _ count: Int, _ keys: Int, _ values: UnsafeRawPointer, _ scratch: Scratch, isFirst: Bool
  ) {
    let width = kernel.tileOutputs
    let rows = scratch.mixed + tile * kernel.tileTokens * shape.dimension
    kernel.table.pointee.pack_tokens(
      scratch.scores, Self.keyBlock, count, keys, Int32(shape.terms), scratch.weights)
    for panel in 0..<shape.valuePanels {
      kernel.table.pointee.tile(
        scratch.weights, Int32(shape.terms), values + panel * shape.valuePanelBytes, Int32(shape.terms), keys,
        rows + panel * width, shape.dimension, count, min(width, shape.dimension - panel * width), isFirst ? 0 : 1)
    }
  }
}
