import Foundation
import Support
import Testing

private let tiny = Fixtures.bundled("tiny").path
/// Short windows: many of them in few tokens.
private let windows = ["--text", evaluationText, "--context", "128", "--json", "--quiet"]

@Suite("llama-verify --until-decided")
struct SequentialRunTests {
  let model: ModelFolder
  let fp8: String

  init() throws {
    model = try ModelFolder()
    fp8 = model.beside("fp8")
    let outcome = try run(.convert, "--to", "fp8", model.path, fp8)
    try #require(outcome.status == 0, "\(outcome.stderr)")
  }

  private func policy(_ limit: String) throws -> String {
    let path = model.beside("policy.yaml")
    try Data("name: p\nmaximum_ratio: \(limit)\n".utf8).write(to: URL(filePath: path))
    return path
  }

  private func sequence(_ report: [String: Any]) throws -> [String: Any] {
    try #require(report["sequential"] as? [String: Any])
  }

  @Test("stops at the first look that decides, whatever the threads and the memory")
  func stops() throws {
    let wide = try policy("1.05")
    let reports = try [["--threads", "1"], ["--threads", "3", "--max-memory", "64MiB"]].map {
      let outcome = try run(.verify, [tiny, fp8, "--policy", wide, "--until-decided"] + windows + $0)
      #expect(outcome.status == 0, "\(outcome.stderr)")
      return try #require(outcome.json)
    }
    // The text has 268 windows of 127 tokens; one look has 16.
    #expect(try sequence(reports[0])["maximum_windows"] as? Int == 268)
    #expect(try sequence(reports[0])["planned_windows"] as? [Int] == [16, 32, 64, 128, 268])
    let looks = try #require(try sequence(reports[0])["looks"] as? [[String: Any]])
    let scored = try #require((reports[0]["tokens"] as? [String: Any])?["scored"] as? Int)
    #expect(looks.last?["tokens"] as? Int == scored && looks.last?["verdict"] as? String == "pass")
    #expect(scored < 5000)
    for key in ["perplexity", "kld", "agreement", "sequential", "gates", "tokens"] {
      let figures = try reports.map {
        try JSONSerialization.data(withJSONObject: try #require($0[key]), options: .sortedKeys)
      }
      #expect(figures[0] == figures[1], "\(key)")
    }
  }

  @Test("undecided to the end: the looks come to the figures of one run over the same tokens")
  func all() throws {
    // On 64 windows of this text FP8 moves the perplexity by −0.065 % ± 0.045 %: a limit near that spot cannot be decided.
    let tight = try policy("0.9995")
    let outcome = try run(.verify, [tiny, fp8, "--policy", tight, "--until-decided", "--max-tokens", "8000"] + windows)
    #expect(outcome.status == 2, "\(outcome.stderr)")
    let report = try #require(outcome.json)
    let looks = try #require(try sequence(report)["looks"] as? [[String: Any]])
    #expect(looks.compactMap { $0["windows"] as? Int } == [16, 32, 63])
    let once = try #require(try run(.verify, [tiny, fp8, "--policy", tight, "--tokens", "8000"] + windows).json)
    #expect(once["sequential"] == nil)
    for key in ["nll", "kld", "agreement", "positions", "layers", "tensors", "text", "tokens"] {
      let figures = try [report, once].map {
        try JSONSerialization.data(withJSONObject: try #require($0[key]), options: .sortedKeys)
      }
      #expect(figures[0] == figures[1], "\(key)")
    }
  }

  @Test(
    "wrong use is refused",
    arguments: [
      ["--until-decided", "--tokens", "1000"], ["--max-tokens", "1000"], ["--until-decided", "--max-tokens", "0"],
    ])
  func usage(_ options: [String]) throws {
    #expect(try run(.verify, [tiny, fp8] + windows + options).status == 64)
  }

  @Test("one model alone has nothing to decide")
  func alone() throws { #expect(try run(.verify, [tiny, "--until-decided"] + windows).status == 64) }
}
