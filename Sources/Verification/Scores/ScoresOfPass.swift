internal import Inference

extension TokenScores {
  /// The forward pass's figures of the scored tokens, window by window.
  /// - Parameters:
  ///   - windows: what was scored.
  ///   - hasCandidate: whether a base and a candidate were.
  init(_ scoring: TokenScoring, of windows: TokenWindows, hasCandidate: Bool) {
    self.init(hasCandidate: hasCandidate)
    let spans = zip(windows.indices, windows.scored).flatMap { index, ranges in ranges.map { (index, $0) } }
    var first = 0
    for (index, positions) in spans where !positions.isEmpty {
      let range = first..<first + positions.count
      first = range.upperBound
      let scored = ScoredWindow(index: index, firstPosition: positions.lowerBound, count: range.count)
      let base = range.map { Float(scoring.baseNLL[$0]) }
      if hasCandidate {
        append(
          scored, baseNLL: base, candidateNLL: range.map { Float(scoring.candidateNLL[$0]) },
          kld: range.map { scoring.divergence[$0] },
          flags: range.map {
            TokenFlags(
              baseIsRight: scoring.baseIsRight[$0], candidateIsRight: scoring.candidateIsRight[$0],
              top1Agrees: scoring.topAgrees[$0], top5Overlap: scoring.top5Overlap[$0])
          })
      } else {
        append(scored, nll: base, flags: range.map { TokenFlags(baseIsRight: scoring.baseIsRight[$0]) })
      }
    }
    // A window without a scored token has residuals and nothing else, and would not be found again among the windows.
    let kept = windows.scored.indices.filter { windows.scored[$0].contains { !$0.isEmpty } }
    if hasCandidate { residuals = ResidualDrift(scoring.residuals, windows: kept) }
  }
}
