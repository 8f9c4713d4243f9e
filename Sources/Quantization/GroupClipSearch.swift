public import Kernels

/// How much the range of each group of a weight's rows should shrink, so that the outputs change least: values outside are
/// clipped, the others get finer steps. Among given factors, the one with the least δᵀ·H·δ, where δ is the group's error and H
/// the Gram matrix of the group's inputs alone (AWQ's weight clipping, Lin et al., arXiv:2306.00978, with all tokens summed
/// once for all rows).
public struct GroupClipSearch: Sendable {
  /// Dequantizes what quantizing groups with a shrunken range gives: `[rows, size]` values, a group in each row, to as many.
  /// Rows do not depend on each other, and calls come from several threads.
  public typealias Quantizer = @Sendable (_ values: [Float], _ shrink: Float) -> [Float]

  /// What a search found, for each row and group.
  public struct Result: Sendable, Equatable {
    /// The factor, `[rows, groups]`; the first of equals.
    public let shrinks: [Float]
    /// δᵀ·H·δ with it, `[rows, groups]`.
    public let losses: [Float]
  }

  /// Rows of which errors are held at a time, by each thread.
  private static let rowsPerTile = 512

  /// The same result on any number of threads.
  /// - Parameters:
  ///   - values: `[rows, groups · size]`
  ///   - grams: for each group its block of H, `[size, size]`, both triangles.
  ///   - shrinks: candidates, at least one.
  public static func best(
    _ values: [Float], rows: Int, size: Int, grams: [[Float]], shrinks: [Float], threads: Int,
    kernel: ProductKernel = ProductKernel(), quantizer: Quantizer
  ) -> Result {
    let groups = grams.count
    precondition(size > 0 && values.count == rows * groups * size, "whole groups")
    precondition(grams.allSatisfy { $0.count == size * size }, "a block for each group")
    precondition(!shrinks.isEmpty, "a candidate")
    let tiles = (rows + rowsPerTile - 1) / rowsPerTile
    // Piece after piece, a group of some rows: factors, then losses.
    var found = [Float](repeating: 0, count: groups * tiles * 2 * rowsPerTile)
    var span = found.mutableSpan
    Parallel.stripes(of: &span, stripe: 2 * rowsPerTile, threads: threads) { start, stripe in
      let piece = start / (2 * rowsPerTile)
      let (group, first) = (piece / max(tiles, 1), piece % max(tiles, 1) * rowsPerTile)
      let tile = first..<min(first + rowsPerTile, rows)
      var part: [Float] = []
      part.reserveCapacity(tile.count * size)
      for row in tile { part += values[(row * groups + group) * size..<(row * groups + group + 1) * size] }
      for (index, shrink) in shrinks.enumerated() {
        let losses = losses(part, quantizer(part, shrink), size: size, gram: grams[group], kernel)
        for row in losses.indices where index == 0 || losses[row] < stripe[rowsPerTile + row] {
          stripe[row] = shrink
          stripe[rowsPerTile + row] = losses[row]
        }
      }
    }
    func collected(_ offset: Int) -> [Float] {
      (0..<rows).flatMap { row in
        (0..<groups).map { group in
          found[(group * tiles + row / rowsPerTile) * 2 * rowsPerTile + offset + row % rowsPerTile]
        }
      }
    }
    return Result(shrinks: collected(0), losses: collected(rowsPerTile))
  }

  /// δᵀ·H·δ of each row: one matrix product, and a sum in order.
  private static func losses(
    _ values: [Float], _ rounded: [Float], size: Int, gram: [Float], _ kernel: ProductKernel
  ) -> [Float] {
    precondition(rounded.count == values.count, "a value for each")
    let errors = values.indices.map { values[$0] - rounded[$0] }
    let rows = values.count / size
    let packed = PackedActivations(errors.span, tokens: rows, inputs: size, threads: 1, kernel: kernel)
    let block = WeightRows(values: gram.span, outputs: size, inputs: size)
    let products = MatrixProduct.product(packed, block, threads: 1)
    return (0..<rows).map { row in
      var sum = 0.0
      for index in row * size..<(row + 1) * size { sum += Double(errors[index]) * Double(products[index]) }
      return Float(sum)
    }
  }
}
