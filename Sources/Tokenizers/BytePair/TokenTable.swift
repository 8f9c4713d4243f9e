/// The bytes of every token by id, and ids by bytes. All bytes lie in one arena; looking up a piece of text copies
/// nothing.
struct TokenTable: Sendable {
  private var arena: [UInt8] = []
  /// By id: where the token starts in `arena`, and its length; length 0 means that the id is not in use.
  private var starts: [Int]
  private var lengths: [UInt16]
  /// Open addressing, linear probing: upper half a part of the hash, lower half the id; all ones means empty.
  private var slots: [UInt64]
  private let mask: Int
  /// Hashes differ from run to run, so that a hostile vocabulary cannot be made to collide. No result depends on it.
  private let seed: UInt64
  private(set) var longest = 0
  private(set) var count = 0

  private static let empty = UInt64.max

  /// A table for ids below `idLimit`.
  init(idLimit: Int) {
    precondition(idLimit <= TokenizerLimits.vocabularySize, "the caller checks the limit")
    starts = Array(repeating: 0, count: idLimit)
    lengths = Array(repeating: 0, count: idLimit)
    var size = 16
    while size < idLimit * 2 { size *= 2 }
    slots = Array(repeating: Self.empty, count: size)
    mask = size - 1
    seed = UInt64.random(in: 0...UInt64.max)
    arena.reserveCapacity(idLimit * 8)
  }

  var idLimit: Int { starts.count }

  func contains(id: Int32) -> Bool { id >= 0 && Int(id) < lengths.count && lengths[Int(id)] > 0 }

  /// Nil for an id that is not in use.
  func bytes(of id: Int32) -> ArraySlice<UInt8>? {
    guard contains(id: id) else { return nil }
    let start = starts[Int(id)]
    return arena[start..<start + Int(lengths[Int(id)])]
  }

  func length(of id: Int32) -> Int { contains(id: id) ? Int(lengths[Int(id)]) : 0 }

  /// Adds a token; returns the id that already has these bytes, if there is one, and then changes nothing.
  /// `id` is in range and free, `token` has 1 to `TokenizerLimits.tokenBytes` bytes: the readers check.
  mutating func insert(_ token: [UInt8], id: Int32) -> Int32? {
    precondition(!token.isEmpty && token.count <= TokenizerLimits.tokenBytes && lengths[Int(id)] == 0)
    let text = token.span
    if let known = self.id(of: text, 0, text.count) { return known }
    starts[Int(id)] = arena.count
    lengths[Int(id)] = UInt16(token.count)
    arena += token
    longest = max(longest, token.count)
    count += 1
    let hash = hash(text, 0, text.count)
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot] != Self.empty { slot = (slot + 1) & mask }
    slots[slot] = hash & 0xFFFF_FFFF_0000_0000 | UInt64(UInt32(bitPattern: id))
    return nil
  }

  /// The token that consists of exactly the bytes `start..<end` of `text`.
  @inline(__always)
  func id(of text: Span<UInt8>, _ start: Int, _ end: Int) -> Int32? {
    let hash = hash(text, start, end)
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = slots[slot]
      if entry == Self.empty { return nil }
      if (entry ^ hash) >> 32 == 0 {
        let id = UInt32(truncatingIfNeeded: entry)
        if matches(Int(id), text, start, end) { return Int32(bitPattern: id) }
      }
      slot = (slot + 1) & mask
    }
  }

  @inline(__always)
  private func matches(_ id: Int, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    guard Int(lengths[id]) == end - start else { return false }
    let offset = starts[id] - start
    for index in start..<end where arena[offset + index] != text[index] { return false }
    return true
  }

  @inline(__always)
  private func hash(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> UInt64 {
    var state = seed
    var position = start
    while position + 8 <= end {
      var word: UInt64 = 0
      for index in 0..<8 { word |= UInt64(text[position + index]) << UInt64(index * 8) }
      state = mix(state ^ word, 0x9E37_79B9_7F4A_7C15)
      position += 8
    }
    var word: UInt64 = 0
    while position < end {
      word = word << 8 | UInt64(text[position])
      position += 1
    }
    return mix(state ^ word, 0xD6E8_FEB8_6659_FD93 ^ UInt64(end - start) << 32)
  }
}

/// Both halves of the 128-bit product, folded: every input bit reaches every output bit.
@inline(__always)
func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
  let product = a.multipliedFullWidth(by: b)
  return product.high ^ product.low
}
