internal import CKernels

/// C[i, j] += Σₖ a[i, k] · b[j, k] for j ≤ i, of a square matrix C of which only the lower triangle is looked at: about half
/// of the work of the whole product. Operands are packed by the caller, blocks of `depthOfBlock` of k after each other.
///
/// Each element is a chain of fused multiply-adds in order of k within a block, and blocks are added in order: the same bits
/// on any number of threads, and on all kernels that multiply in binary32.
struct LowerTriangleUpdate {
  /// Sums over one block are made without a look at C. Every kernel takes as many at a time.
  static let depthOfBlock = 256
  /// Rows and columns that a piece packs: tiles of every kernel divide it.
  static let packedStripe = 192

  let kernel: ProductKernel
  /// Rows of C, and length of k.
  let size: Int
  let depth: Int
  let left: AlignedBytes
  let right: AlignedBytes

  /// With room for its operands, which are to be packed.
  init(kernel: ProductKernel, size: Int, depth: Int) {
    precondition(kernel.block >= Self.depthOfBlock, "a kernel takes a whole block")
    let (tiles, groups) = Self.panels(kernel, size: size)
    self.init(
      kernel: kernel, size: size, depth: depth,
      left: AlignedBytes(byteCount: tiles * Self.bytes(depth) { kernel.tokenPanelBytes($0, terms: kernel.terms) }),
      right: AlignedBytes(byteCount: groups * Self.bytes(depth) { kernel.outputPanelBytes($0, terms: kernel.terms) }))
  }

  private init(kernel: ProductKernel, size: Int, depth: Int, left: AlignedBytes, right: AlignedBytes) {
    self.kernel = kernel
    self.size = size
    self.depth = depth
    self.left = left
    self.right = right
  }

  /// The same memory for a smaller update.
  func resized(size: Int, depth: Int) -> LowerTriangleUpdate {
    precondition(size <= self.size && depth <= self.depth, "room for it")
    return LowerTriangleUpdate(kernel: kernel, size: size, depth: depth, left: left, right: right)
  }

  private static func panels(_ kernel: ProductKernel, size: Int) -> (tiles: Int, groups: Int) {
    (
      (size + kernel.tileTokens - 1) / kernel.tileTokens, (size + kernel.tileOutputs - 1) / kernel.tileOutputs
    )
  }

  /// Bytes of the panels of all blocks.
  private static func bytes(_ depth: Int, _ panelBytes: (Int) -> Int) -> Int {
    let rest = depth % depthOfBlock
    return depth / depthOfBlock * panelBytes(depthOfBlock) + (rest > 0 ? panelBytes(rest) : 0)
  }

  /// Where the block at `k` of the rows of a tile is packed.
  func leftPanel(k: Int, tile: Int) -> UnsafeMutableRawPointer {
    let tiles = Self.panels(kernel, size: size).tiles
    return left.start
      + k / Self.depthOfBlock * tiles * kernel.tokenPanelBytes(Self.depthOfBlock, terms: kernel.terms)
      + tile * kernel.tokenPanelBytes(blockDepth(k), terms: kernel.terms)
  }

  /// Where the block at `k` of the columns of a tile is packed.
  func rightPanel(k: Int, group: Int) -> UnsafeMutableRawPointer {
    let groups = Self.panels(kernel, size: size).groups
    return right.start
      + k / Self.depthOfBlock * groups * kernel.outputPanelBytes(Self.depthOfBlock, terms: kernel.terms)
      + group * kernel.outputPanelBytes(blockDepth(k), terms: kernel.terms)
  }

  func blockDepth(_ k: Int) -> Int { min(Self.depthOfBlock, depth - k) }

  /// - Parameter out: first element of C, rows `stride` apart.
  func run(_ out: UnsafeMutablePointer<Float>, stride: Int, threads: Int) {
    let height = max(1, 256 / kernel.tileTokens) * kernel.tileTokens
    let regions = Swift.stride(from: 0, to: size, by: height).flatMap { row -> [(row: Int, column: Int)] in
      let last = min(row + height, size) - 1
      return Swift.stride(from: 0, through: last, by: 256).map { (row: row, column: $0) }
    }
    // Sound: every region is written by one piece of the synchronous loop.
    let lent = Lent(out)
    try? Parallel.forEach(count: regions.count, threads: threads) { index in
      let (row, column) = regions[index]
      let region = LowerTriangleRegion(
        update: self, rows: row..<min(row + height, size), columns: column..<min(column + 256, size), out: lent.value,
        stride: stride)
      kernel.onThisThread { region.run() }
    }
  }
}

/// A part of C that stays in the second-level cache with its operands, for all blocks of k.
private struct LowerTriangleRegion {
  let update: LowerTriangleUpdate
  let rows: Range<Int>
  let columns: Range<Int>
  let out: UnsafeMutablePointer<Float>
  let stride: Int

  func run() {
    let kernel = update.kernel
    let (height, width) = (kernel.tileTokens, kernel.tileOutputs)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: height * width) { edge in
      guard let edge = edge.baseAddress else { return }
      for k in Swift.stride(from: 0, to: update.depth, by: LowerTriangleUpdate.depthOfBlock) {
        for column in Swift.stride(from: columns.lowerBound, to: columns.upperBound, by: width) {
          let panel = update.rightPanel(k: k, group: column / width)
          let wide = min(width, columns.upperBound - column)
          for row in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: height) {
            let high = min(height, rows.upperBound - row)
            if row + high > column { tile(k, row, column, high, wide, panel, edge) }
          }
        }
      }
    }
  }

  private func tile(
    _ k: Int, _ row: Int, _ column: Int, _ high: Int, _ wide: Int, _ right: UnsafeRawPointer,
    _ edge: UnsafeMutablePointer<Float>
  ) {
    let kernel = update.kernel
    let terms = Int32(kernel.terms)
    let left = update.leftPanel(k: k, tile: row / kernel.tileTokens)
    let depth = update.blockDepth(k)
    let to = out + row * stride + column
    if row + 1 >= column + wide {
      kernel.table.pointee.tile(left, terms, right, terms, depth, to, stride, high, wide, 1)
      return
    }
    // Across the diagonal: what lies above it is left alone.
    kernel.table.pointee.tile(left, terms, right, terms, depth, edge, kernel.tileOutputs, high, wide, 0)
    for line in max(0, column - row)..<high {
      let sums = edge + line * kernel.tileOutputs
      for index in 0..<min(wide, row + line - column + 1) { to[line * stride + index] += sums[index] }
    }
  }
}
