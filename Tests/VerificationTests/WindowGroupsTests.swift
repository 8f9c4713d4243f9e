import Support
import Testing
import Verification

@Suite("Groups of windows")
struct WindowGroupsTests {
  @Test("As few groups as the capacity allows, and as even as they can be")
  func balanced() {
    #expect(WindowGroups.balanced([512, 512, 512, 512, 512], capacity: 4 * 512) == [0..<3, 3..<5])
    #expect(WindowGroups.balanced([512, 512, 512, 7], capacity: 1 << 40) == [0..<4])
    #expect(WindowGroups.balanced([5, 1, 1, 5], capacity: 6) == [0..<2, 2..<4])
    #expect(WindowGroups.balanced([3], capacity: 3) == [0..<1])
    #expect(WindowGroups.balanced([], capacity: 3) == [])
  }

  /// Against all ways to cut, of which ten windows have 512.
  @Test("No way to cut has fewer groups, nor as many with a smaller largest one")
  func best() {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<50 {
      let sizes = (0..<10).map { _ in Int.random(in: 1...9, using: &random) }
      let capacity = Int.random(in: 9...30, using: &random)
      let groups = WindowGroups.balanced(sizes, capacity: capacity)
      #expect(groups.flatMap(Array.init) == Array(0..<10), "seed \(seed)")
      var best = (count: Int.max, largest: Int.max)
      for mask in 0..<1 << 9 {
        var sums = [sizes[0]]
        for index in 1..<10 {
          if mask >> (index - 1) & 1 == 1 { sums.append(sizes[index]) } else { sums[sums.count - 1] += sizes[index] }
        }
        let largest = sums.max() ?? 0
        if largest <= capacity && (sums.count, largest) < best { best = (sums.count, largest) }
      }
      let largest = groups.map { sizes[$0].reduce(0, +) }.max() ?? 0
      #expect(groups.count == best.count && largest == best.largest, "seed \(seed)")
    }
  }
}
