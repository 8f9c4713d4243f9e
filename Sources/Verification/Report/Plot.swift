internal import Foundation

/// One axis: data to a span of the drawing, linear or logarithmic, with ticks at round numbers.
struct Axis {
  let low: Double
  let high: Double
  let isLogarithmic: Bool
  var start = 0.0
  var end = 1.0

  /// A linear axis over `low ... high`; a range without width is opened.
  init(linear low: Double, _ high: Double) {
    let padding = high > low ? 0 : max(abs(low) * 0.1, 1e-9)
    self.low = low - padding
    self.high = high + padding
    isLogarithmic = false
  }

  /// A logarithmic axis from the power of ten at or below `low` to the one at or above `high`. Both positive.
  init(logarithmic low: Double, _ high: Double) {
    let bottom = log10(low).rounded(.down)
    self.low = bottom
    self.high = max(log10(high).rounded(.up), bottom + 1)
    isLogarithmic = true
  }

  /// The drawing's coordinate of a value, limited to one length of the axis beyond either end.
  func place(_ value: Double) -> Double {
    let data = isLogarithmic ? log10(max(value, 1e-300)) : value
    let share = min(2, max(-1, (data - low) / (high - low)))
    return start + share * (end - start)
  }

  /// Round numbers in the range, about `count` of them.
  func ticks(_ count: Int) -> [Double] {
    if isLogarithmic {
      let step = max(1, ((high - low) / Double(count)).rounded(.up))
      return stride(from: low, through: high + 1e-9, by: step).map { pow(10, $0) }
    }
    let raw = (high - low) / Double(count)
    let magnitude = pow(10, log10(raw).rounded(.down))
    let factors: [Double] = [1, 2, 5, 10]
    let step = magnitude * (factors.first { $0 * magnitude >= raw * 0.999 } ?? 10)
    let first = (low / step).rounded(.up)
    let last = ((high + step * 1e-6) / step).rounded(.down)
    return stride(from: first, through: last, by: 1).map { $0 == 0 ? 0 : $0 * step }
  }
}

/// An SVG drawing with two axes. All colours come from the page's style sheet, so it follows light and dark.
struct Plot {
  static let width = 560.0
  static let height = 300.0
  private static let frame = (left: 74.0, right: 546.0, top: 14.0, bottom: 254.0)

  private(set) var x: Axis
  private(set) var y: Axis
  private var body = ""
  private let identifier: String

  /// - Parameter identifier: unique on the page; letters only.
  init(identifier: String, x: Axis, y: Axis) {
    self.identifier = identifier
    self.x = x
    self.y = y
    self.x.start = Self.frame.left
    self.x.end = Self.frame.right
    self.y.start = Self.frame.bottom
    self.y.end = Self.frame.top
  }

  private static func number(_ value: Double) -> String { Figure.fixed(value, 1) }

  private func points(_ data: [(x: Double, y: Double)]) -> String {
    data.map { "\(Self.number(x.place($0.x))),\(Self.number(y.place($0.y)))" }.joined(separator: " ")
  }

  mutating func line(_ data: [(x: Double, y: Double)], style: String) {
    body += "<polyline class=\"\(style)\" points=\"\(points(data))\"/>\n"
  }

  /// The area between two lines over the same x.
  mutating func band(_ lower: [(x: Double, y: Double)], _ upper: [(x: Double, y: Double)], style: String) {
    body += "<polygon class=\"\(style)\" points=\"\(points(lower)) \(points(upper.reversed()))\"/>\n"
  }

  mutating func horizontal(_ value: Double, style: String, label: String? = nil) {
    let at = Self.number(y.place(value))
    body +=
      "<line class=\"\(style)\" x1=\"\(Self.frame.left)\" x2=\"\(Self.frame.right)\" y1=\"\(at)\" y2=\"\(at)\"/>\n"
    if let label {
      let baseline = Self.number(y.place(value) - 5)
      body += "<text class=\"note\" x=\"\(Self.frame.right - 4)\" y=\"\(baseline)\" text-anchor=\"end\">"
      body += "\(VerificationReport.xml(label))</text>\n"
    }
  }

  mutating func dot(_ px: Double, _ py: Double, style: String, title: String, label: String? = nil) {
    let (cx, cy) = (x.place(px), y.place(py))
    body += "<circle class=\"\(style)\" cx=\"\(Self.number(cx))\" cy=\"\(Self.number(cy))\" r=\"4\">"
    body += "<title>\(VerificationReport.xml(title))</title></circle>\n"
    if let label {
      body +=
        "<text class=\"note\" x=\"\(Self.number(cx + 8))\" y=\"\(Self.number(max(cy - 6, Self.frame.top + 11)))\">"
      body += "\(VerificationReport.xml(label))</text>\n"
    }
  }

  /// A bar from y = `base` to `value` over `from … to`, with a gap between neighbours.
  mutating func bar(from: Double, to: Double, base: Double, value: Double, style: String, title: String) {
    let left = x.place(from)
    let right = x.place(to)
    let gap = min(3, (right - left) * 0.15)
    let (top, bottom) = (min(y.place(value), y.place(base)), max(y.place(value), y.place(base)))
    let fill = style.hasSuffix("better") ? " fill=\"url(#hatch-\(identifier))\"" : ""
    body += "<rect class=\"\(style)\"\(fill) x=\"\(Self.number(left + gap))\" y=\"\(Self.number(top))\" "
    body += "width=\"\(Self.number(right - left - 2 * gap))\" height=\"\(Self.number(max(0.5, bottom - top)))\">"
    body += "<title>\(VerificationReport.xml(title))</title></rect>\n"
  }

  mutating func whisker(_ at: Double, _ low: Double, _ high: Double) {
    let px = x.place(at)
    func segment(_ x1: Double, _ x2: Double, _ y1: Double, _ y2: Double) -> String {
      "M\(Self.number(x1)) \(Self.number(y1))L\(Self.number(x2)) \(Self.number(y2))"
    }
    let (bottom, top) = (y.place(low), y.place(high))
    let path =
      segment(px, px, bottom, top) + segment(px - 5, px + 5, top, top) + segment(px - 5, px + 5, bottom, bottom)
    body += "<path class=\"whisker\" d=\"\(path)\"/>\n"
  }

  /// A pattern of oblique lines, for what must be told apart without colour.
  static func hatch(_ identifier: String, style: String) -> String {
    "<pattern id=\"\(identifier)\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
      + "patternTransform=\"rotate(45)\"><line class=\"\(style)\" x1=\"0\" x2=\"0\" y1=\"0\" y2=\"6\"/></pattern>\n"
  }

  /// The finished drawing.
  func svg(
    description: String, xLabel: String, yLabel: String, xTicks: Int = 6, yTicks: Int = 5,
    xText: (Double) -> String, yText: (Double) -> String
  ) -> String {
    let frame = Self.frame
    var text = "<svg class=\"plot\" viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" "
    text += "aria-label=\"\(VerificationReport.xml(description))\">\n<clipPath id=\"clip-\(identifier)\">"
    text += "<rect x=\"\(frame.left)\" y=\"\(frame.top)\" width=\"\(frame.right - frame.left)\" "
    text += "height=\"\(frame.bottom - frame.top)\"/></clipPath>\n"
    text += Self.hatch("hatch-\(identifier)", style: "hatch")
    for tick in y.ticks(yTicks) {
      let at = y.place(tick)
      text += "<line class=\"grid\" x1=\"\(frame.left)\" x2=\"\(frame.right)\" y1=\"\(Self.number(at))\" "
      text += "y2=\"\(Self.number(at))\"/><text class=\"tick\" x=\"\(frame.left - 8)\" y=\"\(Self.number(at + 4))\" "
      text += "text-anchor=\"end\">\(VerificationReport.xml(yText(tick)))</text>\n"
    }
    for tick in x.ticks(xTicks) {
      let at = Self.number(x.place(tick))
      text += "<line class=\"grid\" x1=\"\(at)\" x2=\"\(at)\" y1=\"\(frame.bottom)\" y2=\"\(frame.bottom + 5)\"/>"
      text += "<text class=\"tick\" x=\"\(at)\" y=\"\(frame.bottom + 19)\" text-anchor=\"middle\">"
      text += "\(VerificationReport.xml(xText(tick)))</text>\n"
    }
    text += "<g clip-path=\"url(#clip-\(identifier))\">\n\(body)</g>\n"
    text +=
      "<line class=\"axis\" x1=\"\(frame.left)\" x2=\"\(frame.right)\" y1=\"\(frame.bottom)\" y2=\"\(frame.bottom)\"/>"
    text += "<text class=\"label\" x=\"\((frame.left + frame.right) / 2)\" y=\"292\" text-anchor=\"middle\">"
    text += "\(VerificationReport.xml(xLabel))</text>\n"
    text += "<text class=\"label\" transform=\"translate(12 \((frame.top + frame.bottom) / 2)) rotate(-90)\" "
    text += "text-anchor=\"middle\">\(VerificationReport.xml(yLabel))</text>\n</svg>"
    return text
  }
}
