public import ArgumentParser
internal import ByteIO
internal import Calibration
internal import Checkpoints
internal import CommandLineSupport
public import Conversion
public import Quantization
internal import Verification

/// `llama-convert [convert] --to TYPE IN OUT`
struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Convert the checkpoint IN and publish it as OUT (the default subcommand).")

  @Argument(
    help: ArgumentHelp(
      "A Hugging Face directory with safetensors, a Meta directory, a GGUF or a compact file.", valueName: "in"))
  var input: String
  @Argument(
    help: ArgumentHelp(
      "The directory to create; for a GGUF or a compact file, a name that ends in .gguf makes just the file.",
      valueName: "out"))
  var output: String

  @Option(help: "Element types of the output: \(TargetType.names.joined(separator: ", ")). Unchanged when absent.")
  var to: TargetType?
  @Option(help: "The output's layout. Unchanged when absent.")
  var format: OutputFormat?
  @Option(
    name: .customLong("tp"), help: "Tensor-parallel shards of a Meta checkpoint. As many as the input has when absent.")
  var tensorParallel: Int?
  @Option(
    parsing: .singleValue,
    help:
      "Leave a module as it is: exact name, or re: and a regular expression that matches from the start. Repeatable.")
  var ignore: [String] = []
  @Option(parsing: .singleValue, help: "Quantize only modules that match, same forms as --ignore. Repeatable.")
  var only: [String] = []
  @Option(
    name: .customLong("max-shard-size"),
    help: "Begin a new file before one passes this size. 5 GB for safetensors, one file for GGUF when absent.")
  var maximumShardSize: ByteCountArgument?
  @Option(
    name: .customLong("max-shard-tensors"), help: "Begin a new GGUF file after so many tensors. No limit when absent.")
  var maximumShardTensors: Int?
  @Option(
    name: .customLong("tensor-type"), parsing: .singleValue,
    help: "Give GGUF tensors that a name or re: pattern matches a type of their own: PATTERN=TYPE. Repeatable.")
  var tensorTypes: [TensorTypeOverride] = []
  @Option(help: "Importance matrix for GGUF's blocks: from llama-verify --imatrix, or llama.cpp's own.")
  var imatrix: String?
  @Flag(
    name: .customLong("compress"),
    help: "Losslessly compress the BF16, F16, F32 and FP8 matrices of a compact file, to about two thirds for BF16.")
  var compresses = false
  @Option(
    help:
      "How int4 and int8 codes are found: rtn, mse, hqq by the weights alone; imse, gptq, awq, awq+gptq with --calibrate. mse, or gptq with --calibrate, when absent."
  )
  var method: IntegerMethod?
  @Option(
    name: .customLong("group-size"),
    help:
      "Elements of a row that share a scale, or channel for a whole row. 128 for int4, channel for int8 when absent.")
  var groupSize: IntegerOptions.GroupSize?
  @Flag(name: .customLong("asymmetric"), help: "Give groups of int4 codes zero points.")
  var isAsymmetric = false
  @Option(
    help:
      "How integer codes lie in safetensors: \(IntegerLayout.allCases.map(\.rawValue).joined(separator: ", ")). The input's, or compressed-tensors when absent."
  )
  var layout: IntegerLayout?
  @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
  @OptionGroup(title: "Mixed types") var mixed: MixedOptions
  @Flag(name: .customLong("allow-requantize"), help: "Round weights that were rounded to few bits already.")
  var allowsRequantizing = false
  @Flag(help: "Replace an existing output, in one step, once the new one is complete.")
  var force = false
  @Flag(
    name: .customLong("file-sums"), inversion: .prefixedNo,
    help:
      "Write SHA256SUMS (and Meta's checklist.chk), and record the inputs' sums. Most of the time of a plain copy; tensors are proven and digested without it too."
  )
  var fileSums = true
  @Flag(
    name: .customLong("check-sums"), inversion: .prefixedNo,
    help:
      "Compare IN's files with the sums that came with them: SHA256SUMS, checklist.chk, the index's total_size, the names in a Hugging Face cache."
  )
  var checkSums = true
  @Flag(name: .customLong("dry-run"), help: "Print what would be done, write nothing.")
  var dryRun = false
  @Option(help: "Before publication, judge the candidate's perplexity drift against IN on this text.")
  var verify: String?
  @Option(
    help:
      "Policy of --verify: \(Policy.builtIn.map(\.name).joined(separator: ", ")), or a YAML or JSON file. The one that suits --to when absent."
  )
  var policy: String?
  @OptionGroup(title: "Unfinished work and parts") var work: WorkOptions
  @OptionGroup(title: "General") var shared: SharedOptions

  enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case safetensors, pth, gguf, compact

    var layout: Checkpoint.Layout {
      switch self {
      case .safetensors: .huggingFace
      case .pth: .meta
      case .gguf: .gguf
      case .compact: .compact
      }
    }
  }

  private var policyName: String { policy ?? (to ?? .unchanged).matchingPolicy.name }

  func validate() throws {
    if let tensorParallel, tensorParallel < 1 { throw ValidationError("--tp must be positive") }
    if let maximumShardSize, maximumShardSize.bytes == 0 { throw ValidationError("--max-shard-size must be positive") }
    if let maximumShardTensors, maximumShardTensors < 1 {
      throw ValidationError("--max-shard-tensors must be positive")
    }
    if work.part != nil && verify != nil {
      throw ValidationError("--verify goes to llama-convert finish, behind the parts")
    }
    if work.part != nil && dryRun { throw ValidationError("--dry-run shows the whole plan; leave out --part") }
    try mixed.validate(isMixed: to == .mixed, method: method, calibration)
    if dryRun && verify != nil { throw ValidationError("--dry-run writes nothing that --verify could judge") }
  }

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let interruption = Interruption()
      interruption.listen()
      try checkGate()
      let plan = try plan(console, interruption)
      if dryRun {
        try plan.preflight()
        try console.result(shared.json ? plan.document.serialized() : plan.summary)
        return
      }
      let journal = work.journal(console)
      if try isPublished(plan, journal, console) { return }
      try plan.preflight()
      if let part = work.part?.part {
        try convert(plan, part, journal, interruption, console)
      } else {
        try convert(plan, journal, interruption, console)
      }
    }
  }

  /// Behind the parts.
  func finish(parts: Int, _ console: Console) throws {
    let interruption = Interruption()
    interruption.listen()
    try checkGate()
    let plan = try plan(console, interruption)
    let journal = work.journal(console)
    if try isPublished(plan, journal, console) { return }
    try plan.preflight()
    let line = ProgressLine(console: console)
    defer { line.finish() }
    let run = try ConversionRun(finishing: plan, parts: parts, journal: journal, interruption: interruption)
    try prove(run, interruption, line, console)
  }

  private func plan(_ console: Console, _ interruption: Interruption) throws -> ConversionPlan {
    let checkpoint = try Checkpoint(path: input)
    for inference in checkpoint.inferences { console.remark("inferred: \(inference)") }
    for note in checkpoint.notes { console.remark("warning: \(note)") }
    var options = try options()
    if to == .mixed {
      try mixed.choose(&options, checkpoint, output: output, calibration, shared, interruption, console)
    }
    let plan = try ConversionPlan(checkpoint, output: output, options: options)
    for warning in plan.warnings { console.remark("warning: \(warning)") }
    return plan
  }

  /// A run before this one proved everything and was stopped while it gave names: the rest of them is given.
  private func isPublished(_ plan: ConversionPlan, _ journal: JournalSettings, _ console: Console) throws -> Bool {
    guard let done = try ConversionRecord.finishPublication(of: plan, journal: journal) else {
      // Whoever is at the output by now has its own journal.
      if work.part == nil { try? SharedWork.tidy(output) }
      return false
    }
    console.remark("completed the publication that was cut off")
    try console.result(shared.json ? done.record : done.summary)
    return true
  }

  private func options() throws -> ConversionOptions {
    ConversionOptions(
      target: to ?? .unchanged, layout: format?.layout, tensorParallel: tensorParallel, ignore: ignore, only: only,
      maximumShardSize: maximumShardSize?.bytes, maximumShardTensors: maximumShardTensors, tensorTypes: tensorTypes,
      allowsRequantizing: allowsRequantizing,
      importance: try imatrix.map { try NamedImportanceMatrix(path: $0) }, compresses: compresses,
      integers: IntegerOptions(
        method: method, groupSize: groupSize, isAsymmetric: isAsymmetric, layout: layout,
        isCalibrated: calibration.text != nil, groupsByActivation: calibration.order == .group,
        smoothing: calibration.smooth),
      threads: shared.threads, maximumMemory: shared.maximumMemory.bytes, force: force, sumsFiles: fileSums,
      checksSums: checkSums)
  }

  private func convert(
    _ plan: ConversionPlan, _ part: WorkPart, _ journal: JournalSettings, _ interruption: Interruption,
    _ console: Console
  ) throws {
    let line = ProgressLine(console: console)
    defer { line.finish() }
    let run = try PartRun(plan, part: part, journal: journal, interruption: interruption) {
      line.update("convert", done: $0, total: $1)
    }
    try console.result(shared.json ? run.document.serialized() : run.summary)
  }

  private func convert(
    _ planned: ConversionPlan, _ journal: JournalSettings, _ interruption: Interruption, _ console: Console
  ) throws {
    let line = ProgressLine(console: console)
    defer { line.finish() }
    let fitted = try calibration.run(
      planned.input, planned, threads: shared.threads, maximumMemory: shared.maximumMemory.bytes, interruption, line,
      console)
    let plan =
      try fitted.map {
        try planned.calibrated(
          tensors: $0.tensors, columnWeights: $0.columnWeights, activationScales: $0.activationScales, facts: $0.facts)
      }
      ?? planned
    let run = try ConversionRun(plan, journal: journal, interruption: interruption) {
      line.update("convert", done: $0, total: $1)
    }
    try prove(run, interruption, line, console) { try fitted?.discard() }
  }

  /// Self-check, gate, evidence, publication.
  private func prove(
    _ run: ConversionRun, _ interruption: Interruption, _ line: ProgressLine, _ console: Console,
    afterwards: () throws -> Void = {}
  ) throws {
    let record: ConversionRecord
    do {
      let check = try SelfCheck(run, interruption: interruption) { line.update("check", done: $0, total: $1) }
      let verdict = try gate(run, interruption, line, console)
      record = try ConversionRecord(run, check, verification: verdict)
      try interruption.check()
      try record.publish(replacing: force)
      try afterwards()
    } catch let undecided as Undecided {
      throw undecided.error
    } catch {
      throw run.end(after: error)
    }
    try console.result(shared.json ? record.document.serialized() : record.summary)
  }

  /// The gate came to no verdict, and the work waits for one.
  private struct Undecided: Error {
    let error: any Error
  }

  /// What `--verify` found. A candidate that failed is removed; all else leaves what was made for the next time.
  private func gate(
    _ run: ConversionRun, _ interruption: Interruption, _ line: ProgressLine, _ console: Console
  ) throws -> ConversionRecord.Verification? {
    do {
      return try judge(run.plan.input, staged: run.staging.path, interruption, line, console)
    } catch let carrier as ExitCodeCarrier where carrier.status == .gateFailed {
      throw carrier
    } catch {
      let paused = run.pause(after: error)
      line.finish()
      if let advice = paused.advice { console.error(advice) }
      throw Undecided(error: paused.error)
    }
  }

  /// Policy and text of `--verify`, before hours of work and not after.
  private func checkGate() throws {
    guard let verify else { return }
    _ = try Policy(argument: policyName)
    guard try ReadableFile(path: verify).byteCount > 0 else {
      throw ParseFailure("the text is empty", file: verify, advice: "--verify needs a text to judge on")
    }
  }

  /// What `--verify` found, for the record; nil without it.
  /// - Throws: `ExitCodeCarrier` when the candidate is not to be published.
  private func judge(
    _ checkpoint: Checkpoint, staged: String, _ interruption: Interruption, _ line: ProgressLine, _ console: Console
  ) throws -> ConversionRecord.Verification? {
    guard let verify else { return nil }
    let request = VerificationRequest(
      base: checkpoint, candidate: try Checkpoint(path: staged), textPath: verify,
      policy: try Policy(argument: policyName),
      threads: shared.threads, maximumMemory: shared.maximumMemory.bytes)
    let result = try request.run(checkCancellation: { try interruption.check() }) {
      line.update($0, done: $1, total: $2, unit: .layers)
    }
    line.finish()
    for remark in result.remarks { console.remark("warning: \(remark)") }
    let report = result.report
    guard report.verdict == .pass else {
      try console.result(shared.json ? report.jsonText : report.summary)
      console.error(
        "the verdict under policy \(policyName) is \(report.verdict.rawValue): the candidate was not published")
      throw ExitCodeCarrier(report.verdict == .fail ? .gateFailed : .inconclusive)
    }
    return ConversionRecord.Verification(entry: report.recordEntry, line: report.line)
  }
}

extension TargetType: ExpressibleByArgument {
  public init?(argument: String) { self.init(name: argument) }
}

extension IntegerMethod: ExpressibleByArgument {}
extension IntegerLayout: ExpressibleByArgument {}

extension IntegerOptions.GroupSize: ExpressibleByArgument {
  public init?(argument: String) {
    if argument == "channel" || argument == "-1" {
      self = .channel
    } else if let size = Int(argument), size > 0 {
      self = .elements(size)
    } else {
      return nil
    }
  }
}

extension TensorTypeOverride: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
