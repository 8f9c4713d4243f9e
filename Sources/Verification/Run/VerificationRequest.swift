internal import ByteIO
public import Checkpoints
public import Inference
public import Kernels

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
  /// Look at growing parts of these windows and stop once the policy decides. See `GroupSequential`.
  public var stopsWhenDecided = false
  /// Which share of these windows is scored; nil for all.
  public var part: WorkPart?
  /// Of the bootstrap and of the order in which `stopsWhenDecided` takes windows.
  public var seed: UInt64 = 1
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
  /// The phase in which tensors are put back, counted in passes of the candidate; first told of with none done.
  public static let bisectionPhase = "bisect"

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
    let text = try EvaluationText(self)
    if let part, part.index >= text.windows.windows.count {
      throw ParseFailure(
        "the text has \(text.windows.windows.count) windows: nothing is left for part \(part)", file: textPath,
        advice: "divide it into fewer parts")
    }
    var run = LookedRun(self, text: text, check: checkCancellation, progress: progress)
    return try run.results()
  }
}
