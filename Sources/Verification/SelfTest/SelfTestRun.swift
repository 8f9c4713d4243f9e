internal import ByteIO
internal import Checkpoints
internal import Foundation
internal import Inference
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// The forward passes of a self-test, and what is found in their scores.
struct SelfTestRun {
  private let test: SelfTest
  private let weights: CheckpointWeights
  private let windows: TokenWindows
  private let check: @Sendable () throws -> Void

  init(
    _ test: SelfTest, _ weights: CheckpointWeights, _ windows: TokenWindows,
    check: @escaping @Sendable () throws -> Void
  ) {
    self.test = test
    self.weights = weights
    self.windows = windows
    self.check = check
  }

  /// The model beside itself and beside a candidate with each of the faults, on the model's windows.
  func score(
    _ faults: [PlantedFault], progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws -> [TokenScoring] {
    let candidates: [any ModelWeights] = [weights] + faults.map { FaultyWeights(weights, $0) }
    return try score(candidates, windows.windows, windows.scored, progress)
  }

  /// The model beside candidates, or alone.
  private func score(
    _ candidates: [any ModelWeights], _ windows: [[Int32]], _ scored: [[Range<Int>]],
    _ progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws -> [TokenScoring] {
    let settings = ForwardSettings(threads: test.threads, compute: test.compute, checkCancellation: check)
    let plan = try ForwardPlan(
      [weights] + candidates, settings: settings, windows: windows, maximumMemory: test.maximumMemory)
    let scorer = try LockstepScorer(base: weights, candidates: candidates, settings: plan.settings)
    var scorings = Array(repeating: TokenScoring(), count: max(1, candidates.count))
    for (number, group) in plan.groups.enumerated() {
      let count = plan.groups.count
      try scorer.score(
        Array(windows[group]), scored: Array(scored[group]), into: &scorings,
        progress: { done, all in progress(UInt64(number * all + done), UInt64(count * all)) })
    }
    return scorings
  }

  /// Asks every detector about a fault whose candidate was scored beside the model.
  func judge(_ fault: PlantedFault, _ scoring: TokenScoring) throws -> SelfTestResult.Finding {
    try finding(fault, compared(scoring))
  }

  /// The same of a fault in the windows' begin.
  /// - Parameter same: the model against itself.
  func judge(
    shifted fault: PlantedFault, same: TokenScoring, progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws -> SelfTestResult.Finding {
    try finding(fault, shifted(fault, same, progress))
  }

  private func finding(_ fault: PlantedFault, _ scores: Compared) throws -> SelfTestResult.Finding {
    var detections: [SelfTestResult.Detection] = []
    if let refusal = try refusal(of: FaultyWeights(weights, fault), fault) {
      detections.append(.init(.integrity, refusal))
    }
    let differences = Structure.differences(weights.configuration, fault.configuration).map(\.sentence)
    if !differences.isEmpty { detections.append(.init(.structure, differences.joined(separator: ", "))) }
    detections += self.detections(scores)
    return SelfTestResult.Finding(
      fault: fault.name, detail: fault.detail, detections: detections, lnRatio: scores.lnRatio.mean,
      standardError: scores.lnRatio.standardError, limit: test.policy.maximumRatio,
      divergence: scores.drift?.kld.mean.mean, differingTokens: scores.differing, tokens: scores.count)
  }

  /// What the reader of scales says to the scales that were planted.
  private func refusal(of faulty: FaultyWeights, _ fault: PlantedFault) throws -> String? {
    for (role, edit) in fault.edits {
      guard case .zeroScale = edit, let scales = try faulty.matrix(role, rows: nil).rowScales else { continue }
      do throws(ParseFailure) {
        _ = try WeightScheme.scales(from: NumberFormat.bytes(of: scales), type: .f32)
      } catch {
        return error.message
      }
    }
    return nil
  }

  /// Scores of a candidate as the gates take them.
  private struct Compared {
    let lnRatio: ClusteredEstimate
    let differing: Int
    let count: Int
    let windows: Int
    /// Nil where the models did not read the same windows: then distributions were not compared.
    let drift: DriftStatistics?
    let isFinite: Bool
  }

  private func compared(_ scoring: TokenScoring) -> Compared {
    let scores = TokenScores(scoring, of: windows, hasCandidate: true)
    let isFinite = scores.nonFinite.count == 0
    let differing = zip(scoring.baseNLL, scoring.candidateNLL).count { $0 != $1 }
    let nothing = ClusteredEstimate(
      mean: .nan, standardError: nil, windows: windows.windows.count, tokens: scores.count)
    // Statistics are of finite scores only.
    let drift =
      isFinite
      ? DriftStatistics(
        scores, base: scores.baseNLL.map { Double($0) }, context: test.context,
        text: TextFacts(characters: scores.count, utf8Bytes: scores.count),
        bootstrap: BootstrapSettings(replicates: 100))
      : nil
    return Compared(
      lnRatio: drift?.lnRatio ?? nothing, differing: differing, count: scores.count, windows: windows.windows.count,
      drift: drift, isFinite: isFinite)
  }

  /// The model on windows whose begin differs, against itself on those that are right: the same tokens are scored, but for
  /// the first of each window where nothing is left to predict it.
  private func shifted(
    _ fault: PlantedFault, _ same: TokenScoring, _ progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws -> Compared {
    let isMissing = fault.beginOfText == .missing
    let changed = windows.windows.map { isMissing ? Array($0.dropFirst()) : [$0[0]] + $0 }
    let scored = changed.map { [(isMissing ? 1 : 2)..<max($0.count, isMissing ? 1 : 2)] }
    let theirs = try score([], changed, scored, progress)[0]
    var (drift, parts): ([Double], [ScoredWindow]) = ([], [])
    var (own, other) = (0, 0)
    for (index, window) in zip(windows.indices, windows.windows) {
      let skipped = isMissing ? 1 : 0
      let count = window.count - 1 - skipped
      if count > 0 {
        drift += (0..<count).map { theirs.baseNLL[other + $0] - same.baseNLL[own + skipped + $0] }
        parts.append(ScoredWindow(index: index, firstPosition: 1 + skipped, count: count))
      }
      own += window.count - 1
      other += max(count, 0)
    }
    return Compared(
      lnRatio: ClusteredEstimate(drift, windows: parts), differing: drift.count { $0 != 0 }, count: drift.count,
      windows: parts.count, drift: nil, isFinite: drift.allSatisfy(\.isFinite))
  }

  private func detections(_ scores: Compared) -> [SelfTestResult.Detection] {
    guard scores.isFinite else { return [.init(.drift, "scores are no numbers")] }
    var detections: [SelfTestResult.Detection] = []
    func failed(_ policy: Policy, _ drift: DriftStatistics) -> [String] {
      let levels = DecisionLevels(gates: policy.sampledLimitCount)
      let judge = Judge(
        policy: policy, drift: drift, layers: [], tensors: [], tokens: scores.count, windows: scores.windows,
        levels: levels)
      return judge.gates().filter { $0.outcome == .fail }.map(\.id)
    }
    var gates = scores.drift.map { failed(test.policy, $0) } ?? []
    if scores.drift == nil, let limit = test.policy.maximumRatio {
      let estimate = scores.lnRatio
      let test = BoundTest(
        value: estimate.mean, lower: estimate.lowerBound95, upper: estimate.upperBound95, limit: Foundation.log(limit),
        error: estimate.standardError)
      if test.outcome == .fail { gates = ["perplexity_ratio"] }
    }
    if !gates.isEmpty { detections.append(.init(.drift, gates.joined(separator: ", "))) }
    let isExact = scores.differing == 0 && scores.drift?.isIdentical ?? true
    if !isExact { detections.append(.init(.exactness, "\(scores.differing) of \(scores.count) scores differ")) }
    return detections
  }
}
