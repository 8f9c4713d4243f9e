internal import Kernels
internal import Llama

/// Evaluates the output head block by block of the vocabulary, for all scored tokens of a base and its candidates, and keeps
/// of every block only what the scores need. The head's weights are read once, and logits of all tokens never exist.
///
/// As many blocks' weights are held at a time as take the memory of the layers' weights, which is free by now: tokens are
/// gathered and packed once for all of them.
struct HeadSweep {
  /// Outputs of one block. A constant, so that sums over the vocabulary are cut at the same places always.
  static let vocabularyBlock = 2048

  /// What is compared with the base.
  struct Candidate {
    /// Nil: it has the base's head.
    let weights: (any ModelWeights)?
    /// `[tokens, hidden]` behind the final norm.
    let hidden: [Float]
  }

  private let base: any ModelWeights
  private let baseHidden: [Float]
  private let candidates: [Candidate]
  private let windows: [[Int32]]
  private let scored: [[Range<Int>]]
  private let settings: ForwardSettings
  /// Of each candidate with the base; of the base alone where there is none.
  private var summaries: [[LogitSummary]]
  private var baseTarget: [Float]
  private var candidateTargets: [[Float]]
  /// For every scored token, in the windows' order, the row of the hidden states that predicts it, and its id.
  private let rows: [Int]
  private let targets: [Int32]

  init(
    _ base: any ModelWeights, _ baseHidden: [Float], _ candidates: [Candidate], _ windows: [[Int32]],
    _ scored: [[Range<Int>]], _ settings: ForwardSettings
  ) {
    self.base = base
    self.baseHidden = baseHidden
    self.candidates = candidates
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
    summaries = Array(
      repeating: Array(repeating: LogitSummary(), count: targets.count), count: max(1, candidates.count))
    baseTarget = Array(repeating: 0, count: targets.count)
    candidateTargets = candidates.map { _ in Array(repeating: 0, count: targets.count) }
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
    let models = [base] + candidates.compactMap(\.weights)
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
        take(first..<min(first + settings.tokensPerChunk, targets.count), blocks, matrices)
      }
    }
  }

  /// - Parameter matrices: for each model with a head of its own, each block's.
  private mutating func take(_ tokens: Range<Int>, _ blocks: [Range<Int>], _ matrices: [[WeightMatrix]]) {
    let one = input(baseHidden, tokens, base)
    let others = candidates.map { input($0.hidden, tokens, $0.weights ?? base) }
    for (index, block) in blocks.enumerated() {
      let logits = one.times(matrices[0][index])
      guard !candidates.isEmpty else {
        take(logits, nil, of: 0, tokens: tokens, block: block)
        continue
      }
      var model = 0
      for (number, other) in others.enumerated() {
        if candidates[number].weights != nil { model += 1 }
        let own = candidates[number].weights == nil ? 0 : model
        take(logits, other.times(matrices[own][index]), of: number, tokens: tokens, block: block)
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

  private mutating func take(
    _ base: [Float], _ candidate: [Float]?, of number: Int, tokens: Range<Int>, block: Range<Int>
  ) {
    var part = Array(summaries[number][tokens])
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
    summaries[number].replaceSubrange(tokens, with: part)
    for token in tokens where block.contains(Int(targets[token])) {
      let index = (token - tokens.lowerBound) * block.count + Int(targets[token]) - block.lowerBound
      baseTarget[token] = base[index]
      if let candidate { candidateTargets[number][token] = candidate[index] }
    }
  }

  /// Adds the scores of all scored tokens, windows numbered on from those that are there.
  /// - Parameter number: of the candidate.
  func append(candidate number: Int = 0, to scoring: inout TokenScoring) {
    let firstWindow = (scoring.window.last ?? -1) + 1
    var token = 0
    for (offset, ranges) in scored.enumerated() {
      let window = firstWindow + offset
      for position in ranges.joined() {
        defer { token += 1 }
        let summary = summaries[number][token]
        scoring.window.append(window)
        scoring.position.append(position)
        scoring.baseNLL.append(summary.baseLogSum - Double(baseTarget[token]))
        scoring.baseIsRight.append(summary.baseTop1 == targets[token])
        guard !candidates.isEmpty else { continue }
        scoring.candidateNLL.append(summary.candidateLogSum - Double(candidateTargets[number][token]))
        scoring.candidateIsRight.append(summary.candidateTop1 == targets[token])
        scoring.divergence.append(summary.divergence)
        scoring.topAgrees.append(summary.baseTop1 == summary.candidateTop1)
        scoring.top5Overlap.append(summary.top5Overlap)
      }
    }
  }
}
