public import ByteIO
internal import Checkpoints

extension VerificationReport.Subject {
  static let factsSchema = "llama-verify-evidence/1"

  /// All of the subject that scores do not hold, as the evidence file keeps it (`formats/evidence.md`): scores and facts
  /// make the report again, to the letter.
  public var facts: JSONValue {
    var top = Members()
    top.set("schema", Self.factsSchema)
    top.set("base", base.facts)
    if let candidate { top.set("candidate", candidate.facts) }
    var text = Members()
    text.set("characters", self.text.characters)
    text.set("bytes", self.text.utf8Bytes)
    if let path = self.text.path { text.set("path", path) }
    if let digest = self.text.sha256 { text.set("sha256", digest) }
    top.set("text", text.object)
    var scored = Members()
    scored.set("context", scoring.context)
    scored.set("protocol", scoring.name)
    top.set("tokens", scored.object)
    top.set("policy", policy.json)
    if let policyDigest { top.set("policy_sha256", policyDigest) }
    var bootstrap = Members()
    bootstrap.set("seed", .number(JSONNumber(self.bootstrap.seed)))
    bootstrap.set("replicates", self.bootstrap.replicates)
    top.set("bootstrap", bootstrap.object)
    if let sequence { top.set("sequence", sequence.facts) }
    if let share {
      top.set(
        "part",
        [
          "index": .number(JSONNumber(share.part.index)), "count": .number(JSONNumber(share.part.count)),
          "windows": .number(JSONNumber(share.windows)),
          "candidate": .number(JSONNumber(place.index)), "candidates": .number(JSONNumber(place.count)),
        ])
    }
    if !prior.isEmpty { top.set("prior", .array(prior.map(\.facts))) }
    top.set("run", run.facts)
    top.set(
      "tensors",
      .array(
        tensors.map { tensor in
          var members = Members()
          members.set("name", tensor.name)
          members.set("sqnr_db", SubjectReader.spelled(tensor.sqnrDecibels))
          if let storage = tensor.storage { members.set("storage", storage) }
          return members.object
        }))
    if !excerpts.isEmpty {
      top.set(
        "excerpts",
        .array(excerpts.map { ["window": .number(JSONNumber($0.window)), "text": .string($0.text)] }))
    }
    if let bisection { top.set("bisect", bisection.json) }
    return top.object
  }

  /// The subject of facts and scores. Unknown members are ignored.
  /// - Throws: `ParseFailure` with the member that is missing or has another kind of value.
  public init(facts: JSONValue, scores: TokenScores) throws(ParseFailure) {
    let top = SubjectReader(value: facts, path: "facts")
    let schema = try top.string("schema")
    guard schema == Self.factsSchema else {
      throw ParseFailure("facts of schema \(schema.prefix(60)), expected \(Self.factsSchema)")
    }
    let text = try top.member("text")
    let tokens = try top.member("tokens")
    let context = try tokens.count("context")
    guard context > 1 else { throw ParseFailure("a context of \(context)", item: "facts.tokens.context") }
    let bootstrap = try top.member("bootstrap")
    let policy = try top.member("policy").value.serialized(.compact)
    let hasCandidate = facts["candidate"] != nil
    guard hasCandidate == scores.hasCandidate else {
      throw ParseFailure("facts and scores disagree on whether there is a candidate")
    }
    var tensors: [TensorError] = []
    let entries = try top.list("tensors")
    guard entries.count <= Self.maximumTensors else {
      throw ParseFailure("\(entries.count) tensors, at most \(Self.maximumTensors)", item: "facts.tensors")
    }
    for tensor in entries {
      tensors.append(
        TensorError(
          name: try tensor.string("name"), sqnrDecibels: try tensor.spelledNumber("sqnr_db"),
          storage: try tensor.optionalString("storage")))
    }
    let seed = try bootstrap.unsigned("seed")
    let replicates = try bootstrap.count("replicates")
    guard (100...100_000).contains(replicates) else {
      throw ParseFailure("\(replicates) replicates, expected 100 to 100000", item: "facts.bootstrap.replicates")
    }
    self.init(
      base: try ModelIdentity(top.member("base")),
      candidate: hasCandidate ? try ModelIdentity(top.member("candidate")) : nil,
      text: TextFacts(
        characters: try text.count("characters"), utf8Bytes: try text.count("bytes"),
        path: try text.optionalString("path"), sha256: try text.optionalString("sha256")),
      scoring: ScoringProtocol(name: try tokens.string("protocol"), context: context),
      layers: scores.residuals?.layerErrors ?? [], tensors: tensors, run: try RunFacts(top.member("run")),
      policy: try Policy(parsing: Array(policy.utf8), file: "facts.policy"),
      policyDigest: try top.optionalString("policy_sha256"),
      bootstrap: BootstrapSettings(seed: seed, replicates: replicates))
    if facts["part"] != nil {
      (share, place) = try Self.part(top.member("part"))
    }
    if facts["prior"] != nil {
      for gate in try top.list("prior") { prior.append(try Gate(prior: gate)) }
    }
    if facts["sequence"] != nil { sequence = try LookFacts(top.member("sequence"), policy: self.policy) }
    if facts["bisect"] != nil { bisection = try Bisection(top.member("bisect")) }
    if facts["excerpts"] != nil {
      for excerpt in try top.list("excerpts") {
        excerpts.append(WindowExcerpt(window: try excerpt.count("window"), text: try excerpt.string("text")))
      }
    }
  }

  /// Of facts; Llama 3.1 405B has 1,138.
  private static var maximumTensors: Int { 10_000 }

  private static func part(_ part: SubjectReader) throws(ParseFailure) -> (WindowShare, CandidatePlace) {
    guard let share = WorkPart(try part.count("index"), of: try part.count("count")) else {
      throw ParseFailure("no such part", item: part.path)
    }
    // Windows are 32 bits wide in the table.
    let windows = try part.count("windows")
    guard (1...Int(UInt32.max)).contains(windows) else {
      throw ParseFailure("\(windows) windows", item: "\(part.path).windows")
    }
    // Evidence of one candidate need not say so.
    guard part.value["candidate"] != nil else { return (WindowShare(share, of: windows), .only) }
    guard let place = CandidatePlace(try part.count("candidate"), of: try part.count("candidates")) else {
      throw ParseFailure("no such candidate", item: "\(part.path).candidate")
    }
    return (WindowShare(share, of: windows), place)
  }
}

extension VerificationReport {
  /// The report that a file of evidence was written with.
  /// - Throws: `ParseFailure` for a file without facts or without a token, or with facts that are not whole.
  public init(_ evidence: Evidence) throws(ParseFailure) {
    guard let facts = evidence.facts else { throw ParseFailure("the evidence has no facts, only scores") }
    guard evidence.scores.count > 0 else { throw ParseFailure("the evidence has no scored token") }
    self.init(try Subject(facts: facts, scores: evidence.scores), scores: evidence.scores)
  }
}

extension ModelIdentity {
  fileprivate var facts: JSONValue {
    ["path": .string(path), "layout": .string(layout), "digest": .string(digest)]
  }

  fileprivate init(_ reader: SubjectReader) throws(ParseFailure) {
    self.init(
      path: try reader.string("path"), layout: try reader.string("layout"), digest: try reader.string("digest"))
  }
}

extension Gate {
  /// Of a gate before the scores.
  fileprivate var facts: JSONValue {
    ["id": .string(id), "problems": .number(JSONNumber(Int(value ?? 0))), "explanation": .string(explanation)]
  }

  fileprivate init(prior reader: SubjectReader) throws(ParseFailure) {
    let id = try reader.string("id")
    guard let kind = PriorGate(rawValue: id) else {
      throw ParseFailure("no gate before the scores is called \(id.prefix(60))", item: "facts.prior.id")
    }
    let problems = try reader.count("problems")
    self.init(
      id: id, title: kind.title, outcome: problems == 0 ? .pass : .fail, value: Double(problems), relation: .equal,
      limit: 0, explanation: VerificationReport.plain(try reader.string("explanation")))
  }
}

extension LookFacts {
  /// Windows of a plan that is read from a file.
  private static let maximumWindows = 1 << 20

  fileprivate var facts: JSONValue {
    let looks: [JSONValue] = previous.map { look in
      [
        "windows": .number(JSONNumber(look.windows)), "tokens": .number(JSONNumber(look.tokens)),
        "ratio": look.ratio.map(SubjectReader.spelled) ?? .null,
      ]
    }
    return [
      "seed": .number(JSONNumber(plan.seed)), "windows": .number(JSONNumber(plan.order.count)), "looks": .array(looks),
    ]
  }

  fileprivate init(_ reader: SubjectReader, policy: Policy) throws(ParseFailure) {
    let windows = try reader.count("windows")
    guard (1...Self.maximumWindows).contains(windows) else {
      throw ParseFailure("\(windows) windows", item: "facts.sequence.windows")
    }
    let plan = LookPlan(count: windows, seed: try reader.unsigned("seed"))
    let entries = try reader.list("looks")
    guard entries.count < plan.sizes.count else {
      throw ParseFailure("\(entries.count) looks before the last", item: "facts.sequence.looks")
    }
    let levels = DecisionLevels.looks(plan, gates: policy.sampledLimitCount)
    var previous: [Look] = []
    for (entry, levels) in zip(entries, levels) {
      previous.append(
        Look(
          windows: try entry.count("windows"), tokens: try entry.count("tokens"), levels: levels,
          ratio: entry.value["ratio"] == .null ? nil : try entry.spelledNumber("ratio"), verdict: .inconclusive))
    }
    self.init(plan: plan, previous: previous)
  }
}

extension RunFacts {
  fileprivate var facts: JSONValue {
    var members = Members()
    members.set("seconds", SubjectReader.spelled(seconds))
    members.set("tokens_per_second", SubjectReader.spelled(tokensPerSecond))
    members.set("peak_rss_bytes", peakRSSBytes)
    members.set("bytes_read", bytesRead)
    members.set("weight_passes", weightPasses)
    if let memory {
      members.set(
        "planned_memory",
        .array([memory.held, memory.hiddenStates, memory.weights, memory.scratch].map { .number(JSONNumber($0)) }))
    }
    members.set("threads", threads)
    members.set("instruction_set", instructionSet)
    members.set("compute", compute)
    if let emulation { members.set("emulate", emulation) }
    members.set("emulated_activations", .array(emulatedActivations.map { .string($0) }))
    members.set("blocks", .bool(hasBlocks))
    members.set("version", version)
    return members.object
  }

  fileprivate init(_ reader: SubjectReader) throws(ParseFailure) {
    self.init(
      seconds: try reader.spelledNumber("seconds"), tokensPerSecond: try reader.spelledNumber("tokens_per_second"),
      peakRSSBytes: try reader.unsigned("peak_rss_bytes"), bytesRead: try reader.unsigned("bytes_read"),
      weightPasses: try reader.count("weight_passes"), threads: try reader.count("threads"),
      instructionSet: try reader.string("instruction_set"), compute: try reader.string("compute"),
      emulation: try reader.optionalString("emulate"), emulatedActivations: try reader.strings("emulated_activations"),
      hasBlocks: try reader.bool("blocks"), version: try reader.string("version"))
    guard let list = reader.value["planned_memory"] else { return }
    var sizes: [UInt64] = []
    for case .number(let number) in list.array ?? [] { if let size = number.unsigned { sizes.append(size) } }
    guard sizes.count == 4 else { throw ParseFailure("expected four sizes", item: "facts.run.planned_memory") }
    memory = MemoryFacts(held: sizes[0], hiddenStates: sizes[1], weights: sizes[2], scratch: sizes[3])
  }
}
