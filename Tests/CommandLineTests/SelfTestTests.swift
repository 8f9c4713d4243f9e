import Foundation
import Support
import Testing

@Suite("llama-verify --self-test")
struct SelfTestTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let faults: [String]
    /// Faults whose drift alone is beyond the fp8 policy's limit, with 95 % confidence.
    let drifting: [String]
    var testDescription: String { model }
    /// Nil where the weights are not at hand.
    var url: URL? { model == "tiny" ? Fixtures.bundled(model) : Fixtures.large(model) }
  }

  static let cases = [
    // Tied, RoPE with factors, grouped queries.
    Case(
      model: "tiny",
      faults: [
        "unpermuted-k", "dropped-rope-factors", "swapped-shards", "zeroed-scale", "doubled-bos", "missing-bos",
        "transposed-w2", "norm-epsilon", "untied-head",
      ],
      drifting: ["unpermuted-k", "swapped-shards", "transposed-w2", "untied-head"]),
    // SentencePiece, untied, RoPE without factors.
    Case(
      model: "tiny2",
      faults: [
        "unpermuted-k", "wrong-rope-base", "swapped-shards", "zeroed-scale", "doubled-bos", "missing-bos",
        "transposed-w2", "norm-epsilon", "tied-head",
      ],
      drifting: ["transposed-w2", "tied-head"]),
  ]

  @Test(
    "Every planted fault is flagged, and the model equals itself exactly", arguments: cases.filter { $0.url != nil })
  func planted(_ expected: Case) throws {
    let outcome = try run(
      .verify, "--self-test", try #require(expected.url).path, "--json", "--threads", "1", "--tokens", "1500")
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let report = try #require(outcome.json)
    #expect(report["schema"] as? String == "llama-self-test/1")
    #expect(report["passed"] as? Bool == true)
    #expect(report["model_equals_itself"] as? Bool == true)
    let faults = try #require(report["faults"] as? [[String: Any]])
    #expect(faults.compactMap { $0["fault"] as? String } == expected.faults)
    for fault in faults {
      let name = try #require(fault["fault"] as? String)
      let detectors = (fault["flagged_by"] as? [[String: Any]] ?? []).compactMap { $0["detector"] as? String }
      #expect(fault["flagged"] as? Bool == true && !detectors.isEmpty, "\(name)")
      // Whatever was planted changes scores, and that is how much is seen at least.
      #expect(detectors.contains("exactness") && fault["differing_tokens"] as? Int ?? 0 > 0, "\(name)")
      #expect(detectors.contains("drift") || !expected.drifting.contains(name), "\(name)")
      #expect(detectors.contains("integrity") == (name == "zeroed-scale"), "\(name)")
      let isConfigured = ["dropped-rope-factors", "wrong-rope-base", "norm-epsilon", "untied-head", "tied-head"]
      #expect(detectors.contains("structure") == isConfigured.contains(name), "\(name)")
    }
  }

  @Test("The table names every fault with what flagged it, and says what was read")
  func table() throws {
    let outcome = try run(
      .verify, "--self-test", Fixtures.bundled("golden/model/bf16").path, "--text", evaluationText, "--tokens", "300",
      "--context", "32")
    // That model has no tokenizer.
    #expect(outcome.status == 65 && outcome.stderr.contains("tokenizer"))
    let tiny = try run(
      .verify, "--self-test", Fixtures.bundled("tiny").path, "--text", evaluationText, "--tokens", "1000")
    #expect(tiny.status == 0)
    for word in ["unpermuted-k", "norm-epsilon", "structure", "SE", "PASS", evaluationText] {
      #expect(tiny.stdout.contains(word), "\(word)")
    }
  }

  @Test(
    "Options that make no sense beside it are refused",
    arguments: [
      ["x"], ["--chat", "x"], ["--report", "x"], ["--imatrix", "x"], ["--protocol", "llama.cpp"], ["--context", "2"],
      ["--emulate", "activations"],
    ])
  func usage(_ options: [String]) throws {
    let outcome = try run(.verify, ["--self-test", Fixtures.bundled("tiny").path] + options)
    #expect(outcome.status == 64 && outcome.stdout.isEmpty)
  }
}
