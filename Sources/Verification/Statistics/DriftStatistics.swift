internal import Foundation

/// What the scores say about one model, in all usual units.
public struct ModelFit: Sendable, Equatable {
  /// Mean −ln p per token, nats, with its clustered error.
  public let nllPerToken: ClusteredEstimate
  /// exp(mean NLL).
  public let perplexity: Double
  /// llama.cpp's error of the mean NLL, nats: √((Σx²/n − (Σx/n)²)/(n − 1)) over the n tokens' NLL x. It takes tokens as
  /// independent, so it is narrower than the clustered error where they are not. Nil where llama.cpp gives none: no
  /// spread, or one token.
  public let independentError: Double?
  /// Nats per Unicode scalar; nil for a text without any.
  public let nllPerCharacter: Double?
  /// Bits per UTF-8 byte; nil for a text without any. Comparable across tokenizers, as is the former.
  public let bitsPerByte: Double?

  init(_ nll: [Double], windows: [ScoredWindow], text: TextFacts) {
    let totals = WindowTotals(nll, windows: windows)
    nllPerToken = ClusteredEstimate(totals: totals, allZero: nll.allSatisfy { $0 == 0 })
    perplexity = exp(totals.mean)
    independentError = Self.independentError(nll, mean: totals.mean)
    let sum = totals.sums.reduce(0, +)
    nllPerCharacter = text.characters > 0 ? sum / Double(text.characters) : nil
    bitsPerByte = text.utf8Bytes > 0 ? sum / M_LN2 / Double(text.utf8Bytes) : nil
  }

  /// What llama.cpp prints behind `+/-`: its error of the mean NLL times the perplexity (the delta method).
  public var independentPerplexityError: Double? { independentError.map { $0 * perplexity } }

  private static func independentError(_ nll: [Double], mean: Double) -> Double? {
    // The sum of squared deviations is the same number as the difference of squares, without its cancellation.
    let variance = nll.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(nll.count)
    return nll.count > 1 && variance > 0 ? (variance / Double(nll.count - 1)).squareRoot() : nil
  }
}

/// KL divergence of the next-token distributions, base ‖ candidate, nats per token.
public struct KLDSummary: Sendable, Equatable {
  public let mean: ClusteredEstimate
  /// Percentiles by linear interpolation between order statistics (NumPy's default).
  public let p50, p90, p95, p999, max: Double
  public let p99: ClusteredQuantile
  /// max |KLD|: rounding can leave a divergence slightly below zero, and such a one is a difference too.
  public let largestMagnitude: Double
  /// At most 160 points of the distribution's upper tail: a share of tokens and the KLD that this share exceeds; only
  /// positive divergences. Shares fall in equal steps of their logarithm.
  package let tail: [TailPoint]

  package struct TailPoint: Sendable, Equatable {
    package let kld: Double
    package let share: Double
  }

  init(_ kld: [Double], windows: [ScoredWindow]) {
    mean = ClusteredEstimate(kld, windows: windows)
    let sorted = kld.sorted()
    p50 = Quantile.linear(sorted: sorted, 0.5)
    p90 = Quantile.linear(sorted: sorted, 0.9)
    p95 = Quantile.linear(sorted: sorted, 0.95)
    p99 = ClusteredQuantile(kld, sorted: sorted, windows: windows, probability: 0.99)
    p999 = Quantile.linear(sorted: sorted, 0.999)
    max = sorted[sorted.count - 1]
    largestMagnitude = Swift.max(abs(sorted[0]), abs(max))
    tail = Self.tail(sorted)
  }

  private static func tail(_ sorted: [Double]) -> [TailPoint] {
    let count = sorted.count
    let positive = sorted.count { $0 > 0 }
    guard positive > 0 else { return [] }
    // The k-th largest value is reached by k of `count` tokens.
    let steps = 159
    var ranks: [Int] = []
    for step in 0...steps {
      let rank = Int(exp(log(Double(positive)) * Double(steps - step) / Double(steps)).rounded())
      if ranks.last != rank { ranks.append(rank) }
    }
    return ranks.map { TailPoint(kld: sorted[count - $0], share: Double($0) / Double(count)) }
  }
}

/// Decisions of both models compared.
public struct Agreement: Sendable, Equatable {
  /// Share of tokens where both models' most likely token is the same.
  public let top1: ClusteredShare
  /// Mean share of the five most likely tokens that both models have in common, order ignored.
  public let top5: ClusteredEstimate
  /// Base right, candidate wrong.
  public let flipsWorse: Int
  /// Base wrong, candidate right.
  public let flipsBetter: Int
  /// Exact McNemar test of the flips, two-sided. It takes tokens as independent.
  public let flipsP: Double

  init(_ flags: [TokenFlags], windows: [ScoredWindow]) {
    top1 = ClusteredShare(flags.map { $0.top1Agrees ? 1 : 0 }, windows: windows)
    top5 = ClusteredEstimate(flags.map { Double($0.top5Overlap) / 5 }, windows: windows)
    flipsWorse = flags.count { $0.baseIsRight && !$0.candidateIsRight }
    flipsBetter = flags.count { !$0.baseIsRight && $0.candidateIsRight }
    flipsP = Distributions.mcNemar(worse: flipsWorse, better: flipsBetter)
  }
}

/// Drift of the targets at window positions `from ..< to`.
public struct PositionBin: Sendable, Equatable {
  public let from: Int
  public let to: Int
  public let lnRatio: ClusteredEstimate
}

/// Everything computed from the scores of a base and a candidate on the same tokens. All scores are finite.
public struct DriftStatistics: Sendable, Equatable {
  public let candidate: ModelFit
  /// Mean of d = NLL(candidate) − NLL(base): the logarithm of the perplexity ratio.
  public let lnRatio: ClusteredEstimate
  public let bootstrap: BootstrapInterval?
  public let kld: KLDSummary
  public let agreement: Agreement
  public let positions: [PositionBin]
  /// Tokens whose NLL differs between the models at all.
  public let differingTokens: Int
  /// Every NLL equal and every KLD exactly zero.
  public let isIdentical: Bool
  /// Correlation of neighbouring windows' drift.
  public let windowAutocorrelation: Double?
  /// Running totals behind each window, for the report's first chart.
  package let windowTotals: WindowTotals

  public var ratio: Double { exp(lnRatio.mean) }
  public var ratioInterval95: ClosedRange<Double>? {
    lnRatio.interval95.map { exp($0.lowerBound)...exp($0.upperBound) }
  }

  /// The smallest ln ratio that a run like this one tells from no drift with a power of 80 % at the one-sided 5 %
  /// level: (t₀.₉₅ + t₀.₈₀)·SE.
  public var minimumDetectableLnRatio: Double? {
    guard let error = lnRatio.standardError else { return nil }
    if error == 0 { return 0 }
    guard let level = lnRatio.quantile(0.95), let power = lnRatio.quantile(0.8) else { return nil }
    return (level + power) * error
  }

  init(_ scores: TokenScores, base: [Double], context: Int, text: TextFacts, bootstrap settings: BootstrapSettings) {
    let windows = scores.windows
    let candidateNLL = scores.candidateNLL.map { Double($0) }
    let kld = scores.kld.map { Double($0) }
    let drift = zip(candidateNLL, base).map { $0 - $1 }
    candidate = ModelFit(candidateNLL, windows: windows, text: text)
    differingTokens = drift.count { $0 != 0 }
    isIdentical = differingTokens == 0 && kld.allSatisfy { $0 == 0 }
    let totals = WindowTotals(drift, windows: windows)
    windowTotals = totals
    lnRatio = ClusteredEstimate(totals: totals, allZero: differingTokens == 0)
    let turn = lnRatio.dependence.flatMap { $0.isSeen ? totals.sums.count / $0.degreesOfFreedom : nil }
    bootstrap = BootstrapInterval(totals, settings: settings, blockLength: max(1, turn ?? 1))
    windowAutocorrelation = totals.lag1Autocorrelation
    self.kld = KLDSummary(kld, windows: windows)
    agreement = Agreement(scores.flags, windows: windows)
    positions = Self.profile(drift, windows: windows, context: context)
  }

  /// Eight equal bins of the context (fewer for a context below eight). Bins without a token are left out.
  private static func profile(_ drift: [Double], windows: [ScoredWindow], context: Int) -> [PositionBin] {
    let bins = PositionBins(context: context)
    return (0..<bins.count).compactMap { bin in
      let (from, to) = (bins.range(bin).lowerBound, bins.range(bin).upperBound)
      var values: [Double] = []
      var parts: [ScoredWindow] = []
      var start = 0
      for window in windows {
        let low = max(from, window.firstPosition)
        let high = min(to, window.firstPosition + window.count)
        if low < high {
          let offset = start - window.firstPosition
          values += drift[low + offset..<high + offset]
          parts.append(ScoredWindow(index: window.index, firstPosition: low, count: high - low))
        }
        start += window.count
      }
      return values.isEmpty ? nil : PositionBin(from: from, to: to, lnRatio: ClusteredEstimate(values, windows: parts))
    }
  }
}
