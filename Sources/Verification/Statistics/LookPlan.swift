/// In which order windows are scored, and when the scores so far are looked at: every look's windows are spread evenly
/// over the text, and each look keeps the windows of those before.
package struct LookPlan: Sendable, Equatable {
  /// The taken windows' numbers, 0 ..< count, in the order of scoring.
  package let order: [Int]
  /// How many of them have been scored at each look, rising; the last is all.
  package let sizes: [Int]
  package let seed: UInt64

  /// Windows of the first look: fewer give Student's t little to go by.
  package static let firstLook = 16

  /// Looks at 16, 32, 64, … windows and at all of them; a last step of less than half is not looked at twice.
  /// - Parameters:
  ///   - count: windows that may be scored, at least 1.
  ///   - seed: where the order begins; the looks' sizes do not depend on it.
  package init(count: Int, seed: UInt64 = 1) {
    precondition(count > 0, "at least one window")
    self.seed = seed
    var sizes: [Int] = []
    var size = Self.firstLook
    while size <= count - size / 2 {
      sizes.append(size)
      size *= 2
    }
    if sizes.last != count { sizes.append(count) }
    self.sizes = sizes
    order = Self.evenOrder(count, seed: seed)
  }

  /// The van der Corput sequence, turned by a random start: its first 2^m numbers lie in equal steps over 0…1, whatever m.
  private static func evenOrder(_ count: Int, seed: UInt64) -> [Int] {
    var random = SplitMix64(seed: seed)
    // In units of 2⁻³²; the sum wraps around.
    let start = UInt32(truncatingIfNeeded: random.next() >> 32)
    var taken = [Bool](repeating: false, count: count)
    var order: [Int] = []
    order.reserveCapacity(count)
    var index: UInt32 = 0
    while order.count < count {
      let place = reversedBits(index) &+ start
      let window = Int((UInt64(place) * UInt64(count)) >> 32)
      if !taken[window] {
        taken[window] = true
        order.append(window)
      }
      index += 1
    }
    return order
  }

  private static func reversedBits(_ value: UInt32) -> UInt32 {
    var (rest, result) = (value, UInt32(0))
    for _ in 0..<32 {
      result = result << 1 | rest & 1
      rest >>= 1
    }
    return result
  }

  /// Shares of the windows at each look.
  package var fractions: [Double] { sizes.map { Double($0) / Double(order.count) } }

  /// The windows that a look adds, ascending.
  package func added(atLook look: Int) -> [Int] { order[(look == 0 ? 0 : sizes[look - 1])..<sizes[look]].sorted() }
  /// All windows that a look has, ascending.
  package func windows(atLook look: Int) -> [Int] { order[..<sizes[look]].sorted() }
}
