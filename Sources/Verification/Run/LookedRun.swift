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
  private let share: WindowShare?
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
  /// Of each candidate: what lint has against its files.
  private var damage: [[String]]
  /// Of each candidate: the gates before the scores, behind that of integrity.
  private var prior: [[Gate]]

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
    share = request.part.map { WindowShare($0, of: text.windows.windows.count) }
    self.text = share.map { text.selecting($0.numbers) } ?? text
    self.check = check
    self.progress = progress
    plan =
      request.stopsWhenDecided
      ? LookPlan(count: text.windows.windows.count, seed: request.seed) : nil
    let results = max(1, request.candidates.count)
    scores = Array(repeating: nil, count: results)
    looks = Array(repeating: [], count: results)
    found = Array(repeating: nil, count: results)
    prior = request.candidates.map { _ in [] }
    damage = request.candidates.map { _ in [] }
  }

  mutating func results() throws -> [VerificationResult] {
    try testBeforeScoring()
    for look in 0..<(plan?.sizes.count ?? 1) {
      let open = found.indices.filter { found[$0] == nil }
      if open.isEmpty { break }
      let added = plan.map { text.selecting($0.added(atLook: look)) } ?? text
      try score(added, of: open, look: look)
      try judge(open, look: look)
    }
    return found.compactMap { $0 }
  }

  /// Integrity as far as headers tell, structure, tokenizer and, where it is promised, losslessness. A candidate that fails
  /// has its report at once.
  private mutating func testBeforeScoring() throws {
    for (number, candidate) in request.candidates.enumerated() {
      damage[number] = try Self.damage(of: candidate, threads: request.threads)
      if damage[number].isEmpty { prior[number] = try gatesBehindIntegrity(of: number) }
      guard !damage[number].isEmpty || prior[number].last?.outcome == .fail else { continue }
      let inspection = try inspected()
      var subject = try subject(number, inspection, text: text.facts, scores: nil)
      if request.bisects, text.tokenizerProblems[number].isEmpty, Structure.hasSameShapes(request.base, candidate) {
        subject.bisection = try bisection(number, inspection)
      }
      let report = VerificationReport(stopped: subject)
      found[number] = VerificationResult(
        report: report, scores: TokenScores(hasCandidate: true), remarks: text.remarks)
    }
  }

  /// The gates up to the first that fails.
  private mutating func gatesBehindIntegrity(of number: Int) throws -> [Gate] {
    var gates: [Gate] = []
    for kind in request.policy.priorGates where kind != .integrity && gates.last?.outcome != .fail {
      let problems =
        switch kind {
        case .structure: try Structure.differences(request.base, request.candidates[number])
        case .tokenizer: text.tokenizerProblems[number]
        case .lossless: try inspected().losses(of: number)
        case .integrity: [String]()
        }
      gates.append(kind.gate(problems: problems))
    }
    return gates
  }

  /// What `llama-convert lint --headers-only` calls an error of files, tensors or quantization. RoPE and tokenizer are compared
  /// with the base's by gates of their own.
  private static func damage(of model: Checkpoint, threads: Int) throws -> [String] {
    try LintReport(ofCheckpointAt: model.path, readsValues: false, threads: threads).findings
      .filter { $0.severity == .error && $0.code.concernsIntegrity }.map { "\($0.code.rawValue): \($0.message)" }
  }

  /// All models inspected, before or without a forward pass.
  private mutating func inspected() throws -> ModelInspection {
    if let inspection { return inspection }
    let made = ModelInspection(request.base, request.candidates, threads: request.threads, check: check)
    cost.inspection += try ContinuousClock().measure { try made.inspectAll() }
    inspection = made
    return made
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
      let new = TokenScores(scoring, of: added.windows, hasCandidate: !request.candidates.isEmpty)
      scores[number] = try scores[number].map { try TokenScores(merging: [$0, new]) } ?? new
    }
  }

  private mutating func judge(_ open: [Int], look: Int) throws {
    guard let inspection else { return }
    let facts = plan.map { text.selecting($0.windows(atLook: look)).facts } ?? text.facts
    let hasCandidate = !request.candidates.isEmpty
    for number in open {
      guard let scores = scores[number] else { continue }
      var subject = try subject(number, inspection, text: facts, scores: scores)
      if request.bisects { subject.bisection = try bisection(number, inspection) }
      let report = VerificationReport(subject, scores: scores)
      let isLast = look + 1 == plan?.sizes.count ?? 1
      if !isLast, hasCandidate, report.verdict == .inconclusive {
        if let made = report.look { looks[number].append(made) }
      } else if isLast || hasCandidate {
        found[number] = VerificationResult(report: report, scores: scores, remarks: text.remarks)
      }
    }
  }

  private func bisection(_ number: Int, _ inspection: ModelInspection) throws -> Bisection {
    try request.bisection(text.windows, differing: inspection.differing(from: number), check: check) {
      progress(VerificationRequest.bisectionPhase, $0, $1)
    }
  }

  private func subject(
    _ number: Int, _ inspection: ModelInspection, text facts: TextFacts, scores: TokenScores?
  ) throws -> VerificationReport.Subject {
    let identities = try inspection.identities()
    let hasCandidate = !request.candidates.isEmpty
    var subject = VerificationReport.Subject(
      base: identities.base, candidate: hasCandidate ? identities.candidates[number] : nil, text: facts,
      scoring: ScoringProtocol(request.rule, context: request.context), layers: scores?.residuals?.layerErrors ?? [],
      tensors: hasCandidate ? inspection.errors(of: number) : [], run: runFacts(tokens: scores?.count ?? 0),
      policy: request.policy, policyDigest: request.policy.digest, bootstrap: BootstrapSettings(seed: request.seed))
    subject.share = share
    if let place = CandidatePlace(number, of: request.candidates.count) { subject.place = place }
    guard hasCandidate else { return subject }
    subject.prior = [PriorGate.integrity.gate(problems: damage[number] + inspection.damage(of: number))] + prior[number]
    if request.showsExcerpts, let scores, scores.nonFinite.count == 0 {
      subject.excerpts = WindowDrift.worst(of: scores).map { text.excerpt($0) }
    }
    if let plan { subject.sequence = LookFacts(plan: plan, previous: looks[number]) }
    return subject
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
