public import ByteIO
internal import Foundation

extension VerificationReport {
  /// The document `report.json`. Its keys are a contract (schema `llama-verify/1`): members that compare a candidate are
  /// absent for one model alone, and a number that could not be computed or is not finite is null. Beside the contract's
  /// members stand: `gates`, `warnings`, `text`; `policy.limits`; the further fields of `perplexity`, `kld`, `agreement`,
  /// `positions` and `run` that a reader may want.
  public var json: JSONValue {
    var top = Members()
    top.set("schema", Self.schema)
    top.set("verdict", verdict.rawValue)
    top.set("exit_code", Int(exitCode))
    if hasCandidate { top.set("policy", policyJSON) }
    top.set("base", Self.identity(subject.base))
    if let candidate = subject.candidate { top.set("candidate", Self.identity(candidate)) }
    top.set("tokens", tokensJSON)
    top.set("perplexity", perplexityJSON)
    top.set("nll", nllJSON)
    if hasCandidate {
      top.set("kld", kldJSON)
      top.set("agreement", agreementJSON)
      top.set("positions", .array((drift?.positions ?? []).map(Self.position)))
      top.set("layers", .array(subject.layers.map(layer)))
      top.set("tensors", .array(subject.tensors.map(Self.tensor)))
    }
    if let sequence = subject.sequence { top.set("sequential", sequentialJSON(sequence)) }
    top.set("run", runJSON)
    top.set("gates", .array(judgement.gates.map(Self.gate)))
    top.set("warnings", .array(warnings.map { .string($0) }))
    top.set("text", textJSON)
    if hasCandidate {
      top.set("suspects", .array(suspects.map(Self.suspect)))
      top.set("worst_windows", .array(worstWindows.map(window)))
      if let bisection = subject.bisection { top.set("bisect", bisection.json) }
    }
    return top.object
  }

  var tokensJSON: JSONValue {
    var scored = Members()
    scored.set("scored", tokens)
    scored.set("windows", windows)
    scored.set("context", subject.scoring.context)
    scored.set("protocol", subject.scoring.name)
    return scored.object
  }

  /// `report.json` as text.
  public var jsonText: String { json.serialized(.indented) }

  var policyJSON: JSONValue {
    var policy = Members()
    policy.set("name", subject.policy.name)
    policy.set("limits", .object(JSONObject(subject.policy.limits.map { ($0.key.rawValue, $0.value) })))
    if let digest = subject.policyDigest { policy.set("sha256", digest) }
    return policy.object
  }

  static func identity(_ model: ModelIdentity) -> JSONValue {
    var members = Members()
    members.set("path", model.path)
    members.set("layout", model.layout)
    members.set("digest", model.digest)
    return members.object
  }

  private var perplexityJSON: JSONValue {
    var members = Members()
    members.set("base", base?.perplexity)
    if hasCandidate {
      members.set("candidate", drift?.candidate.perplexity)
      members.set("ratio", drift?.ratio)
      members.set("ln_ratio", drift?.lnRatio.mean)
      members.set("ln_ratio_se", drift?.lnRatio.standardError)
      members.set("ratio_ci95", Members.pair(drift?.ratioInterval95))
      members.set("bootstrap", bootstrapJSON)
      members.set("minimum_detectable_ratio", drift?.minimumDetectableLnRatio.map { exp($0) })
      members.set("tokens_to_decide", judgement.tokensToDecide.map { .number(JSONNumber($0)) } ?? .null)
      members.set("window_autocorrelation", drift?.windowAutocorrelation)
      members.set("error_method", errorMethod)
      members.set("degrees_of_freedom", drift?.lnRatio.degreesOfFreedom)
      members.set("window_variance_ratio", drift?.lnRatio.dependence?.varianceRatio)
    }
    if subject.scoring.rule == .llamaCpp {
      members.set("base_se_llama_cpp", base?.independentPerplexityError)
      if hasCandidate { members.set("candidate_se_llama_cpp", drift?.candidate.independentPerplexityError) }
    }
    members.set("base_ci95", Members.pair(base?.nllPerToken.interval95.map { exp($0.lowerBound)...exp($0.upperBound) }))
    return members.object
  }

  private var errorMethod: JSONValue {
    guard let drift, drift.lnRatio.standardError != nil else { return .null }
    return drift.lnRatio.dependence?.isSeen == true ? "long-run variance of windows" : "windows as clusters"
  }

  private var bootstrapJSON: JSONValue {
    var members = Members()
    let block = drift?.bootstrap?.blockLength ?? 1
    members.set("method", block == 1 ? "BCa over windows" : "BCa over blocks of \(block) neighbouring windows")
    members.set("seed", .number(JSONNumber(subject.bootstrap.seed)))
    members.set("replicates", subject.bootstrap.replicates)
    members.set("ratio_ci95", Members.pair(drift?.bootstrap.map { exp($0.lower)...exp($0.upper) }))
    return members.object
  }

  private var nllJSON: JSONValue {
    var members = Members()
    let models = [("base", base)] + (hasCandidate ? [("candidate", drift?.candidate)] : [])
    for (name, fit) in models { members.set("\(name)_per_token", fit?.nllPerToken.mean) }
    for (name, fit) in models { members.set("\(name)_per_character", fit?.nllPerCharacter) }
    for (name, fit) in models { members.set("\(name)_bits_per_byte", fit?.bitsPerByte) }
    return members.object
  }

  private var kldJSON: JSONValue {
    let kld = drift?.kld
    var members = Members()
    members.set("mean", kld?.mean.mean)
    members.set("se", kld?.mean.standardError)
    members.set("p50", kld?.p50)
    members.set("p90", kld?.p90)
    members.set("p95", kld?.p95)
    members.set("p99", kld?.p99.value)
    members.set("p999", kld?.p999)
    members.set("max", kld?.max)
    members.set("quantiles", "linear")
    return members.object
  }

  private var agreementJSON: JSONValue {
    let agreement = drift?.agreement
    var members = Members()
    members.set("top1", agreement?.top1.value)
    members.set("top5", agreement?.top5.mean)
    members.set("flips_worse", agreement.map { .number(JSONNumber($0.flipsWorse)) } ?? .null)
    members.set("flips_better", agreement.map { .number(JSONNumber($0.flipsBetter)) } ?? .null)
    members.set("top1_ci95", Members.pair(agreement?.top1.interval95))
    members.set("flips_mcnemar_p", agreement?.flipsP)
    return members.object
  }

  private static func position(_ bin: PositionBin) -> JSONValue {
    var members = Members()
    members.set("from", bin.from)
    members.set("to", bin.to)
    members.set("ln_ratio", bin.lnRatio.mean)
    members.set("ln_ratio_se", bin.lnRatio.standardError)
    members.set("tokens", bin.lnRatio.tokens)
    return members.object
  }

  private func layer(_ layer: LayerError) -> JSONValue {
    var members = Members()
    members.set("layer", layer.layer)
    members.set("relative_error", layer.relativeError)
    if heat.indices.contains(layer.layer) {
      members.set("by_position", .array(heat[layer.layer].map { Members.number($0) }))
    }
    return members.object
  }

  private static func suspect(_ suspect: Suspect) -> JSONValue {
    var members = Members()
    members.set("kind", suspect.kind.rawValue)
    members.set("name", suspect.name)
    members.set("layer", suspect.layer.map { .number(JSONNumber($0)) } ?? .null)
    members.set("value", suspect.value)
    members.set("typical", suspect.typical)
    members.set("z", suspect.z)
    members.set("explanation", suspect.explanation)
    return members.object
  }

  private func window(_ window: WindowDrift) -> JSONValue {
    var members = Members()
    members.set("window", window.window)
    members.set("tokens", window.tokens)
    members.set("ln_ratio", window.lnRatio)
    members.set("kld", window.kld)
    members.set("top1", window.top1)
    members.set("worst_position", window.worstPosition)
    members.set("worst_drift", window.worstDrift)
    if let text = excerpt(of: window) { members.set("excerpt", text) }
    return members.object
  }

  func excerpt(of window: WindowDrift) -> String? {
    subject.excerpts.first { $0.window == window.window }?.text
  }

  private static func tensor(_ tensor: TensorError) -> JSONValue {
    var members = Members()
    members.set("name", tensor.name)
    members.set("sqnr_db", tensor.sqnrDecibels)
    if let storage = tensor.storage { members.set("storage", storage) }
    return members.object
  }

  private static func gate(_ gate: Gate) -> JSONValue {
    var members = Members()
    members.set("id", gate.id)
    members.set("outcome", gate.outcome.rawValue)
    members.set("value", gate.value)
    members.set("lower95", gate.lowerBound95)
    members.set("upper95", gate.upperBound95)
    members.set("lower", gate.bounds.lower)
    members.set("lower_confidence", gate.bounds.lowerConfidence)
    members.set("upper", gate.bounds.upper)
    members.set("upper_confidence", gate.bounds.upperConfidence)
    members.set("relation", gate.relation == .atMost ? "<=" : gate.relation == .atLeast ? ">=" : "==")
    members.set("limit", gate.limit)
    members.set("margin_se", gate.marginInStandardErrors)
    members.set("tokens_to_decide", gate.tokensToDecide.map { .number(JSONNumber($0)) } ?? .null)
    members.set("explanation", gate.explanation)
    return members.object
  }

  var runJSON: JSONValue {
    let run = subject.run
    var members = Members()
    members.set("seconds", run.seconds)
    members.set("tokens_per_second", run.tokensPerSecond)
    members.set("peak_rss_bytes", .number(JSONNumber(run.peakRSSBytes)))
    members.set("bytes_read", .number(JSONNumber(run.bytesRead)))
    members.set("weight_passes", run.weightPasses)
    if let memory = run.memory { members.set("planned_memory", Self.memory(memory)) }
    members.set("threads", run.threads)
    members.set("instruction_set", run.instructionSet)
    members.set("compute", run.compute)
    members.set("version", run.version)
    members.set("emulate", run.emulation.map { .string($0) } ?? .null)
    if run.emulation != nil {
      members.set("emulated_activations", .array(run.emulatedActivations.map { .string($0) }))
    }
    if run.hasBlocks { members.set("blocks", "dequantized, activations unquantized") }
    return members.object
  }

  private func sequentialJSON(_ sequence: LookFacts) -> JSONValue {
    var members = Members()
    members.set("method", LookFacts.method)
    members.set("seed", .number(JSONNumber(sequence.plan.seed)))
    members.set("maximum_windows", sequence.plan.order.count)
    members.set("planned_windows", .array(sequence.plan.sizes.map { .number(JSONNumber($0)) }))
    members.set("looks", .array((sequence.previous + [look].compactMap { $0 }).map(Self.look)))
    members.set("ratio_repeated_ci95", Members.pair(sequence.repeatedRatioInterval(drift)))
    return members.object
  }

  private static func look(_ look: LookFacts.Look) -> JSONValue {
    var members = Members()
    members.set("windows", look.windows)
    members.set("tokens", look.tokens)
    members.set("pass_level", look.levels.pass)
    members.set("fail_level", look.levels.fail)
    members.set("ratio", look.ratio)
    members.set("verdict", look.verdict.rawValue)
    return members.object
  }

  private static func memory(_ memory: MemoryFacts) -> JSONValue {
    var members = Members()
    members.set("held_bytes", .number(JSONNumber(memory.held)))
    members.set("hidden_states_bytes", .number(JSONNumber(memory.hiddenStates)))
    members.set("weights_bytes", .number(JSONNumber(memory.weights)))
    members.set("scratch_bytes", .number(JSONNumber(memory.scratch)))
    return members.object
  }

  var textJSON: JSONValue {
    var members = Members()
    members.set("characters", subject.text.characters)
    members.set("bytes", subject.text.utf8Bytes)
    if let path = subject.text.path { members.set("path", path) }
    if let digest = subject.text.sha256 { members.set("sha256", digest) }
    return members.object
  }
}
