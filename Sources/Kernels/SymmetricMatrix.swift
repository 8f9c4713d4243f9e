internal import CKernels

/// Rearrangements in place of a square matrix `[size, size]` in binary32, row-major.
enum SymmetricMatrix {
  /// Sides of the blocks that are transposed at a time: both lie in the first-level cache.
  private static let side = 64

  /// Copies one triangle onto the other, without the diagonal.
  static func mirror(
    _ matrix: UnsafeMutablePointer<Float>, size: Int, fromUpper: Bool, threads: Int
  ) {
    // Sound: a piece reads rows of its stripe in one triangle and writes columns of it in the other.
    let lent = Lent(matrix)
    try? Parallel.forEach(count: (size + side - 1) / side, threads: threads) { stripe in
      let matrix = lent.value
      let rows = stripe * side..<min((stripe + 1) * side, size)
      for first in stride(from: 0, to: rows.upperBound, by: side) {
        for row in rows {
          // (row, column) of the lower triangle and (column, row) of the upper one.
          for column in first..<max(first, min(first + side, row)) {
            if fromUpper {
              matrix[row * size + column] = matrix[column * size + row]
            } else {
              matrix[column * size + row] = matrix[row * size + column]
            }
          }
        }
      }
    }
  }

  /// A'[i, j] = A[p[i], p[j]], with both triangles valid.
  /// - Parameter sources: p, a permutation.
  static func permute(_ matrix: UnsafeMutablePointer<Float>, size: Int, sources p: [Int32], threads: Int) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { row in
      guard let row = row.baseAddress else { return }
      // Rows along the cycles of the permutation: the first one waits aside until the last one is taken.
      var isDone = [Bool](repeating: false, count: size)
      for start in 0..<size where !isDone[start] {
        row.update(from: matrix + start * size, count: size)
        var at = start
        while true {
          isDone[at] = true
          let source = Int(p[at])
          if source == start { break }
          (matrix + at * size).update(from: matrix + source * size, count: size)
          at = source
        }
        (matrix + at * size).update(from: row, count: size)
      }
    }
    // Sound: every row is written by one piece of the synchronous loop.
    let lent = Lent(matrix)
    try? Parallel.forEach(count: (size + side - 1) / side, threads: threads) { stripe in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { copy in
        guard let copy = copy.baseAddress else { return }
        for index in stripe * side..<min((stripe + 1) * side, size) {
          let row = lent.value + index * size
          copy.update(from: row, count: size)
          for column in 0..<size { row[column] = copy[Int(p[column])] }
        }
      }
    }
  }
}
