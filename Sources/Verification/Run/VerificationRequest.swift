internal import Llama
internal import Tensors
internal import ByteIO
public import Checkpoints
internal import Foundation
internal import Inference
public import Kernels
internal import Tokenizers

/// One verification: which models, which text, how it is scored and judged.
public struct VerificationRequest: Sendable {
  public var base: Checkpoint
  /// Nil for the perplexity of one model alone.
  public var candidate: Checkpoint?
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
  /// Round activations as FP8 serving does.
  public var emulatesFP8Activations: Bool
  public var threads: Int
  public var maximumMemory: UInt64

  public init(
    base: Checkpoint, candidate: Checkpoint?, textPath: String, policy: Policy = .fp8, context: Int = 512,
    rule: ScoringRule = .windows, tokenLimit: Int? = nil, compute: Compute = .exact,
    emulatesFP8Activations: Bool = false, threads: Int, maximumMemory: UInt64 = 4 << 30
  ) {
    self.base = base
    self.candidate = candidate
    self.textPath = textPath
    self.policy = policy
    self.context = context
    self.rule = rule
    self.tokenLimit = tokenLimit
    self.compute = compute
    self.emulatesFP8Activations = emulatesFP8Activations
    self.threads = threads
    self.maximumMemory = maximumMemory
  }
}

/// The report of a verification with the scores it was made from.
public struct VerificationResult: Sendable {
  public let report: VerificationReport
  public let scores: TokenScores
  /// What the user should know about the input.
  public let remarks: [String]
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

  /// Tokenizes, scores and judges.
  /// - Throws: `ParseFailure` for models, tokenizers or text that cannot be compared; `FileFailure`; `MemoryFailure`;
  ///   what `checkCancellation` throws.
  public func run(
    checkCancellation: @escaping @Sendable () throws -> Void = {}, progress: @escaping Progress = { _, _, _ in }
  ) throws -> VerificationResult {
    let started = ContinuousClock.now
    let text = try EvaluationText(self)
    var scoring = TokenScoring()
    let chunk = 2048
    let settings = ForwardSettings(
      threads: threads, compute: compute, emulatesActivations: emulatesFP8Activations, tokensPerChunk: chunk,
      checkCancellation: checkCancellation)
    let scorer = try LockstepScorer(
      base: try CheckpointWeights(base, emulatingActivations: emulatesFP8Activations),
      candidate: try candidate.map { try CheckpointWeights($0, emulatingActivations: emulatesFP8Activations) },
      settings: settings)
    let groups = try windowGroups(text.windows.windows, tokensPerChunk: chunk)
    var first = 0
    for (index, group) in groups.enumerated() {
      let scored = Array(text.windows.scored[first..<first + group.count])
      first += group.count
      try scorer.score(group, scored: scored, into: &scoring) { done, of in
        progress("forward", UInt64(index * of + done), UInt64(groups.count * of))
      }
    }
    let elapsed = started.duration(to: .now)
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    progress("digest", 0, 1)
    let identities = try identities(checkCancellation)
    let run = RunFacts(
      seconds: seconds, tokensPerSecond: Double(scoring.count) / max(seconds, 1e-9),
      peakRSSBytes: ProcessFacts.peakResidentBytes, threads: threads,
      instructionSet: InstructionSet.best.description, compute: compute.rawValue,
      emulation: emulatesFP8Activations ? "activations=fp8" : nil,
      hasBlocks: (base.tensors + (candidate?.tensors ?? [])).contains { $0.elementType.block != nil },
      version: Toolkit.version)
    let subject = VerificationReport.Subject(
      base: identities.base, candidate: identities.candidate, text: text.facts,
      scoring: ScoringProtocol(rule, context: context),
      layers: scoring.layerDrift.enumerated().map { LayerError(layer: $0, relativeError: $1) },
      tensors: try candidate.map { try TensorComparison.run(base, $0, threads: threads, checkCancellation) } ?? [],
      run: run, policy: policy, policyDigest: SHA256Sum.hexadecimal(of: Array(policy.canonicalText.utf8)))
    let scores = text.scores(scoring, hasCandidate: candidate != nil)
    return VerificationResult(
      report: VerificationReport(subject, scores: scores), scores: scores, remarks: text.remarks)
  }

  private func identities(
    _ check: @escaping @Sendable () throws -> Void
  ) throws -> (base: ModelIdentity, candidate: ModelIdentity?) {
    func identity(_ model: Checkpoint) throws -> ModelIdentity {
      ModelIdentity(
        path: model.path, layout: model.layout.rawValue,
        digest: try model.digest(threads: threads) { _ in try check() }.model)
    }
    return (try identity(base), try candidate.map { try identity($0) })
  }

  /// All windows at once when their hidden states fit the budget, else as many groups as are needed; the weights are read
  /// once per group, and the result is the same.
  func windowGroups(_ windows: [[Int32]], tokensPerChunk: Int) throws -> [[[Int32]]] {
    let models = [base] + (candidate.map { [$0] } ?? [])
    let bytesPerWeight =
      models.map { model in
        Double(model.tensors.reduce(0) { $0 + $1.computedByteCount })
          / Double(max(model.configuration.parameterCount, 1))
      }.max() ?? 4
    let longest = windows.map(\.count).max() ?? 0
    func estimate(_ tokens: Int) -> UInt64 {
      LockstepScorer.peakMemoryEstimate(
        base.configuration, bytesPerWeight: bytesPerWeight, tokens: tokens, models: models.count,
        tokensPerChunk: tokensPerChunk, longestWindow: longest)
    }
    guard estimate(longest) <= maximumMemory else {
      throw MemoryFailure(needed: estimate(longest), allowed: maximumMemory)
    }
    var groups: [[[Int32]]] = []
    var current: [[Int32]] = []
    var tokens = 0
    for window in windows {
      if !current.isEmpty && estimate(tokens + window.count) > maximumMemory {
        groups.append(current)
        (current, tokens) = ([], 0)
      }
      current.append(window)
      tokens += window.count
    }
    return groups + (current.isEmpty ? [] : [current])
  }
}

extension LogicalTensor {
  /// Bytes in memory while the tensor is computed with: blocks, and what has more to it than scales, are widened.
  fileprivate var computedByteCount: Int {
    elementType.block != nil || quantization?.adapter != nil || quantization?.isRotated == true
      ? 4 * rowCount * columnCount : storedByteCount
  }
}
