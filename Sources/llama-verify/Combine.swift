internal import ArgumentParser
internal import ByteIO
internal import CommandLineSupport
internal import Verification

/// `llama-verify combine EVIDENCE… [--report DIR]`
struct Combine: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Put the evidence of all parts together and judge: the report that one process would have written.")

  @Argument(help: "Files of --evidence, or folders of them: every part once.") var evidence: [String]
  @Option(
    help:
      "What the candidate is held to instead of the parts' policy: \(Policy.builtIn.map(\.name).joined(separator: ", ")), or a YAML or JSON file."
  )
  var policy: String?
  @Option(
    help: "Write report.json, report.html, report.md, junit.xml and the scores of every token into this new directory.")
  var report: String?
  @Flag(help: "Print the result as one JSON document and nothing else on standard output.") var json = false
  @Flag(help: "Print no remarks.") var quiet = false

  func run() throws {
    let console = Console(program: "llama-verify", isQuiet: quiet)
    try console.run {
      try ReportFolder.refuseExisting(report)
      let policy = try policy.map { try Policy(argument: $0) }
      let combined = try CombinedParts.all(evidence.flatMap { try PartEvidence.read($0) }, policy: policy)
      let results = combined.map { VerificationResult(report: $0.report, scores: $0.scores) }
      try ResultOutput(report: report, isJSON: json).give(results, to: console)
    }
  }
}
