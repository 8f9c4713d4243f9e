internal import Foundation

/// Numbers as people read them, the same in every locale.
enum Figure {
  static let missing = "not estimable"

  /// `digits` places behind the point; beyond a thousand million, a power of ten.
  static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "NaN" : value > 0 ? "∞" : "−∞" }
    if abs(value) >= 1e9 { return String(format: "%.3e", value) }
    return String(format: "%.\(digits)f", value)
  }

  /// The same with a sign in any case.
  static func signed(_ value: Double, _ digits: Int) -> String { (value >= 0 ? "+" : "") + fixed(value, digits) }

  /// About `digits` significant digits; powers of ten outside 0.001…100,000.
  static func significant(_ value: Double, _ digits: Int = 4) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : fixed(value, 0) }
    let exponent = Int(log10(abs(value)).rounded(.down))
    if (-3..<6).contains(exponent) { return fixed(value, max(0, digits - 1 - exponent)) }
    return String(format: "%.\(digits - 1)e", value)
  }

  /// With thousands separated by commas.
  static func count(_ value: Int) -> String {
    let digits = String(abs(value))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return value < 0 ? "-" + text : text
  }

  /// Rounded up to two significant digits.
  static func roundedUp(_ value: Int) -> String {
    var unit = 1
    while value / unit >= 100 { unit *= 10 }
    return count((value + unit - 1) / unit * unit)
  }

  static func percent(_ share: Double, _ digits: Int = 2) -> String { fixed(share * 100, digits) + " %" }

  /// A factor as a change: 1.0123 is `+1.23 %`.
  static func change(_ ratio: Double, _ digits: Int = 3) -> String {
    let percent = (ratio - 1) * 100
    return (percent > 0 ? "+" : "") + fixed(percent, digits) + " %"
  }

  static func bytes(_ count: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(count)
    var unit = 0
    while value >= 1024 && unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(fixed(value, unit == 0 ? 0 : 1)) \(units[unit])"
  }

  static func seconds(_ value: Double) -> String {
    guard value.isFinite, value >= 60 else { return fixed(value, 1) + " s" }
    let whole = Int(min(value, 1e9).rounded())
    return whole >= 3600
      ? "\(whole / 3600) h \(whole % 3600 / 60) min" : "\(whole / 60) min \(whole % 60) s"
  }
}

extension Gate {
  /// Decimals that suit the gate's quantity.
  func figure(_ value: Double) -> String {
    switch id {
    case "perplexity_ratio", "position_ratio": Figure.fixed(value, 5)
    case "tensor_sqnr": Figure.fixed(value, 1)
    case "top1_agreement", "top5_overlap": Figure.percent(value)
    case "tokens", "finite_scores", "exact_scores": Figure.count(Int(value))
    case _ where PriorGate(rawValue: id) != nil: Figure.count(Int(value))
    default: Figure.significant(value)
    }
  }

  /// A gate that was not run has no figures.
  var isNotRun: Bool { outcome == .none && value == nil }

  /// The outcome for people.
  var word: String { isNotRun ? "NOT RUN" : outcome.word }

  var valueText: String { value.map(figure) ?? (isNotRun ? "–" : Figure.missing) }
  var limitText: String { "\(relation.rawValue) \(figure(limit))" }
  /// The one-sided bounds that decided.
  var intervalText: String {
    if isNotRun { return "–" }
    if bounds.lower == nil && bounds.upper == nil { return isCount ? "exact" : Figure.missing }
    if bounds.lower == bounds.upper { return "exact" }
    return "\(bounds.lower.map(figure) ?? "?") … \(bounds.upper.map(figure) ?? "?")"
  }
  var marginText: String { marginInStandardErrors.map { Figure.significant($0, 3) + " SE" } ?? "–" }
  private var isCount: Bool {
    ["tokens", "finite_scores", "exact_scores"].contains(id) || PriorGate(rawValue: id) != nil
  }
}

extension Verdict {
  var word: String { self == .none ? "NO VERDICT" : rawValue.uppercased() }

  /// For Markdown.
  var mark: String {
    switch self {
    case .pass: "✅"
    case .fail: "❌"
    case .inconclusive: "❔"
    case .none: "▫️"
    }
  }

  /// For the page, beside the word: a shape that needs no colour.
  var symbol: String {
    switch self {
    case .pass: "✓"
    case .fail: "✕"
    case .inconclusive: "?"
    case .none: "–"
    }
  }
}

extension VerificationReport {
  /// One sentence under the verdict.
  var headline: String {
    if let bad = judgement.gates.first(where: { $0.id == "finite_scores" && $0.outcome == .fail }) {
      return "The scores are broken: \(bad.explanation)."
    }
    if let failed = subject.prior.first(where: { $0.outcome == .fail }) {
      return "The candidate failed before its scores counted: \(failed.explanation)."
    }
    guard let drift else {
      let interval = perplexityIntervalText.map { " (95 % interval \($0))" } ?? ""
      return "Perplexity \(base.map { Figure.fixed($0.perplexity, 4) } ?? Figure.missing)\(interval)."
    }
    if drift.isIdentical { return "The candidate scores exactly as the base does, token for token." }
    let change = "Perplexity changes by \(Figure.change(drift.ratio))"
    let interval = drift.ratioInterval95.map {
      " (95 % interval \(Figure.change($0.lowerBound)) to \(Figure.change($0.upperBound)))"
    }
    var text = change + (interval ?? "") + "."
    if verdict == .inconclusive {
      if let needed = judgement.tokensToDecide {
        text += " About \(Figure.roundedUp(needed)) scored tokens would probably decide."
      } else {
        text += " How many tokens would decide cannot be told from this run."
      }
    }
    return text
  }

  /// The base's perplexity, ends of the 95 % interval.
  var perplexityIntervalText: String? {
    base?.nllPerToken.interval95.map {
      "\(Figure.fixed(exp($0.lowerBound), 4)) … \(Figure.fixed(exp($0.upperBound), 4))"
    }
  }

  var tokensLine: String {
    "\(Figure.count(tokens)) tokens in \(Figure.count(windows)) \(windows == 1 ? "window" : "windows"), protocol "
      + "\(subject.scoring.name), context \(subject.scoring.context)"
  }

  private var emulatedActivations: String {
    let found = subject.run.emulatedActivations
    return found.isEmpty ? "neither model says any" : found.joined(separator: ", ")
  }

  var computeLine: String {
    let run = subject.run
    return "\(run.compute) on \(run.instructionSet), \(run.threads) \(run.threads == 1 ? "thread" : "threads"), "
      + (run.emulation.map { "emulating \($0) (\(emulatedActivations))" } ?? "no serving emulation")
      + (run.hasBlocks ? "; ggml blocks dequantized, activations unquantized" : "")
  }
}
