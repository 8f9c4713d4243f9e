internal import CKernels

/// Activations `[tokens, inputs]`, packed once for any number of products.
public struct PackedActivations: Sendable {
  public let tokens: Int
  public let inputs: Int
  public let kernel: ProductKernel
  /// One factor per token, or empty.
  let tokenScales: [Float]
  let terms: Int
  /// For each block of inputs, tile after tile of tokens.
  private let panels: AlignedBytes

  /// - Parameters:
  ///   - x: `[tokens, inputs]`, row-major.
  ///   - tokenScales: one factor per token, applied to the finished sums; or none.
  ///   - isBF16: BF16 holds every value, FP8 codes for example: one term is then exact.
  public init(
    _ x: Span<Float>, tokens: Int, inputs: Int, tokenScales: [Float] = [], isBF16: Bool = false, threads: Int,
    kernel: ProductKernel = ProductKernel()
  ) {
    precondition(x.count == tokens * inputs, "whole rows")
    precondition(tokenScales.isEmpty || tokenScales.count == tokens, "one factor per token")
    self.tokens = tokens
    self.inputs = inputs
    self.tokenScales = tokenScales
    self.kernel = kernel
    let terms = isBF16 ? 1 : kernel.terms
    self.terms = terms
    let tile = kernel.tileTokens
    let tiles = (tokens + tile - 1) / tile
    let lastBlock = (max(inputs, 1) - 1) / kernel.block
    panels = AlignedBytes(
      byteCount: tiles
        * (lastBlock * kernel.tokenPanelBytes(kernel.block, terms: terms)
          + kernel.tokenPanelBytes(inputs - lastBlock * kernel.block, terms: terms)))
    let target = panels
    x.withUnsafeBufferPointer { source in
      guard let from = source.baseAddress else { return }
      // Sound: every tile writes its own panels, and the buffers outlive the synchronous loop.
      let lent = Lent(from)
      try? Parallel.forEach(count: tiles, threads: threads) { index in
        let first = index * tile
        for block in stride(from: 0, to: inputs, by: kernel.block) {
          let k = min(kernel.block, inputs - block)
          kernel.table.pointee.pack_tokens(
            lent.value + first * inputs + block, inputs, min(tile, tokens - first), k, Int32(terms),
            target.start
              + Self.offset(block: block, k: k, tile: index, tiles: tiles, kernel: kernel, terms: terms))
        }
      }
    }
  }

  /// Tiles of tokens.
  var tiles: Int { (tokens + kernel.tileTokens - 1) / kernel.tileTokens }

  /// The panel of tile `tile` for inputs `block ..< block + k`.
  func panel(block: Int, k: Int, tile: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(
      panels.start + Self.offset(block: block, k: k, tile: tile, tiles: tiles, kernel: kernel, terms: terms))
  }

  private static func offset(
    block: Int, k: Int, tile: Int, tiles: Int, kernel: ProductKernel, terms: Int
  ) -> Int {
    block / kernel.block * tiles * kernel.tokenPanelBytes(kernel.block, terms: terms)
      + tile * kernel.tokenPanelBytes(k, terms: terms)
  }
}
