import Support
import Testing
import Verification

@Suite("Group testing") struct GroupSearchTests {
  /// A binary tree over `count` elements.
  private static func tree(_ range: Range<Int>) -> GroupSearch.Group {
    guard range.count > 1 else { return GroupSearch.Group("\(range.lowerBound)", Array(range)) }
    let middle = range.lowerBound + range.count / 2
    return GroupSearch.Group("\(range)", [tree(range.lowerBound..<middle), tree(middle..<range.upperBound)])
  }

  private func search(
    _ count: Int, budget: Int? = nil, _ explained: (Set<Int>) -> Double
  ) -> GroupSearch {
    var search = GroupSearch(Self.tree(0..<count), budget: budget)
    search.run { GroupSearch.Share(value: explained(Set($0)), standardError: 0) }
    return search
  }

  @Test("one culprit among many is found in two tests for each halving", arguments: [1, 2, 3, 7, 64, 129])
  func one(_ count: Int) {
    for culprit in [0, count / 2, count - 1] {
      let found = search(count) { $0.contains(culprit) ? 1 : 0 }
      #expect(found.smallest?.elements == [culprit])
      let halvings = Int.bitWidth - (count - 1).leadingZeroBitCount
      #expect(found.tests.count <= 1 + 2 * (count > 1 ? halvings : 0), "\(found.tests.count) tests of \(count)")
    }
  }

  @Test(
    "several culprits are found whole, among small effects of all others",
    arguments: [[3, 40], [0, 1, 63], [5, 6, 7, 8]])
  func several(_ culprits: [Int]) {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    // Together 5 % of the effect.
    let noise = (0..<64).map { _ in Double.random(in: 0...1, using: &random) }
    let sum = noise.reduce(0, +)
    let found = search(64) { set in
      let large = Double(culprits.count { set.contains($0) }) / Double(culprits.count) * 0.95
      return large + set.reduce(0) { $0 + noise[$1] } / sum * 0.05
    }
    #expect(found.smallest?.elements == culprits, "seed \(seed)")
    #expect(found.tests.count <= GroupSearch.cost(found.root))
  }

  /// Two tensors exchanged: either alone makes it no better.
  @Test("members that explain the effect only together are found together")
  func together() {
    let found = search(8) { set in set.isSuperset(of: [4, 6]) ? 1 : set.contains(4) || set.contains(6) ? -0.2 : 0 }
    #expect(found.smallest?.elements == [4, 6])
  }

  @Test("an even effect is called spread, and costs little")
  func spread() {
    let found = search(64) { Double($0.count) / 64 }
    #expect((found.smallest?.elements.count ?? 0) > 32)
    // Four culprits could be in four quarters; eighths are too small to hold them.
    #expect(found.tests.count == 15)
  }

  @Test("what no element explains has no culprit; nothing is tested twice or beyond the budget")
  func none() {
    let found = search(16) { _ in 0.3 }
    #expect(found.smallest == nil && found.tests.count == 1)
    for budget in 0...12 {
      let found = search(64, budget: budget) { Double($0.intersection([1, 50]).count) / 2 }
      #expect(found.tests.count <= budget)
      #expect(Set(found.tests.map(\.elements)).count == found.tests.count)
    }
  }
}
