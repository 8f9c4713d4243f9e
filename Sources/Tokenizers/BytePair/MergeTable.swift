/// A rule's rank in the upper half, the id that it makes in the lower: rules compare as their ranks do.
typealias MergeRule = UInt64

/// Which two neighbouring tokens become which one, and how early.
struct MergeTable: Sendable {
  /// No rule: higher than every rule.
  static let none = MergeRule.max

  /// Open addressing, linear probing; key and rule alternate, so that a probe touches one cache line.
  private var slots: [UInt64]
  private let mask: Int
  private let seed: UInt64
  private(set) var count = 0

  init(capacity: Int) {
    precondition(capacity <= TokenizerLimits.merges, "the caller checks the limit")
    var size = 16
    while size * 2 < capacity * 3 { size *= 2 }
    slots = Array(repeating: UInt64.max, count: size * 2)
    mask = size - 1
    seed = UInt64.random(in: 0...UInt64.max)
  }

  static func rule(rank: UInt32, result: Int32) -> MergeRule { UInt64(rank) << 32 | UInt64(UInt32(bitPattern: result)) }

  @inline(__always)
  static func result(of rule: MergeRule) -> Int32 { Int32(truncatingIfNeeded: rule) }

  @inline(__always)
  private func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// Adds a rule; false if the pair already has one, which then stays.
  mutating func insert(_ left: Int32, _ right: Int32, _ rule: MergeRule) -> Bool {
    let key = key(left, right)
    var slot = Int(truncatingIfNeeded: mix(key ^ seed, 0x9E37_79B9_7F4A_7C15)) & mask
    while slots[slot * 2] != UInt64.max {
      if slots[slot * 2] == key { return false }
      slot = (slot + 1) & mask
    }
    precondition(count <= mask, "a table keeps at least one free slot")
    slots[slot * 2] = key
    slots[slot * 2 + 1] = rule
    count += 1
    return true
  }

  /// Whether a rule makes the id, for each below `limit`.
  func makes(below limit: Int) -> [Bool] {
    var made = [Bool](repeating: false, count: limit)
    for slot in stride(from: 0, to: slots.count, by: 2) where slots[slot] != UInt64.max {
      let id = Int(Self.result(of: slots[slot + 1]))
      if made.indices.contains(id) { made[id] = true }
    }
    return made
  }

  @inline(__always)
  subscript(left: Int32, right: Int32) -> MergeRule {
    let key = key(left, right)
    var slot = Int(truncatingIfNeeded: mix(key ^ seed, 0x9E37_79B9_7F4A_7C15)) & mask
    while true {
      let found = slots[slot * 2]
      if found == key { return slots[slot * 2 + 1] }
      if found == UInt64.max { return Self.none }
      slot = (slot + 1) & mask
    }
  }
}
