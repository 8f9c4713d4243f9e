internal import ByteIO
internal import Foundation
internal import Kernels
internal import Llama

/// The hidden states of all windows of one model, and the steps that carry them from the embedding to the final norm, a
/// layer at a time.
struct LayerStream {
  let weights: any ModelWeights
  let settings: ForwardSettings
  /// `[tokens, hidden]`
  private(set) var hidden: [Float]
  private let chunks: [WindowChunk]
  private let ahead: ReadAhead
  private let cosines: [Float]
  private let sines: [Float]

  private var configuration: LlamaConfiguration { weights.configuration }
  private var width: Int { configuration.hiddenSize }

  /// Reads the embedding rows of all tokens.
  init(
    _ weights: any ModelWeights, windows: [[Int32]], settings: ForwardSettings, ahead: ReadAhead = ReadAhead()
  ) throws {
    self.weights = weights
    self.settings = settings
    self.ahead = ahead
    chunks = WindowChunk.cut(windows, tokensPerChunk: settings.tokensPerChunk)
    let configuration = weights.configuration
    (cosines, sines) = Self.rotations(
      configuration, positions: windows.reduce(0) { max($0, $1.count) })
    hidden = try EmbeddingReader(weights).rows(of: windows.flatMap { $0 })
  }

  /// cos and sin of position · frequency, `[positions, headDimension / 2]`; the angle is one product in binary32, as
  /// transformers computes it.
  private static func rotations(_ configuration: LlamaConfiguration, positions: Int) -> ([Float], [Float]) {
    let frequencies = configuration.rope.inverseFrequencies(headDimension: configuration.headDimension)
    var cosines: [Float] = []
    var sines: [Float] = []
    for position in 0..<positions {
      for frequency in frequencies {
        let angle = Float(position) * frequency
        cosines.append(Foundation.cos(angle))
        sines.append(Foundation.sin(angle))
      }
    }
    return (cosines, sines)
  }

  /// Is lent what linears multiply, `[tokens, columns]`, chunk by chunk in the order of the tokens.
  typealias Observer = (_ input: LinearInput, _ values: (rows: [Float], columns: Int)) -> Void

  /// Carries all tokens through layer `layer`, whose weights are read once.
  /// - Parameter next: what is read after this layer.
  mutating func advance(through layer: Int, next: [WeightStep] = [], observe: Observer? = nil) throws {
    try attend(layer, observe)
    try feedForward(layer, next, observe)
  }

  private mutating func attend(_ layer: Int, _ observe: Observer?) throws {
    let matrices = try LayerWeights.Attention(weights, layer: layer)
    ahead.begin([.feedForward(weights, layer: layer)])
    for chunk in chunks {
      try settings.checkCancellation()
      attend(chunk, matrices, observe)
    }
  }

  private mutating func feedForward(_ layer: Int, _ next: [WeightStep], _ observe: Observer?) throws {
    let matrices = try LayerWeights.FeedForward(weights, layer: layer)
    ahead.begin(next)
    for chunk in chunks {
      try settings.checkCancellation()
      feedForward(chunk, matrices, observe)
    }
  }

  // MARK: In steps, with weights that may change between them

  /// Lends what the linears behind `input` in layer `layer` multiply, chunk by chunk; hidden states stay as they are.
  /// - Parameter weights: of the layer as they are now.
  func visit(
    _ input: LinearInput, layer: Int, weights: any ModelWeights,
    _ body: (_ rows: [Float], _ columns: Int) throws -> Void
  ) throws {
    switch input {
    case .attention, .feedForward:
      let norm = try weights.vector(.layer(layer, input == .attention ? .attentionNorm : .feedForwardNorm))
      for chunk in chunks {
        try settings.checkCancellation()
        try body(self.norm(chunk, norm), width)
      }
    case .attentionOutput:
      let matrices = try LayerWeights.Attention(weights, layer: layer)
      for chunk in chunks {
        try settings.checkCancellation()
        try body(headOutputs(chunk, matrices, nil), configuration.headCount * configuration.headDimension)
      }
    case .down:
      let matrices = try LayerWeights.FeedForward(weights, layer: layer)
      for chunk in chunks {
        try settings.checkCancellation()
        try body(gated(chunk, matrices, nil), configuration.feedForwardSize)
      }
    }
  }

  /// Carries hidden states through half a layer.
  mutating func pass(through half: LayerHalf, layer: Int, weights: any ModelWeights) throws {
    try pass(through: try LayerWeights.Half(weights, half, layer: layer))
  }

  /// Carries streams of one model through half a layer, whose weights are read once.
  static func pass(
    _ streams: inout [LayerStream], through half: LayerHalf, layer: Int, weights: any ModelWeights
  ) throws {
    let matrices = try LayerWeights.Half(weights, half, layer: layer)
    for index in streams.indices { try streams[index].pass(through: matrices) }
  }

  private mutating func pass(through half: LayerWeights.Half) throws {
    for chunk in chunks {
      try settings.checkCancellation()
      switch half {
      case .attention(let matrices): attend(chunk, matrices, nil)
      case .feedForward(let matrices): feedForward(chunk, matrices, nil)
      }
    }
  }

  /// A stream of some of the windows, with the hidden states that they have now.
  func picking(_ picked: [Int], of windows: [[Int32]]) -> LayerStream {
    var starts = [0]
    for window in windows { starts.append(starts[starts.count - 1] + window.count) }
    return LayerStream(
      self, windows: picked.map { windows[$0] },
      hidden: picked.flatMap { hidden[starts[$0] * width..<starts[$0 + 1] * width] })
  }

  private init(_ other: LayerStream, windows: [[Int32]], hidden: [Float]) {
    weights = other.weights
    settings = other.settings
    ahead = other.ahead
    cosines = other.cosines
    sines = other.sines
    chunks = WindowChunk.cut(windows, tokensPerChunk: other.settings.tokensPerChunk)
    self.hidden = hidden
  }

  /// Applies the final norm in place.
  mutating func finish() throws {
    let weight = try weights.vector(.outputNorm)
    for chunk in chunks {
      let normed = norm(chunk, weight)
      let elements = elements(chunk)
      hidden.replaceSubrange(elements, with: normed)
    }
  }

  // MARK: Blocks

  private mutating func attend(_ chunk: WindowChunk, _ w: LayerWeights.Attention, _ observe: Observer?) {
    let heads = headOutputs(chunk, w, observe)
    add(ProjectionInput(heads, tokens: chunk.tokens.count, settings: settings).times(w.output), to: chunk)
  }

  /// `[tokens, heads · dimension]`. A function of its own, so that what it computes with is freed at its end.
  private func headOutputs(_ chunk: WindowChunk, _ w: LayerWeights.Attention, _ observe: Observer?) -> [Float] {
    let heads = Attention.Heads(
      queries: configuration.headCount, keysAndValues: configuration.keyValueHeadCount,
      dimension: configuration.headDimension, slidingWindow: configuration.slidingWindow)
    var (query, key, value) = projections(chunk, w, observe)
    rotate(&query, heads: heads.queries, chunk)
    rotate(&key, heads: heads.keysAndValues, chunk)
    var span = query.mutableSpan
    Attention.apply(
      queries: &span, keys: key.span, values: value.span, windows: chunk.windows, heads: heads,
      threads: settings.threads, kernel: settings.kernel, instructionSet: settings.instructionSet)
    observe?(.attentionOutput, (query, heads.queries * heads.dimension))
    return query
  }

  private func projections(
    _ chunk: WindowChunk, _ w: LayerWeights.Attention, _ observe: Observer?
  ) -> (query: [Float], key: [Float], value: [Float]) {
    let normed = norm(chunk, w.norm)
    observe?(.attention, (normed, width))
    let x = ProjectionInput(normed, tokens: chunk.tokens.count, settings: settings)
    return (x.times(w.query), x.times(w.key), x.times(w.value))
  }

  private mutating func feedForward(_ chunk: WindowChunk, _ w: LayerWeights.FeedForward, _ observe: Observer?) {
    let gated = gated(chunk, w, observe)
    add(ProjectionInput(gated, tokens: chunk.tokens.count, settings: settings).times(w.down), to: chunk)
  }

  /// `[tokens, feedForward]`
  private func gated(_ chunk: WindowChunk, _ w: LayerWeights.FeedForward, _ observe: Observer?) -> [Float] {
    let normed = norm(chunk, w.norm)
    observe?(.feedForward, (normed, width))
    let x = ProjectionInput(normed, tokens: chunk.tokens.count, settings: settings)
    var gate = x.times(w.gate)
    let up = x.times(w.up)
    var span = gate.mutableSpan
    RowMath.siluMultiply(
      &span, up.span, threads: settings.threads, instructionSet: settings.instructionSet)
    observe?(.down, (gate, configuration.feedForwardSize))
    return gate
  }

  // MARK: Rows of a chunk

  private func elements(_ chunk: WindowChunk) -> Range<Int> {
    chunk.tokens.lowerBound * width..<chunk.tokens.upperBound * width
  }

  private func norm(_ chunk: WindowChunk, _ weight: [Float]) -> [Float] {
    RowMath.rmsNorm(
      hidden.span.extracting(elements(chunk)), weight: weight.span, epsilon: Float(configuration.normEpsilon),
      threads: settings.threads, instructionSet: settings.instructionSet)
  }

  private func rotate(_ x: inout [Float], heads: Int, _ chunk: WindowChunk) {
    var span = x.mutableSpan
    RowMath.rotate(
      &span, positions: chunk.positions, heads: heads, pairs: configuration.headDimension / 2, cosines: cosines.span,
      sines: sines.span, threads: settings.threads, instructionSet: settings.instructionSet)
  }

  private mutating func add(_ update: [Float], to chunk: WindowChunk) {
    let elements = elements(chunk)
    let settings = settings
    var all = hidden.mutableSpan
    var rows = all.part(elements)
    RowMath.add(&rows, update.span, threads: settings.threads, instructionSet: settings.instructionSet)
  }
}

/// Whole windows that are carried through a layer together.
struct WindowChunk: Sendable {
  /// Range of tokens among all tokens of all windows.
  let tokens: Range<Int>
  /// Ranges of the windows, counted from the chunk's first token.
  let windows: [Range<Int>]
  /// Position in its window of each token.
  let positions: [Int]

  /// Cuts windows into chunks of at least one window and, beyond that, at most `tokensPerChunk` tokens.
  static func cut(_ windows: [[Int32]], tokensPerChunk: Int) -> [WindowChunk] {
    var chunks: [WindowChunk] = []
    var start = 0
    var ranges: [Range<Int>] = []
    var count = 0
    func close() -> WindowChunk {
      WindowChunk(
        tokens: start..<start + count, windows: ranges, positions: ranges.flatMap { Array(0..<$0.count) })
    }
    for window in windows {
      if !ranges.isEmpty && count + window.count > tokensPerChunk {
        chunks.append(close())
        start += count
        ranges = []
        count = 0
      }
      ranges.append(count..<count + window.count)
      count += window.count
    }
    if !ranges.isEmpty { chunks.append(close()) }
    return chunks
  }
}
