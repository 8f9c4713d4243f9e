public import ByteIO
internal import Kernels
internal import Llama

/// Runs one model, or a base and its candidates side by side, over the same windows and scores the tokens of each window
/// from a given position on. Layers advance in lockstep, so the drift of every layer is seen; the head is evaluated for all
/// on the same block of the vocabulary and forgotten. The base goes through its layers once however many candidates there
/// are.
public struct LockstepScorer {
  private let base: any ModelWeights
  private let candidates: [any ModelWeights]
  private let settings: ForwardSettings
  private let positionBounds: [Int]

  /// Told after each layer of all models; the head counts as one more layer.
  public typealias Progress = @Sendable (_ done: Int, _ of: Int) -> Void

  /// - Parameter positionBounds: where the stretches of positions end whose drift is summed up each by itself, ascending;
  ///   positions behind the last belong to the last. All positions are one stretch when empty.
  /// - Throws: `ParseFailure` when a candidate cannot be compared with the base token by token.
  public init(
    base: any ModelWeights, candidates: [any ModelWeights], settings: ForwardSettings, positionBounds: [Int] = []
  ) throws(ParseFailure) {
    for other in candidates.map(\.configuration) {
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
    self.candidates = candidates
    self.settings = settings
    self.positionBounds = positionBounds
  }

  /// One model alone, or with one candidate.
  public init(base: any ModelWeights, candidate: (any ModelWeights)?, settings: ForwardSettings) throws(ParseFailure) {
    try self.init(base: base, candidates: candidate.map { [$0] } ?? [], settings: settings)
  }

  /// Scores all tokens of each window from position `firstScored` on, of one candidate at most; see
  /// `score(_:scored:into:afterLayer:progress:)`.
  public func score(
    _ windows: [[Int32]], firstScored: Int = 1, into scoring: inout TokenScoring, progress: Progress = { _, _ in }
  ) throws {
    let scored = windows.map { [min(firstScored, $0.count)..<$0.count] }
    try score(windows, scored: scored, into: &scoring, progress: progress)
  }

  /// Scores one candidate at most; see `score(_:scored:into:afterLayer:progress:)`.
  public func score(
    _ windows: [[Int32]], scored: [[Range<Int>]], into scoring: inout TokenScoring, progress: Progress = { _, _ in }
  ) throws {
    precondition(candidates.count <= 1, "each candidate has scores of its own")
    // Emptied, so that the arrays grow in place.
    var scorings = [scoring]
    scoring = TokenScoring()
    defer { scoring = scorings[0] }
    try score(windows, scored: scored, into: &scorings, progress: progress)
  }

  /// - Parameters:
  ///   - scored: for each window the positions of the tokens that are scored; at least 1, for the first token of a
  ///     window is predicted by nothing. Others are only read, and cost no work in the head.
  ///   - scorings: of each candidate, or one of the base alone; takes the scores behind those it holds already. Windows
  ///     may be scored in one call or in several: the result is the same to the bit.
  ///   - afterLayer: called when all models have gone through a layer.
  /// - Throws: `ParseFailure` for ids outside the vocabulary, whatever reading weights and `afterLayer` throw.
  public func score(
    _ windows: [[Int32]], scored: [[Range<Int>]], into scorings: inout [TokenScoring],
    afterLayer: (_ layer: Int) throws -> Void = { _ in }, progress: Progress = { _, _ in }
  ) throws {
    precondition(scorings.count == max(1, candidates.count), "each candidate has scores of its own")
    precondition(
      scored.joined().allSatisfy { $0.isEmpty || $0.lowerBound >= 1 }, "the first token is predicted by nothing")
    let configuration = base.configuration
    try Self.validate(windows, vocabulary: configuration.vocabularySize)
    let steps = configuration.layerCount + 1
    let models = [base] + candidates
    let ahead = ReadAhead()
    ahead.begin([.attention(base, layer: 0)])
    var streams = try models.map { try LayerStream($0, windows: windows, settings: settings, ahead: ahead) }
    var residuals = candidates.map { _ in
      ResidualSums(
        layers: configuration.layerCount, stretches: max(1, positionBounds.count), windows: windows.count)
    }
    for layer in 0..<configuration.layerCount {
      let isLast = layer + 1 == configuration.layerCount
      for index in models.indices {
        let next: [WeightStep] =
          if index + 1 < models.count {
            [.attention(models[index + 1], layer: layer)]
          } else {
            isLast ? HeadSweep.firstSteps(models) : [.attention(base, layer: layer + 1)]
          }
        try streams[index].advance(through: layer, next: next)
        guard index > 0 else { continue }
        let sums = differences(streams[0].hidden, streams[index].hidden)
        residuals[index - 1].add(sums, layer: layer, sizes: windows.map(\.count), bounds: positionBounds)
      }
      try afterLayer(layer)
      progress(layer + 1, steps)
    }
    for index in streams.indices { try streams[index].finish() }
    let compared = zip(candidates, streams.dropFirst()).map { HeadSweep.Candidate(weights: $0, hidden: $1.hidden) }
    var sweep = HeadSweep(base, streams[0].hidden, compared, windows, scored, settings)
    streams = []
    try sweep.run(ahead)
    progress(steps, steps)
    for index in scorings.indices {
      sweep.append(candidate: index, to: &scorings[index])
      if !candidates.isEmpty { scorings[index].residuals.append(residuals[index]) }
    }
  }

  private func differences(_ one: [Float], _ other: [Float]) -> [Double] {
    RowMath.differences(
      one.span, other.span, width: base.configuration.hiddenSize, threads: settings.threads,
      instructionSet: settings.instructionSet)
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
