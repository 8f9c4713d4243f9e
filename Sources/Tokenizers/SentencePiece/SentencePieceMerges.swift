internal import ByteIO

/// A way to make a piece of two.
struct PieceCut {
  let result: Int32
  /// Bytes of the left part.
  let length: Int
  /// Scalar values of both parts.
  let leftCount: Int
  let rightCount: Int
  /// Both parts are pieces, which all but single scalar values are.
  let left: Int32?
  let right: Int32?
}

extension SentencePieceVocabulary {
  /// Every way to make the piece `id` of two neighbours: both parts are pieces that merges make, or single scalar values
  /// whether there is a piece for them or not. The longest left part first. None for a piece with U+0020, which
  /// normalized text does not have.
  func cuts(of id: Int32) -> [PieceCut] {
    guard isInUse(id), pieces[Int(id)].isMergeable else { return [] }
    let text = pieces[Int(id)].text
    guard !text.contains(0x20) else { return [] }
    var ends: [Int] = []
    var position = 0
    while position < text.count {
      position += UTF8Scanner.length(ofLead: text[position])
      ends.append(position)
    }
    func part(_ start: Int, _ end: Int) -> Int32? {
      table.id(of: text.span, start, end).flatMap { isInUse($0) && pieces[Int($0)].isMergeable ? $0 : nil }
    }
    var cuts: [PieceCut] = []
    for count in stride(from: ends.count - 1, to: 0, by: -1) {
      let length = ends[count - 1]
      let (left, right) = (part(0, length), part(length, text.count))
      guard left != nil || count == 1, right != nil || count == ends.count - 1 else { continue }
      cuts.append(
        PieceCut(
          result: id, length: length, leftCount: count, rightCount: ends.count - count, left: left, right: right))
    }
    return cuts
  }

  /// All of `cuts(of:)`, by id.
  /// - Throws: `ParseFailure` when there are more than `TokenizerLimits.merges`.
  func allCuts() throws(ParseFailure) -> [PieceCut] {
    var all: [PieceCut] = []
    for id in 0..<Int32(pieces.count) {
      all += cuts(of: id)
      guard all.count <= TokenizerLimits.merges else {
        throw ParseFailure("the pieces can be made in more ways than the limit of \(TokenizerLimits.merges)")
      }
    }
    return all
  }

  /// The pieces that two neighbours can make, in the order in which they are made: by descending score; of equal scores
  /// the one with the longer left part first, then with the longer right part, then by id. Neighbours in the order that
  /// consist of U+2581 alone are by id: Llama's models give these one score, and converters to `tokenizer.json` have
  /// listed them in several orders.
  func mergeOrder() -> [Int32] {
    let ranks = SentencePieceModel(self).ranks
    var order: [(rank: UInt32, left: Int, right: Int, id: Int32)] = []
    for id in 0..<Int32(pieces.count) {
      guard let cut = cuts(of: id).first else { continue }
      order.append((ranks[Int(id)], -cut.leftCount, -cut.rightCount, id))
    }
    order.sort { $0 < $1 }
    var ids = order.map(\.id)
    var start = 0
    while start < ids.count {
      var end = start
      while end < ids.count, pieces[Int(ids[end])].isOnlySpaces { end += 1 }
      ids[start..<end].sort()
      start = end + 1
    }
    return ids
  }
}
