public import ArgumentParser
internal import ByteIO
public import Calibration
internal import Checkpoints
internal import CommandLineSupport
internal import Quantization

/// `llama-convert sensitivity MODEL --text F`
struct Sensitivity: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure how much drift rounding each part of a model alone causes, at each type.",
    discussion: """
      For each part and type the model runs once more over the text with that part rounded, from its layer on. \
      `llama-convert --to mixed --sensitivity FILE` chooses types by what --json prints.
      """)

  @Argument(help: "The checkpoint, not quantized.") var path: String
  @Option(help: "The text that the model runs over.") var text: String
  @Option(
    help:
      "Parts: layer, group (what servers fuse or what stands alone: q/k/v, o, gate/up, down), or tensor (each linear).")
  var by: LinearUnit.Granularity = .group
  @Option(help: "Types to try, separated by commas: \(LinearType.allCases.map(\.rawValue).joined(separator: ", ")).")
  var types = LinearTypeList(LinearType.allCases)
  @Option(help: "How integer codes are found, by the weights alone: rtn, mse, hqq.")
  var method: IntegerMethod = .mse
  @Option(
    name: .customLong("group-size"),
    help: "Elements of an int4 group; where they do not divide a row 64 or 32, else the whole row.")
  var groupSize: Int = LinearRecipes.defaultGroupSize
  @Option(help: "Tokens of a window.") var context: Int = SensitivitySettings.defaultContext
  @Option(help: "Tokens that are scored, in windows spread evenly over the text.")
  var tokens: Int = SensitivitySettings.defaultTokens
  @OptionGroup(title: "General") var shared: SharedOptions

  func validate() throws {
    if tokens < 1 { throw ValidationError("--tokens must be positive") }
    if context < 2 { throw ValidationError("--context is at least 2") }
    if groupSize < 1 { throw ValidationError("--group-size must be positive") }
    if method.isCalibrated { throw ValidationError("--method is rtn, mse or hqq: the others fit weights to text") }
  }

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let checkpoint = try Checkpoint(path: path)
      for note in checkpoint.notes { console.remark("warning: \(note)") }
      let interruption = Interruption()
      interruption.listen()
      let line = ProgressLine(console: console)
      defer { line.finish() }
      let table = try SensitivityRun(
        granularity: by, types: types.types, recipes: LinearRecipes(method: method, groupSize: groupSize),
        textPath: text, context: context, tokens: tokens, takesDigest: true
      ).measure(checkpoint, shared, interruption, line, console)
      line.finish()
      try console.result(shared.json ? table.document.serialized() : table.summary)
    }
  }
}

/// A measurement as the command line asks for it.
struct SensitivityRun {
  var granularity = LinearUnit.Granularity.group
  let types: [LinearType]
  let recipes: LinearRecipes
  let textPath: String
  let context: Int
  let tokens: Int
  let takesDigest: Bool

  func measure(
    _ checkpoint: Checkpoint, _ shared: SharedOptions, _ interruption: Interruption, _ line: ProgressLine,
    _ console: Console
  ) throws -> SensitivityTable {
    let text = try CalibrationText(
      path: textPath, for: checkpoint, context: min(context, checkpoint.maximumPositions), limit: tokens)
    for remark in text.remarks { console.remark("warning: \(remark)") }
    let digest = takesDigest ? try checkpoint.digest(threads: shared.threads).model : nil
    let settings = SensitivitySettings(
      granularity: granularity, types: types, recipes: recipes, threads: shared.threads,
      maximumMemory: shared.maximumMemory.bytes, checkCancellation: { try interruption.check() })
    return try SensitivityTable(measuring: checkpoint, on: text, settings: settings, digest: digest) {
      line.update("sensitivity", done: $0, total: $1, unit: .layers)
    }
  }
}

/// `fp8,int4`
struct LinearTypeList: ExpressibleByArgument {
  let types: [LinearType]

  init(_ types: [LinearType]) { self.types = types }

  init?(argument: String) {
    var types: [LinearType] = []
    for name in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let type = LinearType(rawValue: String(name)), !types.contains(type) else { return nil }
      types.append(type)
    }
    self.types = types
  }

  var defaultValueDescription: String { types.map(\.rawValue).joined(separator: ",") }
}

extension LinearUnit.Granularity: ExpressibleByArgument {}
