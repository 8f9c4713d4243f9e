/// Non-inferiority of a value that should be small: pass when its upper bound is at most the limit, fail when its lower
/// bound is above, undecided in between or without bounds.
package struct BoundTest {
  let value: Double
  let lower: Double?
  let upper: Double?
  let limit: Double
  let error: Double?

  package init(value: Double, lower: Double?, upper: Double?, limit: Double, error: Double?) {
    self.value = value
    self.lower = lower
    self.upper = upper
    self.limit = limit
    self.error = error
  }

  package var outcome: Verdict {
    if let upper, upper <= limit { return .pass }
    if let lower, lower > limit { return .fail }
    return .inconclusive
  }

  var margin: Double? { error.flatMap { $0 > 0 ? (limit - value) / $0 : nil } }

  /// Windows in all that would decide. The clustered variance falls as 1/windows, so n windows have the error SE·√(G/n);
  /// a bound then clears the limit with a probability of about 80 % once (t₀.₉₅ + t₀.₈₀)·SE·√(G/n) ≤ |limit − value|,
  /// with t at n − 1 degrees of freedom. Nil when the value sits on the limit or has no error.
  package func windowsToDecide(windows: Int) -> Double? {
    guard let margin, margin != 0, windows > 1 else { return nil }
    func decides(_ count: Double) -> Bool {
      let freedom = count - 1
      let t =
        Distributions.studentQuantile(0.95, degreesOfFreedom: freedom)
        + Distributions.studentQuantile(0.8, degreesOfFreedom: freedom)
      return t * (Double(windows) / count).squareRoot() <= abs(margin)
    }
    // Both t and the error fall with the count, so the smallest one that decides is found by halving.
    var high = 2.0
    while !decides(high) {
      high *= 2
      if high > 1e12 { return nil }
    }
    var low = high / 2
    while high - low > 1 {
      let middle = ((low + high) / 2).rounded(.down)
      if decides(middle) { high = middle } else { low = middle }
    }
    return high
  }

  func tokensToDecide(tokens: Int, windows: Int) -> Int? {
    guard let needed = windowsToDecide(windows: windows) else { return nil }
    let count = (needed * Double(tokens) / Double(windows)).rounded(.up)
    // Beyond this nobody will score: the measured drift sits on the limit.
    guard count < 1e12 else { return nil }
    // What is undecided needs another window at least.
    return max(Int(count), tokens + (tokens + windows - 1) / max(1, windows))
  }
}
