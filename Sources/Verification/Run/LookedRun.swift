internal import ByteIO
internal import Checkpoints
internal import Foundation
internal import Inference
internal import Kernels
internal import Tensors

/// A request's windows scored and judged: all at once, or in looks at a growing share of them until every candidate is
/// decided. A later look scores the windows that it adds and nothing again; a candidate that is decided leaves.
struct LookedRun {
  private let request: VerificationRequest
  private let text: EvaluationText
  private let check: @Sendable () throws -> Void
  private let progress: VerificationRequest.Progress
  /// Nil when all windows are scored at once.
  private let plan: LookPlan?

  private var cost = Cost()
  /// Of the first pass: of all models.
  private var inspection: ModelInspection?
  /// Of each candidate, or of the base alone: looks so far, in text order.
  private var scores: [TokenScores?]
  private var looks: [[LookFacts.Look]]
  private var found: [VerificationResult?]

  /// What all passes took.
  private struct Cost {
    let started = ContinuousClock.now
    var inspection = Duration.zero
    var passes = 0
    var memory: MemoryFacts?

    /// Of the forward passes, digests apart.
    var seconds: Double {
      let elapsed = (started.duration(to: .now) - inspection).components
      return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    }
  }

  init(
    _ request: VerificationRequest, text: EvaluationText, check: @escaping @Sendable () throws -> Void,
    progress: @escaping VerificationRequest.Progress
  ) {
    self.request = request
    self.text = request.part.map { text.selecting($0.numbers(of: text.windows.windows.count)) } ?? text
    self.check = check
    self.progress = progress
    plan =
      request.stopsWhenDecided
      ? LookPlan(count: text.windows.windows.count, seed: request.seed) : nil
    let results = max(1, request.candidates.count)
    scores = Array(repeating: nil, count: results)
    looks = Array(repeating: [], count: results)
    found = Array(repeating: nil, count: results)
  }

  mutating func results() throws -> [VerificationResult] {
    for look in 0..<(plan?.sizes.count ?? 1) {
      let open = found.indices.filter { found[$0] == nil }
      if open.isEmpty { break }
      let added = plan.map { text.selecting($0.added(atLook: look)) } ?? text
      try score(added, of: open, look: look)
      try judge(open, look: look)
    }
    return found.compactMap { $0 }
  }

  private mutating func score(_ added: EvaluationText, of open: [Int], look: Int) throws {
    var request = request
    request.candidates = request.candidates.isEmpty ? [] : open.map { self.request.candidates[$0] }
    let phase = plan == nil ? "forward" : "look \(look + 1)"
    let progress = progress
    let pass = try ForwardRun(
      request, windows: added.windows.windows, scored: added.windows.scored, inspected: inspection, check: check
    ) { progress(phase, $0, $1) }
    if inspection == nil { inspection = pass.inspection }
    cost.inspection += pass.inspectionTime
    cost.passes += pass.plan.groups.count
    let memory = MemoryFacts(pass.plan)
    if memory.total > cost.memory?.total ?? 0 { cost.memory = memory }
    for (number, scoring) in zip(open, pass.scorings) {
      let new = added.scores(scoring, hasCandidate: !request.candidates.isEmpty)
      scores[number] = try scores[number].map { try TokenScores(merging: [$0, new]) } ?? new
    }
  }

  private mutating func judge(_ open: [Int], look: Int) throws {
    guard let inspection else { return }
    let identities = try inspection.identities()
    let facts = plan.map { text.selecting($0.windows(atLook: look)).facts } ?? text.facts
    for number in open {
      guard let scores = scores[number] else { continue }
      let hasCandidate = !request.candidates.isEmpty
      var subject = VerificationReport.Subject(
        base: identities.base, candidate: hasCandidate ? identities.candidates[number] : nil, text: facts,
        scoring: ScoringProtocol(request.rule, context: request.context), layers: scores.residuals?.layerErrors ?? [],
        tensors: hasCandidate ? inspection.errors(of: number) : [], run: runFacts(tokens: scores.count),
        policy: request.policy, policyDigest: request.policy.digest,
        bootstrap: BootstrapSettings(seed: request.seed))
      if let plan, hasCandidate { subject.sequence = LookFacts(plan: plan, previous: looks[number]) }
      let report = VerificationReport(subject, scores: scores)
      if let plan, hasCandidate, report.verdict == .inconclusive, look + 1 < plan.sizes.count {
        if let made = report.look { looks[number].append(made) }
      } else if plan == nil || hasCandidate || look + 1 == plan?.sizes.count {
        found[number] = VerificationResult(report: report, scores: scores, remarks: text.remarks)
      }
    }
  }

  private func runFacts(tokens: Int) -> RunFacts {
    let models = [request.base] + request.candidates
    let seconds = cost.seconds
    return RunFacts(
      seconds: seconds, tokensPerSecond: Double(tokens) / max(seconds, 1e-9),
      peakRSSBytes: ProcessFacts.peakResidentBytes, bytesRead: ProcessFacts.bytesRead, weightPasses: cost.passes,
      memory: cost.memory, threads: request.threads, instructionSet: InstructionSet.best.description,
      compute: request.compute.rawValue, emulation: request.emulation?.canonicalText,
      emulatedActivations: request.emulation == nil ? [] : Set(models.flatMap(\.activationTexts)).sorted(),
      hasBlocks: models.flatMap(\.tensors).contains { $0.elementType.block != nil }, version: Toolkit.version)
  }
}

extension MemoryFacts {
  var total: UInt64 { held + hiddenStates + weights + scratch }
}
