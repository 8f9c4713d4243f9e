/// Picks one option for each of several units: which costs as little as possible at few bits.
///
/// A multiple-choice knapsack, solved greedily: one exchange at a time, each time the one that saves the most bits for what it
/// costs. For convex costs that is within one exchange of the best there is; costs of types are nearly so.
package struct GreedyExchange {
  /// What picking a type for a unit means.
  package struct Option: Equatable, Sendable {
    /// Of all the unit's weights.
    package let bits: Double
    package let cost: Double

    package init(bits: Double, cost: Double) { (self.bits, self.cost) = (bits, cost) }
  }

  private let units: [[Option]]
  /// For each unit the index of its option.
  package private(set) var picks: [Int]

  /// - Parameter units: one option each at least. To begin with, the option with the least cost is picked, of several the one
  ///   with fewest bits, of these the first.
  package init(_ units: [[Option]]) {
    self.units = units
    picks = units.map { options in
      options.indices.min { (options[$0].cost, options[$0].bits, $0) < (options[$1].cost, options[$1].bits, $1) } ?? 0
    }
  }

  /// Of all units.
  package var bits: Double { zip(units, picks).reduce(0) { $0 + $1.0[$1.1].bits } }

  /// The fewest that there can be.
  package var fewestBits: Double { units.reduce(0) { $0 + ($1.map(\.bits).min() ?? 0) } }

  /// Exchanges until no more than so many bits are left, then takes back what still fits.
  /// - Returns: false when there are more bits at best.
  package mutating func lower(toBits target: Double) -> Bool {
    while bits > target {
      guard let exchange = best(where: { $0.bits < $1.bits }, gain: { ($1.bits - $0.bits, $0.cost - $1.cost) }) else {
        return false
      }
      picks[exchange.unit] = exchange.option
    }
    while true {
      let left = target - bits
      let back = best(
        where: { $0.cost < $1.cost && $0.bits - $1.bits <= left }, gain: { ($1.cost - $0.cost, $0.bits - $1.bits) })
      guard let back else { return true }
      picks[back.unit] = back.option
    }
  }

  /// Exchanges as long as the picks are allowed. An exchange that was not is tried again when all others have been.
  package mutating func lower(while isAllowed: (_ picks: [Int]) -> Bool) {
    var refused: Set<Exchange> = []
    var hasChanged = false
    while true {
      let exchange = best(
        where: { $0.bits < $1.bits }, gain: { ($1.bits - $0.bits, $0.cost - $1.cost) }, but: refused)
      guard let exchange else {
        if refused.isEmpty || !hasChanged { return }
        (refused, hasChanged) = ([], false)
        continue
      }
      var tried = picks
      tried[exchange.unit] = exchange.option
      if isAllowed(tried) {
        (picks, hasChanged) = (tried, true)
      } else {
        refused.insert(exchange)
      }
    }
  }

  private struct Exchange: Hashable {
    let unit: Int
    let option: Int
  }

  /// The exchange with the most gained for each thing lost; one that loses nothing goes before all others. Of equal ones the
  /// first.
  /// - Parameter gain: gained and lost, of the new option and the present one.
  private func best(
    where isPossible: (_ new: Option, _ present: Option) -> Bool,
    gain: (_ new: Option, _ present: Option) -> (gained: Double, lost: Double), but refused: Set<Exchange> = []
  ) -> Exchange? {
    var best: (exchange: Exchange, isFree: Bool, rate: Double)?
    for unit in units.indices {
      let present = units[unit][picks[unit]]
      for (index, option) in units[unit].enumerated() where isPossible(option, present) {
        let exchange = Exchange(unit: unit, option: index)
        if refused.contains(exchange) { continue }
        let (gained, lost) = gain(option, present)
        let isFree = lost <= 0
        let rate = isFree ? gained : gained / lost
        if let best, (best.isFree ? 1 : 0, best.rate) >= (isFree ? 1 : 0, rate) { continue }
        best = (exchange, isFree, rate)
      }
    }
    return best?.exchange
  }
}
