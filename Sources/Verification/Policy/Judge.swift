internal import Foundation

/// Tests a policy's limits on a run's statistics.
struct Judge {
  let policy: Policy
  let drift: DriftStatistics
  let layers: [LayerError]
  let tensors: [TensorError]
  let tokens: Int
  let windows: Int
  let levels: DecisionLevels

  func gates() -> [Gate] {
    var gates: [Gate] = []
    if policy.exact { gates += exactGates() }
    if let limit = policy.maximumRatio { gates.append(ratioGate(limit)) }
    if let limit = policy.maximumKLDMean { gates.append(kldMeanGate(limit)) }
    if let limit = policy.maximumKLDP99 { gates.append(kldP99Gate(limit)) }
    if let limit = policy.minimumTop1Agreement { gates.append(agreementGate(limit)) }
    if let limit = policy.minimumTop5Overlap { gates.append(overlapGate(limit)) }
    if let limit = policy.maximumPositionRatio { gates.append(positionGate(limit)) }
    if let limit = policy.maximumLayerError { gates.append(layerGate(limit)) }
    if let limit = policy.minimumTensorSQNR { gates.append(tensorGate(limit)) }
    if let limit = policy.minimumTokens { gates.append(tokensGate(limit)) }
    return gates
  }

  // MARK: Limits with a sampling error

  private func ratioGate(_ limit: Double) -> Gate {
    let estimate = drift.lnRatio
    return gate(
      "perplexity_ratio", "Perplexity ratio", value: estimate.mean, limit: log(limit), shown: limit,
      error: estimate.standardError, bound: estimate.bound, display: { exp($0) })
  }

  private func kldMeanGate(_ limit: Double) -> Gate {
    let estimate = drift.kld.mean
    return gate(
      "kld_mean", "Mean KL divergence", value: estimate.mean, limit: limit, error: estimate.standardError,
      bound: estimate.bound)
  }

  private func kldP99Gate(_ limit: Double) -> Gate {
    let p99 = drift.kld.p99
    // The interval is not symmetric: each side's own width gives the error towards the limit.
    let side = p99.value <= limit ? p99.bound(0.95).map { $0 - p99.value } : p99.bound(0.05).map { p99.value - $0 }
    let error = side.flatMap { side in p99.quantile(0.95).map { side / $0 } }
    return gate(
      "kld_p99", "KL divergence, 99th percentile", value: p99.value, limit: limit, error: error, bound: p99.bound)
  }

  private func agreementGate(_ limit: Double) -> Gate {
    let share = drift.agreement.top1
    return gate(
      "top1_agreement", "Top-1 agreement", value: share.value, relation: .atLeast, limit: limit,
      error: share.estimate.standardError, bound: { drift.isIdentical ? share.value : share.bound($0) })
  }

  private func overlapGate(_ limit: Double) -> Gate {
    let estimate = drift.agreement.top5
    return gate(
      "top5_overlap", "Top-5 overlap", value: estimate.mean, relation: .atLeast, limit: limit,
      error: estimate.standardError, bound: { drift.isIdentical ? estimate.mean : estimate.bound($0) })
  }

  /// The largest ratio of any stretch of positions. Below its upper bound lies the truth of each stretch with the stated
  /// confidence, so the largest too; its lower bound takes the largest of several, so they share the error.
  private func positionGate(_ limit: Double) -> Gate {
    let bins = drift.positions.map(\.lnRatio)
    let worst = bins.max { $0.mean < $1.mean }
    func bound(_ probability: Double) -> Double? {
      let each = probability < 0.5 ? probability / Double(max(1, bins.count)) : probability
      let bounds = bins.map { $0.bound(each) }
      // A stretch whose bound is not known may be the worst.
      if probability >= 0.5 && bounds.contains(nil) { return nil }
      return bounds.compactMap { $0 }.max()
    }
    return gate(
      "position_ratio", "Perplexity ratio at the worst positions", value: worst?.mean ?? 0, limit: log(limit),
      shown: limit, error: worst?.standardError, bound: bound, display: { exp($0) })
  }

  /// - Parameters:
  ///   - value: on the scale of the test, as `limit` and `bound`; `display` takes all of them to what is shown.
  ///   - bound: the bound below which the true value lies with a given probability.
  private func gate(
    _ id: String, _ title: String, value: Double, relation: Gate.Relation = .atMost, limit: Double,
    shown: Double? = nil, error: Double?, bound: (Double) -> Double?, display: (Double) -> Double = { $0 }
  ) -> Gate {
    let isUpper = relation == .atMost
    let (low, high) = isUpper ? (levels.fail, levels.pass) : (levels.pass, levels.fail)
    let (lower, upper) = (bound(low), bound(1 - high))
    // A value that should be large is tested with its sign turned.
    let test =
      isUpper
      ? BoundTest(value: value, lower: lower, upper: upper, limit: limit, error: error)
      : BoundTest(value: -value, lower: upper.map { -$0 }, upper: lower.map { -$0 }, limit: -limit, error: error)
    let outcome = test.outcome
    return Gate(
      id: id, title: title, outcome: outcome, value: display(value),
      bounds95: Gate.Bounds(lower: bound(0.05).map(display), upper: bound(0.95).map(display)),
      bounds: Gate.Bounds(
        lower: lower.map(display), upper: upper.map(display), lowerConfidence: 1 - low, upperConfidence: 1 - high),
      relation: relation, limit: shown ?? limit, marginInStandardErrors: test.margin,
      tokensToDecide: outcome == .inconclusive ? test.tokensToDecide(tokens: tokens, windows: windows) : nil,
      explanation: test.upper == nil && outcome == .inconclusive && windows > 1
        ? "too few tokens, or windows, to bound it on the side of the limit" : explanation(outcome, relation))
  }

  private func explanation(_ outcome: Verdict, _ relation: Gate.Relation) -> String {
    func percent(_ level: Double) -> String {
      let confidence = (1 - level) * 100
      return confidence > 99.99 ? "over 99.99 %" : "\(Figure.significant(confidence, 4).trimmingZeros) %"
    }
    let (pass, fail) = (percent(levels.pass), percent(levels.fail))
    switch (outcome, relation) {
    case (.pass, .atLeast): return "the lower \(pass) bound lies at or above the limit"
    case (.pass, _): return "the upper \(pass) bound lies at or below the limit"
    case (.fail, .atLeast): return "even the upper \(fail) bound lies below the limit"
    case (.fail, _): return "even the lower \(fail) bound lies above the limit"
    default:
      return windows < 2
        ? "one window gives no estimate of the error; score at least two"
        : pass == fail
          ? "the \(pass) bounds enclose the limit" : "the bounds (\(pass) to pass, \(fail) to fail) enclose the limit"
    }
  }

  // MARK: Exact limits

  private func exactGates() -> [Gate] {
    func gate(_ id: String, _ title: String, _ value: Double, _ good: String, _ bad: String) -> Gate {
      Gate(
        id: id, title: title, outcome: value == 0 ? .pass : .fail, value: value,
        bounds95: Gate.Bounds(lower: value, upper: value), relation: .equal, limit: 0,
        explanation: value == 0 ? good : bad)
    }
    let differing = drift.differingTokens
    return [
      gate(
        "exact_scores", "Tokens whose score differs", Double(differing), "every token scores exactly the same",
        "\(differing) of \(tokens) tokens score differently; a lossless change alters none"),
      gate(
        "exact_kld", "Largest KL divergence", drift.kld.largestMagnitude,
        "every next-token distribution is exactly the same",
        "next-token distributions differ; a lossless change alters none"),
    ]
  }

  /// A figure of this run's windows: layers have no interval.
  private func layerGate(_ limit: Double) -> Gate {
    let worst = layers.max { $0.relativeError < $1.relativeError }
    let holds = (worst?.relativeError ?? 0) <= limit
    let place = worst.map { "layer \($0.layer)" } ?? "no layer"
    return Gate(
      id: "layer_error", title: "Relative error behind the worst layer", outcome: holds ? .pass : .fail,
      value: worst?.relativeError ?? 0,
      bounds95: Gate.Bounds(lower: worst?.relativeError ?? 0, upper: worst?.relativeError ?? 0), relation: .atMost,
      limit: limit,
      explanation: holds ? "no layer's error is above the limit" : "the error behind \(place) is above the limit")
  }

  private func tensorGate(_ limit: Double) -> Gate {
    let worst = tensors.min { $0.sqnrDecibels < $1.sqnrDecibels }
    // Decibels are infinite when nothing differs.
    let value = worst?.sqnrDecibels ?? .infinity
    let holds = value >= limit
    return Gate(
      id: "tensor_sqnr", title: "SQNR of the worst tensor, dB", outcome: holds ? .pass : .fail,
      value: value, bounds95: Gate.Bounds(lower: value, upper: value), relation: .atLeast, limit: limit,
      explanation: holds
        ? "every tensor is at or above the limit" : "\(worst?.name ?? "a tensor") is below the limit")
  }

  private func tokensGate(_ limit: Int) -> Gate {
    let enough = tokens >= limit
    return Gate(
      id: "tokens", title: "Scored tokens", outcome: enough ? .pass : .inconclusive, value: Double(tokens),
      relation: .atLeast, limit: Double(limit), tokensToDecide: enough ? nil : limit,
      explanation: enough ? "enough tokens were scored" : "the policy asks for more tokens before anything passes")
  }
}

extension String {
  /// `95.00` is `95`, `98.750` is `98.75`.
  fileprivate var trimmingZeros: String {
    guard contains(".") else { return self }
    let kept = String(reversed().drop { $0 == "0" }.reversed())
    return kept.hasSuffix(".") ? String(kept.dropLast()) : kept
  }
}
