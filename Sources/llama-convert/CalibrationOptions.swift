internal import ArgumentParser
internal import ByteIO
internal import Calibration
internal import Checkpoints
internal import CommandLineSupport
internal import Conversion
internal import Quantization

/// Options of methods that fit weights to text.
struct CalibrationOptions: ParsableArguments {
  @Option(name: .customLong("calibrate"), help: "Fit int4 and int8 codes to this text.")
  var text: String?
  @Option(name: .customLong("calibrate-tokens"), help: "Tokens of it, in windows spread evenly over the text.")
  var tokens: Int = CalibrationText.defaultTokens
  @Option(name: .customLong("calibrate-context"), help: "Tokens of a window.")
  var context: Int = CalibrationText.defaultContext
  @Option(help: "gptq: added to the diagonal of the inputs' Gram matrix, in units of its mean.")
  var damping: Double = CalibrationSettings.defaultDamping
  @Option(
    name: .customLong("act-order"),
    help:
      "gptq: round the inputs that count most first (static), make groups of inputs that count alike too (group: the layout gets a list of groups), or round them in order (none)."
  )
  var order: Order = .static

  @Option(
    help:
      "int8 with int8 activations: even out inputs by SmoothQuant with this alpha, 0.5 to 0.8, before weights are rounded."
  )
  var smooth: Float?

  enum Order: String, ExpressibleByArgument, CaseIterable {
    case `static`, group, none

    var columns: ErrorFeedback.ColumnOrder { self == .none ? .natural : .descendingDiagonal }
  }

  func validate() throws {
    if tokens < 1 { throw ValidationError("--calibrate-tokens must be positive") }
    if context < 2 { throw ValidationError("--calibrate-context is at least 2") }
    if let smooth, !(0...1).contains(smooth) { throw ValidationError("--smooth is between 0 and 1") }
    guard damping >= 0, damping.isFinite else { throw ValidationError("--damping must not be negative") }
  }

  /// Calibrates as a plan wants it; nil where it wants nothing.
  func run(
    _ checkpoint: Checkpoint, _ plan: ConversionPlan, threads: Int, maximumMemory: UInt64,
    _ interruption: Interruption, _ line: ProgressLine, _ console: Console
  ) throws -> Calibration? {
    guard let path = text, let (task, roles) = plan.calibration else { return nil }
    let text = try CalibrationText(
      path: path, for: checkpoint, context: min(context, checkpoint.maximumPositions), limit: tokens)
    for remark in text.remarks { console.remark("warning: \(remark)") }
    guard case .integers(let quantizer, let recipes) = task else {
      return try Calibration(
        activationScalesOf: checkpoint, linears: roles, text: text, threads: threads,
        checkCancellation: { try interruption.check() }
      ) { line.update("calibrate", done: $0, total: $1, unit: .layers) }
    }
    let settings = CalibrationSettings(
      quantizer: quantizer, damping: damping, order: order.columns, threads: threads, maximumMemory: maximumMemory,
      checkCancellation: { try interruption.check() })
    return try Calibration(
      checkpoint, selected: roles, recipes: recipes, text: text, settings: settings, output: plan.outputPath,
      identity: plan.digest
    ) { line.update("calibrate", done: $0, total: $1, unit: .layers) }
  }
}
