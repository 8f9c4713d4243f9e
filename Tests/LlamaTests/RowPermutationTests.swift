import Llama
import Testing

@Suite struct RowPermutationTests {
  /// Heads and rows per head: the smallest, real ones, and odd numbers of heads.
  static let cases = [(1, 4), (2, 8), (3, 6), (4, 32), (5, 10), (8, 64), (32, 128)]

  /// The rule: `meta[h·D + 2j + b] = hf[h·D + b·D/2 + j]`, h a head, j a pair, b its half. As a list of (meta, hf) rows.
  private func pairs(_ heads: Int, _ size: Int) -> [(meta: Int, face: Int)] {
    (0..<heads).flatMap { head in
      (0..<size / 2).flatMap { pair in
        (0..<2).map { (head * size + 2 * pair + $0, head * size + $0 * (size / 2) + pair) }
      }
    }
  }

  @Test("from Hugging Face's order to the canonical one and back", arguments: cases)
  func isTheRule(_ heads: Int, _ size: Int) {
    let permutation = RowPermutation.halvesToPairs(headDimension: size)
    for (meta, face) in pairs(heads, size) {
      #expect(permutation.source(of: meta) == face)
      #expect(permutation.inverse.source(of: face) == meta)
    }
  }

  @Test("the inverse undoes and every row comes once", arguments: cases)
  func isAPermutation(_ heads: Int, _ size: Int) {
    let permutation = RowPermutation.halvesToPairs(headDimension: size)
    let rows = 0..<heads * size
    #expect(rows.map { permutation.source(of: $0) }.sorted() == Array(rows))
    #expect(rows.allSatisfy { permutation.inverse.source(of: permutation.source(of: $0)) == $0 })
    #expect(rows.allSatisfy { permutation.source(of: $0) / size == $0 / size }, "rows stay in their head")
    #expect(permutation.undoes(permutation.inverse) && permutation.inverse.undoes(permutation))
    #expect(permutation.inverse.inverse == permutation && permutation.inverse != permutation)
    #expect(!permutation.isIdentity && !permutation.undoes(.identity))
  }

  @Test func anExampleByHand() {
    // Rows 0 1 2 | 3 4 5 of a head of six: pairs are (0,3), (1,4), (2,5).
    let permutation = RowPermutation.halvesToPairs(headDimension: 6)
    #expect((0..<12).map { permutation.source(of: $0) } == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11])
    #expect((0..<6).map { permutation.inverse.source(of: $0) } == [0, 2, 4, 1, 3, 5])
  }

  @Test func twoRowsAreInTheSameOrderEitherWay() {
    let permutation = RowPermutation.halvesToPairs(headDimension: 2)
    #expect(permutation.isIdentity && permutation == .identity && permutation.inverse == .identity)
    #expect((0..<8).allSatisfy { permutation.source(of: $0) == $0 })
  }

  @Test func permutationsOfOtherHeadsDoNotUndoEachOther() {
    let permutation = RowPermutation.halvesToPairs(headDimension: 8)
    #expect(!permutation.undoes(RowPermutation.halvesToPairs(headDimension: 16).inverse))
    #expect(!permutation.undoes(permutation))
  }
}
