internal import ArgumentParser
internal import ByteIO
internal import Calibration
internal import Checkpoints
internal import CommandLineSupport
internal import Conversion
internal import Foundation
internal import Quantization

/// Options of `--to mixed`: a type for each fused group of linears.
struct MixedOptions: ParsableArguments {
  @Option(
    name: .customLong("target-bits"),
    help: "Give linears types that take so many bits per weight at most, scales included, with the least drift.")
  var bits: Double?
  @Option(
    name: .customLong("target-drift"),
    help: "Give linears types with as few bits as a drift of perplexity allows, in per cent: 1%.")
  var drift: DriftArgument?
  @Option(help: "Types that may be mixed, separated by commas: fp8, int8, int4. fp8,int4 when absent.")
  var types: LinearTypeList?
  @Option(
    help:
      "How much each part of the model drifts at each type: what llama-convert sensitivity --json printed. Measured on --calibrate's text when absent."
  )
  var sensitivity: String?

  /// Of a table.
  private static let byteLimit = 256 << 20

  private var hasGoal: Bool { bits != nil || drift != nil }

  func validate(isMixed: Bool, method: IntegerMethod?, _ calibration: CalibrationOptions) throws {
    guard isMixed else {
      guard !hasGoal, types == nil, sensitivity == nil else {
        throw ValidationError("--target-bits, --target-drift, --types and --sensitivity need --to mixed")
      }
      return
    }
    guard hasGoal else { throw ValidationError("--to mixed needs --target-bits or --target-drift") }
    guard bits == nil || drift == nil else {
      throw ValidationError("--target-bits and --target-drift are two goals; give one")
    }
    if let bits, !(bits > 0 && bits.isFinite) { throw ValidationError("--target-bits must be positive") }
    guard sensitivity != nil || calibration.text != nil else {
      throw ValidationError(
        "--to mixed needs to know how much each part matters: from --sensitivity, or measured on --calibrate's text")
    }
    if let method, !method.isCalibrated, sensitivity != nil, calibration.text != nil {
      throw ValidationError(
        "--calibrate has nothing to do: --sensitivity says how much parts matter, and --method \(method.rawValue) looks at weights alone"
      )
    }
  }

  /// Chooses the types and says in the options what follows from the choice.
  func choose(
    _ options: inout ConversionOptions, _ checkpoint: Checkpoint, output: String, _ calibration: CalibrationOptions,
    _ shared: SharedOptions, _ interruption: Interruption, _ console: Console
  ) throws {
    let types = types?.types ?? [.fp8, .int4]
    // What else stands in the way is found before anything is measured.
    options.types = TypeChoice.draft(.fp8, for: checkpoint)
    let draft = try ConversionPlan(checkpoint, output: output, options: options)
    try draft.preflight()
    let table = try table(options, checkpoint, types, calibration, shared, interruption, console)
    try adopt(table, &options)
    let goal: TypeChoice.Goal
    switch (bits, drift) {
    case (let bits?, _): goal = .bits(bits)
    case (nil, let drift?): goal = .drift(lnRatio: drift.lnRatio)
    case (nil, nil): preconditionFailure("validated")
    }
    options.types = try TypeChoice(goal, from: table, among: types, modules: draft.roundedModules)
    if options.integers.method.map(\.isCalibrated) ?? options.integers.isCalibrated {
      console.remark(
        "drifts were measured with int4 by \(table.recipes.method.rawValue); codes fitted to text drift less as a rule")
    }
  }

  /// Codes are made as the table says they were when it was measured, unless they are fitted to text.
  private func adopt(_ table: SensitivityTable, _ options: inout ConversionOptions) throws {
    let size: IntegerOptions.GroupSize = table.recipes.groupSize.map { .elements($0) } ?? .channel
    guard options.integers.groupSize == nil || options.integers.groupSize == size else {
      throw ConversionFailure(
        .usage,
        "--group-size is another than the sensitivity table's (\(table.recipes.groupSize.map(String.init) ?? "channel")); leave it out, or measure again"
      )
    }
    options.integers.groupSize = size
    let method = options.integers.method ?? (options.integers.isCalibrated ? nil : table.recipes.method)
    if let method, !method.isCalibrated, method != table.recipes.method {
      throw ConversionFailure(
        .usage,
        "--method \(method.rawValue) is another than the sensitivity table's (\(table.recipes.method.rawValue)); leave it out, or measure again"
      )
    }
    options.integers.method = method
  }

  private func table(
    _ options: ConversionOptions, _ checkpoint: Checkpoint, _ types: [LinearType], _ calibration: CalibrationOptions,
    _ shared: SharedOptions, _ interruption: Interruption, _ console: Console
  ) throws -> SensitivityTable {
    guard let path = sensitivity else {
      let method = options.integers.method.flatMap { $0.isCalibrated ? nil : $0 } ?? .mse
      let line = ProgressLine(console: console)
      defer { line.finish() }
      return try SensitivityRun(
        types: types, recipes: LinearRecipes(method: method, groupSize: groupSize(options)),
        textPath: calibration.text ?? "", context: SensitivitySettings.defaultContext,
        tokens: SensitivitySettings.defaultTokens, takesDigest: false
      ).measure(checkpoint, shared, interruption, line, console)
    }
    let table: SensitivityTable
    do {
      table = try SensitivityTable(
        document: JSONValue(parsing: ReadableFile.contents(of: path, limit: Self.byteLimit)))
    } catch let failure as ParseFailure {
      throw failure.in(file: path)
    }
    try table.check(checkpoint) {
      try checkpoint.digest(threads: shared.threads) { _ in try interruption.check() }.model
    }
    return table
  }

  private func groupSize(_ options: ConversionOptions) -> Int? {
    switch options.integers.groupSize {
    case nil: LinearRecipes.defaultGroupSize
    case .channel: nil
    case .elements(let size): size
    }
  }
}

/// `1%`: by how much perplexity may grow.
struct DriftArgument: ExpressibleByArgument {
  let percent: Double

  /// With its sign, for 1 could be meant as 100 %.
  init?(argument: String) {
    guard argument.hasSuffix("%"), let percent = Double(argument.dropLast()), percent > 0, percent.isFinite else {
      return nil
    }
    self.percent = percent
  }

  var lnRatio: Double { log1p(percent / 100) }
}
