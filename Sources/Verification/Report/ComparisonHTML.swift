internal import ByteIO
internal import Foundation
internal import Mustache

extension Comparison {
  /// `report.html` of a comparison: one file as a report's, with links to the pages of the candidates beside it.
  public func html() throws -> String {
    try MustacheTemplate(string: HTMLTemplate.comparison).render(page)
  }

  private var page: [String: Any] {
    let report = first
    let warnings = Set(entries.flatMap(\.report.warnings)).sorted()
    return [
      "verdict": verdict.word, "verdictClass": verdict.rawValue, "symbol": verdict.symbol, "headline": headline,
      "title": "Drift of \(entries.count) candidates", "version": report.subject.run.version,
      "exitCode": String(verdict.exitCode), "facts": report.sharedFactRows, "rows": entries.map(row),
      "warnings": warnings.map { ["text": $0] }, "hasWarnings": !warnings.isEmpty,
      "details": entries.map(detail),
    ]
  }

  private func row(_ entry: Entry) -> [String: Any] {
    let cells = self.cells(of: entry)
    let verdict = entry.report.verdict
    return [
      "name": cells[0], "link": "\(entry.folder)/report.html", "outcome": verdict.word, "class": verdict.rawValue,
      "symbol": verdict.symbol,
      "cells": zip(Self.columns, cells).dropFirst(2).map { ["label": $0, "value": $1] },
      "barSVG": bar(entry) ?? "",
    ]
  }

  /// The intervals of all candidates and the limit on one axis.
  private func bar(_ entry: Entry) -> String? {
    let all = entries.compactMap { Self.interval($0) }
    let limit = first.subject.policy.maximumRatio.map { ($0 - 1) * 100 }
    guard let own = Self.interval(entry), let low = all.map(\.low).min(), let high = all.map(\.high).max() else {
      return nil
    }
    var ends = [low, high, 0]
    // A limit far beyond all of them would press them together.
    if let limit, abs(limit) < 20 * max(high - low, 1e-9) { ends.append(limit) }
    guard let left = ends.min(), let right = ends.max(), right > left, (right - left).isFinite else { return nil }
    var axis = Axis(linear: left, right)
    (axis.start, axis.end) = (8, 172)
    func at(_ value: Double) -> String { Figure.fixed(axis.place(value), 1) }
    var text = "<svg class=\"bullet forest\" viewBox=\"0 0 180 20\" aria-hidden=\"true\">"
    text += "<line class=\"grid\" x1=\"4\" x2=\"176\" y1=\"10\" y2=\"10\"/>"
    text += "<line class=\"zero\" x1=\"\(at(0))\" x2=\"\(at(0))\" y1=\"3\" y2=\"17\"/>"
    text += "<rect class=\"interval\" x=\"\(at(own.low))\" y=\"6\" "
    text += "width=\"\(Figure.fixed(max(2, axis.place(own.high) - axis.place(own.low)), 1))\" height=\"8\" rx=\"2\"/>"
    text += "<circle class=\"mark\" cx=\"\(at(own.value))\" cy=\"10\" r=\"3.5\"/>"
    if let limit, limit <= right {
      text += "<line class=\"limit\" x1=\"\(at(limit))\" x2=\"\(at(limit))\" y1=\"1\" y2=\"19\"/>"
    }
    return text + "</svg>"
  }

  /// Change of perplexity in per cent.
  private static func interval(_ entry: Entry) -> (value: Double, low: Double, high: Double)? {
    guard let drift = entry.report.drift else { return nil }
    let ends = drift.ratioInterval95 ?? drift.ratio...drift.ratio
    let numbers = [drift.ratio, ends.lowerBound, ends.upperBound].map { ($0 - 1) * 100 }
    return numbers.allSatisfy(\.isFinite) ? (numbers[0], numbers[1], numbers[2]) : nil
  }

  private func detail(_ entry: Entry) -> [String: Any] {
    let report = entry.report
    let candidate = report.subject.candidate
    let lines = report.gateLines + report.suspects.prefix(3).map { "\($0.name): \($0.explanation)." }
    return [
      "name": VerificationReport.plain(entry.name), "headline": report.headline,
      "path": VerificationReport.plain(candidate?.path ?? ""),
      "identity": VerificationReport.plain("\(candidate?.layout ?? "") · \(candidate?.digest ?? "")"),
      "lines": lines.map { ["text": VerificationReport.plain($0)] }, "hasLines": !lines.isEmpty,
    ]
  }
}

extension HTMLTemplate {
  static let comparison = """
    \(head)
    <section>
    <h2>Candidates</h2>
    <div class="card scroll"><table class="stack wider">
    <thead><tr><th>Candidate</th><th>Verdict</th><th class="n">Perplexity</th><th class="n">Change</th>
    <th class="n">95 % interval</th><th class="n">Mean KLD</th><th class="n">KLD p99</th><th class="n">Top-1</th>
    <th class="n">Worse : better</th><th><span class="hidden">Picture</span></th></tr></thead>
    <tbody>
    {{#rows}}<tr><td><a href="{{link}}"><strong>{{name}}</strong></a></td>
    <td><span class="chip {{class}}"><span aria-hidden="true">{{symbol}}</span> {{outcome}}</span></td>
    {{#cells}}<td class="n" data-label="{{label}}">{{value}}</td>
    {{/cells}}<td>{{{barSVG}}}</td></tr>
    {{/rows}}</tbody></table></div>
    <p class="note">Bars: change of perplexity with its 95 % interval, all on one axis; thin line no change, thick line the
    limit. Candidates within each other's intervals are not ranked by this run.</p>
    </section>
    <section>
    {{#details}}<div class="card detail"><h2>{{name}}</h2>
    <p>{{headline}}</p>
    {{#hasLines}}<ul>{{#lines}}<li>{{text}}</li>{{/lines}}</ul>{{/hasLines}}
    <p class="note">{{path}}<br>{{identity}}</p></div>
    {{/details}}</section>
    </main>
    <footer>llama-verify {{version}} · exit code {{exitCode}}</footer>
    </body>
    </html>

    """
}
