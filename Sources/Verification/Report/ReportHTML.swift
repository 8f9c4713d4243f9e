internal import ByteIO
internal import Foundation
internal import Mustache

extension VerificationReport {
  /// `report.html`: one file, no scripts, nothing loaded from anywhere; drawings are inline SVG.
  /// - Throws: only when the built-in template does not parse, which a test excludes.
  public func html() throws -> String {
    try MustacheTemplate(string: HTMLTemplate.page).render(page)
  }

  /// What the template shows. Text is escaped by Mustache; `…SVG` values are markup that this module made.
  private var page: [String: Any] {
    var page: [String: Any] = [
      "title": hasCandidate
        ? "Drift of \(Self.plain(Self.lastComponent(subject.candidate?.path ?? "")))" : "Perplexity",
      "verdict": verdict.word, "verdictClass": verdict.rawValue, "symbol": verdict.symbol, "headline": headline,
      "version": subject.run.version, "exitCode": String(exitCode), "facts": factRows, "gates": gateRows,
      "tiles": tiles, "warnings": warnings.map { ["text": $0] }, "hasWarnings": !warnings.isEmpty,
      "hasCandidate": hasCandidate, "method": method.map { ["text": $0] },
    ]
    let charts = chartCards
    page["charts"] = charts
    page["hasCharts"] = !charts.isEmpty
    let tensors = tensorRows
    page["tensors"] = tensors
    page["hasTensors"] = !tensors.isEmpty
    page["suspects"] = suspects.map { ["name": Self.plain($0.name), "explanation": $0.explanation] }
    page["hasSuspects"] = !suspects.isEmpty
    page["hasBisection"] = subject.bisection != nil
    if let bisection = subject.bisection {
      page["bisectSentence"] = Self.plain(bisection.sentence)
      page["bisectNote"] = bisection.note
      page["bisect"] = bisection.tests.map(bisectionRow)
    }
    let windows = worstWindows.map(windowRow)
    page["windows"] = windows
    page["hasWindows"] = !windows.isEmpty
    return page
  }

  private static func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  private func row(_ name: String, _ value: String, _ note: String = "") -> [String: Any] {
    ["name": name, "value": Self.plain(value), "note": Self.plain(note), "hasNote": !note.isEmpty]
  }

  private var factRows: [[String: Any]] {
    var rows: [[String: Any]] = []
    if let candidate = subject.candidate {
      rows.append(row("Candidate", candidate.path, "\(candidate.layout) · \(candidate.digest)"))
    }
    return rows + sharedFactRows
  }

  /// What all candidates of a run have in common.
  var sharedFactRows: [[String: Any]] {
    var rows: [[String: Any]] = []
    rows.append(
      row(hasCandidate ? "Base" : "Model", subject.base.path, "\(subject.base.layout) · \(subject.base.digest)"))
    if hasCandidate {
      let limits = subject.policy.limits.map { "\($0.key.rawValue) \($0.value.serialized(.compact))" }
      let digest = subject.policyDigest.map { " · sha256 \($0)" } ?? ""
      rows.append(row("Policy", subject.policy.name, limits.joined(separator: ", ") + digest))
    }
    let text = subject.text
    let size = "\(Figure.count(text.characters)) characters, \(Figure.count(text.utf8Bytes)) bytes scored"
    rows.append(
      row("Text", text.path ?? size, text.path == nil ? "" : size + (text.sha256.map { " · sha256 \($0)" } ?? "")))
    rows.append(row("Scored", tokensLine))
    rows.append(row("Run", computeLine, costLine))
    return rows
  }

  private var gateRows: [[String: Any]] {
    judgement.gates.map { gate in
      [
        "title": gate.title, "outcome": gate.word, "class": gate.outcome.rawValue,
        "symbol": gate.outcome.symbol, "value": gate.valueText, "interval": gate.intervalText,
        "limit": gate.limitText, "margin": gate.marginText, "explanation": gate.explanation,
        "bulletSVG": Charts.gate(gate) ?? "",
      ]
    }
  }

  private func tile(_ name: String, _ value: String, _ note: String) -> [String: Any] {
    ["name": name, "value": value, "note": note]
  }

  private var tiles: [[String: Any]] {
    guard let base else { return [] }
    func optional(_ value: Double?, _ text: (Double) -> String) -> String { value.map(text) ?? Figure.missing }
    guard let drift else {
      return [
        tile("Perplexity", Figure.fixed(base.perplexity, 4), "95 % " + (perplexityIntervalText ?? Figure.missing)),
        tile("NLL per token", Figure.fixed(base.nllPerToken.mean, 5), "nats"),
        tile("NLL per character", optional(base.nllPerCharacter) { Figure.fixed($0, 5) }, "nats"),
        tile("Bits per byte", optional(base.bitsPerByte) { Figure.fixed($0, 5) }, "comparable across tokenizers"),
      ]
    }
    let (kld, agreement) = (drift.kld, drift.agreement)
    return [
      tile(
        "Perplexity ratio", Figure.fixed(drift.ratio, 5),
        "95 % "
          + (drift.ratioInterval95.map { "\(Figure.fixed($0.lowerBound, 5)) … \(Figure.fixed($0.upperBound, 5))" }
            ?? Figure.missing)),
      tile(
        "Perplexity", Figure.fixed(drift.candidate.perplexity, 4), "base \(Figure.fixed(base.perplexity, 4))"),
      tile(
        "Mean KL divergence", Figure.significant(kld.mean.mean),
        "± \(optional(kld.mean.standardError) { Figure.significant($0, 2) }) SE, nats"),
      tile("KLD p99", Figure.significant(kld.p99.value), "max \(Figure.significant(kld.max))"),
      tile(
        "Top-1 agreement", Figure.percent(agreement.top1.value),
        agreement.top1.interval95.map {
          "95 % \(Figure.percent($0.lowerBound)) … \(Figure.percent($0.upperBound))"
        } ?? ""),
      tile("Top-5 overlap", Figure.percent(agreement.top5.mean), "mean share of the five in common"),
      tile(
        "Flips", "\(Figure.count(agreement.flipsWorse)) : \(Figure.count(agreement.flipsBetter))",
        "worse : better, McNemar p \(Figure.significant(agreement.flipsP, 2))"),
      tile(
        "Bits per byte", optional(drift.candidate.bitsPerByte) { Figure.fixed($0, 5) },
        "base \(optional(base.bitsPerByte) { Figure.fixed($0, 5) })"),
    ]
  }

  private var chartCards: [[String: Any]] {
    guard let drift else { return [] }
    let cards: [(title: String, svg: String?, note: String)] = [
      (
        "Drift as text is scored", Charts.cumulative(drift, limit: subject.policy.maximumRatio),
        "Running estimate with its 95 % band; it should settle, not wander."
      ),
      (
        "Tail of the KL divergence", Charts.tail(drift.kld),
        "Share of tokens that diverge by more than a value. A long flat tail means rare, large changes."
      ),
      (
        "Drift by position", drift.isIdentical ? nil : Charts.positions(drift.positions),
        "95 % intervals; hatched where the candidate is better. A rise with position points at rotary embeddings."
      ),
      (
        "Error by layer", Charts.layers(subject.layers),
        "‖candidate − base‖ / ‖base‖ of the residual stream behind each layer. A jump names the culprit."
      ),
      (
        "Error by layer and position",
        drift.isIdentical ? nil : Charts.residuals(heat, context: subject.scoring.context),
        "The same in per cent, by position in the window; darker is more, on a logarithmic scale. A column that darkens to "
          + "the right points at rotary embeddings, a row at its layer."
      ),
      (
        "Noise of the tensors", Charts.tensors(subject.tensors),
        "SQNR in decibels by layer; darker is noisier, hatched is equal to the base. A cell unlike its column is a suspect."
      ),
    ]
    return cards.compactMap { card in
      card.svg.map { ["title": card.title, "chartSVG": $0, "note": card.note, "isWide": false] }
    }
  }

  private func bisectionRow(_ test: Bisection.Test) -> [String: Any] {
    [
      "name": Self.plain(test.name), "tensors": Figure.count(test.tensors),
      "share": Bisection.shareText(test.share, test.shareError), "kld": Figure.significant(test.kld, 3),
      "width": Figure.fixed(min(100, max(0, test.share * 100)), 1),
    ]
  }

  private func windowRow(_ window: WindowDrift) -> [String: Any] {
    [
      "window": Figure.count(window.window), "tokens": Figure.count(window.tokens),
      "change": Figure.change(exp(window.lnRatio)), "kld": Figure.significant(window.kld),
      "top1": Figure.percent(window.top1), "excerpt": excerpt(of: window).map(Self.flowing) ?? "",
      "position": Figure.count(window.worstPosition), "drift": Figure.signed(window.worstDrift, 3),
    ]
  }

  /// The ten tensors with the lowest ratio of signal to noise.
  private var tensorRows: [[String: Any]] {
    let noisy = subject.tensors.filter { !$0.sqnrDecibels.isNaN && $0.sqnrDecibels < .infinity }
    let worst = noisy.sorted {
      ($0.sqnrDecibels, $0.name) < ($1.sqnrDecibels, $1.name)
    }.prefix(10)
    // As an amplitude, the noise is comparable: 20 dB are a tenth.
    func noise(_ tensor: TensorError) -> Double { pow(10, -tensor.sqnrDecibels / 20) }
    let top = worst.first.map(noise) ?? 1
    let isMixed = Set(noisy.map(\.storage)).count > 1
    return worst.map { tensor in
      [
        "name": Self.plain(tensor.name) + (isMixed ? tensor.storage.map { ", \(Self.plain($0))" } ?? "" : ""),
        "value": Figure.fixed(tensor.sqnrDecibels, 1) + " dB",
        "noise": Figure.significant(noise(tensor) * 100, 3) + " %",
        "width": Figure.fixed(min(100, max(0, noise(tensor) / top * 100)), 1),
      ]
    }
  }

  private var method: [String] {
    guard let drift else {
      return [
        "Perplexity is the exponential of the mean negative log-likelihood per token; its interval is clustered by window."
      ] + llamaCppMethod
    }
    let settings = subject.bootstrap
    let bootstrap = drift.bootstrap.map {
      "95 % of ln ratio \(Figure.fixed($0.lower, 6)) … \(Figure.fixed($0.upper, 6))"
    }
    let detectable = drift.minimumDetectableLnRatio.map { "+" + Figure.percent($0, 3) } ?? Figure.missing
    return [
      "Both models score the same tokens; the ratio is exp of the mean difference of the log-likelihoods. Windows are "
        + "the sampling units: standard errors are clustered by window, \(Self.errorMethod(drift.lnRatio)); where residuals are skewed, a bound is Hall's if that is wider.",
      "A gate passes when its one-sided 95 % bound holds the limit, fails when the opposite bound breaks it, and is "
        + "inconclusive in between. The candidate passes when every gate does.",
      "ln ratio \(Figure.fixed(drift.lnRatio.mean, 6)), standard error "
        + "\(drift.lnRatio.standardError.map { Figure.fixed($0, 6) } ?? Figure.missing). Window bootstrap (BCa, "
        + "\(Figure.count(settings.replicates)) replicates, seed \(settings.seed)): \(bootstrap ?? Figure.missing).",
      "Smallest change this run could tell from none with 80 % power: \(detectable). Lag-1 correlation of neighbouring "
        + "windows: \(drift.windowAutocorrelation.map { Figure.fixed($0, 2) } ?? Figure.missing).",
      "KL divergence is base ‖ candidate over the whole vocabulary; percentiles interpolate linearly. McNemar's test "
        + "takes tokens as independent.",
    ] + llamaCppMethod
  }

  private static func errorMethod(_ estimate: ClusteredEstimate) -> String {
    let freedom = Figure.count(Int(estimate.degreesOfFreedom))
    return estimate.dependence?.isSeen == true
      ? "from their long-run variance because neighbouring windows are, or may be, alike; bounds use Student's t with \(freedom) degrees of freedom"
      : "bounds use Student's t with \(freedom) degrees of freedom"
  }

  private var llamaCppMethod: [String] {
    llamaCppFigure.map {
      "Protocol llama.cpp: windows are chunks of \(subject.scoring.context) tokens, the begin-of-text token (if "
        + "the model has one) in place of each one's first, and only their second half is scored. Perplexity \($0.name): "
        + "\($0.value); that error takes tokens as independent."
    }
  }
}
