extension VerificationReport {
  /// `junit.xml`: every gate is a test case; an undecided gate is a failure of type `inconclusive`, because a pipeline
  /// must not go on from it. Elements and attributes are those of Jenkins' schema, which other readers take too.
  public var junit: String { JUnit.document([JUnit(self, suffix: "")]) }
}

/// One test suite: a candidate's gates.
struct JUnit {
  let report: VerificationReport
  /// Behind the suite's name; empty for one candidate.
  let suffix: String

  init(_ report: VerificationReport, suffix: String) {
    self.report = report
    self.suffix = suffix
  }

  private var gates: [Gate] { report.judgement.gates }
  private var failures: Int { gates.count { $0.outcome == .fail || $0.outcome == .inconclusive } }
  /// A gate that was not evaluated has outcome `none`.
  private var skipped: Int { gates.count { $0.outcome == .none } }
  private var seconds: Double { report.subject.run.seconds.isFinite ? report.subject.run.seconds : 0 }
  private var name: String { (report.hasCandidate ? "policy \(report.subject.policy.name)" : "perplexity") + suffix }

  static func document(_ suites: [JUnit]) -> String {
    let seconds = Figure.fixed(suites.first?.seconds ?? 0, 3)
    var lines = [
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
      "<testsuites name=\"llama-verify\" tests=\"\(suites.reduce(0) { $0 + $1.gates.count })\" "
        + "failures=\"\(suites.reduce(0) { $0 + $1.failures })\" errors=\"0\" time=\"\(seconds)\">",
    ]
    lines += suites.flatMap(\.lines)
    return (lines + ["</testsuites>"]).joined(separator: "\n") + "\n"
  }

  private static func xml(_ text: String) -> String { VerificationReport.xml(text) }

  private var lines: [String] {
    let subject = report.subject
    var lines = [
      "  <testsuite name=\"\(Self.xml(name))\" tests=\"\(gates.count)\" failures=\"\(failures)\" errors=\"0\" "
        + "skipped=\"\(skipped)\" time=\"\(Figure.fixed(seconds, 3))\">", "    <properties>",
    ]
    var properties = [
      ("verdict", report.verdict.rawValue), ("base", subject.base.path), ("base.digest", subject.base.digest),
    ]
    if let candidate = subject.candidate {
      properties += [("candidate", candidate.path), ("candidate.digest", candidate.digest)]
      if let digest = subject.policyDigest { properties.append(("policy.sha256", digest)) }
    }
    for (name, value) in properties {
      lines.append("      <property name=\"\(name)\" value=\"\(Self.xml(value))\"/>")
    }
    lines.append("    </properties>")
    return lines + gates.flatMap { caseLines($0) } + ["  </testsuite>"]
  }

  private func caseLines(_ gate: Gate) -> [String] {
    let suite = Self.xml("llama-verify.\(report.hasCandidate ? report.subject.policy.name : "perplexity")\(suffix)")
    let open = "    <testcase classname=\"\(suite)\" name=\"\(Self.xml(gate.id))\" time=\"0\""
    let text = Self.xml(
      "\(gate.title): \(gate.valueText) [\(gate.intervalText)], limit \(gate.limitText); \(gate.explanation)")
    switch gate.outcome {
    case .pass: return ["\(open)>", "      <system-out>\(text)</system-out>", "    </testcase>"]
    case .fail, .inconclusive:
      return [
        "\(open)>", "      <failure type=\"\(gate.outcome.rawValue)\" message=\"\(text)\"/>", "    </testcase>",
      ]
    case .none: return ["\(open)>", "      <skipped message=\"\(text)\"/>", "    </testcase>"]
    }
  }
}
