internal import ByteIO
internal import Inference

/// How the windows of a text go through the layers within a memory budget. No choice here changes a result.
struct ForwardPlan: Sendable {
  /// Windows that go through all layers together; the weights are read once for each group.
  let groups: [Range<Int>]
  let settings: ForwardSettings
  /// What the largest group takes.
  let estimate: MemoryEstimate
  /// What the process holds before: opened models, text, program.
  let held: UInt64

  /// Tokens of a chunk, best first: few tokens take less memory for their activations, but weights are packed more often.
  private static let chunks = [2048, 1024, 512]
  /// For what is not worth an estimate: tiles in which weights are read and compared, threads' stacks, freed small blocks,
  /// pages of the program that were not needed before.
  fileprivate static let headroom: UInt64 = 20 << 20

  /// - Parameters:
  ///   - models: the base, and the candidate when there is one.
  ///   - settings: its tokens of a chunk are chosen here.
  ///   - held: resident memory of the process before the pass, in bytes.
  /// - Throws: `MemoryFailure` when not even the longest window fits.
  init(
    _ models: [any ModelWeights], settings: ForwardSettings, windows: [[Int32]], maximumMemory: UInt64,
    held: UInt64 = ProcessFacts.residentBytes
  ) throws(MemoryFailure) {
    // The budget is on resident memory, and what is freed must not stay resident.
    ProcessMemory.returnsFreedBuffers()
    let sizes = windows.map(\.count)
    let longest = sizes.max() ?? 0
    let all = sizes.reduce(0, +)
    var best: (groups: [Range<Int>], settings: ForwardSettings)?
    var least = UInt64.max
    for chunk in Self.chunks {
      var settings = settings
      settings.tokensPerChunk = chunk
      func needed(_ tokens: Int) -> UInt64 {
        held + Self.headroom
          + MemoryEstimate(models, settings: settings, tokens: tokens, longestWindow: longest).total
      }
      least = min(least, needed(longest))
      guard needed(longest) <= maximumMemory else { continue }
      let capacity = Self.largest(in: longest...max(longest, all)) { needed($0) <= maximumMemory }
      let groups = WindowGroups.balanced(sizes, capacity: capacity)
      if groups.count < best?.groups.count ?? Int.max { best = (groups, settings) }
    }
    guard let best else { throw MemoryFailure(needed: least, allowed: maximumMemory) }
    groups = best.groups
    self.settings = best.settings
    let largest = groups.map { $0.reduce(0) { $0 + sizes[$1] } }.max() ?? 0
    estimate = MemoryEstimate(models, settings: best.settings, tokens: largest, longestWindow: longest)
    self.held = held
  }

  /// The largest number of a range, whose first fits, for which all smaller ones fit too.
  private static func largest(in range: ClosedRange<Int>, _ fits: (Int) -> Bool) -> Int {
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high {
      let middle = low + (high - low + 1) / 2
      if fits(middle) { low = middle } else { high = middle - 1 }
    }
    return low
  }
}

extension MemoryFacts {
  init(_ plan: ForwardPlan) {
    self.init(
      held: plan.held, hiddenStates: plan.estimate.hiddenStates, weights: plan.estimate.weights,
      scratch: plan.estimate.scratch + ForwardPlan.headroom)
  }
}
