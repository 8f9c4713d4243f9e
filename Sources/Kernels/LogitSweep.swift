internal import CKernels

/// What the logits of one token come to, gathered block by block of the vocabulary so that a whole row of logits never
/// exists: log-sum-exp and the five largest of one model or two, and the divergence between the two.
public struct LogitSummary: Sendable {
  private var base = ck_log_sum(largest: -.infinity, sum: 0)
  private var candidate = ck_log_sum(largest: -.infinity, sum: 0)
  private var weighted = 0.0
  private var baseTop = ck_top()
  private var candidateTop = ck_top()

  public init() {
    baseTop = Self.emptyTop
    candidateTop = Self.emptyTop
  }

  private static let emptyTop = ck_top(
    value: (-.infinity, -.infinity, -.infinity, -.infinity, -.infinity), index: (-1, -1, -1, -1, -1))

  /// ln Σ exp(logit) of the base.
  public var baseLogSum: Double { Double(base.largest) + Logarithm.natural(base.sum) }
  public var candidateLogSum: Double { Double(candidate.largest) + Logarithm.natural(candidate.sum) }
  /// The most probable token, the lowest id on ties.
  public var baseTop1: Int32 { baseTop.index.0 }
  public var candidateTop1: Int32 { candidateTop.index.0 }

  /// KLD(base‖candidate) = Σ p (ln p − ln q) in nats: the mean of the logits' difference under the base's distribution,
  /// less the difference of the log-sums. Exactly 0 for identical logits; rounding below zero is cut off, NaN stays NaN.
  public var divergence: Double {
    let divergence = weighted / base.sum - (baseLogSum - candidateLogSum)
    return divergence < 0 ? 0 : divergence
  }

  /// How many of the base's five most probable tokens are among the candidate's.
  public var top5Overlap: Int {
    let other = Self.list(candidateTop)
    return Self.list(baseTop).filter { $0 >= 0 && other.contains($0) }.count
  }

  private static func list(_ top: ck_top) -> [Int32] {
    [top.index.0, top.index.1, top.index.2, top.index.3, top.index.4]
  }

  fileprivate mutating func take(
    _ base: UnsafePointer<Float>, _ candidate: UnsafePointer<Float>?, count: Int, first: Int,
    _ math: UnsafePointer<ck_math>
  ) {
    math.pointee.top(base, count, Int32(first), &baseTop)
    if let candidate {
      math.pointee.log_sum_pair(base, candidate, count, &self.base, &self.candidate, &weighted)
      math.pointee.top(candidate, count, Int32(first), &candidateTop)
    } else {
      math.pointee.log_sum(base, count, &self.base)
    }
  }
}

/// Takes blocks of logits into the summaries of many tokens.
public enum LogitSweep {
  /// - Parameters:
  ///   - base: `[summaries.count, vocabulary block]`.
  ///   - candidate: the same of the other model, or nil.
  ///   - firstIndex: id of the block's first token.
  public static func take(
    base: Span<Float>, candidate: Span<Float>?, firstIndex: Int, into summaries: inout MutableSpan<LogitSummary>,
    threads: Int, instructionSet: InstructionSet = .best
  ) {
    let tokens = summaries.count
    guard tokens > 0 else { return }
    precondition(base.count % tokens == 0, "whole rows")
    if let candidate { precondition(candidate.count == base.count, "both models have the same vocabulary") }
    let width = base.count / tokens
    var other: UnsafePointer<Float>?
    // The span is lent for the whole call, so its address stays good behind the closure.
    candidate?.withUnsafeBufferPointer { other = $0.baseAddress }
    base.withUnsafeBufferPointer { base in
      summaries.withUnsafeMutableBufferPointer { summaries in
        guard let base = base.baseAddress, let summaries = summaries.baseAddress else { return }
        // Sound: every token has its own summary, and the loop is synchronous.
        let lent = Lent((base, other, summaries, MathKernels.table(instructionSet)))
        try? Parallel.forEach(count: tokens, threads: threads) { token in
          let (base, other, summaries, math) = lent.value
          summaries[token].take(
            base + token * width, other.map { $0 + token * width }, count: width, first: firstIndex, math)
        }
      }
    }
  }
}
