/// The one-sided nominal error probabilities with which the bounds of a gate are computed, so that the verdict's own errors
/// are held at 5 % each.
///
/// A candidate passes when it passes all gates; one that is beyond any limit passes with a probability of 5 % at most,
/// however many gates there are (intersection–union test: Berger, Technometrics 24, 1982), so `pass` is 5 % for each. It
/// fails when it fails any gate; one that is within all limits would fail by chance at some gate more often the more there
/// are, so the 5 % are shared out among them (Bonferroni). With several looks at growing data both come from
/// `GroupSequential`.
package struct DecisionLevels: Sendable, Equatable {
  /// Of the bound that must clear the limit for a pass.
  package let pass: Double
  /// Of the bound that must lie beyond it for a fail.
  package let fail: Double

  package static let error = 0.05

  /// One look.
  /// - Parameter gates: limits with a sampling error.
  package init(gates: Int) { self.init(pass: Self.error, fail: Self.error / Double(max(1, gates))) }

  package init(pass: Double, fail: Double) {
    self.pass = pass
    self.fail = fail
  }

  /// Of each look of a sequential run.
  package static func looks(_ plan: LookPlan, gates: Int) -> [DecisionLevels] {
    let pass = GroupSequential(fractions: plan.fractions, alpha: error).levels
    let fail = GroupSequential(fractions: plan.fractions, alpha: error / Double(max(1, gates))).levels
    return zip(pass, fail).map { DecisionLevels(pass: $0, fail: $1) }
  }
}
