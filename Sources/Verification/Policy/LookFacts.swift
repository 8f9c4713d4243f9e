internal import Foundation

/// Where a sequential run stands: the looks planned and made. A verdict at any look has the errors of one test
/// (`GroupSequential`, `DecisionLevels`).
public struct LookFacts: Sendable, Equatable {
  /// One look that was made.
  public struct Look: Sendable, Equatable {
    public let windows: Int
    public let tokens: Int
    package let levels: DecisionLevels
    /// Perplexity, candidate / base; nil when not computed.
    public let ratio: Double?
    public let verdict: Verdict
  }

  package let plan: LookPlan
  /// The looks before this one; none of them decided.
  package let previous: [Look]

  static let method = "group sequential, error spent as the cube of the share of windows seen"

  package init(plan: LookPlan, previous: [Look] = []) {
    precondition(previous.count < plan.sizes.count, "no look is left")
    self.plan = plan
    self.previous = previous
  }

  /// The number of this look, counted from 0.
  package var index: Int { previous.count }
  package var isLast: Bool { index + 1 == plan.sizes.count }

  /// The levels of this look under a policy.
  package func levels(for policy: Policy) -> DecisionLevels {
    DecisionLevels.looks(plan, gates: policy.sampledLimitCount)[index]
  }

  /// The two-sided 95 % interval that holds whatever look the run stops at (repeated confidence interval: Jennison and
  /// Turnbull, JRSS B 51, 1989); nil when not estimable.
  func repeatedRatioInterval(_ drift: DriftStatistics?) -> ClosedRange<Double>? {
    let level = GroupSequential(fractions: plan.fractions, alpha: 0.025).levels[index]
    guard let drift, let low = drift.lnRatio.bound(level), let high = drift.lnRatio.bound(1 - level), low <= high else {
      return nil
    }
    return exp(low)...exp(high)
  }

  /// For the summary.
  var line: String {
    let sizes = plan.sizes.map { Figure.count($0) }.joined(separator: ", ")
    return "look \(index + 1) of at most \(plan.sizes.count), planned at \(sizes) windows; errors are those of one test"
  }
}

extension VerificationReport {
  /// This report as one look; nil where all windows were scored at once.
  package var look: LookFacts.Look? {
    subject.sequence.map {
      LookFacts.Look(
        windows: windows, tokens: tokens, levels: $0.levels(for: subject.policy), ratio: drift?.ratio, verdict: verdict)
    }
  }
}
