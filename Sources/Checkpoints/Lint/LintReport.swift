public import ByteIO
internal import Llama

/// All that is wrong or odd about a checkpoint, as far as its files alone can tell: `formats/lint.md`.
///
/// What cannot be read is a finding, not an end: everything else is looked at all the same, also in files that a conversion
/// would refuse.
public struct LintReport: Sendable {
  public let path: String
  /// Errors first, then warnings, then notes; each in the order of the checks.
  public let findings: [LintFinding]
  /// Tensors whose values were read.
  public let tensorsRead: Int

  public var hasErrors: Bool { findings.contains { $0.severity == .error } }
  public var hasWarnings: Bool { findings.contains { $0.severity == .warning } }

  /// - Parameters:
  ///   - readsValues: also read every tensor: NaN, infinities, bad scales, zeros, copies, the order of rows.
  ///   - checksSums: with the values, also take the sums of files that lists of sums name.
  /// - Throws: `FileFailure` when there is nothing at `path`, or it may not be read.
  public init(ofCheckpointAt path: String, readsValues: Bool, checksSums: Bool = true, threads: Int) throws {
    var findings: [LintFinding] = []
    var subject = try LintSubject(path: path, &findings)
    LintStrayFiles.check(subject, &findings)
    try LintSums.check(subject, reads: readsValues && checksSums, threads: threads, &findings)
    LintQuantization.check(subject, &findings)
    subject.openStrictly(&findings)
    LintStructure.check(subject, &findings)
    LintStructure.checkElementType(subject, &findings)
    LintStructure.addNotes(subject, &findings)
    let tensors = LintStructure.logicalTensors(subject, &findings)
    LintRoPE.check(subject, &findings)
    LintTokenizer.check(subject, &findings)
    var read = 0
    if readsValues {
      let scans = try LintValues.scan(subject, threads: threads, &findings)
      subject.checkReplicas(scans, &findings)
      LintLayers.check(subject, scans, &findings)
      try LintValues.checkPacked(tensors, threads: threads, &findings)
      if let configuration = subject.configuration {
        try LintRowOrder(configuration).check(
          tensors, dialect: subject.kind.dialect, threads: threads, &findings)
      }
      read = scans.count
    }
    self.path = path
    self.findings = LintCode.Severity.allCases.flatMap { severity in findings.filter { $0.severity == severity } }
    tensorsRead = read
  }

  private func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

  private func count(_ severity: LintCode.Severity) -> Int { findings.count { $0.severity == severity } }

  /// Schema `llama-lint/1`.
  public var document: JSONValue {
    [
      "schema": "llama-lint/1",
      "path": .string(path),
      "errors": .number(JSONNumber(count(.error))),
      "warnings": .number(JSONNumber(count(.warning))),
      "notes": .number(JSONNumber(count(.note))),
      "tensors_read": .number(JSONNumber(tensorsRead)),
      "findings": .array(findings.map(\.document)),
    ]
  }

  /// Findings of one code that a summary shows before it counts the rest.
  private static let shownPerCode = 8

  /// A line for each finding, what to do below the last one of its code.
  public var summary: String {
    var lines: [String] = []
    for severity in LintCode.Severity.allCases {
      let own = findings.filter { $0.severity == severity }
      var told: Set<LintCode> = []
      for code in own.map(\.code) where told.insert(code).inserted {
        let same = own.filter { $0.code == code }
        lines += same.prefix(Self.shownPerCode).map { "\(severity)  \(code.rawValue)  \($0.message)" }
        let more = same.count - Self.shownPerCode
        if more > 0 { lines.append("\(severity)  \(code.rawValue)  and \(more) more (--json lists all)") }
        if let remedy = same.first?.remedy { lines.append("    → \(remedy)") }
      }
    }
    let scope = tensorsRead > 0 ? "\(counted(tensorsRead, "tensor")) read" : "headers only"
    lines.append(
      "\(path): " + LintCode.Severity.allCases.map { counted(count($0), $0.rawValue) }.joined(separator: ", ")
        + ", \(scope)")
    return lines.joined(separator: "\n") + "\n"
  }
}
