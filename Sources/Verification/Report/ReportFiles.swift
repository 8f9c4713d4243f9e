extension VerificationReport {
  /// Everything that belongs into a report's folder: `report.json`, `report.html`, `report.md`, `junit.xml` and the
  /// per-token evidence. The caller writes the files.
  /// - Parameter scores: the scores that the report was made from; traps on another number of tokens.
  public func files(scores: TokenScores) throws -> [(name: String, bytes: [UInt8])] {
    precondition(scores.count == tokens, "the report covers \(tokens) tokens, not \(scores.count)")
    return [
      ("report.json", Array(jsonText.utf8)), ("report.html", Array(try html().utf8)),
      ("report.md", Array(markdown.utf8)), ("junit.xml", Array(junit.utf8)),
      (Evidence.fileName, Evidence(scores: scores, facts: subject.facts).bytes),
    ]
  }
}
