internal import CKernels

/// H = Σ x·xᵀ over tokens `[size, size]` in binary32, row-major: what second-order quantizers weigh errors with (the Hessian
/// of the squared error of x·wᵀ, but for a factor of two).
///
/// Takes size² · 4 bytes, and 512 tokens' values twice while adding. A copy shares the memory until one of them changes: let
/// there be no other when adding or factoring.
public struct GramMatrix: Sendable {
  public let size: Int
  /// Tokens that were summed over.
  public private(set) var tokens = 0
  /// The lower triangle and the diagonal are always valid.
  private var values: [Float]
  private var isComplete = true

  /// Tokens that are packed at a time.
  private static let tokensPerPass = 2 * LowerTriangleUpdate.depthOfBlock

  /// Zeros.
  public init(size: Int) {
    precondition(size >= 0, "a size")
    self.size = size
    values = [Float](unsafeUninitializedCapacity: size * size) { buffer, count in
      if let start = buffer.baseAddress {
        ck_advise_huge_pages(start, size * size * MemoryLayout<Float>.stride)
        start.initialize(repeating: 0, count: size * size)
      }
      count = size * size
    }
  }

  /// Adds tokens. Blocks of 256 tokens of each call are summed first, then added in order: the same bits on any number of
  /// threads and on all kernels that multiply in binary32. Cutting tokens into calls elsewhere than at multiples of 256
  /// rounds differently.
  /// - Parameter x: `[tokens, size]`
  public mutating func add(
    _ x: Span<Float>, tokens: Int, threads: Int, kernel: ProductKernel = ProductKernel()
  ) {
    precondition(x.count == tokens * size, "whole rows")
    guard tokens > 0, size > 0 else { return }
    let size = size
    isComplete = false
    self.tokens += tokens
    let room = LowerTriangleUpdate(kernel: kernel, size: size, depth: min(tokens, Self.tokensPerPass))
    values.withUnsafeMutableBufferPointer { out in
      x.withUnsafeBufferPointer { x in
        guard let out = out.baseAddress, let x = x.baseAddress else { return }
        for first in stride(from: 0, to: tokens, by: Self.tokensPerPass) {
          let update = room.resized(size: size, depth: min(Self.tokensPerPass, tokens - first))
          Self.pack(x + first * size, update, threads: threads)
          update.run(out, stride: size, threads: threads)
        }
      }
    }
  }

  /// Columns of x are both operands.
  private static func pack(_ x: UnsafePointer<Float>, _ update: LowerTriangleUpdate, threads: Int) {
    let (kernel, size) = (update.kernel, update.size)
    let terms = Int32(kernel.terms)
    let stripe = LowerTriangleUpdate.packedStripe
    // Sound: every stripe of columns has its own panels.
    let lent = Lent(x)
    try? Parallel.forEach(count: (size + stripe - 1) / stripe, threads: threads) { index in
      let columns = index * stripe..<min((index + 1) * stripe, size)
      for k in Swift.stride(from: 0, to: update.depth, by: LowerTriangleUpdate.depthOfBlock) {
        let depth = update.blockDepth(k)
        let from = lent.value + k * size
        for column in Swift.stride(from: columns.lowerBound, to: columns.upperBound, by: kernel.tileOutputs) {
          kernel.table.pointee.pack_columns(
            from + column, size, min(kernel.tileOutputs, size - column), depth, terms,
            update.rightPanel(k: k, group: column / kernel.tileOutputs))
        }
        for column in Swift.stride(from: columns.lowerBound, to: columns.upperBound, by: kernel.tileTokens) {
          let count = min(kernel.tileTokens, size - column)
          withUnsafeTemporaryAllocation(of: Float.self, capacity: count * depth) { transposed in
            guard let to = transposed.baseAddress else { return }
            for token in 0..<depth {
              for row in 0..<count { to[row * depth + token] = from[token * size + column + row] }
            }
            kernel.table.pointee.pack_tokens(
              to, depth, count, depth, terms, update.leftPanel(k: k, tile: column / kernel.tileTokens))
          }
        }
      }
    }
  }

  /// H[i, i] = Σ xᵢ²
  public var diagonal: [Float] { (0..<size).map { values[$0 * size + $0] } }

  public subscript(row: Int, column: Int) -> Float { values[max(row, column) * size + min(row, column)] }

  /// H of some neighbouring columns alone, `[range.count, range.count]`, both triangles.
  public func block(_ range: Range<Int>) -> [Float] {
    range.flatMap { row in range.map { self[row, $0] } }
  }

  /// All of H, row-major, both triangles.
  public mutating func withValues<Result>(threads: Int, _ body: (Span<Float>) -> Result) -> Result {
    complete(threads: threads)
    return body(values.span)
  }

  /// H' = D·H·D for a diagonal matrix D: what inputs that are multiplied by `factors` give.
  public mutating func scale(by factors: [Float], threads: Int) {
    precondition(factors.count == size, "one factor per column")
    let size = size
    isComplete = false
    values.withUnsafeMutableBufferPointer { matrix in
      guard let matrix = matrix.baseAddress else { return }
      // Sound: every row is written by one piece of the synchronous loop.
      let lent = Lent((matrix, MathKernels.table(.best)))
      try? Parallel.forEach(count: size, threads: threads) { row in
        let (matrix, math) = lent.value
        math.pointee.scale_columns(matrix + row * size, factors, factors[row], row + 1)
      }
    }
  }

  /// tr(Δ·H·Δᵀ): the squared error over all tokens of outputs that rows of weights with the errors Δ give. Δ·H is made in
  /// binary32, to its rounding of Σ|δᵢ·Hᵢⱼ·δⱼ|; the rest is summed in binary64, row by row.
  /// - Parameter rows: Δ, `[rows, size]`.
  public mutating func energy(
    ofErrors rows: Span<Float>, rows count: Int, threads: Int, kernel: ProductKernel = ProductKernel()
  ) -> Double {
    precondition(rows.count == count * size, "whole rows")
    guard count > 0, size > 0 else { return 0 }
    complete(threads: threads)
    let values = values
    let weights = WeightRows(values: values.span, outputs: size, inputs: size)
    var total = 0.0
    let perTile = 256
    for first in stride(from: 0, to: count, by: perTile) {
      let tile = rows.extracting(first * size..<min(first + perTile, count) * size)
      let packed = PackedActivations(
        tile, tokens: tile.count / size, inputs: size, threads: threads, kernel: kernel)
      let products = MatrixProduct.product(packed, weights, threads: threads)
      for index in tile.indices { total += Double(tile[index]) * Double(products[index]) }
    }
    return total
  }

  private mutating func complete(threads: Int) {
    guard !isComplete else { return }
    let size = size
    values.withUnsafeMutableBufferPointer { matrix in
      guard let matrix = matrix.baseAddress else { return }
      SymmetricMatrix.mirror(matrix, size: size, fromUpper: false, threads: threads)
    }
    isComplete = true
  }

  /// Gives the memory away, both triangles valid.
  mutating func takeValues(threads: Int) -> [Float] {
    complete(threads: threads)
    var taken: [Float] = []
    swap(&taken, &values)
    return taken
  }
}
