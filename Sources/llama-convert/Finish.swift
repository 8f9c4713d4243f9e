internal import ArgumentParser
internal import ByteIO
internal import Checkpoints
internal import CommandLineSupport
internal import Conversion
internal import Verification

/// `llama-convert finish OUT`
struct Finish: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check the parts of a conversion, prove their union and publish it as OUT.",
    discussion: """
      Behind `llama-convert --part I/N … IN OUT` for every I. Missing parts are named, with exit code 75. It may be run \
      again at any time: an output that is published already is said to be so, with exit code 0.
      """)

  @Argument(help: "The output that the parts were given.") var output: String
  @Flag(help: "Replace an existing output, in one step, once the new one is complete.")
  var force = false
  @Option(help: "Before publication, judge the candidate's perplexity drift against the input on this text.")
  var verify: String?
  @Option(
    help:
      "Policy of --verify: \(Policy.builtIn.map(\.name).joined(separator: ", ")), or a YAML or JSON file. The one that suits the parts' --to when absent."
  )
  var policy: String?
  @OptionGroup(title: "General") var shared: SharedOptions

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      guard let begun = SharedWork(of: output) else { return try tellPublished(console) }
      guard let parts = begun.parts else {
        throw UsageFailure("\(output): it was not begun in parts; run the command that began it again")
      }
      try command(begun).finish(parts: parts, console)
    }
  }

  /// The command that the parts were given, for this output and with this command's general options.
  private func command(_ begun: SharedWork) throws -> Convert {
    var command: Convert
    do {
      command = try Convert.parse(begun.arguments)
    } catch {
      throw UsageFailure(
        "\(output): the parts' command cannot be read again: \(begun.arguments.joined(separator: " "))")
    }
    command.input = begun.absolute(command.input)
    command.imatrix = command.imatrix.map(begun.absolute)
    command.output = output
    command.shared = shared
    command.verify = verify
    command.policy = policy
    if force { command.force = true }
    return command
  }

  /// No part is there: either the first has not begun yet, or all is done.
  private func tellPublished(_ console: Console) throws {
    try SharedWork.tidy(output)
    guard let record = try ConversionRecord.publishedRecord(of: output) else {
      throw ConversionFailure(.unfinished, "\(output): no part has been begun; run llama-convert --part first")
    }
    // The output may be the one that is to be replaced.
    guard !force else {
      throw ConversionFailure(
        .unfinished,
        "\(output): no part has been begun; the output that is there may be an older one (without --force it counts as done)"
      )
    }
    // Files that are gone or cut short are no output.
    _ = try Checkpoint(path: output)
    if verify != nil, try JSONValue(parsing: record)["verification"] == nil {
      throw UsageFailure(
        "\(output): it is published already, and was never judged (its record has no verification); run llama-verify")
    }
    try console.result(shared.json ? record : "published   \(output) already\n")
  }
}
