internal import ByteIO
internal import ArgumentParser
internal import Checkpoints
internal import CommandLineSupport

/// `llama-convert lint PATH`
struct Lint: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check that a checkpoint's tensors, scales and configuration agree and hold no NaN or infinity.",
    discussion: "Exit code 65 when there is an error, 0 otherwise; warnings are printed and do not change it.")

  @Argument(help: "The checkpoint.") var path: String
  @Flag(name: .customLong("headers-only"), help: "Do not read the tensors' values.") var headersOnly = false
  @OptionGroup(title: "General") var shared: SharedOptions

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let lint = try LintReport(ofCheckpointAt: path, readsValues: !headersOnly, threads: shared.threads)
      try console.result(shared.json ? lint.document.serialized() : lint.summary)
      if lint.hasErrors { throw ExitCodeCarrier(.badInput) }
    }
  }
}
