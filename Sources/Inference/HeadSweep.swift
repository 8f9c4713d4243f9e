internal import Kernels
internal import Llama

/// Evaluates the output head block by block of the vocabulary, for all scored tokens and both models, and keeps of every
/// block only what the scores need. The head's weights are read once, and logits of all tokens never exist.
///
/// As many blocks' weights are held at a time as take the memory of the layers' weights, which is free by now: tokens are
/// gathered and packed once for all of them.
struct HeadSweep {
  /// Outputs of one block. A constant, so that sums over the vocabulary are cut at the same places always.
  static let vocabularyBlock = 2048

  private let base: any ModelWeights
  private let baseHidden: [Float]
  private let candidate: (any ModelWeights)?
  private let candidateHidden: [Float]?
  private let windows: [[Int32]]
  private let scored: [[Range<Int>]]
  private let settings: ForwardSettings
  private var summaries: [LogitSummary]
  private var baseTarget: [Float]
  private var candidateTarget: [Float]
  /// For every scored token, in the windows' order, the row of the hidden states that predicts it, and its id.
  private let rows: [Int]
  private let targets: [Int32]

  init(
    _ base: any ModelWeights, _ baseHidden: [Float], _ candidate: (any ModelWeights)?, _ candidateHidden: [Float]?,
    _ windows: [[Int32]], _ scored: [[Range<Int>]], _ settings: ForwardSettings
  ) {
    self.base = base
    self.baseHidden = baseHidden
    self.candidate = candidate
    self.candidateHidden = candidateHidden
    self.windows = windows
    self.scored = scored
    self.settings = settings
    var rows: [Int] = []
    var start = 0
    var targets: [Int32] = []
    for (window, ranges) in zip(windows, scored) {
      rows += ranges.joined().map { start + $0 - 1 }
      targets += ranges.joined().map { window[$0] }
      start += window.count
    }
    self.rows = rows
    self.targets = targets
    summaries = Array(repeating: LogitSummary(), count: targets.count)
    baseTarget = Array(repeating: 0, count: targets.count)
    candidateTarget = Array(repeating: 0, count: targets.count)
  }

  // MARK: Steps

  /// Bytes of the weights of one block of the vocabulary, of all models.
  static func blockByteCount(_ models: [any ModelWeights]) -> Int {
    models.reduce(0) { $0 + min(vocabularyBlock, $1.configuration.vocabularySize) * $1.bytesPerRow(.outputHead) }
  }

  /// Blocks whose weights are held at a time.
  static func heldBlocks(_ models: [any ModelWeights]) -> Int {
    let vocabulary = models[0].configuration.vocabularySize
    let all = (vocabulary + vocabularyBlock - 1) / vocabularyBlock
    return max(1, min(all, MemoryEstimate.largestStep(models) / max(1, blockByteCount(models))))
  }

  /// What `run` reads first.
  static func firstSteps(_ models: [any ModelWeights]) -> [WeightStep] { steps(models, from: 0) }

  private static func steps(_ models: [any ModelWeights], from first: Int) -> [WeightStep] {
    let vocabulary = models[0].configuration.vocabularySize
    guard first < vocabulary else { return [] }
    let rows = first..<min(first + heldBlocks(models) * vocabularyBlock, vocabulary)
    return models.map { .head($0, rows: rows) }
  }

  mutating func run(_ ahead: ReadAhead) throws {
    let models = [base] + (candidate.map { [$0] } ?? [])
    let vocabulary = base.configuration.vocabularySize
    let held = Self.heldBlocks(models) * Self.vocabularyBlock
    for start in stride(from: 0, to: vocabulary, by: held) {
      let blocks = stride(from: start, to: min(start + held, vocabulary), by: Self.vocabularyBlock).map {
        $0..<min($0 + Self.vocabularyBlock, vocabulary)
      }
      let matrices = try models.map { model in
        try blocks.map { try model.matrix(.outputHead, rows: $0) }
      }
      ahead.begin(Self.steps(models, from: start + held))
      for first in stride(from: 0, to: targets.count, by: settings.tokensPerChunk) {
        try settings.checkCancellation()
        let tokens = first..<min(first + settings.tokensPerChunk, targets.count)
        let one = input(baseHidden, tokens, base)
        let other = candidateHidden.flatMap { hidden in candidate.map { input(hidden, tokens, $0) } }
        for (index, block) in blocks.enumerated() {
          take(
            one.times(matrices[0][index]), other.map { $0.times(matrices[1][index]) }, tokens: tokens, block: block)
        }
      }
    }
  }

  /// The hidden states that predict `tokens`.
  private func input(_ hidden: [Float], _ tokens: Range<Int>, _ model: any ModelWeights) -> ProjectionInput {
    let width = model.configuration.hiddenSize
    var x: [Float] = []
    x.reserveCapacity(tokens.count * width)
    for row in rows[tokens] { x += hidden[row * width..<(row + 1) * width] }
    return ProjectionInput(x, tokens: tokens.count, settings: settings)
  }

  private mutating func take(_ base: [Float], _ candidate: [Float]?, tokens: Range<Int>, block: Range<Int>) {
    var part = Array(summaries[tokens])
    var span = part.mutableSpan
    if let candidate {
      LogitSweep.take(
        base: base.span, candidate: candidate.span, firstIndex: block.lowerBound, into: &span,
        threads: settings.threads, instructionSet: settings.instructionSet)
    } else {
      LogitSweep.take(
        base: base.span, candidate: nil, firstIndex: block.lowerBound, into: &span, threads: settings.threads,
        instructionSet: settings.instructionSet)
    }
    summaries.replaceSubrange(tokens, with: part)
    for token in tokens where block.contains(Int(targets[token])) {
      let index = (token - tokens.lowerBound) * block.count + Int(targets[token]) - block.lowerBound
      baseTarget[token] = base[index]
      if let candidate { candidateTarget[token] = candidate[index] }
    }
  }

  /// Adds the scores of all scored tokens, windows numbered on from those that are there.
  func append(to scoring: inout TokenScoring) {
    let firstWindow = (scoring.window.last ?? -1) + 1
    var token = 0
    for (offset, ranges) in scored.enumerated() {
      let window = firstWindow + offset
      for position in ranges.joined() {
        defer { token += 1 }
        let summary = summaries[token]
        scoring.window.append(window)
        scoring.position.append(position)
        scoring.baseNLL.append(summary.baseLogSum - Double(baseTarget[token]))
        scoring.baseIsRight.append(summary.baseTop1 == targets[token])
        guard candidate != nil else { continue }
        scoring.candidateNLL.append(summary.candidateLogSum - Double(candidateTarget[token]))
        scoring.candidateIsRight.append(summary.candidateTop1 == targets[token])
        scoring.divergence.append(summary.divergence)
        scoring.topAgrees.append(summary.baseTop1 == summary.candidateTop1)
        scoring.top5Overlap.append(summary.top5Overlap)
      }
    }
  }
}
