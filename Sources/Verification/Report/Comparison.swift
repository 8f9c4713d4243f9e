public import ByteIO

/// Several candidates against one base on the same tokens: their reports side by side. The verdict is the worst.
public struct Comparison: Sendable {
  /// One candidate.
  public struct Entry: Sendable {
    /// The last component of the candidate's path, with a number where that is taken.
    public let name: String
    public let report: VerificationReport
    public let scores: TokenScores

    /// The folder of the candidate's own report inside the comparison's.
    var folder: String
  }

  public let entries: [Entry]

  /// - Parameter results: of one request, at least one; each of a candidate.
  public init(_ results: [VerificationResult]) {
    precondition(!results.isEmpty && results.allSatisfy(\.report.hasCandidate), "there is a candidate to compare")
    var taken: Set<String> = []
    var entries: [Entry] = []
    for (index, result) in results.enumerated() {
      let path = result.report.subject.candidate?.path ?? ""
      let last = path.split(separator: "/").last.map(String.init) ?? path
      var name = last
      var number = 2
      while !taken.insert(name).inserted {
        name = "\(last) (\(number))"
        number += 1
      }
      entries.append(
        Entry(
          name: name, report: result.report, scores: result.scores,
          folder: "\(index + 1)-\(Self.fileName(last))"))
    }
    self.entries = entries
  }

  /// Letters, digits, '.', '_' and '-' alone: a name from outside must not choose where a file goes.
  private static func fileName(_ text: String) -> String {
    String(
      text.unicodeScalars.prefix(48).map { scalar in
        let isPlain = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
        return isPlain || "._-".unicodeScalars.contains(scalar) ? Character(scalar) : "_"
      })
  }

  /// fail > inconclusive > pass
  public var verdict: Verdict {
    let verdicts = entries.map(\.report.verdict)
    return [.fail, .inconclusive, .pass].first { verdicts.contains($0) } ?? .none
  }

  /// Of the first candidate that was scored: base, policy, text and run, which all share. One that failed before knows no
  /// tokens.
  var first: VerificationReport { (entries.first { $0.report.tokens > 0 } ?? entries[0]).report }

  var headline: String {
    let passed = entries.count { $0.report.verdict == .pass }
    return "\(passed) of \(entries.count) candidates \(passed == 1 ? "passes" : "pass")."
  }

  // MARK: The table

  static let columns = [
    "Candidate", "Verdict", "Perplexity", "Change", "95 % interval", "Mean KLD", "KLD p99", "Top-1", "Worse : better",
  ]

  /// Cells under `columns`.
  func cells(of entry: Entry) -> [String] {
    let report = entry.report
    let own = first.tokens == report.tokens || report.tokens == 0 ? "" : " (\(Figure.count(report.tokens)) tokens)"
    let name = VerificationReport.plain(entry.name) + own
    guard let drift = report.drift else {
      return [name, report.verdict.word] + Self.columns.dropFirst(2).map { _ in "–" }
    }
    let interval = drift.ratioInterval95.map {
      "\(Figure.change($0.lowerBound)) … \(Figure.change($0.upperBound))"
    }
    return [
      name, report.verdict.word, Figure.fixed(drift.candidate.perplexity, 4), Figure.change(drift.ratio),
      interval ?? Figure.missing, Figure.significant(drift.kld.mean.mean), Figure.significant(drift.kld.p99.value),
      Figure.percent(drift.agreement.top1.value),
      "\(Figure.count(drift.agreement.flipsWorse)) : \(Figure.count(drift.agreement.flipsBetter))",
    ]
  }

  // MARK: Forms

  /// The readable result for standard output.
  public var summary: String {
    let report = first
    var lines = ["\(verdict.word)  \(headline)", ""]
    lines += VerificationReport.aligned([
      ["policy", report.policyLine], ["base", VerificationReport.line(report.subject.base)],
      ["scored", report.tokensLine], ["compute", report.computeLine], ["cost", report.costLine],
    ])
    lines += ["", "candidates"]
    lines += VerificationReport.aligned([Self.columns.map { $0.lowercased() }] + entries.map(cells)).map {
      "  " + $0
    }
    for entry in entries {
      let name = VerificationReport.plain(entry.name)
      lines += ["", "\(name)  \(entry.report.verdict.word)  \(entry.report.headline)"]
      lines += entry.report.gateLines.map { "  " + $0 }
      lines += entry.report.warnings.map { "  warning: \($0)" }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Schema `llama-verify/1`: what is common to all candidates, and `candidates`, each with the members of a report of its
  /// own.
  public var json: JSONValue {
    let report = first
    var top = Members()
    top.set("schema", VerificationReport.schema)
    top.set("verdict", verdict.rawValue)
    top.set("exit_code", Int(verdict.exitCode))
    top.set("policy", report.policyJSON)
    top.set("base", VerificationReport.identity(report.subject.base))
    top.set("tokens", report.tokensJSON)
    let shared: Set<String> = ["schema", "policy", "base", "tokens", "run", "text"]
    top.set(
      "candidates",
      .array(
        entries.map { entry in
          // A candidate that was decided earlier stopped at fewer tokens than the others.
          let isOther = entry.report.tokens != report.tokens
          let own = (entry.report.json.object?.members ?? []).filter { member in
            !shared.contains(member.key) || isOther && ["tokens", "text"].contains(member.key)
          }
          return .object(
            JSONObject([("name", .string(entry.name)), ("report", .string(entry.folder))] + own))
        }))
    top.set("run", report.runJSON)
    top.set("text", report.textJSON)
    return top.object
  }

  public var jsonText: String { json.serialized(.indented) }

  /// `report.md`: one table, and what is to say about those that did not pass.
  public var markdown: String {
    let report = first
    func escaped(_ text: String) -> String { VerificationReport.escaped(text) }
    var lines = ["## \(verdict.mark) llama-verify: \(verdict.word)", "", escaped(headline), ""]
    lines += [
      "| " + Self.columns.joined(separator: " | ") + " |", "|---|---|---:|---:|:---:|---:|---:|---:|---:|",
    ]
    for entry in entries {
      var cells = self.cells(of: entry).map(escaped)
      cells[1] = "\(entry.report.verdict.mark) \(cells[1])"
      lines.append("| " + cells.joined(separator: " | ") + " |")
    }
    lines.append("")
    for entry in entries {
      for line in entry.report.gateLines + entry.report.warnings {
        lines.append("- **\(escaped(entry.name))**: \(escaped(line))")
      }
    }
    let facts = [
      ("Policy", report.policyLine), ("Base", VerificationReport.line(report.subject.base)),
      ("Scored", report.tokensLine), ("Compute", report.computeLine), ("Cost", report.costLine),
      ("Version", report.subject.run.version),
    ]
    lines += ["", "| | |", "|---|---|"] + facts.map { "| \($0.0) | \(escaped($0.1)) |" }
    return VerificationReport.bounded(lines)
  }

  /// `junit.xml`: a suite for each candidate.
  public var junit: String { JUnit.document(entries.map { JUnit($0.report, suffix: " of \($0.name)") }) }

  /// Everything that belongs into the comparison's folder: its own files, and a folder with the report of each candidate.
  public func files() throws -> [(name: String, bytes: [UInt8])] {
    var files: [(name: String, bytes: [UInt8])] = [
      ("report.json", Array(jsonText.utf8)), ("report.html", Array(try html().utf8)),
      ("report.md", Array(markdown.utf8)), ("junit.xml", Array(junit.utf8)),
    ]
    for entry in entries {
      files += try entry.report.files(scores: entry.scores).map { ("\(entry.folder)/\($0.name)", $0.bytes) }
    }
    return files
  }
}
