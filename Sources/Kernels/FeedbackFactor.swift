internal import CKernels

/// How the error of one column is made good by the columns that are rounded after it: the factor that GPTQ (Frantar et al.,
/// arXiv:2210.17323) takes from the inverse Hessian, found without the inverse.
///
/// With columns permuted into the reverse of the order they are rounded in, H + λI = L·Lᵀ. The column at position t, from
/// the last to the first, is rounded to the code nearest to
///
///     target(t) = w(t) + Σ over k > t of (w(k) − q(k)) · L[k, t] / L[t, t]
///
/// and the squared error is Σₜ L[t, t]² · (target(t) − q(t))² in the end: every column is rounded as well as the ones
/// before it allow. GPTQ's upper factor U of (H + λI)⁻¹ in the order of rounding is the inverse of L, rows and columns
/// reversed, so that both round the same targets.
public struct FeedbackFactor: Sendable {
  /// Columns.
  public let size: Int
  /// Which of the dampings it was factored with.
  public let attempt: Int
  /// The column at each position.
  let columns: [Int32]
  /// L[k, t] / L[t, t] below the diagonal, row-major; what lies elsewhere is of no meaning.
  let coefficients: [Float]
  /// L[t, t]², and 0 for columns that no token drives.
  let costs: [Float]

  /// Takes the memory of H for the factor.
  ///
  /// Columns that no token drives, with H[i, i] = 0, couple to nothing and cost nothing, whatever the damping.
  /// - Parameters:
  ///   - gram: H; the caller keeps no copy, or it is copied.
  ///   - order: columns in the order they are rounded in.
  ///   - dampings: values of λ to be tried one after the other.
  /// - Returns: nil when H is positive definite with none of them, or not finite.
  public init?(
    _ gram: consuming GramMatrix, order: [Int], dampings: [Float], threads: Int, instructionSet: InstructionSet = .best
  ) {
    let size = gram.size
    self.size = size
    precondition(order.count == size && Set(order) == Set(0..<size), "a permutation of the columns")
    let columns = order.reversed().map { Int32($0) }
    self.columns = columns
    let given = gram.diagonal
    let diagonal = columns.map { given[Int($0)] }
    guard diagonal.allSatisfy(\.isFinite) else { return nil }
    var values = gram.takeValues(threads: threads)
    var costs = [Float](repeating: 0, count: size)
    let attempt = values.withUnsafeMutableBufferPointer { matrix -> Int? in
      guard let matrix = matrix.baseAddress else { return 0 }
      SymmetricMatrix.permute(matrix, size: size, sources: columns, threads: threads)
      for (attempt, damping) in dampings.enumerated() {
        // The upper triangle still holds H.
        if attempt > 0 { SymmetricMatrix.mirror(matrix, size: size, fromUpper: true, threads: threads) }
        for index in 0..<size {
          matrix[index * size + index] = diagonal[index] == 0 ? 1 : diagonal[index] + damping
        }
        if Cholesky.factor(matrix, size: size, threads: threads, instructionSet: instructionSet) == nil {
          for index in 0..<size where diagonal[index] != 0 {
            let pivot = matrix[index * size + index]
            costs[index] = pivot * pivot
          }
          Self.normalize(matrix, size: size, threads: threads)
          return attempt
        }
      }
      return nil
    }
    guard let attempt else { return nil }
    self.attempt = attempt
    self.costs = costs
    coefficients = values
  }

  /// Divides each column by its pivot.
  private static func normalize(_ matrix: UnsafeMutablePointer<Float>, size: Int, threads: Int) {
    let inverses = (0..<size).map { 1 / matrix[$0 * size + $0] }
    // Sound: every row is written by one piece of the synchronous loop.
    let lent = Lent((matrix, MathKernels.table(.best)))
    try? Parallel.forEach(count: size, threads: threads) { row in
      let (matrix, math) = lent.value
      math.pointee.scale_columns(matrix + row * size, inverses, 1, row)
    }
  }
}

/// The grid that rows of a weight are rounded to: value = (code − zero) · scale.
public struct FeedbackGrid: ~Escapable {
  /// `[rows, groups]`, finite and not zero.
  public let scales: Span<Float>
  /// `[rows, groups]`, or nil for zeros.
  public let zeroPoints: Span<Int8>?
  /// The group of each column.
  public let groupOfColumn: [Int32]
  public let codes: ClosedRange<Int8>

  @_lifetime(copy scales, copy zeroPoints)
  public init(scales: Span<Float>, zeroPoints: Span<Int8>?, groupOfColumn: [Int32], codes: ClosedRange<Int8>) {
    self.scales = scales
    self.zeroPoints = zeroPoints
    self.groupOfColumn = groupOfColumn
    self.codes = codes
  }
}
