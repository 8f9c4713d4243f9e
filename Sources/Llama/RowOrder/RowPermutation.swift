/// A reordering of the rows of query and key projections: which row of the operand stands at each row of the result.
///
/// Meta stores the two rows of a rotary pair side by side (2j, 2j+1 of a head); Hugging Face stores them half a head
/// apart (j, j + D/2). Both orders hold the same rows, and the rows stay within their head.
public struct RowPermutation: Sendable, Hashable {
  private enum Kind: Sendable, Hashable {
    case identity
    /// Result row h·D + 2j + b is operand row h·D + b·D/2 + j.
    case halvesToPairs
    /// Result row h·D + b·D/2 + j is operand row h·D + 2j + b.
    case pairsToHalves
  }

  private let kind: Kind
  /// Rows of one head, D; even.
  private let headDimension: Int

  public static let identity = RowPermutation(kind: .identity, headDimension: 2)

  /// From Hugging Face's order to Meta's, the canonical one. Applies to any number of whole heads.
  public static func halvesToPairs(headDimension: Int) -> RowPermutation {
    precondition(headDimension > 0 && headDimension % 2 == 0, "heads have an even number of rows")
    // Two rows are in the same order either way.
    return headDimension == 2 ? .identity : RowPermutation(kind: .halvesToPairs, headDimension: headDimension)
  }

  /// The operand's row that stands at `row` of the result.
  public func source(of row: Int) -> Int {
    let head = row - row % headDimension
    let within = row % headDimension
    let half = headDimension / 2
    return switch kind {
    case .identity: row
    case .halvesToPairs: head + within % 2 * half + within / 2
    case .pairsToHalves: head + within % half * 2 + within / half
    }
  }

  public var isIdentity: Bool { kind == .identity }

  public var inverse: RowPermutation {
    switch kind {
    case .identity: self
    case .halvesToPairs: RowPermutation(kind: .pairsToHalves, headDimension: headDimension)
    case .pairsToHalves: RowPermutation(kind: .halvesToPairs, headDimension: headDimension)
    }
  }

  /// True when applying both, in either order, leaves every row where it was.
  public func undoes(_ other: RowPermutation) -> Bool { inverse == other }
}
