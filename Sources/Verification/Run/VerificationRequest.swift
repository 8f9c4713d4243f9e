internal import Llama
internal import Tensors
internal import ByteIO
public import Checkpoints
internal import Foundation
public import Inference
public import Kernels
internal import Tokenizers

/// One verification: which models, which text, how it is scored and judged.
public struct VerificationRequest: Sendable {
  public var base: Checkpoint
  /// All held to the same policy on the same tokens; none for the perplexity of one model alone.
  public var candidates: [Checkpoint]
  /// A text; conversations in JSON lines where the rule is `.chat`.
  public var textPath: String
  public var policy: Policy
  /// Tokens of a window, the begin-of-text token included; at least 2, and 3 with `.llamaCpp`.
  public var context: Int
  /// How the text is cut and what of it is scored.
  public var rule: ScoringRule
  /// Score at least so many tokens, in whole windows spread evenly over the text; all of the text when nil.
  public var tokenLimit: Int?
  /// How matrix products are computed.
  public var compute: Compute
  /// Round activations as serving does; nil leaves them as they are. The models contradict it nowhere.
  public var emulation: ActivationEmulation?
  public var threads: Int
  public var maximumMemory: UInt64
  /// Whether reports may show a few words of the text, where it drifts most.
  public var showsExcerpts = true
  /// Whether the tensors that explain the drift are searched for behind the forward pass; of one candidate.
  public var bisects = false

  public init(
    base: Checkpoint, candidates: [Checkpoint], textPath: String, policy: Policy = .fp8, context: Int = 512,
    rule: ScoringRule = .windows, tokenLimit: Int? = nil, compute: Compute = .exact,
    emulation: ActivationEmulation? = nil, threads: Int, maximumMemory: UInt64 = 4 << 30
  ) {
    self.base = base
    self.candidates = candidates
    self.textPath = textPath
    self.policy = policy
    self.context = context
    self.rule = rule
    self.tokenLimit = tokenLimit
    self.compute = compute
    self.emulation = emulation
    self.threads = threads
    self.maximumMemory = maximumMemory
  }

  /// With one candidate, or none.
  public init(
    base: Checkpoint, candidate: Checkpoint?, textPath: String, policy: Policy = .fp8, context: Int = 512,
    rule: ScoringRule = .windows, tokenLimit: Int? = nil, compute: Compute = .exact,
    emulation: ActivationEmulation? = nil, threads: Int, maximumMemory: UInt64 = 4 << 30
  ) {
    self.init(
      base: base, candidates: candidate.map { [$0] } ?? [], textPath: textPath, policy: policy, context: context,
      rule: rule, tokenLimit: tokenLimit, compute: compute, emulation: emulation, threads: threads,
      maximumMemory: maximumMemory)
  }

  /// The first candidate.
  public var candidate: Checkpoint? { candidates.first }
}

/// The report of a verification with the scores it was made from.
public struct VerificationResult: Sendable {
  public let report: VerificationReport
  public let scores: TokenScores
  /// What the user should know about the input.
  public let remarks: [String]

  public init(report: VerificationReport, scores: TokenScores, remarks: [String] = []) {
    self.report = report
    self.scores = scores
    self.remarks = remarks
  }
}

/// The memory budget does not hold even one window.
public struct MemoryFailure: Error, Sendable, CustomStringConvertible {
  public let needed: UInt64
  public let allowed: UInt64
  public var description: String {
    "about \(ByteSize(needed)) of memory are needed, --max-memory allows \(ByteSize(allowed)); raise it or use a shorter --context"
  }
}

extension VerificationRequest {
  /// Told the phase, how much of it is done, and of how much.
  public typealias Progress = @Sendable (_ phase: String, _ done: UInt64, _ total: UInt64) -> Void

  /// Tokenizes, scores and judges one candidate, or scores the base alone. As `runAll`.
  public func run(
    checkCancellation: @escaping @Sendable () throws -> Void = {}, progress: @escaping Progress = { _, _, _ in }
  ) throws -> VerificationResult {
    precondition(candidates.count <= 1, "each candidate has a result of its own")
    return try runAll(checkCancellation: checkCancellation, progress: progress)[0]
  }

  /// Tokenizes, scores and judges every candidate. The base's forward pass is made once.
  /// - Returns: a result for each candidate; one where there is none.
  /// - Throws: `ParseFailure` for models, tokenizers or text that cannot be compared; `FileFailure`; `MemoryFailure`;
  ///   what `checkCancellation` throws.
  public func runAll(
    checkCancellation: @escaping @Sendable () throws -> Void = {}, progress: @escaping Progress = { _, _, _ in }
  ) throws -> [VerificationResult] {
    precondition(!bisects || candidates.count == 1, "one candidate is bisected")
    let started = ContinuousClock.now
    let text = try EvaluationText(self)
    let pass = try ForwardRun(
      self, windows: text.windows.windows, scored: text.windows.scored, check: checkCancellation
    ) { progress("forward", $0, $1) }
    let elapsed = started.duration(to: .now) - pass.inspectionTime
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    let identities = try pass.inspection.identities()
    let run = runFacts(pass, seconds: seconds)
    let bisection =
      bisects
      ? try bisection(text.windows, differing: pass.inspection.differing(from: 0), check: checkCancellation) {
        progress("bisect", $0, $1)
      } : nil
    return pass.scorings.enumerated().map { number, scoring in
      let scores = text.scores(scoring, hasCandidate: !candidates.isEmpty)
      var subject = VerificationReport.Subject(
        base: identities.base, candidate: candidates.isEmpty ? nil : identities.candidates[number], text: text.facts,
        scoring: ScoringProtocol(rule, context: context), layers: scores.residuals?.layerErrors ?? [],
        tensors: candidates.isEmpty ? [] : pass.inspection.errors(of: number), run: run, policy: policy,
        policyDigest: SHA256Sum.hexadecimal(of: Array(policy.canonicalText.utf8)))
      if showsExcerpts, !candidates.isEmpty, scores.nonFinite.count == 0 {
        subject.excerpts = WindowDrift.worst(of: scores).map { text.excerpt($0) }
      }
      subject.bisection = bisection
      return VerificationResult(
        report: VerificationReport(subject, scores: scores), scores: scores, remarks: text.remarks)
    }
  }

  private func runFacts(_ pass: ForwardRun, seconds: Double) -> RunFacts {
    let models = [base] + candidates
    return RunFacts(
      seconds: seconds, tokensPerSecond: Double(pass.scorings[0].count) / max(seconds, 1e-9),
      peakRSSBytes: ProcessFacts.peakResidentBytes, bytesRead: ProcessFacts.bytesRead,
      weightPasses: pass.plan.groups.count, memory: MemoryFacts(pass.plan), threads: threads,
      instructionSet: InstructionSet.best.description, compute: compute.rawValue,
      emulation: emulation?.canonicalText,
      emulatedActivations: emulation == nil ? [] : Set(models.flatMap(\.activationTexts)).sorted(),
      hasBlocks: models.flatMap(\.tensors).contains { $0.elementType.block != nil }, version: Toolkit.version)
  }
}
