internal import HeapModule

/// SentencePiece's byte pair encoding of normalized text.
///
/// The text starts as its scalar values; user-defined pieces are taken out first and never merged. As long as two
/// neighbours together are a piece, those that make the piece of the highest score are merged, the leftmost ones of equal
/// scores. What is no piece in the end is spelled in byte pieces, or is the unknown piece. (Kudo, Richardson 2018,
/// section 3.1; the order of merges is that of the library's `bpe` model.)
struct SentencePieceModel: Sendable {
  /// Lower is earlier; pieces of equal scores have equal ranks.
  typealias Rank = UInt32
  static let none = Rank.max

  private let table: TokenTable
  /// By id; `none` for pieces that merges do not make.
  let ranks: [Rank]
  /// By id.
  private let kinds: [TokenKind]
  private let byteIDs: [Int32]?
  private let unknown: Int32
  let userDefined: PrefixMatcher
  /// Bytes of the longest piece that merges make.
  private let longest: Int
  /// Pieces that merges make and that are taken apart again: which merge did that, the whole text decides.
  let hasUnused: Bool
  private let neighbours: Neighbours

  /// Stretches up to this many scalar values are merged by scanning an array; longer ones with a heap, whose cost per
  /// value grows with the logarithm of the length only.
  static let longestScannedStretch = 96

  init(_ vocabulary: SentencePieceVocabulary) {
    table = vocabulary.table
    byteIDs = vocabulary.byteIDs
    unknown = vocabulary.unknown
    let pieces = vocabulary.pieces
    // What only fills a row is found in no text.
    let kinds = pieces.enumerated().map { vocabulary.isInUse(Int32($0.offset)) ? $0.element.kind : .control }
    let mergeable = pieces.indices.filter { kinds[$0] == .normal || kinds[$0] == .unused }
    self.kinds = kinds
    ranks = Self.ranks(pieces, mergeable)
    userDefined = PrefixMatcher(pieces.filter { $0.kind == .userDefined }.map(\.text))
    longest = mergeable.map { pieces[$0].text.count }.max() ?? 0
    hasUnused = kinds.contains(.unused)
    neighbours = Neighbours(mergeable.lazy.map { pieces[$0].text })
  }

  private static func ranks(_ pieces: [SentencePieceVocabulary.Piece], _ mergeable: [Int]) -> [Rank] {
    var ranks = [Rank](repeating: none, count: pieces.count)
    var (rank, score) = (Rank(0), Float.infinity)
    for id in mergeable.sorted(by: { (pieces[$0].score, $1) > (pieces[$1].score, $0) }) {
      if pieces[id].score < score {
        rank += 1
        score = pieces[id].score
      }
      ranks[id] = rank
    }
    return ranks
  }

  func encode(_ text: Span<UInt8>) -> [Int32] {
    var run = Run(byteCount: text.count)
    var position = 0
    var last: UInt32?
    while position < text.count {
      let matched = userDefined.longestMatch(in: text, at: position)
      if matched > 0 {
        if !hasUnused { merge(text, &run, upTo: position) }
        run.append(position, isFrozen: true, keepsFrozen: hasUnused)
        position += matched
        if !hasUnused { merge(text, &run, upTo: position) }
        last = nil
        continue
      }
      let (length, scalar) = UTF8Scanner.scalar(in: text, at: position)
      if !hasUnused, let last, !neighbours.contains(last, scalar) { merge(text, &run, upTo: position) }
      run.append(position, isFrozen: false, keepsFrozen: hasUnused)
      position += length
      last = scalar
    }
    merge(text, &run, upTo: position)
    return run.output
  }

  /// Bytes of each piece that a text without user-defined pieces is merged into.
  func pieceLengths(_ text: Span<UInt8>) -> [Int] {
    var run = Run(byteCount: 0)
    var position = 0
    while position < text.count {
      run.append(position, isFrozen: false, keepsFrozen: hasUnused)
      position += UTF8Scanner.length(ofLead: text[position])
    }
    mergeSymbols(text, &run, upTo: position)
    return zip(run.starts, run.starts.dropFirst()).map { $1 - $0 }
  }

  /// A stretch of text in the making, and the ids so far.
  private struct Run {
    var output: [Int32] = []
    /// Where the stretch's symbols start; at last also where it ends.
    var starts: [Int] = []
    /// By place; empty where user-defined pieces are stretches of their own.
    var isFrozen: [Bool] = []
    /// The rank of the piece that each symbol makes with its right neighbour.
    var ranks: [Rank] = []
    /// The last token is unknown, and no text was dropped behind it.
    var isBehindUnknown = false
    /// Bytes of the left part, by id of an unused piece.
    var cuts: [Int32: Int] = [:]
    /// Stretches of this text that were merged before.
    var known: KnownStretches

    /// - Parameter byteCount: of the text.
    init(byteCount: Int) {
      output.reserveCapacity(byteCount / 3 + 8)
      known = KnownStretches(byteCount: byteCount)
    }

    @inline(__always)
    mutating func append(_ position: Int, isFrozen frozen: Bool, keepsFrozen: Bool) {
      starts.append(position)
      if keepsFrozen { isFrozen.append(frozen) }
    }
  }

  /// Merges the symbols of the stretch that ends at `end`.
  private func mergeSymbols(_ text: Span<UInt8>, _ run: inout Run, upTo end: Int) {
    run.starts.append(end)
    let count = run.starts.count - 1
    guard count > 1 else { return }
    run.ranks.removeAll(keepingCapacity: true)
    for place in 0..<count - 1 { run.ranks.append(rank(text, run.starts[place], run.starts[place + 2])) }
    run.ranks.append(Self.none)
    if count <= Self.longestScannedStretch && !hasUnused {
      mergeShort(text, &run)
    } else {
      mergeLong(text, &run)
    }
  }

  /// Merges the stretch that ends at `end`, appends its ids and starts a new one.
  private func merge(_ text: Span<UInt8>, _ run: inout Run, upTo end: Int) {
    guard let start = run.starts.first else { return }
    // The ids of a stretch follow from its bytes alone, unless a run of unknown text or an unused piece goes beyond it.
    let isClosed = byteIDs != nil && !hasUnused
    let slot = isClosed ? run.known.slot(of: text, start, end) : nil
    if let slot, let ids = run.known.ids(slot, of: text, start, end) {
      for index in ids {
        // One by one: a slice would hold on to the array and make it be copied.
        let id = run.output[index]
        run.output.append(id)
      }
      run.starts.removeAll(keepingCapacity: true)
      run.isFrozen.removeAll(keepingCapacity: true)
      return
    }
    let first = run.output.count
    defer { if let slot { run.known.keep(slot, start, end, first..<run.output.count) } }
    mergeSymbols(text, &run, upTo: end)
    for place in 0..<run.starts.count - 1 { emit(text, run.starts[place], run.starts[place + 1], &run) }
    run.starts.removeAll(keepingCapacity: true)
    run.isFrozen.removeAll(keepingCapacity: true)
  }

  /// The rank of the piece `start..<end`, which two neighbours make.
  @inline(__always)
  private func rank(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Rank {
    guard end - start <= longest, let id = table.id(of: text, start, end) else { return Self.none }
    return ranks[Int(id)]
  }

  private func mergeShort(_ text: Span<UInt8>, _ run: inout Run) {
    var count = run.starts.count - 1
    while count > 1 {
      var (best, place) = (Self.none, 0)
      for index in 0..<count - 1 where run.ranks[index] < best { (best, place) = (run.ranks[index], index) }
      if best == Self.none { break }
      count -= 1
      run.starts.remove(at: place + 1)
      run.ranks.remove(at: place)
      if place > 0 { run.ranks[place - 1] = rank(text, run.starts[place - 1], run.starts[place + 1]) }
      run.ranks[place] =
        place < count - 1 ? rank(text, run.starts[place], run.starts[place + 2]) : Self.none
    }
  }

  private func mergeLong(_ text: Span<UInt8>, _ run: inout Run) {
    let count = run.starts.count - 1
    // A doubly linked list over the places of the first scalar values; -1 and `count` are its ends.
    var next = Array(1...count)
    var previous = Array(-1..<count - 1)
    let places = hasUnused ? count : 0
    for place in 0..<places { note(text, &run, place, place + 1, place + 2) }
    // The rank in the upper half, the place in the lower: the least is the one to merge. An entry is out of date when
    // the rank at its place is another.
    let entries = run.ranks.enumerated().filter { $0.element != Self.none }
    var heap = Heap<UInt64>(entries.map { UInt64($0.element) << 32 | UInt64($0.offset) })
    while let entry = heap.popMin() {
      let place = Int(entry & 0xFFFF_FFFF)
      guard run.ranks[place] == Rank(entry >> 32) else { continue }
      let absorbed = next[place]
      run.ranks[absorbed] = Self.none
      next[place] = next[absorbed]
      if next[place] < count { previous[next[place]] = place }
      for left in [previous[place], place] where left >= 0 {
        let right = next[left]
        run.ranks[left] = Self.none
        guard right < count else { continue }
        run.ranks[left] = rank(text, run.starts[left], run.starts[next[right]])
        if hasUnused { note(text, &run, left, right, next[right]) }
        if run.ranks[left] != Self.none { heap.insert(UInt64(run.ranks[left]) << 32 | UInt64(left)) }
      }
    }
    var (place, kept) = (0, 0)
    while place < count {
      run.starts[kept] = run.starts[place]
      kept += 1
      place = next[place]
    }
    run.starts[kept] = run.starts[count]
    run.starts.removeSubrange((kept + 1)...)
  }

  /// In models with unused pieces: user-defined pieces are not merged, and how an unused piece would be made is kept, the
  /// last time it is seen anywhere in the text.
  private func note(_ text: Span<UInt8>, _ run: inout Run, _ left: Int, _ right: Int, _ behind: Int) {
    guard right < run.isFrozen.count, run.ranks[left] != Self.none else { return }
    if run.isFrozen[left] || run.isFrozen[right] {
      run.ranks[left] = Self.none
    } else if let id = table.id(of: text, run.starts[left], run.starts[behind]), kinds[Int(id)] == .unused {
      run.cuts[id] = run.starts[right] - run.starts[left]
    }
  }

  /// Appends the ids of the symbol `start..<end`.
  private func emit(_ text: Span<UInt8>, _ start: Int, _ end: Int, _ run: inout Run) {
    if let id = table.id(of: text, start, end) {
      switch kinds[Int(id)] {
      case .unused:
        // One that no merge made is a single scalar value, and as good as unknown.
        if let cut = run.cuts[id] {
          emit(text, start, start + cut, &run)
          emit(text, start + cut, end, &run)
          return
        }
      case .normal, .userDefined:
        run.output.append(id)
        run.isBehindUnknown = false
        return
      default: break
      }
    }
    if let byteIDs {
      for index in start..<end { run.output.append(byteIDs[Int(text[index])]) }
    } else {
      // A run of unknown text is one token.
      if !run.isBehindUnknown { run.output.append(unknown) }
      run.isBehindUnknown = true
    }
  }
}

/// The last stretches of a text that were merged, most of them words, which come again: where they are in the text, and
/// where their ids are in the output. A table of one entry for each hash, so that memory and time do not grow.
private struct KnownStretches {
  private struct Entry {
    var start = 0
    var length = 0
    var ids = 0..<0
  }

  private var entries: [Entry]
  /// Longer ones hardly come again.
  private static let longest = 48

  /// In a short text little comes again.
  private static let leastByteCount = 4096

  init(byteCount: Int) {
    entries = byteCount < Self.leastByteCount ? [] : Array(repeating: Entry(), count: 1 << 12)
  }

  /// Nil for a stretch that is not kept. The hash is FNV-1a, 64 bits.
  func slot(of text: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
    guard !entries.isEmpty, end - start <= Self.longest else { return nil }
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for index in start..<end { hash = (hash ^ UInt64(text[index])) &* 0x100_0000_01B3 }
    return Int(truncatingIfNeeded: (hash ^ hash >> 32) & UInt64(entries.count - 1))
  }

  func ids(_ slot: Int, of text: Span<UInt8>, _ start: Int, _ end: Int) -> Range<Int>? {
    let entry = entries[slot]
    guard entry.length == end - start else { return nil }
    for offset in 0..<entry.length where text[entry.start + offset] != text[start + offset] { return nil }
    return entry.ids
  }

  mutating func keep(_ slot: Int, _ start: Int, _ end: Int, _ ids: Range<Int>) {
    entries[slot] = Entry(start: start, length: end - start, ids: ids)
  }
}

/// Which scalar values stand side by side in a piece. Two that do in none are never merged, nor anything that ends and
/// begins with them: the text is cut there, and its stretches are short.
private struct Neighbours: Sendable {
  private let pairs: MergeTable?

  /// More pairs than these are not kept; the text is not cut then.
  private static let limit = 1 << 22

  init(_ texts: some Sequence<[UInt8]>) {
    var distinct: Set<UInt64> = []
    for text in texts {
      let text = text.span
      var (last, position) = (UInt32?.none, 0)
      while position < text.count {
        let (length, scalar) = UTF8Scanner.scalar(in: text, at: position)
        if let last { distinct.insert(UInt64(last) << 32 | UInt64(scalar)) }
        (last, position) = (scalar, position + length)
      }
      if distinct.count > Self.limit { break }
    }
    guard distinct.count <= Self.limit else {
      pairs = nil
      return
    }
    var pairs = MergeTable(capacity: distinct.count)
    for pair in distinct { _ = pairs.insert(Int32(pair >> 32), Int32(pair & 0xFFFF_FFFF), 0) }
    self.pairs = pairs
  }

  @inline(__always)
  func contains(_ left: UInt32, _ right: UInt32) -> Bool {
    guard let pairs else { return true }
    return pairs[Int32(bitPattern: left), Int32(bitPattern: right)] != MergeTable.none
  }
}
