public import ByteIO
internal import Kernels
internal import Llama

/// Runs one model, or base and candidate side by side, over the same windows and scores the tokens of each window from a
/// given position on. Layers advance in lockstep, so the drift of every layer is seen; the head is evaluated for both on
/// the same block of the vocabulary and forgotten.
public struct LockstepScorer {
  private let base: any ModelWeights
  private let candidate: (any ModelWeights)?
  private let settings: ForwardSettings

  /// Told after each layer of both models; the head counts as one more layer.
  public typealias Progress = @Sendable (_ done: Int, _ of: Int) -> Void

  /// - Throws: `ParseFailure` when the two models cannot be compared token by token.
  public init(base: any ModelWeights, candidate: (any ModelWeights)?, settings: ForwardSettings) throws(ParseFailure) {
    if let other = candidate?.configuration {
      let one = base.configuration
      for (name, left, right) in [
        ("vocabulary sizes", one.vocabularySize, other.vocabularySize),
        ("layer counts", one.layerCount, other.layerCount),
        ("hidden sizes", one.hiddenSize, other.hiddenSize),
      ] where left != right {
        throw ParseFailure("base and candidate have different \(name): \(left) and \(right)")
      }
    }
    self.base = base
    self.candidate = candidate
    self.settings = settings
  }

  /// Scores all tokens of each window from position `firstScored` on; see `score(_:scored:into:progress:)`.
  public func score(
    _ windows: [[Int32]], firstScored: Int = 1, into scoring: inout TokenScoring, progress: Progress = { _, _ in }
  ) throws {
    let scored = windows.map { [min(firstScored, $0.count)..<$0.count] }
    try score(windows, scored: scored, into: &scoring, progress: progress)
  }

  /// - Parameters:
  ///   - scored: for each window the positions of the tokens that are scored; at least 1, for the first token of a
  ///     window is predicted by nothing. Others are only read, and cost no work in the head.
  ///   - afterLayer: called when all models have gone through a layer.
  ///   - scoring: takes the scores behind those it holds already. Windows may be scored in one call or in several: the
  ///     result is the same to the bit.
  /// - Throws: `ParseFailure` for ids outside the vocabulary, whatever reading weights and `afterLayer` throw.
  public func score(
    _ windows: [[Int32]], scored: [[Range<Int>]], into scoring: inout TokenScoring,
    afterLayer: (_ layer: Int) throws -> Void = { _ in }, progress: Progress = { _, _ in }
  ) throws {
    precondition(
      scored.joined().allSatisfy { $0.isEmpty || $0.lowerBound >= 1 }, "the first token is predicted by nothing")
    let configuration = base.configuration
    try Self.validate(windows, vocabulary: configuration.vocabularySize)
    let steps = configuration.layerCount + 1
    let models = [base] + (candidate.map { [$0] } ?? [])
    let ahead = ReadAhead()
    ahead.begin([.attention(base, layer: 0)])
    var baseStream = try LayerStream(base, windows: windows, settings: settings, ahead: ahead)
    var candidateStream = try candidate.map {
      try LayerStream($0, windows: windows, settings: settings, ahead: ahead)
    }
    if candidate != nil && scoring.drift.isEmpty {
      scoring.drift = Array(repeating: (off: 0, whole: 0), count: configuration.layerCount)
    }
    for layer in 0..<configuration.layerCount {
      let isLast = layer + 1 == configuration.layerCount
      let after = isLast ? HeadSweep.firstSteps(models) : [.attention(base, layer: layer + 1)]
      try baseStream.advance(through: layer, next: candidate.map { [.attention($0, layer: layer)] } ?? after)
      try candidateStream?.advance(through: layer, next: after)
      if let candidateStream {
        RowMath.addDifference(
          baseStream.hidden.span, candidateStream.hidden.span, width: configuration.hiddenSize,
          to: &scoring.drift[layer], threads: settings.threads, instructionSet: settings.instructionSet)
      }
      try afterLayer(layer)
      progress(layer + 1, steps)
    }
    try baseStream.finish()
    try candidateStream?.finish()
    let compared = candidateStream.map { [HeadSweep.Candidate(weights: candidate, hidden: $0.hidden)] } ?? []
    var sweep = HeadSweep(base, baseStream.hidden, compared, windows, scored, settings)
    try sweep.run(ahead)
    progress(steps, steps)
    sweep.append(to: &scoring)
  }

  static func validate(_ windows: [[Int32]], vocabulary: Int) throws(ParseFailure) {
    for window in windows {
      guard let stray = window.first(where: { $0 < 0 || Int($0) >= vocabulary }) else { continue }
      throw ParseFailure(
        "token id \(stray) is outside the model's vocabulary of \(vocabulary)",
        advice: "the tokenizer does not belong to this model")
    }
  }
}

/// What the scored tokens came to, in text order.
public struct TokenScoring: Sendable {
  /// −ln p(token) under the base, natural logarithm.
  public internal(set) var baseNLL: [Double] = []
  /// Empty for one model alone, as are all arrays that compare.
  public internal(set) var candidateNLL: [Double] = []
  /// KLD(base‖candidate) of the distributions that predicted the token, in nats.
  public internal(set) var divergence: [Double] = []
  /// The base's most probable token was the text's.
  public internal(set) var baseIsRight: [Bool] = []
  public internal(set) var candidateIsRight: [Bool] = []
  /// Both models' most probable tokens are the same.
  public internal(set) var topAgrees: [Bool] = []
  /// How many of the five most probable tokens both models share.
  public internal(set) var top5Overlap: [Int] = []
  /// Index of the window and position in it (its first token has position 0) of each scored token.
  public internal(set) var window: [Int] = []
  public internal(set) var position: [Int] = []
  /// Σ(a − b)² and Σa² of the residual stream behind each layer.
  var drift: [(off: Double, whole: Double)] = []

  public init() {}

  public var count: Int { baseNLL.count }

  /// √(Σ(a − b)²/Σa²) of the residual stream behind each layer; empty for one model alone.
  public var layerDrift: [Double] { drift.map { $0.off == 0 ? 0 : ($0.off / $0.whole).squareRoot() } }
}
