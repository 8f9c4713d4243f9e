internal import ArgumentParser
internal import Checkpoints
internal import CommandLineSupport
internal import Conversion
internal import Foundation

/// What becomes of unfinished work, and how several processes share it.
struct WorkOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Do one part of the work, then run llama-convert finish OUT: INDEX/COUNT such as 0/4, or env to take both from a Kubernetes Indexed Job (JOB_COMPLETION_INDEX, JOB_COMPLETION_COUNT) or a Slurm array, or env/COUNT.",
      valueName: "index/count"),
    transform: { try PartArgument(argument: $0) })
  var part: PartArgument?
  @Flag(
    inversion: .prefixedNo,
    help:
      "Work that was cut off goes on, and what another conversion left is removed. --resume refuses to remove it, --no-resume starts over in any case."
  )
  var resume: Bool?
  @Option(
    name: .customLong("checkpoint"),
    help: ArgumentHelp(
      "Make finished work safe on the disk this often, to go on from there after a crash.", valueName: "seconds"))
  var interval: Double = JournalSettings().interval

  func validate() throws {
    guard (0...86_400).contains(interval) else { throw ValidationError("--checkpoint is between 0 and 86400 seconds") }
    if part != nil && resume == false {
      throw ValidationError(
        "--no-resume would remove the other parts' work; remove OUT.partial and OUT.journal yourself")
    }
  }

  /// The command without what tells one part from another: whoever finishes them reads it again, elsewhere.
  private static var command: [String] {
    var rest = CommandLine.arguments.dropFirst()
    if rest.first == "convert" { rest.removeFirst() }
    var kept: [String] = []
    while let argument = rest.popFirst() {
      if argument == "--" { return kept + [argument] + rest }
      if argument == "--part" {
        rest = rest.dropFirst()
      } else if !argument.hasPrefix("--part=") {
        kept.append(argument)
      }
    }
    return kept
  }

  func journal(_ console: Console) -> JournalSettings {
    JournalSettings(
      resumption: resume.map { $0 ? .required : .never } ?? .ifSame, interval: interval, arguments: Self.command,
      workingDirectory: FileManager.default.currentDirectoryPath, remark: { console.remark($0) })
  }
}
