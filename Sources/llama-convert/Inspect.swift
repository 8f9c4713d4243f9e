internal import ByteIO
internal import ArgumentParser
internal import Checkpoints
internal import CommandLineSupport

/// `llama-convert inspect PATH`
struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a checkpoint is: family, shape, element types, and the memory needed to serve it.")

  @Argument(help: "The checkpoint.") var path: String
  @OptionGroup(title: "General") var shared: SharedOptions

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let inspection = Inspection(of: try Checkpoint(path: path))
      try console.result(shared.json ? inspection.document.serialized() : inspection.summary)
    }
  }
}
