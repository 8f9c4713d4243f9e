internal import ArgumentParser
internal import ByteIO
internal import Checkpoints
internal import CommandLineSupport

/// `llama-convert digest PATH`
struct Digest: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print digests that do not depend on the layout: equal digests prove equal models.")

  @Argument(help: "The checkpoint.") var path: String
  @Flag(help: "Print the digest of every tensor too.") var tensors = false
  @OptionGroup(title: "General") var shared: SharedOptions

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let digest = try Checkpoint(path: path).digest(threads: shared.threads)
      try console.result(shared.json ? digest.document.serialized() : digest.summary(withTensors: tensors))
    }
  }
}
