internal import ArgumentParser
internal import ByteIO
internal import Checkpoints
internal import CommandLineSupport
internal import Inference
internal import Kernels

/// `llama-verify logits MODEL`: the raw logits of a short sequence, to compare this forward pass with others.
struct Logits: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the logits of a sequence of token ids as little-endian float32, [tokens, vocabulary].")

  @Argument(help: "The model.") var model: String
  @Option(parsing: .upToNextOption, help: "Token ids, the begin-of-text token included if it is wanted.")
  var ids: [Int32]
  @Option(help: "The file to create.") var output: String
  @Option(help: ActivationEmulation.help) var emulate: ActivationEmulation?
  @Option(help: "How products are computed. exact: to float32's accuracy. bf16: both sides rounded to BF16.")
  var compute: Compute = .exact
  @OptionGroup(title: "General") var shared: SharedOptions

  func validate() throws {
    guard (1...8192).contains(ids.count) else { throw ValidationError("--ids takes 1 to 8192 token ids") }
  }

  func run() throws {
    let console = shared.console(program: "llama-verify")
    try console.run {
      let checkpoint = try Checkpoint(path: model)
      try emulate?.check([checkpoint])
      let weights = try CheckpointWeights(checkpoint, emulatingActivations: emulate != nil)
      let settings = ForwardSettings(threads: shared.threads, compute: compute, emulatesActivations: emulate != nil)
      let logits = try FullLogits.compute(ids, weights: weights, settings: settings)
      var bytes: [UInt8] = []
      bytes.reserveCapacity(logits.count * 4)
      for value in logits {
        let bits = value.bitPattern
        bytes += [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
        bytes += [UInt8(truncatingIfNeeded: bits >> 16), UInt8(truncatingIfNeeded: bits >> 24)]
      }
      try FileSystem.write(bytes, toNew: output)
    }
  }
}
