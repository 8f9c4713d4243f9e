/// Whether merge rules with an order of their own give the same pieces of runs of spaces as scores do.
///
/// Rules are applied by rank, scores leftmost first where they are equal. Llama's models give all pieces of spaces alone
/// one score: the converter's rules for them, longest parts first, come to the same result. Rules in another order need
/// not.
struct SpaceRuns {
  /// Ranks of rules by the numbers of spaces in their parts.
  private var ranks: [Lengths: Int] = [:]

  private struct Lengths: Hashable {
    let left: Int
    let right: Int
  }

  /// Runs this many times as long as the longest piece are tried, and no longer ones than `limit`.
  private static let multiple = 4
  private static let limit = 512

  mutating func add(left: Int, right: Int, rank: Int) { ranks[Lengths(left: left, right: right)] = rank }

  /// Whether all runs that are tried are cut into the same pieces.
  func agree(with model: SentencePieceModel) -> Bool {
    let longest = ranks.keys.map { $0.left + $0.right }.max() ?? 1
    return (1...min(Self.multiple * longest, Self.limit)).allSatisfy { length in
      let text = Array(repeatElement(SentencePieceNormalizer.space, count: length).joined())
      return model.pieceLengths(text.span).map { $0 / SentencePieceNormalizer.space.count } == byRank(length)
    }
  }

  private func byRank(_ length: Int) -> [Int] {
    var parts = [Int](repeating: 1, count: length)
    while true {
      var best: (rank: Int, place: Int)?
      for place in 0..<parts.count - 1 {
        guard let rank = ranks[Lengths(left: parts[place], right: parts[place + 1])] else { continue }
        if best.map({ rank < $0.rank }) ?? true { best = (rank, place) }
      }
      guard let place = best?.place else { return parts }
      parts[place] += parts.remove(at: place + 1)
    }
  }
}
