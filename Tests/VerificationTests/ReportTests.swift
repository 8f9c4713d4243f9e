import ByteIO
import Foundation
import FoundationXML
import Support
import Testing
import Verification

@Suite struct ReportJSONTests {
  /// The contract of schema `llama-verify/1`: members and their members, in order.
  static let contract: [(key: String, members: [String])] = [
    ("schema", []), ("verdict", []), ("exit_code", []), ("policy", ["name"]),
    ("base", ["path", "layout", "digest"]), ("candidate", ["path", "layout", "digest"]),
    ("tokens", ["scored", "windows", "context", "protocol"]),
    ("perplexity", ["base", "candidate", "ratio", "ln_ratio", "ln_ratio_se", "ratio_ci95"]),
    (
      "nll",
      [
        "base_per_token", "candidate_per_token", "base_per_character", "candidate_per_character",
        "base_bits_per_byte", "candidate_bits_per_byte",
      ]
    ),
    ("kld", ["mean", "se", "p50", "p90", "p95", "p99", "p999", "max"]),
    ("agreement", ["top1", "top5", "flips_worse", "flips_better"]), ("positions", ["from", "to", "ln_ratio"]),
    ("layers", ["layer", "relative_error"]), ("tensors", ["name", "sqnr_db"]),
    (
      "run",
      [
        "seconds", "tokens_per_second", "peak_rss_bytes", "bytes_read", "weight_passes", "threads", "instruction_set",
        "compute", "version",
      ]
    ),
  ]
  static let additions = ["gates", "warnings", "text"]
  /// Only with a candidate.
  static let comparisons = ["suspects", "worst_windows"]

  func keys(_ value: JSONValue?) -> [String] { value?.object?.members.map(\.key) ?? [] }

  @Test("two models: exactly the contract's keys, then the additions")
  func keys() throws {
    let document = try JSONValue(parsing: Sample.report().jsonText)
    #expect(keys(document) == Self.contract.map(\.key) + Self.additions + Self.comparisons)
    for (key, members) in Self.contract where !members.isEmpty {
      let value = document[key]?.array?.first ?? document[key]
      #expect(Array(keys(value).prefix(members.count)) == members, "\(key)")
    }
    #expect(document["schema"] == "llama-verify/1" && document["verdict"] == "pass" && document["exit_code"] == 0)
    #expect(document["tokens"]?["scored"] == 165 && document["tokens"]?["windows"] == 12)
    #expect(isClose(document["perplexity"]?["ratio_ci95"]?.array?.last?.double, 1.0063823243455694))
    #expect(isClose(document["kld"]?["p99"]?.double, 0.11645507812499996))
    #expect(document["policy"]?["limits"]?["maximum_ratio"]?.double == 1.01)
    #expect(document["perplexity"]?["bootstrap"]?["seed"] == 1)
    #expect(document["gates"]?.array?.count == 2)
  }

  @Test("one model: what compares a candidate is absent")
  func alone() throws {
    let report = VerificationReport(Sample.subject(candidate: nil), scores: Sample.alone())
    let document = try JSONValue(parsing: report.jsonText)
    #expect(
      keys(document) == ["schema", "verdict", "exit_code", "base", "tokens", "perplexity", "nll", "run"]
        + Self.additions)
    #expect(document["verdict"] == "none" && document["exit_code"] == 0)
    #expect(keys(document["perplexity"]) == ["base", "base_ci95"])
    #expect(keys(document["nll"]) == ["base_per_token", "base_per_character", "base_bits_per_byte"])
    #expect(isClose(document["perplexity"]?["base"]?.double, 12.272811439334165))
  }

  @Test("a number that is not finite becomes null, and the document still parses")
  func null() throws {
    let scores = Sample.scores(sizes: [8, 8], drift: { $0 == 3 ? .nan : 0 })
    let subject = Sample.subject(tensors: [TensorError(name: "w", sqnrDecibels: .infinity)])
    let document = try JSONValue(parsing: VerificationReport(subject, scores: scores).jsonText)
    #expect(document["verdict"] == "fail" && document["perplexity"]?["candidate"] == .null)
    #expect(document["kld"]?["p999"] == .null && document["tensors"]?.array?.first?["sqnr_db"] == .null)
    #expect(document["gates"]?.array?.first?["id"] == "finite_scores")
  }

  @Test("equal inputs give equal bytes")
  func repeatable() throws {
    #expect(Sample.report().jsonText == Sample.report().jsonText)
    #expect(try Sample.report().html() == Sample.report().html())
  }
}

@Suite struct ReportTextTests {
  static let nasty = ModelIdentity(
    path: "models/<script>alert(\"1\")</script>&|`x`\u{1B}[2J\u{202E}", layout: "hf-safetensors", digest: "sha256:00")

  static var nastyReport: VerificationReport {
    var subject = Sample.subject(
      candidate: nasty, base: nasty, tensors: [TensorError(name: "</td><script>", sqnrDecibels: 12)])
    subject.excerpts = (0..<12).map { WindowExcerpt(window: $0, text: "<script>|`⟦</td>\nx⟧\u{0}\u{FFFE}") }
    return VerificationReport(subject, scores: Sample.scores())
  }

  @Test("HTML escapes paths and tensor names; the page has no script and loads nothing")
  func html() throws {
    let page = try Self.nastyReport.html()
    #expect(!page.lowercased().contains("<script"))
    #expect(page.contains("&lt;script&gt;"))
    for attribute in ["src=", "href=", "@import", "http:", "https:", "onload", "onclick"] {
      #expect(!page.contains(attribute), "\(attribute)")
    }
    #expect(!page.contains("{{") && !page.contains("}}"))
    #expect(page.contains("<svg") && page.contains("prefers-color-scheme: dark"))
    // The excerpt, whose own markup is text.
    #expect(page.contains("&lt;/td&gt; ↵ x") && !page.contains("</td>\nx"))
  }

  /// SVG and table markup must be balanced: the page's body is also well-formed XML (but for the doctype and the two
  /// void elements of the head).
  @Test("the page is well-formed", arguments: [true, false])
  func wellFormedPage(_ hasCandidate: Bool) throws {
    let report =
      hasCandidate
      ? Self.nastyReport : VerificationReport(Sample.subject(candidate: nil), scores: Sample.alone())
    let page = try report.html()
    let start = try #require(page.range(of: "<body>"))
    let end = try #require(page.range(of: "</body>"))
    let body = String(page[start.lowerBound..<end.upperBound]).replacing("<br>", with: "<br/>")
    #expect(XMLReader.problem(body) == nil)
  }

  static let unusualRuns: [(name: String, scores: TokenScores, layers: [LayerError])] = [
    ("itself", Sample.identical(), [LayerError(layer: 0, relativeError: 0)]),
    ("itself, one token", Sample.identical(sizes: [1]), []),
    ("one window", Sample.scores(sizes: [40], drift: Sample.drift), [LayerError(layer: 7, relativeError: 0.1)]),
    ("single tokens", Sample.scores(sizes: [1, 1, 1, 1], drift: Sample.drift), []),
    ("ratio beyond a double", Sample.scores(sizes: Sample.sizes, drift: { Float(2000 + $0) }), []),
    ("ratio near zero", Sample.scores(sizes: Sample.sizes, drift: { Float(-2000 - $0) }), []),
    ("constant drift", Sample.scores(sizes: [8, 8, 8], base: { _ in 1 }, drift: { _ in 0.5 }, kld: { _ in 0.25 }), []),
    ("tiny drift", Sample.scores(sizes: Sample.sizes, base: { _ in 0 }, drift: { Float($0) * 1e-30 }), []),
    ("negative KLD", Sample.scores(sizes: Sample.sizes, drift: Sample.drift, kld: { _ in -1e-9 }), []),
    (
      "broken", Sample.scores(sizes: Sample.sizes, drift: { $0 == 0 ? .nan : 0 }),
      [LayerError(layer: 0, relativeError: .infinity)]
    ),
  ]

  @Test("unusual runs render in every form", arguments: 0..<unusualRuns.count)
  func unusual(_ index: Int) throws {
    let (name, scores, layers) = Self.unusualRuns[index]
    for policy in Policy.builtIn {
      let report = VerificationReport(Sample.subject(policy: policy, layers: layers), scores: scores)
      let page = try report.html()
      let start = try #require(page.range(of: "<body>"))
      let end = try #require(page.range(of: "</body>"))
      let body = String(page[start.lowerBound..<end.upperBound]).replacing("<br>", with: "<br/>")
      #expect(XMLReader.problem(body) == nil, "\(name)")
      // No coordinate of a drawing may be anything but a number.
      for part in body.split(separator: "<svg").dropFirst() {
        let drawing = part.prefix(upTo: try #require(part.range(of: "</svg>")).lowerBound)
        #expect(!drawing.contains("NaN\"") && !drawing.contains("∞\"") && !drawing.contains("NaN,"), "\(name)")
      }
      #expect(XMLReader.problem(report.junit) == nil, "\(name)")
      #expect(try JSONValue(parsing: report.jsonText)["verdict"]?.string == report.verdict.rawValue, "\(name)")
      #expect(report.summary.hasPrefix(report.verdict.rawValue.uppercased()) && !report.markdown.isEmpty, "\(name)")
    }
  }

  @Test("every gate stands on the page, with its outcome", arguments: Policy.builtIn)
  func gates(_ policy: Policy) throws {
    let report = Sample.report(policy: policy)
    let page = try report.html()
    for gate in report.judgement.gates { #expect(page.contains(gate.title) && report.summary.contains(gate.title)) }
    #expect(page.contains(">\(report.verdict.rawValue.uppercased())<"))
  }

  @Test("JUnit: well-formed, one case per gate, undecided gates are failures")
  func junit() throws {
    let policy = Policy(name: "p", maximumRatio: 1.0048, maximumKLDMean: 0.03, minimumTokens: 100)
    let report = VerificationReport(
      Sample.subject(policy: policy, candidate: Self.nasty, base: Self.nasty), scores: Sample.scores())
    let text = report.junit
    #expect(XMLReader.problem(text) == nil)
    let elements = XMLReader.elements(text)
    #expect(elements["testcase"] == ["finite_scores", "perplexity_ratio", "kld_mean", "tokens"])
    #expect(elements["failure"]?.count == 2)
    #expect(text.contains("tests=\"4\" failures=\"2\"") && text.contains("type=\"inconclusive\""))
    #expect(!text.unicodeScalars.contains("\u{1B}"))
  }

  @Test("the summary starts with the verdict and carries no control characters")
  func summary() {
    let summary = Self.nastyReport.summary
    #expect(summary.hasPrefix("PASS  Perplexity changes by +0.479 %"))
    #expect(summary.contains("policy") && summary.contains("fp8 (maximum_ratio 1.01; sha256 cafe0123)"))
    #expect(summary.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control })
    #expect(!summary.unicodeScalars.contains("\u{202E}"))
    let alone = VerificationReport(Sample.subject(candidate: nil), scores: Sample.alone()).summary
    #expect(alone.contains("12.2728"))
  }

  @Test("Markdown escapes markup in paths")
  func markdown() {
    let text = Self.nastyReport.markdown
    #expect(text.hasPrefix("## ✅ llama-verify: PASS"))
    #expect(!text.contains("<script") && text.contains("&lt;script&gt;") && text.contains("\\`x\\`"))
    #expect(text.utf8.count < 65_536)
    // The table of the gates keeps its six columns.
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| Perplexity ratio") }
    #expect(rows.count == 1 && rows.first?.count { $0 == "|" } == 7)
  }
}

@Suite("Several candidates") struct ComparisonTests {
  /// Results of three candidates; the last has a name from an attacker and a path that ends like the first's.
  static func results() -> [VerificationResult] {
    let paths = ["models/fp8", "models/int4", "../../<script>alert(1)</script>/fp8"]
    let scores = [
      Sample.scores(), Sample.scores(sizes: Sample.sizes, drift: { Sample.drift($0) + 0.25 }), Sample.identical(),
    ]
    return zip(paths, scores).map { path, scores in
      let identity = ModelIdentity(path: path, layout: "hf-safetensors", digest: "00")
      return VerificationResult(
        report: VerificationReport(Sample.subject(candidate: identity), scores: scores), scores: scores)
    }
  }

  @Test("the verdict is the worst: fail before inconclusive before pass")
  func verdict() {
    let all = Self.results()
    #expect(all.map(\.report.verdict) == [.pass, .fail, .pass])
    #expect(Comparison(all).verdict == .fail && Comparison([all[0], all[2]]).verdict == .pass)
    let open = VerificationResult(
      report: Sample.report(policy: Policy(name: "p", maximumRatio: 1.0048)), scores: Sample.scores())
    #expect(open.report.verdict == .inconclusive)
    #expect(Comparison([all[0], open]).verdict == .inconclusive && Comparison([open, all[1]]).verdict == .fail)
  }

  @Test("where the first failed before its scores, the tokens are those of one that was scored")
  func stopped() throws {
    var subject = Sample.subject()
    subject.prior = [PriorGate.integrity.gate(problems: ["index-total: the index lies"])]
    let failed = VerificationResult(
      report: VerificationReport(stopped: subject), scores: TokenScores(hasCandidate: true))
    let document = try JSONValue(parsing: Comparison([failed, Self.results()[0]]).jsonText)
    #expect(document["tokens"]?["scored"] == 165 && document["verdict"] == "fail")
    #expect(try JSONValue(parsing: Comparison([failed]).jsonText)["tokens"]?["scored"] == 0)
  }

  @Test("a candidate that was decided at fewer tokens says at how many")
  func decidedEarlier() throws {
    let scores = Sample.scores(sizes: [20, 20], drift: Sample.drift)
    let early = VerificationResult(report: VerificationReport(Sample.subject(), scores: scores), scores: scores)
    let comparison = Comparison([Self.results()[0], early])
    let candidates = try #require(try JSONValue(parsing: comparison.jsonText)["candidates"]?.array)
    #expect(candidates[0]["tokens"] == nil && candidates[1]["tokens"]?["scored"] == 40)
    #expect(comparison.summary.contains("fp8 (2) (40 tokens)") && !comparison.summary.contains("(165 tokens)"))
  }

  @Test("each candidate's members are those of a report of its own; what is common stands once")
  func json() throws {
    let results = Self.results()
    let document = try JSONValue(parsing: Comparison(results).jsonText)
    #expect(
      document.object?.members.map(\.key)
        == ["schema", "verdict", "exit_code", "policy", "base", "tokens", "candidates", "run", "text"])
    #expect(document["schema"] == "llama-verify/1" && document["exit_code"] == 1)
    let candidates = try #require(document["candidates"]?.array)
    #expect(candidates.map { $0["name"]?.string } == ["fp8", "int4", "fp8 (2)"])
    for (candidate, result) in zip(candidates, results) {
      for (key, value) in candidate.object?.members ?? [] where key != "name" && key != "report" {
        #expect(value == result.report.json[key], "\(key)")
      }
      #expect(candidate["perplexity"] != nil && candidate["gates"] != nil && candidate["suspects"] != nil)
    }
  }

  @Test("the folder has the comparison's files and each candidate's report, under names without paths")
  func files() throws {
    let results = Self.results()
    let files = try Comparison(results).files()
    let own = ["report.json", "report.html", "report.md", "junit.xml", "tokens.bin"]
    #expect(
      files.map(\.name) == own.dropLast()
        + ["1-fp8", "2-int4", "3-fp8"].flatMap { folder in own.map { "\(folder)/\($0)" } })
    let alone = try results[1].report.files(scores: results[1].scores)
    for (file, other) in zip(files[9..<14], alone) { #expect(file.bytes == other.bytes) }
  }

  @Test("every form escapes, and links lead to the candidates' pages")
  func forms() throws {
    let comparison = Comparison(Self.results())
    let page = try comparison.html()
    let start = try #require(page.range(of: "<body>"))
    let end = try #require(page.range(of: "</body>"))
    let body = String(page[start.lowerBound..<end.upperBound]).replacing("<br>", with: "<br/>")
    #expect(XMLReader.problem(body) == nil && !page.contains("<script") && !page.contains("{{"))
    for folder in ["1-fp8", "2-int4", "3-fp8"] { #expect(page.contains("href=\"\(folder)/report.html\"")) }
    #expect(XMLReader.problem(comparison.junit) == nil)
    #expect(XMLReader.elements(comparison.junit)["testsuite"]?.count == 3)
    let rows = comparison.markdown.split(separator: "\n").filter { $0.hasPrefix("| ") && $0.contains("fp8") }
    #expect(rows.count { $0.count { $0 == "|" } == 10 } == 2)
    #expect(comparison.summary.hasPrefix("FAIL  2 of 3 candidates pass."))
  }
}

/// Reads XML with the system's parser.
final class XMLReader: NSObject, XMLParserDelegate {
  private var found: [String: [String]] = [:]

  /// What is wrong with the document; nil when it is well-formed.
  static func problem(_ text: String) -> String? {
    let parser = XMLParser(data: Data(text.utf8))
    return parser.parse() ? nil : "line \(parser.lineNumber): \(parser.parserError.map { "\($0)" } ?? "")"
  }

  /// Names of the elements by kind (attribute `name`, or empty), in order.
  static func elements(_ text: String) -> [String: [String]] {
    let reader = XMLReader()
    let parser = XMLParser(data: Data(text.utf8))
    parser.delegate = reader
    _ = parser.parse()
    return reader.found
  }

  func parser(
    _ parser: XMLParser, didStartElement element: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) {
    found[element, default: []].append(attributes["name"] ?? "")
  }
}
