internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Llama

/// The forward pass of a request's models over windows, and what was found on the way.
struct ForwardRun {
  /// Of each candidate, or of the base alone.
  private(set) var scorings: [TokenScoring] = []
  let plan: ForwardPlan
  let inspection: ModelInspection
  /// Time spent in the inspection, which is not the forward pass's.
  private(set) var inspectionTime = Duration.zero

  /// - Parameters:
  ///   - scored: for each window the positions that are scored.
  ///   - inspected: what an earlier pass over the same models has found; nil to inspect them behind this one.
  /// - Throws: `ParseFailure`, `FileFailure`, `MemoryFailure`, what `check` throws.
  init(
    _ request: VerificationRequest, windows: [[Int32]], scored: [[Range<Int>]], inspected: ModelInspection? = nil,
    check: @escaping @Sendable () throws -> Void, progress: @escaping @Sendable (_ done: UInt64, _ of: UInt64) -> Void
  ) throws {
    let checkpoints = [request.base] + request.candidates
    let models = try checkpoints.map {
      try CheckpointWeights($0, emulatingActivations: request.emulation != nil, threads: request.threads)
    }
    plan = try ForwardPlan(
      models, settings: request.forwardSettings(check), windows: windows, maximumMemory: request.maximumMemory)
    inspection =
      inspected ?? ModelInspection(request.base, request.candidates, threads: request.threads, check: check)
    let drops = Self.exceedMemory(checkpoints, plan)
    let scorer = try LockstepScorer(
      base: models[0], candidates: Array(models.dropFirst()), settings: plan.settings,
      positionBounds: PositionBins(context: request.context).bounds)
    var scorings = Array(repeating: TokenScoring(), count: max(1, request.candidates.count))
    for (index, group) in plan.groups.enumerated() {
      func finish(_ layer: Int?) throws {
        if index == 0 && inspected == nil {
          let inspection = inspection
          inspectionTime += try ContinuousClock().measure { try inspection.inspect(layer: layer) }
        }
        guard drops else { return }
        for tensor in checkpoints.flatMap(\.tensors) where tensor.role.layer == layer { tensor.advise(.done) }
      }
      let count = plan.groups.count
      try scorer.score(
        Array(windows[group]), scored: Array(scored[group]), into: &scorings, afterLayer: { try finish($0) },
        progress: { progress(UInt64(index * $1 + $0), UInt64(count * $1)) })
      try finish(nil)
    }
    self.scorings = scorings
  }

  /// Whether weights leave the page cache once they were used: when the machine's memory does not hold the models beside
  /// this process. Then the next pass would not find them there (what is read in a circle is gone before its turn comes),
  /// and keeping them would only drive out what other programs use. Models that fit stay for whoever reads them next.
  private static func exceedMemory(_ checkpoints: [Checkpoint], _ plan: ForwardPlan) -> Bool {
    let stored = checkpoints.flatMap(\.tensors).reduce(UInt64(0)) { $0 + UInt64($1.storedByteCount) }
    return stored + plan.held + plan.estimate.total > ProcessFacts.machineMemory
  }
}

extension VerificationRequest {
  func forwardSettings(_ check: @escaping @Sendable () throws -> Void) -> ForwardSettings {
    ForwardSettings(
      threads: threads, compute: compute, emulatesActivations: emulation != nil, checkCancellation: check)
  }
}
