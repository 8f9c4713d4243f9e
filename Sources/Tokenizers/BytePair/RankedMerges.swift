internal import ByteIO

extension MergeTable {
  /// The rules that a ranked vocabulary implies (tiktoken): two neighbours merge when their concatenation is a token,
  /// and the token's own rank is the rule's. One rule for every way to cut a token into two tokens.
  init(impliedBy tokens: TokenTable) throws(ParseFailure) {
    let pairs = try tokens.cuts()
    self.init(capacity: pairs.count)
    for pair in pairs {
      let isNew = insert(pair.left, pair.right, Self.rule(rank: UInt32(pair.result), result: pair.result))
      precondition(isNew, "two cuts of one token are different pairs, and two tokens have different bytes")
    }
  }
}

extension TokenTable {
  /// Every cut of a token into two tokens, in the order of ids; those of one token in the order of the first part's
  /// length, or sorted by the parts' ids.
  func cuts(sorted: Bool = false) throws(ParseFailure) -> [BytePairTokenizer.Merge] {
    var pairs: [BytePairTokenizer.Merge] = []
    for id in 0..<Int32(idLimit) {
      guard let bytes = bytes(of: id), bytes.count > 1 else { continue }
      let (text, start) = (bytes.span, pairs.count)
      for cut in 1..<text.count {
        if let left = self.id(of: text, 0, cut), let right = self.id(of: text, cut, text.count) {
          pairs.append(BytePairTokenizer.Merge(left: left, right: right, result: id))
        }
      }
      guard pairs.count <= TokenizerLimits.merges else {
        throw ParseFailure("the ranks imply more merge rules than the limit of \(TokenizerLimits.merges)")
      }
      if sorted { pairs[start...].sort { ($0.left, $0.right) < ($1.left, $1.right) } }
    }
    return pairs
  }
}
