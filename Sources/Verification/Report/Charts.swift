internal import Foundation

/// The report's drawings. Each is nil when there is nothing to draw.
enum Charts {
  /// Changes of perplexity beyond it are not drawn: a ruined candidate's can be more than a double holds.
  private static let mostPercent = 1e12

  private static func percentText(_ step: Double) -> (Double) -> String {
    let digits = max(0, min(8, Int((-log10(max(step, 1e-9))).rounded(.up))))
    return { value in (value > 0 ? "+" : "") + Figure.fixed(value, digits).replacing("-", with: "−") + " %" }
  }

  private static func countText(_ value: Double) -> String {
    guard value >= 10_000 else { return Figure.count(Int(value)) }
    let thousands = value / 1000
    return (thousands == thousands.rounded() ? Figure.count(Int(thousands)) : Figure.fixed(thousands, 1)) + "k"
  }

  private static func powerText(_ value: Double) -> String {
    let exponent = Int(log10(value).rounded())
    let digits: [Character: Character] = [
      "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸", "9": "⁹",
    ]
    if (0...2).contains(exponent) { return String(Int(value.rounded())) }
    return "10" + String(String(exponent).map { digits[$0] ?? $0 })
  }

  /// The perplexity's change over the windows scored so far, with its 95 % band: does it settle, and where?
  static func cumulative(_ drift: DriftStatistics, limit: Double?) -> String? {
    let totals = drift.windowTotals
    let windows = totals.sums.count
    guard windows > 2, !drift.isIdentical else { return nil }
    // Running sums give the clustered error after each window without another pass.
    var (sum, size, squares, products, sizes) = (0.0, 0.0, 0.0, 0.0, 0.0)
    var centre: [(x: Double, y: Double)] = []
    var lower: [(x: Double, y: Double)] = []
    var upper: [(x: Double, y: Double)] = []
    let stride = max(1, windows / 200)
    for index in 0..<windows {
      let (s, n) = (totals.sums[index], totals.sizes[index])
      (sum, size, squares, products, sizes) = (sum + s, size + n, squares + s * s, products + s * n, sizes + n * n)
      guard index > 0, (windows - 1 - index) % stride == 0 else { continue }
      let mean = sum / size
      let count = Double(index + 1)
      let residual = max(0, squares - 2 * mean * products + mean * mean * sizes)
      let error = (count / (count - 1) * residual).squareRoot() / size
      let t = Distributions.studentQuantile(0.975, degreesOfFreedom: count - 1)
      centre.append((size, (exp(mean) - 1) * 100))
      lower.append((size, (exp(mean - t * error) - 1) * 100))
      upper.append((size, (exp(mean + t * error) - 1) * 100))
    }
    guard (lower + centre + upper).allSatisfy({ abs($0.y) < Self.mostPercent }) else { return nil }
    // The first windows' band is far wider than anything of interest; the rest sets the scale.
    let settled = centre.count / 6
    var low = min(0, lower[settled...].map(\.y).min() ?? 0)
    var high = max(0, upper[settled...].map(\.y).max() ?? 0)
    let limitPercent = limit.map { ($0 - 1) * 100 }
    if let limitPercent, limitPercent < high + 4 * (high - low) { high = max(high, limitPercent) }
    let margin = (high - low) * 0.08
    (low, high) = (low - margin, high + margin)
    var plot = Plot(
      identifier: "cumulative", x: Axis(linear: centre[0].x, size), y: Axis(linear: low, high))
    plot.band(lower, upper, style: "band")
    plot.horizontal(0, style: "zero")
    if let limitPercent, limitPercent <= high { plot.horizontal(limitPercent, style: "limit", label: "limit") }
    plot.line(centre, style: "line")
    return plot.svg(
      description: "Change of perplexity over the tokens scored so far, with its 95 per cent band",
      xLabel: "tokens scored", yLabel: "perplexity change", xText: countText, yText: percentText((high - low) / 5))
  }

  /// The share of tokens whose KLD exceeds a value, both on logarithmic scales.
  static func tail(_ kld: KLDSummary) -> String? {
    guard let first = kld.tail.first, let last = kld.tail.last, kld.tail.count > 2 else { return nil }
    // Divergences near the rounding of the forward pass say nothing; six decades are enough.
    let low = max(first.kld, last.kld * 1e-6)
    var plot = Plot(
      identifier: "tail", x: Axis(logarithmic: low, last.kld), y: Axis(logarithmic: last.share, 1))
    plot.line(kld.tail.map { ($0.kld, $0.share) }, style: "line")
    for (name, value, share) in [
      ("p50", kld.p50, 0.5), ("p90", kld.p90, 0.1), ("p99", kld.p99.value, 0.01), ("p99.9", kld.p999, 0.001),
    ] where value > low && share >= last.share {
      plot.dot(value, share, style: "mark", title: "\(name): \(Figure.significant(value))", label: name)
    }
    return plot.svg(
      description: "Share of tokens whose KL divergence exceeds a value, on logarithmic axes",
      xLabel: "KL divergence, nats", yLabel: "share of tokens above", xText: powerText, yText: powerText)
  }

  /// Drift by position in the window. A fault of the rotary embedding rises to the right.
  static func positions(_ bins: [PositionBin]) -> String? {
    guard let first = bins.first, let last = bins.last, bins.count > 1 else { return nil }
    let rows = bins.map { bin in
      let interval = bin.lnRatio.interval95 ?? bin.lnRatio.mean...bin.lnRatio.mean
      return (
        bin, (exp(bin.lnRatio.mean) - 1) * 100, (exp(interval.lowerBound) - 1) * 100,
        (exp(interval.upperBound) - 1) * 100
      )
    }
    guard rows.allSatisfy({ abs($0.1) < Self.mostPercent }) else { return nil }
    // A bin of few windows can have a huge interval: it may run out of the frame, but not set the scale alone.
    let widest = rows.map { abs($0.1) }.max() ?? 0
    let reach = max(widest * 3, 1e-9)
    let low = max(min(0, rows.map(\.2).min() ?? 0), -reach)
    let high = min(max(0, rows.map(\.3).max() ?? 0), reach)
    let margin = max((high - low) * 0.08, 1e-9)
    var plot = Plot(
      identifier: "positions", x: Axis(linear: Double(first.from), Double(last.to)),
      y: Axis(linear: low - margin, high + margin))
    for (bin, value, from, to) in rows {
      plot.bar(
        from: Double(bin.from), to: Double(bin.to), base: 0, value: value, style: value > 0 ? "bar" : "bar better",
        title:
          "positions \(bin.from)–\(bin.to - 1): \(Figure.fixed(value, 4)) %, \(Figure.count(bin.lnRatio.tokens)) tokens"
      )
      plot.whisker(Double(bin.from + bin.to) / 2, from, to)
    }
    plot.horizontal(0, style: "zero")
    return plot.svg(
      description: "Change of perplexity by position in the window, with 95 per cent intervals",
      xLabel: "position in the window", yLabel: "perplexity change", xTicks: 8,
      xText: countText, yText: percentText((high - low) / 5))
  }

  /// Relative error of the residual stream behind each layer.
  static func layers(_ layers: [LayerError]) -> String? {
    let finite = layers.filter { $0.relativeError.isFinite }
    guard let high = finite.map(\.relativeError).max(), high > 0, let last = finite.map(\.layer).max(),
      let first = finite.map(\.layer).min()
    else { return nil }
    var plot = Plot(
      identifier: "layers", x: Axis(linear: Double(first) - 0.5, Double(last) + 0.5),
      y: Axis(linear: 0, high * 1.08))
    for layer in finite {
      plot.bar(
        from: Double(layer.layer) - 0.5, to: Double(layer.layer) + 0.5, base: 0, value: layer.relativeError,
        style: "bar", title: "layer \(layer.layer): \(Figure.significant(layer.relativeError))")
    }
    return plot.svg(
      description: "Relative error of the residual stream behind each layer",
      xLabel: "layer", yLabel: "relative error", xTicks: min(8, max(1, last - first)),
      xText: { $0 == $0.rounded() ? String(Int($0)) : "" }, yText: { Figure.significant($0, 2) })
  }

  /// A gate's bounds, value and limit on one small axis, for its row of the table.
  static func gate(_ gate: Gate) -> String? {
    guard let value = gate.value, let low = gate.lowerBound95, let high = gate.upperBound95, low < high else {
      return nil
    }
    let ends = [low, high, value, gate.limit]
    guard let left = ends.min(), let right = ends.max(), right > left, (right - left).isFinite else { return nil }
    var axis = Axis(linear: left, right)
    (axis.start, axis.end) = (8, 132)
    func at(_ value: Double) -> String { Figure.fixed(axis.place(value), 1) }
    let width = Figure.fixed(max(2, axis.place(high) - axis.place(low)), 1)
    return "<svg class=\"bullet\" viewBox=\"0 0 140 20\" aria-hidden=\"true\">"
      + "<line class=\"grid\" x1=\"4\" x2=\"136\" y1=\"10\" y2=\"10\"/>"
      + "<rect class=\"interval\" x=\"\(at(low))\" y=\"6\" width=\"\(width)\" height=\"8\" rx=\"2\"/>"
      + "<circle class=\"mark\" cx=\"\(at(value))\" cy=\"10\" r=\"3.5\"/>"
      + "<line class=\"limit\" x1=\"\(at(gate.limit))\" x2=\"\(at(gate.limit))\" y1=\"1\" y2=\"19\"/></svg>"
  }
}
