public import Kernels

/// Rounds the rows of a weight to integers so that the outputs of its linear change least: what the rounding of one column
/// does to them is made good by the columns that are still to be rounded (GPTQ, Frantar et al., arXiv:2210.17323). Scales and
/// zero points are given and stay.
public struct ErrorFeedback: Sendable {
  /// The order in which columns are rounded. Scales belong to columns, whatever the order: the layout of codes does not change.
  public enum ColumnOrder: Sendable, Hashable, CaseIterable {
    case natural
    /// By falling H[i, i], the first of equals first: columns that count most are rounded while most others can still make
    /// their errors good ("activation order").
    case descendingDiagonal
  }

  public enum Failure: Error, Sendable, Hashable, CustomStringConvertible {
    /// The diagonal of H has a value that is not finite.
    case notFinite(column: Int)
    /// H + λI was not positive definite with λ up to so many times the mean of the diagonal.
    case notPositiveDefinite(damping: Double)

    public var description: String {
      switch self {
      case .notFinite(let column): "activations of column \(column) are too large or not finite"
      case .notPositiveDefinite(let damping):
        "the Gram matrix of the activations is not positive definite, even damped by \(damping) of its mean diagonal"
      }
    }
  }

  /// How much of the mean of H's diagonal was added to it. More than was asked for when H was not positive definite with that.
  public let damping: Double
  /// Columns that no token drives. They are rounded to nearest, and no error is carried to or from them.
  public let undrivenColumns: [Int]
  private let factor: FeedbackFactor

  /// Tried when H is not positive definite: the damping asked for, and so often ten times the one before.
  private static let attempts = 4
  /// Tried after no damping at all.
  private static let leastDamping = 0.001

  /// Factors H + λI, in H's own memory unless the caller keeps a copy of it.
  /// - Parameters:
  ///   - gram: H = Σ x·xᵀ of the linear's inputs.
  ///   - damping: λ in units of the mean of H's diagonal over the columns that tokens drive; GPTQ takes 0.01.
  public init(
    _ gram: consuming GramMatrix, damping: Double, order: ColumnOrder, threads: Int,
    instructionSet: InstructionSet = .best
  ) throws(Failure) {
    precondition(damping >= 0 && damping.isFinite, "a damping")
    let diagonal = gram.diagonal
    if let column = diagonal.firstIndex(where: { !$0.isFinite }) { throw .notFinite(column: column) }
    undrivenColumns = diagonal.indices.filter { diagonal[$0] == 0 }
    let driven = diagonal.count - undrivenColumns.count
    let mean = driven == 0 ? 0 : diagonal.reduce(0.0) { $0 + Double($1) } / Double(driven)
    var dampings = [damping]
    while dampings.count < Self.attempts {
      dampings.append(max(dampings[dampings.count - 1] * 10, Self.leastDamping))
    }
    guard
      let factor = FeedbackFactor(
        gram, order: Self.columns(diagonal, order), dampings: dampings.map { Float($0 * mean) }, threads: threads,
        instructionSet: instructionSet)
    else { throw .notPositiveDefinite(damping: dampings[dampings.count - 1]) }
    self.factor = factor
    self.damping = dampings[factor.attempt]
  }

  private static func columns(_ diagonal: [Float], _ order: ColumnOrder) -> [Int] {
    switch order {
    case .natural: Array(diagonal.indices)
    case .descendingDiagonal:
      diagonal.indices.sorted { diagonal[$0] == diagonal[$1] ? $0 < $1 : diagonal[$0] > diagonal[$1] }
    }
  }

  /// Rounds rows, each by itself; value = (code − zero point) · scale. The same codes on any number of threads and on all
  /// instruction sets.
  /// - Parameters:
  ///   - values: `[rows, n]`, finite.
  ///   - scales: `[rows, groups]`, finite and not zero.
  ///   - zeroPoints: `[rows, groups]`, or nil for zeros.
  ///   - groupOfColumn: `[n]`, each less than `groups`.
  ///   - range: the codes there are.
  ///   - codes: takes two's complement bytes `[rows, n]`.
  /// - Returns: tr(Δ·(H + λI)·Δᵀ) of the errors Δ made, without columns that no token drives.
  @discardableResult
  public func quantize(
    _ values: Span<Float>, rows: Int, scales: Span<Float>, zeroPoints: Span<Int8>?, groupOfColumn: [Int32],
    codes range: ClosedRange<Int8>, into codes: inout MutableSpan<UInt8>, threads: Int,
    instructionSet: InstructionSet = .best
  ) -> Double {
    let grid = FeedbackGrid(scales: scales, zeroPoints: zeroPoints, groupOfColumn: groupOfColumn, codes: range)
    return factor.round(
      values, rows: rows, grid: grid, into: &codes, threads: threads, instructionSet: instructionSet)
  }

  /// tr((W − Q)·H·(W − Q)ᵀ), the squared error of the linear's outputs over all tokens; see `GramMatrix.energy`.
  /// - Parameters:
  ///   - gram: H, before it is factored.
  ///   - values: W, `[rows, n]`.
  ///   - rounded: Q, `[rows, n]`.
  public static func error(
    _ gram: inout GramMatrix, values: Span<Float>, rounded: Span<Float>, rows: Int, threads: Int
  ) -> Double {
    precondition(values.count == rounded.count, "as many values")
    var off = [Float](repeating: 0, count: values.count)
    for index in values.indices { off[index] = values[index] - rounded[index] }
    return gram.energy(ofErrors: off.span, rows: rows, threads: threads)
  }
}
