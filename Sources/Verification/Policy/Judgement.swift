internal import Foundation

/// The outcome of a run or of one gate.
public enum Verdict: String, Sendable, Equatable, CaseIterable {
  case pass
  case fail
  case inconclusive
  /// One model alone: nothing to judge.
  case none

  /// The program's exit code: 0 pass or none, 1 fail, 2 inconclusive.
  public var exitCode: Int32 {
    switch self {
    case .pass, .none: 0
    case .fail: 1
    case .inconclusive: 2
    }
  }
}

/// One limit, tested.
public struct Gate: Sendable, Equatable {
  /// How value and limit must compare.
  public enum Relation: String, Sendable { case atMost = "≤", atLeast = "≥", equal = "=" }

  /// A stable name: `finite_scores`, `exact_scores`, `exact_kld`, `perplexity_ratio`, `kld_mean`, `kld_p99`,
  /// `top1_agreement`, `tokens`.
  public let id: String
  public let title: String
  /// `none` when the gate could not be evaluated because the scores are not finite.
  public let outcome: Verdict
  public let value: Double?
  /// One-sided 95 % bounds. Nil: not estimable.
  public let lowerBound95: Double?
  public let upperBound95: Double?
  public let relation: Relation
  public let limit: Double
  /// Distance from value to limit in standard errors; positive inside the limit.
  public let marginInStandardErrors: Double?
  /// When inconclusive: scored tokens in all that would decide with a probability of 80 %, if the measured drift is the
  /// true one. Nil when not estimable.
  public let tokensToDecide: Int?
  /// Why the outcome is what it is, as one sentence.
  public let explanation: String
}

/// Gates and what follows from them.
public struct Judgement: Sendable, Equatable {
  public let verdict: Verdict
  public let gates: [Gate]

  /// The most tokens any undecided gate asks for.
  public var tokensToDecide: Int? { gates.compactMap(\.tokensToDecide).max() }

  init(gates: [Gate], alone: Bool) {
    self.gates = gates
    if gates.contains(where: { $0.outcome == .fail }) {
      verdict = .fail
    } else if alone {
      verdict = .none
    } else if gates.isEmpty || gates.contains(where: { $0.outcome != .pass }) {
      verdict = .inconclusive
    } else {
      verdict = .pass
    }
  }
}

/// Tests a policy's limits on a run's statistics.
struct Judge {
  let policy: Policy
  let drift: DriftStatistics
  let tokens: Int
  let windows: Int

  func gates() -> [Gate] {
    var gates: [Gate] = []
    if policy.exact { gates += exactGates() }
    if let limit = policy.maximumRatio { gates.append(ratioGate(limit)) }
    if let limit = policy.maximumKLDMean { gates.append(kldMeanGate(limit)) }
    if let limit = policy.maximumKLDP99 { gates.append(kldP99Gate(limit)) }
    if let limit = policy.minimumTop1Agreement { gates.append(agreementGate(limit)) }
    if let limit = policy.minimumTokens { gates.append(tokensGate(limit)) }
    return gates
  }

  private func exactGates() -> [Gate] {
    func gate(_ id: String, _ title: String, _ value: Double, _ good: String, _ bad: String) -> Gate {
      Gate(
        id: id, title: title, outcome: value == 0 ? .pass : .fail, value: value, lowerBound95: value,
        upperBound95: value, relation: .equal, limit: 0, marginInStandardErrors: nil, tokensToDecide: nil,
        explanation: value == 0 ? good : bad)
    }
    let differing = drift.differingTokens
    return [
      gate(
        "exact_scores", "Tokens whose score differs", Double(differing), "every token scores exactly the same",
        "\(differing) of \(tokens) tokens score differently; a lossless change alters none"),
      gate(
        "exact_kld", "Largest KL divergence", drift.kld.largestMagnitude,
        "every next-token distribution is exactly the same",
        "next-token distributions differ; a lossless change alters none"),
    ]
  }

  private func ratioGate(_ limit: Double) -> Gate {
    let estimate = drift.lnRatio
    let test = BoundTest(
      value: estimate.mean, lower: estimate.lowerBound95, upper: estimate.upperBound95, limit: log(limit),
      error: estimate.standardError)
    return gate(
      "perplexity_ratio", "Perplexity ratio", test, value: drift.ratio, lower: test.lower.map { exp($0) },
      upper: test.upper.map { exp($0) }, limit: limit, estimate: estimate)
  }

  private func kldMeanGate(_ limit: Double) -> Gate {
    let estimate = drift.kld.mean
    let test = BoundTest(
      value: estimate.mean, lower: estimate.lowerBound95, upper: estimate.upperBound95, limit: limit,
      error: estimate.standardError)
    return gate("kld_mean", "Mean KL divergence", test, limit: limit, estimate: estimate)
  }

  private func kldP99Gate(_ limit: Double) -> Gate {
    let p99 = drift.kld.p99
    // The interval is not symmetric: each side's own width gives the error towards the limit.
    let t = drift.lnRatio.quantile(0.95)
    let side = p99.value <= limit ? p99.upperBound95.map { $0 - p99.value } : p99.lowerBound95.map { p99.value - $0 }
    let error = side.flatMap { side in t.map { side / $0 } }
    let test = BoundTest(
      value: p99.value, lower: p99.lowerBound95, upper: p99.upperBound95, limit: limit, error: error)
    return gate("kld_p99", "KL divergence, 99th percentile", test, limit: limit, estimate: drift.kld.mean)
  }

  private func agreementGate(_ limit: Double) -> Gate {
    let share = drift.agreement.top1
    let exact = drift.isIdentical
    // The same test with the sign turned: disagreement must stay at most 1 − limit.
    let test = BoundTest(
      value: -share.value, lower: exact ? -share.value : share.upperBound95.map { -$0 },
      upper: exact ? -share.value : share.lowerBound95.map { -$0 }, limit: -limit, error: share.estimate.standardError)
    return gate(
      "top1_agreement", "Top-1 agreement", test, value: share.value, lower: test.upper.map { -$0 },
      upper: test.lower.map { -$0 }, relation: .atLeast, limit: limit, estimate: share.estimate)
  }

  private func tokensGate(_ limit: Int) -> Gate {
    let enough = tokens >= limit
    return Gate(
      id: "tokens", title: "Scored tokens", outcome: enough ? .pass : .inconclusive, value: Double(tokens),
      lowerBound95: nil, upperBound95: nil, relation: .atLeast, limit: Double(limit), marginInStandardErrors: nil,
      tokensToDecide: enough ? nil : limit,
      explanation: enough ? "enough tokens were scored" : "the policy asks for more tokens before anything passes")
  }

  private func gate(
    _ id: String, _ title: String, _ test: BoundTest, value: Double? = nil, lower: Double? = nil,
    upper: Double? = nil, relation: Gate.Relation = .atMost, limit: Double, estimate: ClusteredEstimate
  ) -> Gate {
    let outcome = test.outcome
    let explanation: String
    switch (outcome, relation) {
    case (.pass, .atLeast): explanation = "the lower 95 % bound lies at or above the limit"
    case (.pass, _): explanation = "the upper 95 % bound lies at or below the limit"
    case (.fail, .atLeast): explanation = "even the upper 95 % bound lies below the limit"
    case (.fail, _): explanation = "even the lower 95 % bound lies above the limit"
    default:
      explanation =
        windows < 2
        ? "one window gives no estimate of the error; score at least two" : "the 95 % bounds enclose the limit"
    }
    return Gate(
      id: id, title: title, outcome: outcome, value: value ?? test.value, lowerBound95: lower ?? test.lower,
      upperBound95: upper ?? test.upper, relation: relation, limit: limit,
      marginInStandardErrors: test.margin,
      tokensToDecide: outcome == .inconclusive ? test.tokensToDecide(tokens: tokens, windows: windows) : nil,
      explanation: explanation)
  }
}

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

  var outcome: Verdict {
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
    return max(Int(count), tokens + 1)
  }
}
