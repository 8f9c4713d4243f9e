internal import Foundation

/// Boundaries of a one-sided test that looks at growing data several times and may stop at each look, with the chance of
/// a wrong decision over all looks together held at α.
///
/// The error is spent by the information fraction t, the share of the largest sample that has been seen (Lan and DeMets,
/// Biometrika 70, 1983), here as α·t³ (Kim and DeMets, Biometrika 74, 1987): little at early looks, whose few windows say
/// least about the shape of their distribution (with windows as skewed as an exponential distribution a Pocock-like
/// spending gives 12 % wrong decisions, this one 8 %, one look at the end 7 %). The boundary of a look is the z at which
/// the process, not stopped before, first crosses with the probability that the look may spend; sequential statistics of
/// a mean have independent increments, so it comes from one integral per look (Armitage, McPherson and Rowe, JRSS A 132,
/// 1969). Student's t takes the place of the normal distribution at the same nominal level (Jennison and Turnbull, Group
/// Sequential Methods, 2000, §4.4 and §11): the levels below are what a look's t test uses.
package struct GroupSequential: Sendable, Equatable {
  /// One-sided nominal level of each look, 1 − Φ(z).
  package let levels: [Double]

  /// - Parameters:
  ///   - fractions: of the information at each look, rising, the last one 1.
  ///   - alpha: the error over all looks, 0 < α < ½.
  ///   - spending: of the share of α that is spent by a fraction; 0 at 0, 1 at 1, rising.
  package init(fractions: [Double], alpha: Double, spending: (Double) -> Double = { $0 * $0 * $0 }) {
    precondition(zip([0] + fractions, fractions).allSatisfy { $0 < $1 } && fractions.last == 1, "rising to 1")
    precondition(alpha > 0 && alpha < 0.5, "an error probability")
    var levels: [Double] = []
    var process = StoppedProcess()
    var spent = 0.0
    for fraction in fractions {
      let total = alpha * spending(fraction)
      levels.append(process.advance(to: fraction, crossing: max(total - spent, 1e-300)))
      spent = total
    }
    self.levels = levels
  }
}

/// The density of Brownian motion at time t among paths that no boundary has stopped.
private struct StoppedProcess {
  private var time = 0.0
  /// Points in equal steps up to the last boundary, with density × weight of Simpson's rule.
  private var points: [Double] = []
  private var weights: [Double] = []

  /// Even; the steps of Simpson's rule. At 400 the levels are good to better than 10⁻⁶ of themselves.
  private static let steps = 400
  /// Standard deviations below zero from which paths are left out: Φ(−8) = 6·10⁻¹⁶.
  private static let reach = 8.0

  /// Finds the boundary at `time` that is crossed with the given probability, stops the paths beyond, and gives the
  /// boundary's nominal level.
  mutating func advance(to time: Double, crossing probability: Double) -> Double {
    let boundary: Double
    if points.isEmpty {
      boundary = -Distributions.normalQuantile(probability) * time.squareRoot()
    } else {
      boundary = self.boundary(at: time, probability)
    }
    let lowest = -Self.reach * time.squareRoot()
    let step = (boundary - lowest) / Double(Self.steps)
    var newPoints: [Double] = []
    var newWeights: [Double] = []
    for index in 0...Self.steps {
      let point = lowest + Double(index) * step
      let simpson = index == 0 || index == Self.steps ? 1.0 : index % 2 == 1 ? 4 : 2
      newPoints.append(point)
      newWeights.append(density(at: point, time) * simpson * step / 3)
    }
    (points, weights, self.time) = (newPoints, newWeights, time)
    return Distributions.normalTail(boundary / time.squareRoot())
  }

  private func density(at point: Double, _ time: Double) -> Double {
    func normal(_ x: Double, _ variance: Double) -> Double {
      exp(-x * x / (2 * variance)) / (2 * .pi * variance).squareRoot()
    }
    guard !points.isEmpty else { return normal(point, time) }
    var sum = 0.0
    for index in points.indices { sum += weights[index] * normal(point - points[index], time - self.time) }
    return sum
  }

  private func boundary(at time: Double, _ probability: Double) -> Double {
    let deviation = (time - self.time).squareRoot()
    func crossing(_ boundary: Double) -> Double {
      var sum = 0.0
      for index in points.indices {
        sum += weights[index] * Distributions.normalTail((boundary - points[index]) / deviation)
      }
      return sum
    }
    var (low, high) = (-Self.reach, 40.0)
    // 60 halvings of 48: to the last digits.
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if crossing(middle) > probability { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }
}
