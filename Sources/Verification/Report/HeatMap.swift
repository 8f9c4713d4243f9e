internal import Foundation

/// An SVG table of shaded cells. More is darker; the darkness says nothing that a cell's text or title does not say too.
struct HeatMap {
  var identifier: String
  var description: String
  var rowLabel: String
  var columnLabel: String
  var rowNames: [String]
  var columnNames: [String]
  /// `[rows, columns]`; nil is hatched.
  var values: [[Double?]]
  /// What is darker: by its logarithm when true.
  var isLogarithmic: Bool
  /// From the palest to the darkest at least so much, of the logarithm where that is shown: small differences look small.
  var leastSpan: Double
  /// What darkness stands for, of a value.
  var weight: (Double) -> Double = { $0 }
  var text: (Double) -> String
  /// Of a hatched cell.
  var missing: String

  private static let left = 62.0
  private static let right = 552.0
  private static let top = 8.0
  /// Text in the ink's colour keeps a contrast of 4.5 on this much of the heat's colour, in light and dark (tested).
  static let darkest = 0.8
  private static let palest = 0.05

  private var rowHeight: Double { min(26, max(5, 264 / Double(max(1, values.count)))) }

  private static func number(_ value: Double) -> String { Figure.fixed(value, 1) }

  /// Nil when no cell has a finite value.
  var svg: String? {
    let known = values.joined().compactMap { $0 }.map(weight).filter { $0.isFinite && (!isLogarithmic || $0 > 0) }
    guard let low = known.min(), let high = known.max(), let columns = values.first?.count, columns > 0 else {
      return nil
    }
    let width = (Self.right - Self.left) / Double(columns)
    let bottom = Self.top + rowHeight * Double(values.count)
    let label = VerificationReport.xml
    var text =
      "<svg class=\"plot\" viewBox=\"0 0 560 \(Int(bottom + 46))\" role=\"img\" aria-label=\"\(label(description))\">\n"
    text += Plot.hatch("hatch-\(identifier)", style: "equal")
    for (row, cells) in values.enumerated() {
      let y = Self.top + rowHeight * Double(row)
      for (column, value) in cells.enumerated() {
        text += cell(
          value, x: Self.left + width * Double(column), y: y, width: width, scale: (low, high),
          title: "\(rowLabel) \(rowNames[row]), \(columnLabel) \(columnNames[column])")
      }
    }
    let every = max(1, Int((14 / rowHeight).rounded(.up)))
    for row in stride(from: 0, to: values.count, by: every) {
      let y = Self.number(Self.top + rowHeight * (Double(row) + 0.5) + 4)
      text +=
        "<text class=\"tick\" x=\"\(Self.left - 8)\" y=\"\(y)\" text-anchor=\"end\">\(label(rowNames[row]))</text>\n"
    }
    for (column, name) in columnNames.enumerated() {
      let x = Self.number(Self.left + width * (Double(column) + 0.5))
      text +=
        "<text class=\"tick\" x=\"\(x)\" y=\"\(Self.number(bottom + 17))\" text-anchor=\"middle\">\(label(name))</text>\n"
    }
    text +=
      "<text class=\"label\" x=\"\((Self.left + Self.right) / 2)\" y=\"\(Self.number(bottom + 38))\" text-anchor=\"middle\">"
    text += "\(label(columnLabel))</text>\n"
    text += "<text class=\"label\" transform=\"translate(12 \(Self.number((Self.top + bottom) / 2))) rotate(-90)\" "
    return text + "text-anchor=\"middle\">\(label(rowLabel))</text>\n</svg>"
  }

  private func cell(
    _ value: Double?, x: Double, y: Double, width: Double, scale: (low: Double, high: Double), title: String
  ) -> String {
    let place =
      "x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width - 1))\" "
      + "height=\"\(Self.number(rowHeight - (rowHeight > 8 ? 1 : 0.5)))\""
    let words = value.map(text) ?? missing
    let title = "<title>\(VerificationReport.xml("\(title): \(words)"))</title>"
    guard let value, !value.isInfinite else {
      return "<rect fill=\"url(#hatch-\(identifier))\" \(place)>\(title)</rect>\n"
    }
    var drawing =
      "<rect class=\"heat\" fill-opacity=\"\(Figure.fixed(opacity(weight(value), scale), 2))\" \(place)>\(title)</rect>"
    if rowHeight >= 14 && width >= 40 {
      drawing += "<text class=\"cell\" x=\"\(Self.number(x + width / 2))\" y=\"\(Self.number(y + rowHeight / 2 + 4))\">"
      drawing += "\(VerificationReport.xml(words))</text>"
    }
    return drawing + "\n"
  }

  private func opacity(_ value: Double, _ scale: (low: Double, high: Double)) -> Double {
    // What is not a number is as bad as can be.
    guard !value.isNaN else { return Self.darkest }
    func along(_ value: Double) -> Double { isLogarithmic ? log(max(value, 1e-300)) : value }
    let (low, high) = (along(scale.low), along(scale.high))
    let spare = max(0, leastSpan - (high - low)) / 2
    let share = min(1, max(0, (along(value) - low + spare) / (high - low + 2 * spare)))
    return Self.palest + share * (Self.darkest - Self.palest)
  }
}

extension Charts {
  /// Relative error of the residual stream by layer and stretch of positions.
  /// - Parameter errors: `[layers, stretches]`
  static func residuals(_ errors: [[Double?]], context: Int) -> String? {
    guard let stretches = errors.first?.count, stretches > 0 else { return nil }
    let bins = PositionBins(context: context)
    guard bins.count == stretches else { return nil }
    return HeatMap(
      identifier: "residuals", description: "Relative error of the residual stream by layer and position",
      rowLabel: "layer", columnLabel: "positions", rowNames: errors.indices.map(String.init),
      columnNames: (0..<stretches).map { "\(bins.range($0).lowerBound)–\(bins.range($0).upperBound - 1)" },
      values: errors, isLogarithmic: true, leastSpan: log(2), text: { Figure.significant($0 * 100, 3) },
      missing: "not read"
    ).svg
  }

  /// SQNR of the tensors of the layers, by layer and what they are. Nil where no two layers can be compared.
  static func tensors(_ tensors: [TensorError]) -> String? {
    var columns: [String] = []
    var found: [Int: [String: Double]] = [:]
    for tensor in tensors {
      guard let (name, layer) = Suspects.sibling(tensor.name) else { continue }
      if !columns.contains(name) { columns.append(name) }
      found[layer, default: [:]][name] = tensor.sqnrDecibels
    }
    // Norms are equal in most candidates, and then a column of nothing.
    columns.removeAll { column in found.values.allSatisfy { ($0[column] ?? .infinity) == .infinity } }
    guard !columns.isEmpty, columns.count <= 16, found.count > 1 else { return nil }
    let layers = found.keys.sorted()
    return HeatMap(
      identifier: "tensors", description: "Ratio of signal to noise of the tensors by layer", rowLabel: "layer",
      columnLabel: "tensor", rowNames: layers.map(String.init), columnNames: columns.map(short),
      values: layers.map { layer in
        columns.map { column in found[layer]?[column].flatMap { $0 == .infinity ? nil : $0 } }
      }, isLogarithmic: false, leastSpan: 6, weight: { -$0 }, text: { Figure.fixed($0, 1) }, missing: "equal"
    ).svg
  }

  private static func short(_ name: String) -> String {
    let known = ["input_layernorm": "norm 1", "post_attention_layernorm": "norm 2"]
    let parts = name.split(separator: ".").filter { $0 != "weight" }
    let last = parts.last.map(String.init) ?? name
    return known[last] ?? String(last.replacing("_proj", with: "").prefix(8))
  }
}
