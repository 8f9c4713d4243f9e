internal import ByteIO
internal import Kernels
internal import Llama

/// Scores variants of a model each of which differs from it in one layer alone. The model itself, the trunk, is carried
/// through the layers once; at each layer variants branch off, go through the layers that are left, and are compared with
/// the model token by token. Weights behind the branching are read once for all variants.
public struct BranchScorer {
  private let base: any ModelWeights
  private let windows: [[Int32]]
  private let scored: [[Range<Int>]]
  private let settings: ForwardSettings
  /// `[tokens, hidden]` of the model behind its final norm.
  private let finished: [Float]
  private var trunk: LayerStream

  /// Carries the model to its end, and puts the trunk at the start of the first layer.
  /// - Parameters:
  ///   - scored: for each window the positions of the tokens that are scored, at least 1.
  ///   - progress: told after each layer.
  /// - Throws: `ParseFailure` for ids outside the vocabulary, whatever reading weights throws.
  public init(
    _ base: any ModelWeights, windows: [[Int32]], scored: [[Range<Int>]], settings: ForwardSettings,
    progress: () -> Void = {}
  ) throws {
    try LockstepScorer.validate(windows, vocabulary: base.configuration.vocabularySize)
    self.base = base
    self.windows = windows
    self.scored = scored
    self.settings = settings
    trunk = try LayerStream(base, windows: windows, settings: settings)
    var stream = trunk
    let count = base.configuration.layerCount
    for layer in 0..<count {
      try stream.advance(
        through: layer, next: layer + 1 < count ? [.attention(base, layer: layer + 1)] : HeadSweep.firstSteps([base]))
      progress()
    }
    try stream.finish()
    finished = stream.hidden
  }

  /// Carries the trunk through half a layer.
  public mutating func advance(through half: LayerHalf, layer: Int) throws {
    try trunk.pass(through: half, layer: layer, weights: base)
  }

  /// Branches variants off where the trunk is.
  /// - Parameters:
  ///   - count: variants that advance together.
  ///   - half: what the trunk comes to next; of `layer`.
  ///   - weights: of the layer, of variant 0, 1, … in this order; asked for once, and kept while that variant goes through
  ///     the layer.
  ///   - progress: told how many variants went through how much of a layer: 2 halves of each layer left, or 1 of the first.
  /// - Returns: the scores of each variant.
  /// - Throws: whatever reading weights and `weights` throw.
  public func score(
    _ count: Int, from half: LayerHalf, layer: Int, weights: (_ variant: Int) throws -> any ModelWeights,
    progress: (_ halves: Int) -> Void = { _ in }
  ) throws -> [TokenScoring] {
    var streams = Array(repeating: trunk, count: count)
    for variant in streams.indices {
      let own = try weights(variant)
      if half == .attention { try streams[variant].pass(through: .attention, layer: layer, weights: own) }
      try streams[variant].pass(through: .feedForward, layer: layer, weights: own)
      progress(half == .attention ? 2 : 1)
    }
    let ahead = ReadAhead()
    let layers = base.configuration.layerCount
    for next in layer + 1..<max(layer + 1, layers) {
      ahead.begin([.feedForward(base, layer: next)])
      try LayerStream.pass(&streams, through: .attention, layer: next, weights: base)
      ahead.begin(next + 1 < layers ? [.attention(base, layer: next + 1)] : HeadSweep.firstSteps([base]))
      try LayerStream.pass(&streams, through: .feedForward, layer: next, weights: base)
      progress(2 * count)
    }
    for variant in streams.indices { try streams[variant].finish() }
    var sweep = HeadSweep(
      base, finished, streams.map { HeadSweep.Candidate(weights: nil, hidden: $0.hidden) }, windows, scored, settings)
    try sweep.run(ahead)
    return streams.indices.map { variant in
      var scoring = TokenScoring()
      sweep.append(candidate: variant, to: &scoring)
      return scoring
    }
  }
}

extension MemoryEstimate {
  /// Of a `BranchScorer`.
  /// - Parameters:
  ///   - variants: that advance together.
  ///   - replaced: bytes of the largest set of matrices that a variant has instead of the model's.
  public init(
    branchesOf base: any ModelWeights, variants: Int, replaced: Int, settings: ForwardSettings, tokens: Int,
    longestWindow: Int
  ) {
    let alone = MemoryEstimate([base], settings: settings, tokens: tokens, longestWindow: longestWindow)
    let width = base.configuration.hiddenSize
    // The trunk is counted; the model behind its final norm and the variants are not. Of each variant's tokens summaries,
    // targets and scores.
    let more = tokens * (4 * width * (1 + variants) + variants * (MemoryLayout<LogitSummary>.stride + 160))
    let chunk = min(tokens, max(settings.tokensPerChunk, longestWindow))
    let head =
      4 * chunk * (2 * width * (1 + variants) + 2 * HeadSweep.vocabularyBlock)
      + settings.threads * MatrixProduct.packedByteCount(kernel: settings.kernel)
    self.init(
      hiddenStates: alone.hiddenStates + UInt64(more), weights: alone.weights + UInt64(replaced),
      scratch: max(alone.scratch, UInt64(head)))
  }
}
