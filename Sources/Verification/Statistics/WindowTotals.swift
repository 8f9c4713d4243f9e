/// Sums over windows: all that a clustered mean needs.
package struct WindowTotals: Sendable, Equatable {
  package var sums: [Double] = []
  package var sizes: [Double] = []
  /// Whether windows follow one another in the text, so that they can be expected to be alike: at least every other one. Of
  /// windows spread over a text none does.
  package let areNeighbours: Bool

  package init(sums: [Double], sizes: [Double], areNeighbours: Bool = true) {
    precondition(sums.count == sizes.count)
    self.areNeighbours = areNeighbours
    self.sums = sums
    self.sizes = sizes
  }

  package init(_ values: [Double], windows: [ScoredWindow]) {
    let pairs = zip(windows, windows.dropFirst())
    areNeighbours = 2 * pairs.count { $1.index <= $0.index + 1 } >= windows.count - 1
    var start = 0
    var last: Int?
    for window in windows {
      var sum = 0.0
      for index in start..<start + window.count { sum += values[index] }
      start += window.count
      // Parts of one window are one cluster.
      if last == window.index {
        sums[sums.count - 1] += sum
        sizes[sizes.count - 1] += Double(window.count)
      } else {
        sums.append(sum)
        sizes.append(Double(window.count))
      }
      last = window.index
    }
    precondition(start == values.count, "the windows hold \(start) tokens, \(values.count) values came")
  }

  package var tokens: Int { Int(sizes.reduce(0, +)) }
  /// Σ sums / Σ sizes; NaN without tokens.
  package var mean: Double { sums.reduce(0, +) / sizes.reduce(0, +) }

  /// What each window's sum is off from its share, s_w − m·n_w; they add up to zero.
  package var residuals: [Double] {
    let mean = mean
    return zip(sums, sizes).map { $0 - mean * $1 }
  }

  /// Correlation of neighbouring windows' mean values about the overall mean; nil below three windows or without
  /// spread.
  package var lag1Autocorrelation: Double? {
    guard sums.count > 2 else { return nil }
    let mean = mean
    let residuals = zip(sums, sizes).map { $0 / $1 - mean }
    let spread = residuals.reduce(0) { $0 + $1 * $1 }
    guard spread > 0, spread.isFinite else { return nil }
    return zip(residuals, residuals.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 } / spread
  }
}
