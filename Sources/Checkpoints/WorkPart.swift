/// A share of work that several processes do: part `index` of `count`, counted from 0.
public struct WorkPart: Sendable, Hashable, CustomStringConvertible {
  public let index: Int
  public let count: Int
  /// More parts than any job has; a limit on what is read from files and command lines.
  public static let maximumCount = 100_000

  /// Nil unless 0 ≤ `index` < `count` ≤ ``maximumCount``.
  public init?(_ index: Int, of count: Int) {
    guard count >= 1, count <= Self.maximumCount, index >= 0, index < count else { return nil }
    self.index = index
    self.count = count
  }

  public var description: String { "\(index)/\(count)" }

  /// The part's share of items in a row: every item is in exactly one part, the parts follow each other, and their costs
  /// are as equal as items allow. It depends on costs and numbers alone.
  /// - Parameter costs: of each item, in any unit.
  public func range(ofCosts costs: [UInt64]) -> Range<Int> {
    let total = costs.reduce(UInt64(0), &+)
    // An item belongs to the part in whose stretch of the total its middle lies; without costs, by its number.
    func firstItem(ofPart part: Int) -> Int {
      if part == count { return costs.count }
      guard total > 0 else { return costs.count * part / count }
      let limit = Double(total) / Double(count) * Double(part)
      var before: UInt64 = 0
      for (item, cost) in costs.enumerated() {
        if Double(before) + Double(cost) / 2 >= limit { return item }
        before += cost
      }
      return costs.count
    }
    return firstItem(ofPart: index)..<firstItem(ofPart: index + 1)
  }
}
