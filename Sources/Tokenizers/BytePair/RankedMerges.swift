internal import ByteIO

extension MergeTable {
  /// The rules that a ranked vocabulary implies (tiktoken): two neighbours merge when their concatenation is a token,
  /// and the token's own rank is the rule's. One rule for every way to cut a token into two tokens.
  init(impliedBy tokens: TokenTable) throws(ParseFailure) {
    var pairs: [(left: Int32, right: Int32, result: Int32)] = []
    for id in 0..<Int32(tokens.idLimit) {
      guard let bytes = tokens.bytes(of: id), bytes.count > 1 else { continue }
      let text = bytes.span
      for cut in 1..<text.count {
        if let left = tokens.id(of: text, 0, cut), let right = tokens.id(of: text, cut, text.count) {
          pairs.append((left, right, id))
        }
      }
      guard pairs.count <= TokenizerLimits.merges else {
        throw ParseFailure("the ranks imply more merge rules than the limit of \(TokenizerLimits.merges)")
      }
    }
    self.init(capacity: pairs.count)
    for pair in pairs {
      let isNew = insert(pair.left, pair.right, Self.rule(rank: UInt32(pair.result), result: pair.result))
      precondition(isNew, "two cuts of one token are different pairs, and two tokens have different bytes")
    }
  }
}
