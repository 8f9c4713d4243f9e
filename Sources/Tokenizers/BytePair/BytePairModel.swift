internal import HeapModule

/// Byte-level byte pair encoding of one piece of text.
///
/// A piece starts as its single bytes. As long as a neighbouring pair has a rule, the pair whose rule has the lowest
/// rank is merged, the leftmost one if several have it (Sennrich, Haddow, Birch 2016, on bytes).
struct BytePairModel: Sendable {
  let tokens: TokenTable
  let merges: MergeTable
  /// Whether a piece that is a token as a whole is that token, reachable by merges or not.
  let takesWholePieces: Bool
  /// The token of each single byte.
  let byteTokens: [Int32]

  /// Pieces up to this many bytes are merged by scanning an array; longer ones with a heap, whose cost per byte grows
  /// with the logarithm of the length only.
  static let longestScannedPiece = 96

  /// Buffers that one call of `encode` uses for all its pieces.
  struct Scratch {
    var ids: [Int32] = Array(repeating: 0, count: longestScannedPiece)
    /// The rule of each token with its right neighbour.
    var rules: [MergeRule] = Array(repeating: 0, count: longestScannedPiece)
  }

  @inline(__always)
  func append(
    _ text: Span<UInt8>, _ start: Int, _ end: Int, to output: inout [Int32], scratch: inout Scratch
  ) {
    let length = end - start
    if length == 1 {
      output.append(byteTokens[Int(text[start])])
      return
    }
    if takesWholePieces, length <= tokens.longest, let id = tokens.id(of: text, start, end) {
      output.append(id)
      return
    }
    if length <= Self.longestScannedPiece {
      mergeShort(text, start, end, to: &output, ids: &scratch.ids, rules: &scratch.rules)
    } else {
      mergeLong(text, start, end, to: &output)
    }
  }

  private func mergeShort(
    _ text: Span<UInt8>, _ start: Int, _ end: Int, to output: inout [Int32],
    ids idStore: inout [Int32], rules ruleStore: inout [MergeRule]
  ) {
    var ids = idStore.mutableSpan
    var rules = ruleStore.mutableSpan
    var count = end - start
    for index in 0..<count { ids[index] = byteTokens[Int(text[start + index])] }
    for index in 0..<count - 1 { rules[index] = merges[ids[index], ids[index + 1]] }
    while count > 1 {
      var best = MergeTable.none
      var place = 0
      for index in 0..<count - 1 where rules[index] < best {
        best = rules[index]
        place = index
      }
      if best == MergeTable.none { break }
      ids[place] = MergeTable.result(of: best)
      count -= 1
      for index in place + 1..<max(count, place + 1) {
        ids[index] = ids[index + 1]
        rules[index - 1] = rules[index]
      }
      if place > 0 { rules[place - 1] = merges[ids[place - 1], ids[place]] }
      if place < count - 1 { rules[place] = merges[ids[place], ids[place + 1]] }
    }
    for index in 0..<count { output.append(ids[index]) }
  }

  /// A candidate in the heap: lowest rank first, then leftmost. It is out of date when the rule at `place` is another.
  private struct Candidate: Comparable {
    let rule: MergeRule
    let place: Int

    static func < (left: Self, right: Self) -> Bool {
      left.rule == right.rule ? left.place < right.place : left.rule < right.rule
    }
  }

  private func mergeLong(_ text: Span<UInt8>, _ start: Int, _ end: Int, to output: inout [Int32]) {
    let count = end - start
    var ids = (0..<count).map { byteTokens[Int(text[start + $0])] }
    // A doubly linked list over the places of the first bytes; -1 and `count` are its ends.
    var next = Array(1...count)
    var previous = Array(-1..<count - 1)
    var rules = [MergeRule](repeating: MergeTable.none, count: count)
    var heap = Heap<Candidate>()
    for place in 0..<count - 1 { rules[place] = merges[ids[place], ids[place + 1]] }
    heap.insert(
      contentsOf: (0..<count - 1).lazy.filter { rules[$0] != MergeTable.none }
        .map { Candidate(rule: rules[$0], place: $0) })

    while let candidate = heap.popMin() {
      let place = candidate.place
      guard rules[place] == candidate.rule else { continue }
      let absorbed = next[place]
      ids[place] = MergeTable.result(of: candidate.rule)
      rules[absorbed] = MergeTable.none
      next[place] = next[absorbed]
      if next[place] < count { previous[next[place]] = place }
      for left in [previous[place], place] where left >= 0 {
        let right = next[left]
        rules[left] = right < count ? merges[ids[left], ids[right]] : MergeTable.none
        if rules[left] != MergeTable.none { heap.insert(Candidate(rule: rules[left], place: left)) }
      }
    }
    var place = 0
    while place < count {
      output.append(ids[place])
      place = next[place]
    }
  }
}
