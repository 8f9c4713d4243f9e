internal import ByteIO
internal import ArgumentParser
internal import Checkpoints
internal import CommandLineSupport

/// `llama-convert lint PATH`
struct Lint: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Find what is wrong with a checkpoint: files, configuration, quantization, RoPE, tokenizer, values.",
    discussion: """
      Any layout, also of other tools, and also what a conversion would refuse: everything that can be read is looked at. \
      Exit code 65 when there is an error, with --strict also when there is a warning, 0 otherwise.
      """)

  @Argument(help: "The checkpoint.") var path: String
  @Flag(name: .customLong("headers-only"), help: "Do not read the tensors' values.") var headersOnly = false
  @Flag(
    name: .customLong("check-sums"), inversion: .prefixedNo,
    help: "Compare files with the sums that came with them: SHA256SUMS, checklist.chk, a download cache's names.")
  var checkSums = true
  @Flag(help: "Exit with 65 for warnings too.") var strict = false
  @OptionGroup(title: "General") var shared: SharedOptions

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let lint = try LintReport(
        ofCheckpointAt: path, readsValues: !headersOnly, checksSums: checkSums, threads: shared.threads)
      try console.result(shared.json ? lint.document.serialized() : lint.summary)
      if lint.hasErrors || (strict && lint.hasWarnings) { throw ExitCodeCarrier(.badInput) }
    }
  }
}
