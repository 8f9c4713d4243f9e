internal import ByteIO
internal import Kernels
public import Llama

/// A candidate with some of its weights, and maybe its configuration, replaced by the base's. Nothing is copied.
struct RestoredWeights: ModelWeights {
  let base: any ModelWeights
  let candidate: any ModelWeights
  let restored: Set<TensorRole>
  let configuration: LlamaConfiguration

  /// - Parameter configuration: whether the base's is used.
  init(_ candidate: any ModelWeights, restoring roles: Set<TensorRole>, configuration: Bool, of base: any ModelWeights)
  {
    self.base = base
    self.candidate = candidate
    self.configuration = configuration ? base.configuration : candidate.configuration
    // A tied head is the embedding.
    let isTied = base.configuration.tiesEmbeddings && candidate.configuration.tiesEmbeddings
    restored = isTied && roles.contains(.tokenEmbedding) ? roles.union([.outputHead]) : roles
  }

  private func owner(_ role: TensorRole) -> any ModelWeights { restored.contains(role) ? base : candidate }

  func matrix(_ role: TensorRole, rows: Range<Int>?) throws -> WeightMatrix { try owner(role).matrix(role, rows: rows) }
  func vector(_ role: TensorRole) throws -> [Float] { try owner(role).vector(role) }
  func bytesPerRow(_ role: TensorRole) -> Int { owner(role).bytesPerRow(role) }
  func advise(_ advice: ReadingAdvice, _ role: TensorRole, rows: Range<Int>?) {
    owner(role).advise(advice, role, rows: rows)
  }
}

/// Scores a candidate in which weights are replaced by the base's, again and again over the same windows. The base's forward
/// pass is made once; each scoring is one of the candidate's.
public struct SubstitutionScorer {
  private let base: any ModelWeights
  private let candidate: any ModelWeights
  private let windows: [[Int32]]
  private let scored: [[Range<Int>]]
  private let settings: ForwardSettings
  /// `[tokens, hidden]` of the base behind its final norm.
  private let finished: [Float]

  /// - Parameters:
  ///   - base: has all tensors in the shapes of the candidate's.
  ///   - scored: for each window the positions of the tokens that are scored, at least 1.
  /// - Throws: `ParseFailure` for models that cannot be compared token by token and ids outside the vocabulary; whatever
  ///   reading weights throws.
  public init(
    base: any ModelWeights, candidate: any ModelWeights, windows: [[Int32]], scored: [[Range<Int>]],
    settings: ForwardSettings
  ) throws {
    _ = try LockstepScorer(base: base, candidate: candidate, settings: settings)
    try LockstepScorer.validate(windows, vocabulary: base.configuration.vocabularySize)
    self.base = base
    self.candidate = candidate
    self.windows = windows
    self.scored = scored
    self.settings = settings
    finished = try Self.carry(base, windows, settings, ReadAhead(), before: [])
  }

  /// - Parameters:
  ///   - roles: tensors that are the base's.
  ///   - configuration: whether the configuration is.
  /// - Throws: whatever reading weights throws.
  public func score(restoring roles: Set<TensorRole>, configuration: Bool = false) throws -> TokenScoring {
    let weights = RestoredWeights(candidate, restoring: roles, configuration: configuration, of: base)
    let ahead = ReadAhead()
    let hidden = try Self.carry(weights, windows, settings, ahead, before: HeadSweep.firstSteps([base, weights]))
    var sweep = HeadSweep(
      base, finished, [HeadSweep.Candidate(weights: weights, hidden: hidden)], windows, scored, settings)
    try sweep.run(ahead)
    var scoring = TokenScoring()
    sweep.append(to: &scoring)
    return scoring
  }

  private static func carry(
    _ weights: any ModelWeights, _ windows: [[Int32]], _ settings: ForwardSettings, _ ahead: ReadAhead,
    before last: [WeightStep]
  ) throws -> [Float] {
    var stream = try LayerStream(weights, windows: windows, settings: settings, ahead: ahead)
    let count = weights.configuration.layerCount
    for layer in 0..<count {
      try stream.advance(
        through: layer, next: layer + 1 < count ? [.attention(weights, layer: layer + 1)] : last)
    }
    try stream.finish()
    return stream.hidden
  }
}
