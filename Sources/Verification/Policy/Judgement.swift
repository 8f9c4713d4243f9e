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

/// One requirement, tested.
public struct Gate: Sendable, Equatable {
  /// How value and limit must compare.
  public enum Relation: String, Sendable { case atMost = "≤", atLeast = "≥", equal = "=" }

  /// One-sided bounds of a value. Nil: not estimable.
  public struct Bounds: Sendable, Equatable {
    public let lower: Double?
    public let upper: Double?
    /// The probability that the true value lies above `lower`; that it lies below `upper`.
    public let lowerConfidence: Double
    public let upperConfidence: Double

    package init(lower: Double?, upper: Double?, lowerConfidence: Double = 0.95, upperConfidence: Double = 0.95) {
      self.lower = lower
      self.upper = upper
      self.lowerConfidence = lowerConfidence
      self.upperConfidence = upperConfidence
    }
  }

  /// A stable name: `finite_scores`, `exact_scores`, `exact_kld`, `perplexity_ratio`, `kld_mean`, `kld_p99`,
  /// `top1_agreement`, `top5_overlap`, `position_ratio`, `layer_error`, `tensor_sqnr`, `tokens`.
  public let id: String
  public let title: String
  /// `none` when the gate was not evaluated: the scores are not finite, or an earlier gate failed.
  public let outcome: Verdict
  public let value: Double?
  /// One-sided 95 % bounds.
  public let bounds95: Bounds
  public var lowerBound95: Double? { bounds95.lower }
  public var upperBound95: Double? { bounds95.upper }
  /// The bounds that decided: wider than 95 % where several limits or several looks share an error.
  public let bounds: Bounds
  public let relation: Relation
  public let limit: Double
  /// Distance from value to limit in standard errors; positive inside the limit.
  public let marginInStandardErrors: Double?
  /// When inconclusive: scored tokens in all that would decide with a probability of 80 %, if the measured drift is the
  /// true one. Nil when not estimable.
  public let tokensToDecide: Int?
  /// Why the outcome is what it is, as one sentence.
  public let explanation: String

  package init(
    id: String, title: String, outcome: Verdict, value: Double?, bounds95: Bounds = Bounds(lower: nil, upper: nil),
    bounds: Bounds? = nil, relation: Relation, limit: Double, marginInStandardErrors: Double? = nil,
    tokensToDecide: Int? = nil, explanation: String
  ) {
    self.id = id
    self.title = title
    self.outcome = outcome
    self.value = value
    self.bounds95 = bounds95
    self.bounds = bounds ?? bounds95
    self.relation = relation
    self.limit = limit
    self.marginInStandardErrors = marginInStandardErrors
    self.tokensToDecide = tokensToDecide
    self.explanation = explanation
  }
}

/// Gates and what follows from them.
public struct Judgement: Sendable, Equatable {
  public let verdict: Verdict
  public let gates: [Gate]

  /// The most tokens any undecided gate asks for; nil where one cannot tell.
  public var tokensToDecide: Int? {
    let open = gates.filter { $0.outcome == .inconclusive }
    guard open.allSatisfy({ $0.tokensToDecide != nil }) else { return nil }
    return open.compactMap(\.tokensToDecide).max()
  }

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
