import Foundation
import Support
import Testing

private let tiny = Fixtures.bundled("tiny").path
/// Four windows of the bundled text: enough for a verdict, quick enough for a test.
private let short = ["--text", evaluationText, "--tokens", "1000", "--context", "256"]

/// The keys of `report.json` that design and readers rely on.
private let contract: [String: [String]] = [
  "policy": ["name"], "base": ["path", "layout", "digest"], "candidate": ["path", "layout", "digest"],
  "tokens": ["scored", "windows", "context", "protocol"],
  "perplexity": ["base", "candidate", "ratio", "ln_ratio", "ln_ratio_se", "ratio_ci95"],
  "nll": [
    "base_per_token", "candidate_per_token", "base_per_character", "candidate_per_character", "base_bits_per_byte",
    "candidate_bits_per_byte",
  ],
  "kld": ["mean", "se", "p50", "p90", "p95", "p99", "p999", "max"],
  "agreement": ["top1", "top5", "flips_worse", "flips_better"],
  "run": [
    "seconds", "tokens_per_second", "peak_rss_bytes", "bytes_read", "weight_passes", "threads", "instruction_set",
    "compute",
    "version",
  ],
]
private let lists: [String: [String]] = [
  "positions": ["from", "to", "ln_ratio"], "layers": ["layer", "relative_error"], "tensors": ["name", "sqnr_db"],
]

extension [String: Any] {
  fileprivate func number(_ group: String, _ key: String) -> Double? {
    ((self[group] as? [String: Any])?[key] as? NSNumber)?.doubleValue
  }
}

@Suite("llama-verify")
struct VerifyTests {
  let model: ModelFolder
  let fp8: String

  init() throws {
    model = try ModelFolder()
    fp8 = model.beside("fp8")
  }

  private func quantize() throws {
    let outcome = try run(.convert, "--to", "fp8", model.path, fp8)
    try #require(outcome.status == 0, "\(outcome.stderr)")
  }

  private func policy(_ text: String) throws -> String {
    let path = model.beside("policy.yaml")
    try Data(text.utf8).write(to: URL(filePath: path))
    return path
  }

  @Test("--json prints one document with every key of the contract, --quiet nothing else")
  func json() throws {
    try quantize()
    let outcome = try run(.verify, [tiny, fp8, "--json", "--quiet"] + short)
    #expect(outcome.status == 0 && outcome.stderr == "")
    let report = try #require(outcome.json)
    #expect(report["schema"] as? String == "llama-verify/1")
    #expect(report["verdict"] as? String == "pass" && report["exit_code"] as? Int == 0)
    for (group, keys) in contract {
      let members = try #require(report[group] as? [String: Any], "\(group)")
      for key in keys { #expect(members[key] != nil, "\(group).\(key)") }
    }
    for (list, keys) in lists {
      let entries = try #require(report[list] as? [[String: Any]], "\(list)")
      #expect(!entries.isEmpty)
      for entry in entries { #expect(Set(keys).isSubset(of: entry.keys), "\(list)") }
    }
    #expect((report["layers"] as? [Any])?.count == 4 && (report["tensors"] as? [Any])?.count == 38)
    #expect((report["perplexity"] as? [String: Any]).flatMap { $0["ratio_ci95"] as? [Double] }?.count == 2)
    #expect((report["tokens"] as? [String: Any])?["protocol"] as? String == "windows")
    let digest = try run(.convert, "digest", "--json", fp8).json?["model"] as? String
    #expect((report["candidate"] as? [String: Any])?["digest"] as? String == digest)
  }

  @Test("--emulate does what the model says, says so, and refuses what the model contradicts")
  func emulation() throws {
    try quantize()
    var likelihoods: [Double?] = []
    for way in ["activations=fp8", "activations", "activations=model"] {
      let outcome = try run(.verify, [tiny, fp8, "--json", "--quiet", "--emulate", way] + short)
      let report = try #require(outcome.json)
      let facts = try #require(report["run"] as? [String: Any])
      #expect(facts["emulate"] as? String == (way == "activations" ? "activations=model" : way))
      #expect(facts["emulated_activations"] as? [String] == ["fp8 token"])
      likelihoods.append(report.number("nll", "candidate_per_token"))
    }
    #expect(likelihoods[0] != nil && likelihoods.allSatisfy { $0 == likelihoods[0] })
    let logits = ["logits", fp8, "--ids", "1", "--output", model.beside("logits")]
    for arguments in [[tiny, fp8] + short, logits] {
      let outcome = try run(.verify, arguments + ["--emulate", "activations=int8"])
      #expect(outcome.status == 64 && outcome.stdout == "")
      #expect(outcome.stderr.contains(fp8) && outcome.stderr.contains("fp8 token"))
    }
  }

  @Test("A model against itself drifts by exactly nothing and passes the policy lossless")
  func itself() throws {
    let outcome = try run(.verify, [tiny, tiny, "--policy", "lossless", "--json"] + short)
    #expect(outcome.status == 0)
    let report = try #require(outcome.json)
    #expect(report["verdict"] as? String == "pass")
    #expect(report.number("perplexity", "ratio") == 1)
    for key in ["ln_ratio", "ln_ratio_se"] { #expect(report.number("perplexity", key) == 0) }
    for key in ["mean", "p50", "p99", "max"] { #expect(report.number("kld", key) == 0) }
    #expect(report.number("agreement", "top1") == 1 && report.number("agreement", "top5") == 1)
    for layer in report["layers"] as? [[String: Any]] ?? [] { #expect(layer["relative_error"] as? Double == 0) }
  }

  /// Origin: transformers 5.23 in float32 (tiny.ref.json). Logits agree to about 1e-5; the mean over 34,007 tokens is
  /// closer, and 1e-6 of it is far below any drift that matters.
  @Test("One model alone: the perplexity that transformers finds, and no verdict")
  func reference() throws {
    let reference = try JSONSerialization.jsonObject(with: Data(contentsOf: Fixtures.bundled("tiny.ref.json")))
    let expected = try #require((reference as? [String: [String: Any]])?["eval.txt"])
    let outcome = try run(.verify, tiny, "--text", evaluationText, "--json")
    #expect(outcome.status == 0)
    let report = try #require(outcome.json)
    #expect(report["verdict"] as? String == "none" && report["exit_code"] as? Int == 0)
    for absent in ["candidate", "policy", "kld", "agreement"] { #expect(report[absent] == nil) }
    #expect(report.number("tokens", "scored") == expected["tokens"] as? Double)
    let mean = try #require(expected["mean_nll"] as? Double)
    let found = try #require(report.number("nll", "base_per_token"))
    #expect(abs(found / mean - 1) < 1e-6)
  }

  @Test("FP8 passes the policy fp8 and fails the policy lossless")
  func verdicts() throws {
    try quantize()
    let pass = try run(.verify, [tiny, fp8, "--policy", "fp8"] + short)
    #expect(pass.status == 0 && pass.stdout.hasPrefix("PASS"))
    let fail = try run(.verify, [tiny, fp8, "--policy", "lossless", "--json"] + short)
    #expect(fail.status == 1)
    #expect(fail.json?["verdict"] as? String == "fail" && fail.json?["exit_code"] as? Int == 1)
  }

  /// The commonest silent fault of converters: the rows of one layer's keys in Meta's order in a Hugging Face file.
  @Test("1: a candidate with one layer's key rows in the wrong order fails")
  func permutedKeys() throws {
    try model.edit("model.layers.1.self_attn.k_proj.weight") { tensor in
      let (size, head) = (2 * tensor.shape[1], 32)
      tensor.bytes = (0..<tensor.shape[0]).flatMap { row in
        let source = row - row % head + row % 2 * (head / 2) + row % head / 2
        return tensor.bytes[source * size..<(source + 1) * size]
      }
    }
    let outcome = try run(.verify, [tiny, model.path, "--json"] + short)
    #expect(outcome.status == 1)
    let report = try #require(outcome.json)
    #expect(report["verdict"] as? String == "fail")
    // Layer 0 is before the fault, layer 1 and all behind it show it.
    let errors = (report["layers"] as? [[String: Any]] ?? []).compactMap { $0["relative_error"] as? Double }
    try #require(errors.count == 4)
    #expect(errors[0] == 0 && errors[1] > 0.01 && errors[2] > 0.01)
  }

  /// The files that serving would read wrongly score like the base here, where they are read as they were meant.
  @Test("1: a candidate whose files lint calls wrong fails before anything is scored")
  func integrity() throws {
    try #require(try run(.convert, "--to", "fp8", "--max-shard-size", "1MB", model.path, fp8).status == 0)
    let file = fp8 + "/model.safetensors.index.json"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let wrong = text.replacingOccurrences(of: "\"total_size\": ", with: "\"total_size\": 9")
    try #require(wrong != text)
    try wrong.write(toFile: file, atomically: true, encoding: .utf8)
    let outcome = try run(.verify, [tiny, fp8] + short)
    #expect(outcome.status == 1, "\(outcome.stdout)\(outcome.stderr)")
    #expect(outcome.stdout.contains("index-total"), "\(outcome.stdout)")
    #expect(outcome.stdout.contains("NOT RUN  Differences of structure"), "\(outcome.stdout)")
  }

  @Test("What a candidate's files say does not reach the terminal as control characters")
  func controlCharacters() throws {
    try quantize()
    let sums = URL(filePath: fp8 + "/SHA256SUMS")
    let line = String(repeating: "0", count: 64) + "  gone\u{1B}[2J\u{1B}[32mPASS\n"
    try (Data(contentsOf: sums) + Data(line.utf8)).write(to: sums)
    let outcome = try run(.verify, [tiny, fp8] + short + ["--report", model.beside("report")])
    #expect(outcome.status == 1 && outcome.stdout.contains("gone\\u{1b}[2J"), "\(outcome.stdout)")
    #expect(!(outcome.stdout + outcome.stderr).unicodeScalars.contains("\u{1B}"))
    for (name, bytes) in try contents(ofDirectory: model.beside("report")) where name != "tokens.bin" {
      #expect(!bytes.contains(0x1B), "\(name)")
    }
    let lint = try run(.convert, "lint", fp8)
    #expect(lint.status == 65 && !lint.stdout.unicodeScalars.contains("\u{1B}"))
  }

  @Test("2: a limit that few tokens cannot decide is inconclusive and says how many would")
  func inconclusive() throws {
    try quantize()
    let tight = try policy("name: tight\nmaximum_ratio: 1.001\n")
    let outcome = try run(.verify, [tiny, fp8, "--policy", tight, "--json"] + short)
    #expect(outcome.status == 2)
    let report = try #require(outcome.json)
    #expect(report["verdict"] as? String == "inconclusive" && report["exit_code"] as? Int == 2)
    #expect(try #require(report.number("perplexity", "tokens_to_decide")) > 1020)
    let scarce = try policy("name: scarce\nmaximum_ratio: 1.5\nminimum_tokens: 5000\n")
    #expect(try run(.verify, [tiny, fp8, "--policy", scarce] + short).status == 2)
  }

  @Test("--report writes the report in every form with each token's scores", arguments: [true, false])
  func report(_ comparing: Bool) throws {
    try quantize()
    let folder = model.beside("report")
    let outcome = try run(.verify, [tiny] + (comparing ? [fp8] : []) + ["--report", folder, "--json"] + short)
    #expect(outcome.status == 0)
    let files = try contents(ofDirectory: folder)
    #expect(files.keys.sorted() == ["junit.xml", "report.html", "report.json", "report.md", "tokens.bin"])
    #expect(files["report.json"].map { String(decoding: $0, as: UTF8.self) } == outcome.stdout)
    for name in ["report.html", "report.md", "junit.xml"] {
      let text = String(decoding: files[name] ?? [], as: UTF8.self)
      #expect(text.contains(comparing ? "fp8" : "tiny"), "\(name)")
    }
    // 1,020 tokens in four windows: 48 bytes, 12 per window, 13 per token (5 without a candidate); sums of 4 layers and 8
    // stretches in each window; facts.
    let evidence = try #require(files["tokens.bin"])
    let facts = evidence[40..<48].reversed().reduce(0) { $0 << 8 | Int($1) }
    #expect(evidence.count == 48 + 4 * 12 + 1020 * (comparing ? 13 : 5) + (comparing ? 4 * 2 * 4 * 8 * 8 : 0) + facts)
    let mean = try #require(outcome.json?.number("nll", "base_per_token"))
    let scores = (0..<1020).map { token -> Double in
      let word = evidence[96 + 4 * token..<100 + 4 * token].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return Double(Float(bitPattern: word))
    }
    // The file has each score in binary32, the mean was taken over the same.
    #expect(abs(scores.reduce(0, +) / 1020 - mean) < 1e-9)
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() == ["fp8", "model", "report"])
  }

  /// One pass over the base scores all candidates: each must come out as when it is judged alone, to the last digit.
  @Test("Several candidates: each as when it is alone, one table, the worst verdict's exit code")
  func severalCandidates() throws {
    try quantize()
    let (folder, other) = (model.beside("reports"), model.beside("int4"))
    try #require(try run(.convert, "--to", "int4", model.path, other).status == 0)
    let tight = try policy("name: tight\nmaximum_kld_mean: 0.002\n")
    let arguments = ["--policy", tight, "--context", "256"] + short
    let outcome = try run(.verify, [tiny, fp8, other, "--report", folder, "--json"] + arguments)
    #expect(outcome.status == 1, "\(outcome.stderr)")
    let document = try #require(outcome.json)
    #expect(document["verdict"] as? String == "fail" && document["schema"] as? String == "llama-verify/1")
    let candidates = try #require(document["candidates"] as? [[String: Any]])
    #expect(candidates.map { $0["verdict"] as? String } == ["pass", "fail"])
    for (candidate, path) in zip(candidates, [fp8, other]) {
      let alone = try #require(try run(.verify, [tiny, path, "--json"] + arguments).json)
      for (key, value) in candidate where key != "name" && key != "report" {
        #expect(value as? NSObject == alone[key] as? NSObject, "\(key)")
      }
      let name = try #require(candidate["report"] as? String)
      let files = try contents(ofDirectory: folder + "/" + name).keys.sorted()
      #expect(files == ["junit.xml", "report.html", "report.json", "report.md", "tokens.bin"])
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 6)
    let text = try run(.verify, [tiny, fp8, tiny] + short)
    #expect(text.status == 0 && text.stdout.hasPrefix("PASS  2 of 2 candidates pass."))
    #expect(try run(.verify, [tiny, fp8, other, "--policy", "lossless"]).status == 64)
  }

  @Test("A few words of the text are in the report, and with --no-excerpts none")
  func excerpts() throws {
    try quantize()
    for (option, count) in [([], true), (["--no-excerpts"], false)] as [([String], Bool)] {
      let report = try #require(try run(.verify, [tiny, fp8, "--json"] + short + option).json)
      let windows = try #require(report["worst_windows"] as? [[String: Any]])
      #expect(!windows.isEmpty)
      for window in windows { #expect(((window["excerpt"] as? String)?.contains("⟦") == true) == count) }
    }
  }

  @Test("The figures do not depend on the number of threads or the memory budget")
  func threads() throws {
    try quantize()
    // Four windows; the budget holds one or two of them at a time.
    let reports = try [["--threads", "1"], ["--threads", "3"], ["--max-memory", "64MiB"]].map {
      let outcome = try run(.verify, [tiny, fp8, "--json", "--context", "256"] + short + $0)
      return try #require(outcome.json, "\(outcome.stderr)")
    }
    for key in ["layers", "positions", "worst_windows"] {
      let lists = try reports.map { try #require($0[key] as? NSArray) }
      #expect(lists[0] == lists[1] && lists[0] == lists[2], "\(key)")
    }
    for key in ["perplexity", "nll", "kld", "agreement"] {
      let figures = try reports.map { try #require($0[key] as? NSDictionary) }
      #expect(figures[0] == figures[1] && figures[0] == figures[2], "\(key)")
    }
  }

  @Test("--verify keeps a candidate that passes and its figures, and does not publish one that fails")
  func convertAndVerify() throws {
    let good = try run(.convert, "--to", "fp8", "--verify", evaluationText, model.path, fp8)
    #expect(good.status == 0, "\(good.stderr)")
    let record =
      try JSONSerialization.jsonObject(
        with: Data(contentsOf: URL(filePath: fp8 + "/llama-convert.json"))) as? [String: Any]
    #expect((record?["verification"] as? [String: Any])?["verdict"] as? String == "pass")
    let text = model.beside("text.txt")
    try Data(try Fixtures.bytes(Fixtures.bundled("eval.txt")).prefix(4000)).write(to: URL(filePath: text))
    for (policy, status) in [
      ("lossless", 1), (try policy("name: scarce\nmaximum_ratio: 2\nminimum_tokens: 50000\n"), 2),
    ] as [(String, Int32)] {
      let bad = try run(
        .convert, "--to", "fp8", "--verify", text, "--policy", policy, "--json", model.path, model.beside("bad"))
      #expect(bad.status == status)
      #expect(bad.json?["schema"] as? String == "llama-verify/1")
      // What is undecided waits for more text; what failed is gone.
      #expect(bad.messages.count == Int(status) && bad.stderr.contains("not published"))
      #expect(bad.stderr.contains("is kept") == (status == 2))
    }
    let again = try run(.convert, "--to", "fp8", "--verify", evaluationText, model.path, model.beside("bad"))
    #expect(again.status == 0 && again.stderr.contains("going on with unfinished work: 100 %"), "\(again.stderr)")
    let names = try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted()
    #expect(names == ["bad", "fp8", "model", "policy.yaml", "text.txt"])
  }
}
