internal import ArgumentParser
internal import CommandLineSupport

/// Reads a Llama checkpoint in any layout, quantizes and reshards it, and publishes the result once it has been proven.
@main
struct LlamaConvert: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "llama-convert",
    abstract: "Convert and quantize Llama checkpoints; nothing gets its final name until it has been proven.",
    discussion: """
      `llama-convert --to fp8 IN OUT` converts; `llama-convert help convert` lists its options.

      Exit codes: 0 done, 1 the --verify gate failed or inspect --serve does not fit, 2 it could not decide, 64 usage, 65 bad or corrupt input, \
      66 missing input, 70 fault of this program, 73 output exists or cannot be created, 74 input/output error or full \
      disk, 75 interrupted or not complete (run again), 77 permission.
      """,
    version: ToolVersion.text,
    subcommands: [Convert.self, Finish.self, Inspect.self, Lint.self, Digest.self, Sensitivity.self],
    defaultSubcommand: Convert.self)
}
