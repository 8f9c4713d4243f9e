import ByteIO
import Foundation
import Support
import Testing
import Verification

@Suite struct PolicyFileTests {
  func parse(_ text: String) throws(ParseFailure) -> Policy { try Policy(parsing: Array(text.utf8), file: "p.yaml") }

  @Test("YAML and JSON of the same limits give the same policy and canonical text")
  func notations() throws {
    let yaml = try parse(
      """
      ---
      # what our FP8 releases hold to
      name: "fp8-strict"
      maximum_ratio: 1.005   # perplexity
      maximum_kld_mean: 2e-3
      maximum_kld_p99: 0.05
      minimum_top1_agreement: 0.97
      minimum_tokens: 20000
      """)
    let json = try parse(
      """
      {"minimum_tokens": 20000, "name": "fp8-strict", "maximum_kld_mean": 0.002, "maximum_kld_p99": 0.05,
       "minimum_top1_agreement": 0.97, "maximum_ratio": 1.005}
      """)
    #expect(yaml == json)
    #expect(
      yaml
        == Policy(
          name: "fp8-strict", maximumRatio: 1.005, maximumKLDMean: 0.002, maximumKLDP99: 0.05,
          minimumTop1Agreement: 0.97, minimumTokens: 20_000))
    let canonical =
      #"{"name":"fp8-strict","maximum_ratio":1.005,"maximum_kld_mean":0.002,"maximum_kld_p99":0.05,"#
      + #""minimum_top1_agreement":0.97,"minimum_tokens":20000}"#
    #expect(yaml.canonicalText == canonical && json.canonicalText == canonical)
    #expect(try parse(canonical) == yaml)
  }

  /// Figures of known conversions of the trained models (README, the table of 4-bit methods, and `Policy.fp8`).
  @Test("the built-in limits lie between conversions known to be good and those of the next fewer bits")
  func calibration() throws {
    #expect(Policy.builtIn.map(\.name) == ["fp8", "int4", "smoke", "lossless"])
    for (good, poor, policy) in [(5.4e-4, 8.1e-3, Policy.fp8), (8.1e-3, 0.1, .int4)] {
      let limit = try #require(policy.maximumKLDMean)
      #expect(limit > 5 * good && limit < poor)
    }
    #expect(Policy.fp8.sampledLimitCount == 5 && Policy.int4.sampledLimitCount == 5)
  }

  @Test func builtIn() throws {
    #expect(Policy.named("fp8")?.maximumRatio == 1.01)
    #expect(Policy.named("lossless")?.exact == true)
    #expect(Policy.named("FP8") == nil)
    for policy in Policy.builtIn { #expect(try parse(policy.canonicalText) == policy) }
  }

  struct Bad: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let text: String
    let says: String
    init(_ name: String, _ text: String, says: String) {
      (testDescription, self.text, self.says) = (name, text, says)
    }
  }

  static let bad: [Bad] = [
    Bad("unknown key", "name: a\nmaximum_ration: 1.01\n", says: "\"maximum_ration\": unknown key"),
    Bad("unknown key in JSON", #"{"name":"a","max":1}"#, says: "\"max\": unknown key"),
    Bad("repeated key", "name: a\nmaximum_ratio: 1.01\nmaximum_ratio: 2\n", says: "twice"),
    Bad("repeated key in JSON", #"{"name":"a","maximum_ratio":1,"maximum_ratio":2}"#, says: "twice"),
    Bad("no name", "maximum_ratio: 1.01\n", says: "no name"),
    Bad("no limit", "name: lenient\n", says: "no limit"),
    Bad("exact false is no limit", "name: lenient\nexact: false\n", says: "no limit"),
    Bad("NaN limit", "name: a\nmaximum_ratio: nan\n", says: "maximum_ratio"),
    Bad("infinite limit", "name: a\nmaximum_ratio: .inf\n", says: "maximum_ratio"),
    Bad("overflowing limit", "name: a\nmaximum_ratio: 1e999\n", says: "out of range"),
    Bad("negative limit", "name: a\nmaximum_kld_mean: -1\n", says: "out of range"),
    Bad("zero ratio", "name: a\nmaximum_ratio: 0\n", says: "out of range"),
    Bad("agreement in per cent", "name: a\nminimum_top1_agreement: 97\n", says: "out of range"),
    Bad("tokens alone, which every candidate has", "name: a\nminimum_tokens: 10\n", says: "no limit"),
    Bad("fractional tokens", "name: a\nminimum_tokens: 10.5\n", says: "whole number"),
    Bad("quoted number", "name: a\nmaximum_ratio: \"1.01\"\n", says: "expected a number"),
    Bad("number for a flag", "name: a\nexact: 1\n", says: "expected true or false"),
    Bad("name with markup", "name: <script>\nmaximum_ratio: 1.01\n", says: "place in a policy"),
    Bad("name with markup in JSON", #"{"name":"<script>","maximum_ratio":1}"#, says: "expected 1 to 64 letters"),
    Bad("empty", "", says: "expected lines"),
    Bad("a list", "- a\n- b\n", says: "nesting"),
    Bad("nested mapping", "name: a\nlimits:\n  maximum_ratio: 1\n", says: "nesting"),
    Bad("nested JSON", #"{"name":"a","maximum_ratio":[1]}"#, says: "expected a number, a word"),
    Bad("deep JSON", "{\"a\":" + String(repeating: "[", count: 8000), says: "nested deeper"),
    Bad("alias bomb", "a: &a x\nb: *a\n", says: "place in a policy"),
    Bad("alias behind a sham comment", "a: \"b # \" *a\n", says: "place in a policy"),
    Bad("flow nesting", "name: [[[[]]]]\n", says: "place in a policy"),
    Bad("tag", "name: !!binary aGk=\n", says: "place in a policy"),
    Bad("open quotation", "name: \"a\nmaximum_ratio: 1\n", says: "line's end"),
    Bad("two documents", "name: a\nmaximum_ratio: 1\n---\nname: b\n", says: "nesting"),
    Bad("control character", "name: a\u{1B}[2J\n", says: "control character"),
    Bad("too large", String(repeating: "#", count: 20_000), says: "at most 16384"),
    Bad("broken JSON", "{", says: "not valid JSON"),
  ]

  @Test("refuses", arguments: bad)
  func refuses(_ bad: Bad) {
    let error = #expect(throws: ParseFailure.self) { try parse(bad.text) }
    #expect(error?.file == "p.yaml")
    #expect(error?.description.contains(bad.says) == true, "\(error?.description ?? "")")
  }

  @Test("random damage to a policy is refused or yields a policy that reads back")
  func damage() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let seeds = ["name: a-b\nmaximum_ratio: 1.01 # c\nexact: true\n", #"{"name":"a","maximum_kld_p99":0.5}"#]
    let alphabet = Array("{}[]:,-?&*!|>'\"#%@` \n\t~0e.".utf8)
    for run in 0..<4000 {
      var bytes = Array(seeds[run % 2].utf8)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        let byte = alphabet.randomElement(using: &random) ?? 0
        if Bool.random(using: &random) { bytes[at] = byte } else { bytes.insert(byte, at: at) }
      }
      do {
        let policy = try Policy(parsing: bytes, file: "p")
        #expect(try parse(policy.canonicalText) == policy, "seed \(seed)")
      } catch {
        #expect(error.file == "p", "seed \(seed)")
      }
    }
  }

  @Test func notText() {
    let error = #expect(throws: ParseFailure.self) { try Policy(parsing: [0x6E, 0xFF, 0xFE], file: "p.yaml") }
    #expect(error?.message == "not UTF-8 text")
  }
}

@Suite struct VerdictTests {
  /// Thirty windows of 20 tokens whose drift alternates about `mean` by ± `spread` between windows.
  func report(mean: Float, spread: Float, policy: Policy, windows: Int = 30) -> VerificationReport {
    let scores = Sample.scores(
      sizes: Array(repeating: 20, count: windows), drift: { mean + ($0 / 20 % 2 == 0 ? spread : -spread) })
    return Sample.report(scores, policy: policy)
  }

  @Test("three-valued: pass, fail and inconclusive with the tokens that would decide")
  func threeValues() throws {
    let limit = Policy(name: "p", maximumRatio: 1.01)
    let good = report(mean: 0.002, spread: 0.004, policy: limit)
    #expect(good.verdict == .pass && good.exitCode == 0)
    let poor = report(mean: 0.03, spread: 0.004, policy: limit)
    #expect(poor.verdict == .fail && poor.exitCode == 1)
    let open = report(mean: 0.008, spread: 0.03, policy: limit)
    #expect(open.verdict == .inconclusive && open.exitCode == 2)
    let gate = try #require(open.judgement.gates.first { $0.id == "perplexity_ratio" })
    #expect((gate.lowerBound95 ?? 9) < 1.01 && (gate.upperBound95 ?? 0) > 1.01)
    // SE = √(30/29·Σ(20·0.03)²)/600 = 0.03/√29; the distance is ln 1.01 − 0.008. With t₀.₉₅ + t₀.₈₀ ≈ 2.488 (many
    // windows): 600·(2.488·SE/distance)² tokens.
    let error = 0.03 / 29.0.squareRoot()
    let distance = log(1.01) - 0.008
    let expected = 600 * pow(2.488 * error / distance, 2)
    let needed = try #require(gate.tokensToDecide)
    #expect(abs(Double(needed) - expected) < 0.02 * expected)
    #expect(isClose(gate.marginInStandardErrors, distance / error, 1e-4))
  }

  @Test("a model against itself passes the built-in policies", arguments: Policy.builtIn, [[20], [16, 9, 12]])
  func itself(_ policy: Policy, _ sizes: [Int]) {
    let report = Sample.report(Sample.identical(sizes: sizes), policy: policy)
    #expect(report.verdict == .pass && report.drift?.ratio == 1 && report.drift?.kld.max == 0)
  }

  @Test("a model against itself passes every limit at its strictest")
  func itselfStrictest() {
    let policy = Policy(
      name: "p", exact: true, maximumRatio: 1, maximumKLDMean: 0, maximumKLDP99: 0, minimumTop1Agreement: 1,
      minimumTokens: 20)
    #expect(Sample.report(Sample.identical(sizes: [20]), policy: policy).verdict == .pass)
  }

  @Test("lossless fails on one score that differs in its last bit")
  func oneBit() {
    let nll = Sample.scores(
      sizes: Sample.sizes, drift: { $0 == 77 ? Sample.baseNLL($0).ulp : 0 }, kld: { _ in 0 },
      flags: { _ in Sample.same })
    let report = Sample.report(nll, policy: .lossless)
    #expect(report.verdict == .fail)
    #expect(report.judgement.gates.filter { $0.outcome == .fail }.map(\.id) == ["exact_scores"])
    #expect(Sample.report(nll, policy: .fp8).verdict == .pass)
  }

  @Test("lossless fails on a KL divergence that is not zero, whatever its sign", arguments: [1e-30, -1e-9])
  func oneDivergence(_ value: Double) {
    let scores = Sample.scores(
      sizes: Sample.sizes, drift: { _ in 0 }, kld: { $0 == 3 ? value : 0 }, flags: { _ in Sample.same })
    let report = Sample.report(scores, policy: .lossless)
    #expect(report.verdict == .fail)
    #expect(report.judgement.gates.filter { $0.outcome == .fail }.map(\.id) == ["exact_kld"])
  }

  @Test("one limit is decided at 95 % both ways; of several each must pass at 95 %, and fails share their 5 %")
  func levels() throws {
    func ratioGate(_ policy: Policy) throws -> Gate {
      try #require(Sample.report(policy: policy).judgement.gates.first { $0.id == "perplexity_ratio" })
    }
    let one = try ratioGate(Policy(name: "p", maximumRatio: 1.01, minimumTokens: 1))
    #expect(one.bounds == one.bounds95)
    let several = try ratioGate(
      Policy(name: "p", maximumRatio: 1.01, maximumKLDMean: 1, minimumTop1Agreement: 0.1, minimumTop5Overlap: 0.1))
    #expect(several.bounds.upper == one.bounds.upper && several.bounds.upperConfidence == 0.95)
    #expect(several.bounds.lowerConfidence == 0.9875 && several.bounds95 == one.bounds95)
    // ln ratio 0.0047762784 ± 0.00055756108; t of 11 degrees of freedom at 0.9875 is 2.5931 (scipy.stats.t.ppf).
    #expect(isClose(several.bounds.lower, exp(0.0047762784090909114 - 2.593092682539364 * 0.0005575610786494617), 1e-9))
  }

  @Test("the worst position is bounded from above by the largest bound of all, from below at the shared level")
  func worstPosition() throws {
    let report = Sample.report(policy: Policy(name: "p", maximumPositionRatio: 1.01))
    let gate = try #require(report.judgement.gates.first { $0.id == "position_ratio" })
    let bins = try #require(report.drift).positions.map(\.lnRatio)
    #expect(isClose(gate.value, exp(0.014322916666666666)))
    #expect(isClose(gate.bounds.upper, exp(try #require(bins.compactMap(\.upperBound95).max()))))
    // Eight bins: the lower bound of each at 1 − 0.05/8, below what one bin alone would have.
    let worst = try #require(bins.max { $0.mean < $1.mean })
    #expect(try #require(gate.bounds.lower) < exp(try #require(worst.lowerBound95)))
  }

  @Test("one window cannot decide")
  func oneWindow() {
    let report = Sample.report(Sample.scores(sizes: [40], drift: { _ in 0.0001 }), policy: .fp8)
    #expect(report.verdict == .inconclusive)
    #expect(report.warnings.contains { $0.contains("One window") })
  }

  @Test(
    "each limit is a gate of its own",
    arguments: [
      // The sample: mean KLD 0.0401 ± 0.0015, p99 0.116, top-1 89.7 %, 165 tokens.
      (Policy(name: "p", maximumKLDMean: 0.05), Verdict.pass), (Policy(name: "p", maximumKLDMean: 0.03), .fail),
      (Policy(name: "p", maximumKLDMean: 0.0405), .inconclusive),
      (Policy(name: "p", maximumKLDP99: 0.05), .fail),
      // With 165 tokens one or two lie above p99: its upper bound cannot be known.
      (Policy(name: "p", maximumKLDP99: 0.2), .inconclusive),
      (Policy(name: "p", minimumTop1Agreement: 0.8), .pass), (Policy(name: "p", minimumTop1Agreement: 0.97), .fail),
      (Policy(name: "p", minimumTop1Agreement: 0.9), .inconclusive),
      // Mean top-5 overlap 29.8 %; every SQNR 31.6 dB; layers 0.001 … 0.004; the worst of eight positions has the ratio
      // exp(0.0143).
      (Policy(name: "p", minimumTop5Overlap: 0.2), .pass), (Policy(name: "p", minimumTop5Overlap: 0.5), .fail),
      (Policy(name: "p", minimumTensorSQNR: 30), .pass), (Policy(name: "p", minimumTensorSQNR: 32), .fail),
      (Policy(name: "p", maximumLayerError: 0.004), .pass), (Policy(name: "p", maximumLayerError: 0.0039), .fail),
      (Policy(name: "p", maximumPositionRatio: 1.1), .pass),
      (Policy(name: "p", maximumPositionRatio: 1.014), .inconclusive),
      (Policy(name: "p", minimumTokens: 165), .pass), (Policy(name: "p", minimumTokens: 166), .inconclusive),
      (Policy(name: "p", maximumRatio: 1.01, maximumKLDMean: 0.03), .fail),
      (Policy(name: "p", maximumRatio: 1.01, minimumTokens: 1000), .inconclusive),
    ] as [(Policy, Verdict)])
  func limits(_ policy: Policy, _ verdict: Verdict) {
    #expect(Sample.report(policy: policy).verdict == verdict)
  }

  @Test(
    "a NaN or infinite score fails every policy and leaves no figure",
    arguments: [Float.nan, .infinity, -.infinity], Policy.builtIn)
  func notFinite(_ value: Float, _ policy: Policy) throws {
    for place in 0..<3 {
      let scores = Sample.scores(
        sizes: Sample.sizes, base: { place == 0 && $0 == 40 ? value : 2 },
        drift: { place == 1 && $0 == 40 ? value : 0 }, kld: { place == 2 && $0 == 40 ? Double(value) : 0 })
      let report = Sample.report(scores, policy: policy)
      #expect(report.verdict == .fail && report.exitCode == 1)
      let gate = try #require(report.judgement.gates.first)
      #expect(gate.id == "finite_scores" && gate.outcome == .fail && gate.explanation.contains("token 40"))
      #expect(report.drift == nil && report.json["perplexity"]?["ratio"] == .null)
    }
  }

  @Test("a layer whose error is NaN fails too")
  func layerNotFinite() {
    let subject = Sample.subject(layers: [LayerError(layer: 3, relativeError: .nan)])
    let report = VerificationReport(subject, scores: Sample.identical())
    #expect(report.verdict == .fail)
    #expect(report.json["layers"]?.array?.first?["relative_error"] == .null)
  }

  @Test("one model alone has no verdict and exit code 0; broken scores fail it")
  func alone() {
    let report = VerificationReport(Sample.subject(candidate: nil), scores: Sample.alone())
    #expect(report.verdict == .none && report.exitCode == 0)
    var broken = TokenScores(hasCandidate: false)
    broken.append(
      ScoredWindow(index: 0, firstPosition: 1, count: 1), nll: [.nan], flags: [TokenFlags(baseIsRight: false)])
    #expect(VerificationReport(Sample.subject(candidate: nil), scores: broken).exitCode == 1)
  }

  @Test("drift that wanders along the text is told of and widens the error")
  func autocorrelation() {
    // Windows drift in a slow wave: neighbours are alike.
    let scores = Sample.scores(
      sizes: Array(repeating: 20, count: 40), drift: { Float(sin(Double($0 / 20) / 6)) * 0.01 })
    #expect(Sample.report(scores).warnings.contains { $0.contains("neighbouring windows") })
    #expect(!Sample.report().warnings.contains { $0.contains("neighbouring windows") })
  }
}
