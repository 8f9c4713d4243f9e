internal import CKernels

/// A = L·Lᵀ of a symmetric positive definite matrix, in place and in binary32.
///
/// Right-looking: panel after panel of 256 columns is factored, and its product with itself is taken from what lies behind
/// (Golub and Van Loan, Matrix Computations, 4.2). Products are made in binary32 on every processor: the two terms of BF16
/// that AMX multiplies leave 2⁻¹⁷ of A, which the smallest eigenvalues that a factor is asked for may not exceed. The same
/// bits on any number of threads and on all instruction sets.
public enum Cholesky {
  /// - Parameters:
  ///   - matrix: `[size, size]`, row-major. The lower triangle and the diagonal are read and replaced by L; the upper
  ///     triangle is left alone.
  /// - Returns: the index of the first pivot that is not positive and finite, and the matrix is then of no use; nil when
  ///   there is none.
  public static func factor(
    _ matrix: inout MutableSpan<Float>, size: Int, threads: Int, instructionSet: InstructionSet = .best
  ) -> Int? {
    precondition(matrix.count == size * size, "a square matrix")
    return matrix.withUnsafeMutableBufferPointer { matrix in
      guard let matrix = matrix.baseAddress else { return nil }
      return factor(matrix, size: size, threads: threads, instructionSet: instructionSet)
    }
  }

  static func factor(
    _ matrix: UnsafeMutablePointer<Float>, size: Int, threads: Int, instructionSet: InstructionSet
  ) -> Int? {
    let width = CholeskyPanel.width
    let kernel = ProductKernel(instructionSet.inFloat32)
    let room = LowerTriangleUpdate(kernel: kernel, size: max(0, size - width), depth: min(size, width))
    for first in stride(from: 0, to: size, by: width) {
      let start = matrix + first * size + first
      let panel = CholeskyPanel(columns: min(width, size - first), kernel: kernel, instructionSet: instructionSet)
      if let pivot = panel.factorDiagonal(start, stride: size) { return first + pivot }
      let below = size - first - width
      guard below > 0 else { return nil }
      let update = room.resized(size: below, depth: width)
      panel.solve(start + width * size, stride: size, update, threads: threads)
      update.run(start + width * size + width, stride: size, threads: threads)
    }
    return nil
  }
}

extension InstructionSet {
  /// The next one that multiplies float32 values in float32.
  var inFloat32: InstructionSet { multipliesInFloat32 ? self : .avx512BF16 }
}

/// A panel of L: the triangle on the diagonal, and its parts packed to solve the rows below by. Steps of 32 columns are
/// solved, then taken from the columns behind them in the panel.
private struct CholeskyPanel {
  static let width = LowerTriangleUpdate.depthOfBlock
  private static let step = Int(ck_triangle)
  private static let steps = width / step

  let columns: Int
  let kernel: ProductKernel
  private let table: UnsafePointer<ck_feedbacks>
  /// The triangle on the diagonal `[width, width]`.
  private let diagonal: AlignedBytes
  /// For each step, its triangle transposed, then its diagonal.
  private let triangles: AlignedBytes
  /// For each step, the negated rows of L behind it, its columns.
  private let behind: AlignedBytes

  private static let triangleFloats = step * step + step

  init(columns: Int, kernel: ProductKernel, instructionSet: InstructionSet) {
    self.columns = columns
    self.kernel = kernel
    table = ck_feedbacks_at(Int32(instructionSet.rawValue))
    diagonal = AlignedBytes(byteCount: Self.width * Self.width * 4)
    triangles = AlignedBytes(byteCount: Self.steps * Self.triangleFloats * 4)
    behind = AlignedBytes(
      byteCount: Self.steps * Self.width / kernel.tileOutputs * kernel.outputPanelBytes(Self.step, terms: kernel.terms))
  }

  /// The negated rows of a step from `group` tiles behind it on.
  private func panel(step: Int, group: Int) -> UnsafeMutableRawPointer {
    behind.start + (step * (Self.width / kernel.tileOutputs) + group)
      * kernel.outputPanelBytes(Self.step, terms: kernel.terms)
  }

  private func triangle(_ step: Int) -> UnsafeMutablePointer<Float> {
    triangles.start.assumingMemoryBound(to: Float.self) + step * Self.triangleFloats
  }

  /// Factors the triangle on the diagonal, in a copy: what lies above it is used as room.
  /// - Returns: the index of the first pivot that fails.
  func factorDiagonal(_ start: UnsafeMutablePointer<Float>, stride: Int) -> Int? {
    let copy = diagonal.start.bindMemory(to: Float.self, capacity: Self.width * Self.width)
    copy.initialize(repeating: 0, count: Self.width * Self.width)
    triangles.start.bindMemory(to: Float.self, capacity: Self.steps * Self.triangleFloats)
      .initialize(repeating: 0, count: Self.steps * Self.triangleFloats)
    for row in 0..<columns { (copy + row * Self.width).update(from: start + row * stride, count: row + 1) }
    for step in 0..<(columns + Self.step - 1) / Self.step {
      let first = step * Self.step
      let count = min(Self.step, columns - first)
      let pivot = table.pointee.factor_triangle(copy + first * Self.width + first, Self.width, count)
      if pivot >= 0 { return first + pivot }
      let next = first + count
      guard next < columns else { break }
      takeTriangle(step, from: copy + first * Self.width + first)
      let rows = copy + next * Self.width
      table.pointee.solve_rows(
        rows + first, Self.width, columns - next, triangle(step), triangle(step) + Self.step * Self.step)
      packBehind(step, from: rows + first)
      kernel.onThisThread { subtract(step, rows, stride: Self.width, count: columns - next) }
    }
    for row in 0..<columns { (start + row * stride).update(from: copy + row * Self.width, count: row + 1) }
    // Rows below need the last step too.
    if columns == Self.width {
      let last = Self.width - Self.step
      takeTriangle(Self.steps - 1, from: copy + last * Self.width + last)
    }
    return nil
  }

  private func takeTriangle(_ step: Int, from: UnsafePointer<Float>) {
    let to = triangle(step)
    for row in 0..<Self.step {
      for column in 0..<row { to[column * Self.step + row] = from[row * Self.width + column] }
      to[Self.step * Self.step + row] = from[row * Self.width + row]
    }
  }

  private func packBehind(_ step: Int, from rows: UnsafePointer<Float>) {
    let count = columns - (step + 1) * Self.step
    for row in Swift.stride(from: 0, to: count, by: kernel.tileOutputs) {
      kernel.packNegated(
        rows + row * Self.width, stride: Self.width, count: min(kernel.tileOutputs, count - row), k: Self.step,
        to: panel(step: step, group: row / kernel.tileOutputs))
    }
  }

  /// Takes the product of a solved step from the columns behind it.
  /// - Parameter rows: first element of the panel in the first of `count` rows.
  private func subtract(_ step: Int, _ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) {
    let (height, width) = (kernel.tileTokens, kernel.tileOutputs)
    let next = (step + 1) * Self.step
    guard next < columns else { return }
    let terms = Int32(kernel.terms)
    withUnsafeTemporaryAllocation(
      byteCount: kernel.tokenPanelBytes(Self.step, terms: kernel.terms), alignment: 64
    ) { packed in
      guard let packed = packed.baseAddress else { return }
      for row in Swift.stride(from: 0, to: count, by: height) {
        let line = rows + row * stride
        let high = min(height, count - row)
        kernel.table.pointee.pack_tokens(line + step * Self.step, stride, high, Self.step, terms, packed)
        for column in Swift.stride(from: next, to: columns, by: width) {
          kernel.table.pointee.tile(
            packed, terms, panel(step: step, group: (column - next) / width), terms, Self.step, line + column, stride,
            high, min(width, columns - column), 1)
        }
      }
    }
  }

  /// Solves the rows below and packs them for the update of what lies behind.
  /// - Parameter start: first element of the panel in the first row below.
  func solve(_ start: UnsafeMutablePointer<Float>, stride: Int, _ update: LowerTriangleUpdate, threads: Int) {
    let stripe = LowerTriangleUpdate.packedStripe
    let terms = Int32(kernel.terms)
    // Sound: every piece has its own rows and panels.
    let lent = Lent((start, self))
    try? Parallel.forEach(count: (update.size + stripe - 1) / stripe, threads: threads) { piece in
      let (start, panel) = lent.value
      let kernel = panel.kernel
      let rows = piece * stripe..<min((piece + 1) * stripe, update.size)
      let from = start + rows.lowerBound * stride
      kernel.onThisThread {
        for step in 0..<Self.steps {
          panel.table.pointee.solve_rows(
            from + step * Self.step, stride, rows.count, panel.triangle(step),
            panel.triangle(step) + Self.step * Self.step)
          panel.subtract(step, from, stride: stride, count: rows.count)
        }
      }
      for row in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: kernel.tileTokens) {
        kernel.table.pointee.pack_tokens(
          start + row * stride, stride, min(kernel.tileTokens, update.size - row), Self.width, terms,
          update.leftPanel(k: 0, tile: row / kernel.tileTokens))
      }
      for row in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: kernel.tileOutputs) {
        kernel.packNegated(
          start + row * stride, stride: stride, count: min(kernel.tileOutputs, update.size - row), k: Self.width,
          to: update.rightPanel(k: 0, group: row / kernel.tileOutputs))
      }
    }
  }
}

extension ProductKernel {
  /// Packs `count` rows of `k` floats as outputs, each negated: products are added only.
  func packNegated(
    _ rows: UnsafePointer<Float>, stride: Int, count: Int, k: Int, to packed: UnsafeMutableRawPointer
  ) {
    var minusOne: Float = -1
    withUnsafePointer(to: &minusOne) { factor in
      var weights = ck_weights(
        rows: rows, format: .f32, stride: stride * MemoryLayout<Float>.stride, count: count, k: k, scales: factor,
        scale_stride: 0, scale_run: 1 << 30, first_column: 0)
      table.pointee.pack_outputs(&weights, Int32(terms), packed)
    }
  }
}
