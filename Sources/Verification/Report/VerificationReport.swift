internal import ByteIO
internal import Foundation

/// One run's result: the inputs, the statistics, the verdict. Renders itself; the caller writes the files.
public struct VerificationReport: Sendable {
  /// The version of `report.json`'s keys.
  public static let schema = "llama-verify/1"

  /// What the run was about. Plain values, so that a report can be made from any source of scores.
  public struct Subject: Sendable {
    public var base: ModelIdentity
    /// Nil for one model alone.
    public var candidate: ModelIdentity?
    public var text: TextFacts
    public var scoring: ScoringProtocol
    public var layers: [LayerError]
    public var tensors: [TensorError]
    public var run: RunFacts
    /// What candidates are held to; ignored for one model alone.
    public var policy: Policy
    /// SHA-256 of the policy's canonical text or file, hexadecimal; computed by the caller.
    public var policyDigest: String?
    public var bootstrap: BootstrapSettings
    /// The look at growing data that this is; nil where all windows were scored at once.
    public var sequence: LookFacts?
    /// The share of the text that was scored; nil for all of what was asked for.
    public var share: WindowShare?
    /// Where the candidate stands among those of its command.
    public var place = CandidatePlace.only
    /// The gates that were tested before the scores, in order.
    public var prior: [Gate] = []
    /// Of the text's windows that drift most; empty where nobody asked.
    public var excerpts: [WindowExcerpt] = []
    /// Which tensors explain the drift; nil where nobody asked.
    public var bisection: Bisection?

    public init(
      base: ModelIdentity, candidate: ModelIdentity?, text: TextFacts, scoring: ScoringProtocol,
      layers: [LayerError] = [], tensors: [TensorError] = [], run: RunFacts, policy: Policy = .fp8,
      policyDigest: String? = nil, bootstrap: BootstrapSettings = BootstrapSettings(), sequence: LookFacts? = nil
    ) {
      self.base = base
      self.candidate = candidate
      self.text = text
      self.scoring = scoring
      self.layers = layers
      self.tensors = tensors
      self.run = run
      self.policy = policy
      self.policyDigest = policyDigest
      self.bootstrap = bootstrap
      self.sequence = sequence
    }
  }

  public let subject: Subject
  public let tokens: Int
  public let windows: Int
  /// Nil when a score is not finite: then there is nothing to compute.
  public let base: ModelFit?
  /// Nil for one model alone and when a score is not finite.
  public let drift: DriftStatistics?
  public let judgement: Judgement
  /// What a reader should know before trusting the figures.
  public let warnings: [String]
  /// Layers and tensors that stand out, worst first; none for one model alone.
  public let suspects: [Suspect]
  /// The windows of the text that drift most, worst first; none for one model alone and when a score is not finite.
  public let worstWindows: [WindowDrift]
  /// Relative error of the residual stream, `[layers, stretches]`; empty where layers were not compared.
  let heat: [[Double?]]

  public var verdict: Verdict { judgement.verdict }
  public var exitCode: Int32 { verdict.exitCode }
  public var hasCandidate: Bool { subject.candidate != nil }

  /// Computes every statistic and the verdict.
  /// - Parameter scores: at least one token; of two models exactly when `subject` names a candidate. Traps otherwise.
  public init(_ subject: Subject, scores: TokenScores) {
    precondition(scores.count > 0, "there is nothing to report without a scored token")
    precondition(scores.hasCandidate == (subject.candidate != nil), "scores and subject disagree on the candidate")
    self.subject = subject
    tokens = scores.count
    windows = scores.windowCount
    suspects = Suspects.find(layers: subject.layers, tensors: subject.tensors)
    heat =
      scores.residuals.map { residuals in
        (0..<residuals.layerCount).map { layer in
          (0..<residuals.stretchCount).map { residuals.relativeError(layer: layer, stretch: $0) }
        }
      } ?? []
    if let failed = subject.prior.first(where: { $0.outcome == .fail }) {
      (base, drift, warnings, worstWindows) = (nil, nil, [], [])
      judgement = Judgement(gates: Self.gates(subject, stoppedBy: failed), alone: false)
      return
    }
    let finite = Self.finiteGate(scores, layers: subject.layers)
    guard finite.outcome == .pass else {
      (base, drift) = (nil, nil)
      worstWindows = []
      judgement = Judgement(gates: subject.prior + [finite], alone: subject.candidate == nil)
      warnings = ["Scores are not finite, so no statistic was computed; the model or the run is broken."]
      return
    }
    let nll = scores.baseNLL.map { Double($0) }
    base = ModelFit(nll, windows: scores.windows, text: subject.text)
    guard scores.hasCandidate else {
      drift = nil
      worstWindows = []
      judgement = Judgement(gates: [finite], alone: true)
      warnings = []
      return
    }
    let drift = DriftStatistics(
      scores, base: nll, context: subject.scoring.context, text: subject.text, bootstrap: subject.bootstrap)
    self.drift = drift
    worstWindows = WindowDrift.worst(of: scores)
    let judge = Judge(
      policy: subject.policy, drift: drift, layers: subject.layers, tensors: subject.tensors, tokens: scores.count,
      windows: scores.windowCount,
      levels: subject.sequence?.levels(for: subject.policy) ?? DecisionLevels(gates: subject.policy.sampledLimitCount))
    judgement = Judgement(gates: subject.prior + [finite] + judge.gates(), alone: false)
    warnings = Self.warnings(drift)
  }

  /// The report of a candidate that failed before anything was scored. Traps when none of the subject's prior gates failed.
  public init(stopped subject: Subject) {
    guard let failed = subject.prior.first(where: { $0.outcome == .fail }) else {
      preconditionFailure("no gate failed before the scores")
    }
    self.subject = subject
    (tokens, windows, base, drift, warnings) = (0, 0, nil, nil, [])
    suspects = Suspects.find(layers: subject.layers, tensors: subject.tensors)
    (heat, worstWindows) = ([], [])
    judgement = Judgement(gates: Self.gates(subject, stoppedBy: failed), alone: false)
  }

  /// The prior gates as far as they were run, and those behind the failed one as not run.
  private static func gates(_ subject: Subject, stoppedBy failed: Gate) -> [Gate] {
    let run = Set(subject.prior.map(\.id))
    let limits = subject.policy.limits.filter { $0.key != .exact }
    return subject.prior
      + subject.policy.priorGates.filter { !run.contains($0.rawValue) }.map { $0.notRun(failed) }
      + limits.map { key, value in
        Gate.notRun(
          id: key.gate, title: key.rawValue, relation: key.isMinimum ? .atLeast : .atMost, limit: value.double ?? 0,
          failed)
      }
  }

  private static func finiteGate(_ scores: TokenScores, layers: [LayerError]) -> Gate {
    let (count, first) = scores.nonFinite
    let badLayers = layers.filter { !$0.relativeError.isFinite }
    let explanation: String
    if let first {
      explanation =
        "\(count) \(count == 1 ? "score is" : "scores are") NaN or infinite, the first the \(first.score) of token "
        + "\(first.token)"
    } else if let layer = badLayers.first {
      explanation = "the relative error behind layer \(layer.layer) is NaN or infinite"
    } else {
      explanation = "every score is a finite number"
    }
    let bad = count + badLayers.count
    return Gate(
      id: "finite_scores", title: "Scores that are NaN or infinite", outcome: bad == 0 ? .pass : .fail,
      value: Double(bad), relation: .equal, limit: 0, explanation: explanation)
  }

  private static func warnings(_ drift: DriftStatistics) -> [String] {
    if drift.isIdentical { return [] }
    var warnings: [String] = []
    let windows = drift.lnRatio.windows
    if windows < 2 {
      warnings.append("One window gives no estimate of the error: score more text or use a shorter context.")
    } else if windows < 10 {
      warnings.append("Only \(windows) windows: the intervals rest on few independent samples.")
    }
    if let dependence = drift.lnRatio.dependence, dependence.isSeen {
      let correlation = "lag-1 correlation \(Figure.fixed(dependence.lag1Correlation, 2))"
      warnings.append(
        dependence.isClear
          ? "The drift of neighbouring windows is alike (\(correlation)); the errors allow for it, and "
            + "\(Figure.fixed(max(1, dependence.varianceRatio), 1)) times as many windows are needed as of independent ones."
          : "\(windows) windows in a row are too few to show that they are independent (\(correlation)); the errors allow for "
            + "their being alike. More text, or windows spread over a longer one (--tokens), would narrow them.")
    }
    return warnings
  }
}
