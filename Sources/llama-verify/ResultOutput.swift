internal import CommandLineSupport
internal import Verification

/// Where the results of a verification go.
struct ResultOutput {
  /// The folder of `--report`.
  let report: String?
  let isJSON: Bool

  /// Writes the report, prints the result, and exits with the verdict.
  /// - Parameter results: at least one; of several candidates their comparison is given.
  func give(_ results: [VerificationResult], to console: Console) throws {
    let verdict: Verdict
    if results.count == 1 {
      let result = results[0]
      if let report { try ReportFolder.write(try result.report.files(scores: result.scores), to: report) }
      try console.result(isJSON ? result.report.jsonText : result.report.summary)
      verdict = result.report.verdict
    } else {
      let comparison = Comparison(results)
      if let report { try ReportFolder.write(try comparison.files(), to: report) }
      try console.result(isJSON ? comparison.jsonText : comparison.summary)
      verdict = comparison.verdict
    }
    try verdict.exit()
  }
}
