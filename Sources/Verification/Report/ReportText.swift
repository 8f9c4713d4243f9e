internal import ByteIO

extension VerificationReport {
  /// The readable result for standard output: verdict, policy, identities, gates; then the figures behind them.
  public var summary: String {
    var lines = ["\(verdict.word)  \(headline)", ""]
    var facts: [(String, String)] = []
    if hasCandidate { facts.append(("policy", policyLine)) }
    facts.append(("base", Self.line(subject.base)))
    if let candidate = subject.candidate { facts.append(("candidate", Self.line(candidate))) }
    facts.append(("scored", tokensLine))
    if let sequence = subject.sequence { facts.append(("looks", sequence.line)) }
    facts += [("compute", computeLine), ("cost", costLine)]
    lines += Self.aligned(facts.map { [$0.0, $0.1] })
    lines += ["", "gates"]
    lines += Self.aligned(
      judgement.gates.map {
        [
          $0.word, $0.title, $0.valueText, "[\($0.intervalText)]", $0.limitText,
          $0.marginInStandardErrors == nil ? "" : "margin \($0.marginText)",
        ]
      }
    ).map { "  " + $0 }
    lines += gateLines.map { "  " + $0 }
    lines += ["", "figures"] + Self.aligned(figures.map { [$0.name, $0.value] }).map { "  " + $0 }
    lines += suspectLines
    if let bisection = subject.bisection { lines += bisection.lines }
    for warning in warnings { lines.append("warning: \(warning)") }
    return lines.joined(separator: "\n") + "\n"
  }

  /// `report.md`: short enough for a CI job's summary.
  public var markdown: String {
    var lines = ["## \(verdict.mark) llama-verify: \(verdict.word)", "", Self.escaped(headline), ""]
    var facts: [(String, String)] = []
    if hasCandidate { facts.append(("Policy", policyLine)) }
    facts.append(("Base", Self.line(subject.base)))
    if let candidate = subject.candidate { facts.append(("Candidate", Self.line(candidate))) }
    facts.append(("Scored", tokensLine))
    if let sequence = subject.sequence { facts.append(("Looks", sequence.line)) }
    facts += [("Compute", computeLine), ("Cost", costLine), ("Version", subject.run.version)]
    lines += ["| | |", "|---|---|"] + facts.map { "| \($0.0) | \(Self.escaped($0.1)) |" }
    lines += ["", "| Gate | Outcome | Value | Bounds | Limit | Margin |", "|---|---|---:|:---:|---:|---:|"]
    for gate in judgement.gates {
      lines.append(
        "| \(gate.title) | \(gate.word) | \(gate.valueText) | \(gate.intervalText) | \(gate.limitText) | "
          + "\(gate.marginText) |")
    }
    lines.append("")
    for gate in judgement.gates where gate.outcome != .pass && !gate.isNotRun {
      lines.append("- **\(gate.title)**: \(Self.escaped(gate.explanation)).")
    }
    for warning in warnings { lines.append("- ⚠️ \(Self.escaped(warning))") }
    lines += ["", "| Figure | Value |", "|---|---|"]
    lines += figures.map { "| \($0.name) | \(Self.escaped($0.value)) |" }
    if !suspects.isEmpty {
      lines += ["", "**Suspects**", ""]
      lines += suspects.map { "- \(Self.escaped($0.name)): \(Self.escaped($0.explanation))" }
    }
    if let bisection = subject.bisection {
      lines += ["", "**Bisection**", "", Self.escaped(bisection.sentence)]
    }
    return Self.bounded(lines)
  }

  /// What GitHub shows of a job's summary is limited to 1 MiB and of a comment to 65,536 characters; names of any length
  /// must not push the verdict's page beyond.
  static func bounded(_ lines: [String]) -> String {
    var text = ""
    for line in lines {
      guard text.utf8.count + line.utf8.count < 60_000 else { return text + "\n…\n" }
      text += line + "\n"
    }
    return text
  }
}

// MARK: - Parts of the texts

extension VerificationReport {
  /// Why gates that did not pass did not.
  var gateLines: [String] {
    judgement.gates.filter { $0.outcome != .pass && !$0.isNotRun }.map { "\($0.title): \($0.explanation)." }
  }

  /// Time, memory and reading.
  var costLine: String {
    let run = subject.run
    let passes = run.weightPasses > 1 ? " in \(run.weightPasses) passes over the weights" : ""
    return "\(Figure.seconds(run.seconds)), \(Figure.significant(run.tokensPerSecond, 3)) tokens/s, peak memory "
      + "\(Figure.bytes(run.peakRSSBytes)), \(Figure.bytes(run.bytesRead)) read\(passes)"
  }

  var policyLine: String {
    let limits = subject.policy.limits.map { "\($0.key.rawValue) \($0.value.serialized(.compact))" }
    let digest = subject.policyDigest.map { "; sha256 \($0.prefix(16))" } ?? ""
    return "\(subject.policy.name) (\(limits.joined(separator: ", "))\(digest))"
  }

  static func line(_ model: ModelIdentity) -> String {
    "\(plain(model.path)) (\(model.layout), \(model.digest.prefix(24)))"
  }

  /// The figures in the order of their weight.
  var figures: [(name: String, value: String)] {
    guard let base else { return [("perplexity", Figure.missing)] }
    guard let drift else {
      let interval = perplexityIntervalText.map { " (95 % interval \($0))" }
      return [("perplexity", Figure.fixed(base.perplexity, 4) + (interval ?? ""))] + llamaCppFigure + [
        ("NLL per token", Figure.fixed(base.nllPerToken.mean, 5) + " nats"),
        ("NLL per character", base.nllPerCharacter.map { Figure.fixed($0, 5) + " nats" } ?? Figure.missing),
        ("bits per byte", base.bitsPerByte.map { Figure.fixed($0, 5) } ?? Figure.missing),
      ]
    }
    let kld = drift.kld
    let agreement = drift.agreement
    func optional(_ value: Double?, _ text: (Double) -> String) -> String { value.map(text) ?? Figure.missing }
    let bootstrap = drift.bootstrap.map { "\(Figure.fixed($0.lower, 6)) … \(Figure.fixed($0.upper, 6))" }
    let perplexities = "\(Figure.fixed(base.perplexity, 4)) → \(Figure.fixed(drift.candidate.perplexity, 4))"
    return [("perplexity", perplexities)] + llamaCppFigure + [
      (
        "ln ratio",
        "\(Figure.fixed(drift.lnRatio.mean, 6)) ± \(optional(drift.lnRatio.standardError) { Figure.fixed($0, 6) }) SE"
      ),
      ("ln ratio, bootstrap 95 %", bootstrap ?? Figure.missing), ("windows", dependenceText(drift)),
      (
        "detectable change", optional(drift.minimumDetectableLnRatio) { "+" + Figure.percent($0, 3) + " at 80 % power" }
      ),
      (
        "bits per byte",
        "\(optional(base.bitsPerByte) { Figure.fixed($0, 5) }) → "
          + optional(drift.candidate.bitsPerByte) { Figure.fixed($0, 5) }
      ),
      (
        "KL divergence",
        "mean \(Figure.significant(kld.mean.mean)), p50 \(Figure.significant(kld.p50)), p99 "
          + "\(Figure.significant(kld.p99.value)), max \(Figure.significant(kld.max))"
      ),
      (
        "top-1 agreement",
        Figure.percent(agreement.top1.value)
          + (agreement.top1.interval95.map {
            " (Wilson 95 % \(Figure.percent($0.lowerBound)) … \(Figure.percent($0.upperBound)))"
          } ?? "")
      ),
      ("top-5 overlap", Figure.percent(agreement.top5.mean)),
      (
        "flips",
        "\(Figure.count(agreement.flipsWorse)) worse, \(Figure.count(agreement.flipsBetter)) better "
          + "(McNemar p \(Figure.significant(agreement.flipsP, 2)))"
      ),
    ]
  }

  /// What the windows' order showed, and which error follows.
  private func dependenceText(_ drift: DriftStatistics) -> String {
    let estimate = drift.lnRatio
    guard let correlation = drift.windowAutocorrelation else {
      return estimate.windows < WindowDependence.minimumWindows ? "too few to judge by" : Figure.missing
    }
    let error =
      estimate.dependence?.isSeen == true
      ? "allowed for, \(Figure.fixed(estimate.degreesOfFreedom, 0)) degrees of freedom"
      : estimate.dependence == nil ? "too few to judge by" : "taken as independent"
    return "lag-1 correlation \(Figure.signed(correlation, 3)), \(error)"
  }

  /// Perplexity and error with llama.cpp's own digits, to be laid beside its last line; only under its protocol.
  var llamaCppFigure: [(name: String, value: String)] {
    guard subject.scoring.rule == .llamaCpp, let base else { return [] }
    let texts = [base, drift?.candidate].compactMap { $0 }.map { fit in
      let error = fit.independentPerplexityError.map { Figure.fixed($0, 5) } ?? Figure.missing
      return "\(Figure.fixed(fit.perplexity, 4)) +/- \(error)"
    }
    return [("as llama.cpp prints it", texts.joined(separator: " → "))]
  }

  private var suspectLines: [String] {
    if suspects.isEmpty { return [] }
    return ["", "suspects"] + Self.aligned(suspects.map { [Self.plain($0.name), $0.explanation] }).map { "  " + $0 }
  }

  /// Columns padded with spaces to equal width; the last one is not padded.
  static func aligned(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { index, cell in
        cell + String(repeating: " ", count: widths[index] - cell.count)
      }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}
