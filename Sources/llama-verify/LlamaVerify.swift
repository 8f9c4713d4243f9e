public import ArgumentParser
internal import ByteIO
internal import Checkpoints
public import CommandLineSupport
public import Inference
public import Kernels
public import Verification

/// Runs base and candidate side by side over a text and judges the drift.
@main
struct LlamaVerify: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "llama-verify",
    abstract: "Run both models' full forward pass and judge the perplexity drift; or the perplexity of one model.",
    discussion: """
      `llama-verify BASE CANDIDATE --text F` judges; `llama-verify help verify` lists its options. Several candidates are \
      judged in one pass over BASE and shown in one table; the exit code is that of the worst verdict.

      Exit codes: 0 pass (or one model only), 1 fail, 2 inconclusive, 64 usage, 65 bad or corrupt input, \
      66 missing input, 70 fault of this program, 73 the report exists or cannot be created, 74 input/output error or \
      full disk, 75 interrupted, 77 permission.
      """,
    version: ToolVersion.text,
    subcommands: [Verify.self, Combine.self, Tokenize.self, Logits.self, Speed.self],
    defaultSubcommand: Verify.self)
}

/// `llama-verify BASE [CANDIDATE …] --text F`
struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Score a text under BASE and CANDIDATE and judge the candidate (the default subcommand).")

  @Argument(help: "The model that is trusted.") var base: String
  @Argument(
    help: ArgumentHelp(
      "The models that are judged, all in one pass over BASE. Without one the perplexity of BASE is reported.",
      valueName: "candidate"))
  var candidates: [String] = []
  @Option(help: "UTF-8 text to score. Only --policy lossless needs none: it then compares digests.") var text: String?
  @Option(
    help:
      "Score conversations instead: JSON lines of {\"messages\": [{\"role\": …, \"content\": …}]}, rendered as Meta's Llama 2 or 3 format has them; what the assistant says is scored."
  )
  var chat: String?
  @Option(
    help:
      "What the candidate is held to: \(Policy.builtIn.map(\.name).joined(separator: ", ")), or a YAML or JSON file.")
  var policy: String = "fp8"
  @Option(
    help:
      "Tokens of a window, the begin-of-text token included: 512 when absent; with --chat of a conversation, 8192 or what the model has positions for."
  )
  var context: Int?
  @Option(
    name: .customLong("protocol"),
    help: "How the text is cut and scored. windows: every token once. llama.cpp: as llama-perplexity does, to compare.")
  var rule: ScoringRule = .windows
  @Flag(
    name: .customLong("each-its-own-tokenizer"),
    help:
      "Compare models whose tokenizers differ: each reads the text in its own tokens, and only figures per character and per byte are given, without a verdict."
  )
  var eachItsOwnTokenizer = false
  @Option(help: "Score about so many tokens, in windows spread evenly over the text, instead of all.") var tokens: Int?
  @Flag(
    name: .customLong("until-decided"),
    help:
      "Score growing shares of the text, each spread evenly over it, and stop once the policy decides. The verdict's errors stay those of one test."
  )
  var untilDecided = false
  @Option(
    name: .customLong("max-tokens"), help: "With --until-decided: score about so many tokens at most, instead of all.")
  var maximumTokens: Int?
  @Option(help: "Of the bootstrap, and of the order in which --until-decided takes windows.") var seed: UInt64 = 1
  @Option(
    help:
      "Score only one part of the windows, and write its scores instead of a report: INDEX/COUNT, counted from 0, or env for what Kubernetes or Slurm say. llama-verify combine puts parts together.",
    transform: PartArgument.init(argument:))
  var part: PartArgument?
  @Option(
    help:
      "With --part: the file that takes the scores, or an existing folder for it (with several candidates, a folder). A file from before is replaced."
  )
  var evidence: String?
  @Option(
    help:
      "How products are computed. exact: to float32's accuracy. bf16: both sides rounded to BF16, as BF16 serving does, in about half the time."
  )
  var compute: Compute = .exact
  @Option(help: ActivationEmulation.help) var emulate: ActivationEmulation?
  @Option(
    help:
      "Write report.json, report.html, report.md, junit.xml and the scores of every token into this new directory; of several candidates a comparison, and a folder for each."
  )
  var report: String?
  @Flag(name: .customLong("no-excerpts"), help: "Keep words of the text out of reports.") var hidesExcerpts = false
  @Flag(
    help:
      "Find the tensors that make the candidate drift: the base's are put in their place, group by group, over --tokens tokens (4096 when absent). Each test is a forward pass of the candidate; one culprit takes about 2 · log2(layers) + 7 of them, and the most that it can be is said before."
  )
  var bisect = false
  @Option(
    help:
      "Do not judge: collect the importance matrix of BASE on the text into this new file, for llama-convert --imatrix and llama.cpp."
  )
  var imatrix: String?
  @Flag(
    help:
      "Plant known faults of converters in MODEL (BASE), one at a time and in memory only, and see whether each is flagged; --text is optional."
  )
  var selfTest = false
  @OptionGroup(title: "General") var shared: SharedOptions

  func validate() throws {
    if selfTest { try validateSelfTest() }
    guard (2...1 << 20).contains(context ?? 512) else {
      throw ValidationError("--context must be between 2 and 1048576")
    }
    guard rule != .llamaCpp || context ?? 512 >= 3 else {
      throw ValidationError("--context must be at least 3 with --protocol llama.cpp: a chunk of 2 scores no token")
    }
    guard text == nil || chat == nil else { throw ValidationError("--text and --chat are two ways; give one of them") }
    guard chat == nil || rule == .windows else { throw ValidationError("--chat has no --protocol") }
    if text == nil && chat == nil && !selfTest {
      guard policy == Policy.lossless.name, candidates.count == 1 else {
        throw ValidationError("--text is needed; only two models under --policy lossless are compared without")
      }
      guard report == nil else { throw ValidationError("--report needs --text: without scores there is no report") }
    }
    if bisect
      && (candidates.count != 1 || eachItsOwnTokenizer || untilDecided || part != nil || text == nil && chat == nil)
    {
      throw ValidationError("--bisect takes one candidate, and --text or --chat, all of it in this process and at once")
    }
    if imatrix != nil && (!candidates.isEmpty || report != nil || text == nil && chat == nil) {
      throw ValidationError("--imatrix takes one model and --text or --chat, and makes no report")
    }
    if eachItsOwnTokenizer {
      guard candidates.count == 1, text != nil, rule == .windows, report == nil, tokens == nil, emulate == nil else {
        throw ValidationError(
          "--each-its-own-tokenizer takes two models and --text, and neither --protocol, --tokens, --emulate nor --report"
        )
      }
    }
    if let tokens, tokens < 1 { throw ValidationError("--tokens must be positive") }
    if let maximumTokens, maximumTokens < 1 { throw ValidationError("--max-tokens must be positive") }
    guard maximumTokens == nil || untilDecided else { throw ValidationError("--max-tokens needs --until-decided") }
    if part != nil || evidence != nil {
      guard part != nil, evidence != nil else { throw ValidationError("--part and --evidence go together") }
      guard text != nil || chat != nil, report == nil, imatrix == nil, !eachItsOwnTokenizer,
        !untilDecided
      else {
        throw ValidationError(
          "--part takes a text, and neither --until-decided, --report, --imatrix nor --each-its-own-tokenizer"
        )
      }
    }
    if untilDecided && (candidates.isEmpty || tokens != nil || imatrix != nil || eachItsOwnTokenizer) {
      throw ValidationError("--until-decided takes a candidate to decide on, and --max-tokens instead of --tokens")
    }
  }

  func run() throws {
    let console = shared.console(program: "llama-verify")
    try console.run {
      try ReportFolder.refuseExisting(report)
      let interruption = Interruption()
      interruption.listen()
      if let evidence, try FileSystem.kind(of: evidence) != .directory {
        guard candidates.count <= 1 else {
          throw UsageFailure("--evidence \(evidence): of several candidates it is an existing folder")
        }
        try ReportFolder.checkPlace(of: evidence, operation: "write the evidence")
      }
      let policy = try Policy(argument: policy)
      if selfTest { return try runSelfTest(policy, console, interruption) }
      guard let text = text ?? chat else { return try compareDigests(console, interruption) }
      let line = ProgressLine(console: console)
      defer { line.finish() }
      let model = try Checkpoint(path: base)
      var request = VerificationRequest(
        base: model, candidates: try candidates.map { try Checkpoint(path: $0) }, textPath: text, policy: policy,
        context: context ?? (chat == nil ? 512 : min(8192, model.maximumPositions)), rule: chat == nil ? rule : .chat,
        tokenLimit: tokens ?? maximumTokens,
        compute: compute, emulation: emulate, threads: shared.threads,
        maximumMemory: shared.maximumMemory.bytes)
      let models = [request.base] + request.candidates
      request.showsExcerpts = !hidesExcerpts
      (request.stopsWhenDecided, request.seed, request.part) = (untilDecided, seed, part?.part)
      request.bisects = bisect
      try emulate?.check(models)
      for note in models.flatMap(\.notes) { console.remark("warning: \(note)") }
      if let imatrix { return try collect(request, into: imatrix, console, interruption, line) }
      if eachItsOwnTokenizer {
        let result = try OwnTokenizers(request, checkCancellation: { try interruption.check() }) {
          line.update($0, done: $1, total: $2, unit: .layers)
        }
        line.finish()
        return try console.result(shared.json ? result.document.serialized() : result.summary)
      }
      let results = try request.runAll(checkCancellation: { try interruption.check() }) { phase, done, total in
        if phase == VerificationRequest.bisectionPhase, done == 0 {
          console.remark("bisect: at most \(total) forward passes of the candidate")
        }
        line.update(
          phase, done: done, total: total, unit: phase == VerificationRequest.bisectionPhase ? .passes : .layers)
      }
      line.finish()
      for remark in results[0].remarks { console.remark("warning: \(remark)") }
      if let part, let evidence { return try keep(results, part.part, in: evidence, console) }
      try ResultOutput(report: report, isJSON: shared.json).give(results, to: console)
    }
  }

  /// Writes a part's evidence, a file for each candidate. It has no verdict: that is for all parts together.
  private func keep(
    _ results: [VerificationResult], _ part: WorkPart, in place: String, _ console: Console
  ) throws {
    let isFolder = try FileSystem.kind(of: place) == .directory
    for result in results {
      let subject = result.report.subject
      let path = isFolder ? "\(place)/\(PartEvidence.fileName(of: part, candidate: subject.place))" : place
      try FileSystem.writeAtomically(Evidence(scores: result.scores, facts: subject.facts).bytes, to: path)
      let document: JSONValue = [
        "schema": "llama-verify-part/1", "path": .string(path), "part": .string(part.description),
        "windows": .number(JSONNumber(result.report.windows)), "tokens": .number(JSONNumber(result.report.tokens)),
      ]
      try console.result(
        shared.json
          ? document.serialized()
          : "wrote       \(path)\npart        \(part)\nwindows     \(result.report.windows)\ntokens      \(result.report.tokens)\n"
      )
    }
  }

  private func collect(
    _ request: VerificationRequest, into path: String, _ console: Console, _ interruption: Interruption,
    _ line: ProgressLine
  ) throws {
    guard !FileSystem.nameIsTaken(path) else {
      throw FileFailure(path: path, operation: "create the file", kind: .exists, detail: "it exists already")
    }
    guard try FileSystem.kind(of: FileSystem.parent(of: path)) == .directory else {
      throw FileFailure(
        path: path, operation: "create the file", kind: .cannotCreate, detail: "its directory does not exist")
    }
    let (matrix, tokens) = try request.importanceMatrix(checkCancellation: { try interruption.check() }) {
      line.update($0, done: $1, total: $2, unit: .layers)
    }
    line.finish()
    try matrix.write(to: path)
    let document: JSONValue = [
      "schema": "llama-imatrix/1", "path": .string(path), "entries": .number(JSONNumber(matrix.entries.count)),
      "tokens": .number(JSONNumber(tokens)),
    ]
    try console.result(
      shared.json
        ? document.serialized() : "wrote       \(path)\nentries     \(matrix.entries.count)\ntokens      \(tokens)\n")
  }

  private func compareDigests(_ console: Console, _ interruption: Interruption) throws {
    let models = try ([base] + candidates).map { try Checkpoint(path: $0) }
    for note in models.flatMap(\.notes) { console.remark("warning: \(note)") }
    let proof = try LosslessProof(models[0], models[1], threads: shared.threads) { try interruption.check() }
    try console.result(shared.json ? proof.document.serialized() : proof.summary)
    if proof.verdict == .fail { throw ExitCodeCarrier(.gateFailed) }
  }
}

extension Compute: ExpressibleByArgument {}

extension ActivationEmulation: ExpressibleByArgument {
  static let help: ArgumentHelp =
    "Emulate serving: round activations where a quantized model's configuration says that serving does."

  public init?(argument: String) { self.init(canonicalText: argument) }

  public static var allValueStrings: [String] { ["activations"] + allCases.map(\.canonicalText) }

  public static var allValueDescriptions: [String: String] {
    [
      "activations": "To whatever it says: activations=model in short.",
      model.canonicalText: "To whatever it says.",
      fp8.canonicalText: "To what it says, which must be FP8.",
      int8.canonicalText: "To what it says, which must be int8.",
    ]
  }

  /// - Throws: `UsageFailure` for a model that says something else.
  func check(_ models: [Checkpoint]) throws {
    if let sentence = models.lazy.compactMap({ contradiction(of: $0) }).first { throw UsageFailure(sentence) }
  }
}

extension ScoringRule: ExpressibleByArgument {
  /// Conversations come by an option of their own.
  public init?(argument: String) {
    guard let rule = ScoringRule(rawValue: argument), rule != .chat else { return nil }
    self = rule
  }

  public static var allValueStrings: [String] { allCases.filter { $0 != .chat }.map(\.rawValue) }
}

extension MemoryFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .usage }
}
