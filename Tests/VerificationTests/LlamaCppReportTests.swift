import ByteIO
import Foundation
import Support
import Testing
import Verification

@Suite("Report of protocol llama.cpp")
struct LlamaCppReportTests {
  /// Windows of the sample as chunks: the first scored token of each is at position 9 of 17.
  static func report(_ scores: TokenScores, alone: Bool = false) -> VerificationReport {
    var subject = Sample.subject(candidate: alone ? nil : Sample.other)
    subject.scoring = ScoringProtocol(.llamaCpp, context: 17)
    return VerificationReport(subject, scores: scores)
  }

  static func uniform(_ count: Int) -> TokenScores {
    var scores = TokenScores(hasCandidate: false)
    scores.append(
      ScoredWindow(index: 0, firstPosition: 9, count: count), nll: Array(repeating: 2.5, count: count),
      flags: Array(repeating: TokenFlags(baseIsRight: true), count: count))
    return scores
  }

  /// Origin: NumPy 2.4.6 on the sample's formulas, with llama.cpp's: Σx/n and Σx²/n, the latter less the square of the
  /// former, over n − 1, the root of it times the perplexity. Candidates' NLL is the sum in single precision.
  @Test("Perplexity has llama.cpp's standard error, for both models")
  func errors() throws {
    let document = try JSONValue(parsing: Self.report(Sample.scores()).jsonText)
    #expect(document["tokens"]?["protocol"] == "llama.cpp")
    let perplexity = document["perplexity"]
    #expect(isClose(perplexity?["base"]?.double, 12.272811439334165))
    #expect(isClose(perplexity?["base_se_llama_cpp"]?.double, 0.8428771795594763))
    #expect(isClose(perplexity?["candidate"]?.double, 12.33157001558615))
    #expect(isClose(perplexity?["candidate_se_llama_cpp"]?.double, 0.84820706633341))
    let alone = try JSONValue(parsing: Self.report(Sample.alone(), alone: true).jsonText)
    #expect(isClose(alone["perplexity"]?["base_se_llama_cpp"]?.double, 0.8428771795594763))
    #expect(alone["perplexity"]?["candidate_se_llama_cpp"] == nil)
  }

  @Test("Only that protocol has the error, and no other figure depends on the name")
  func windows() throws {
    let ours = try JSONValue(parsing: Sample.report().jsonText)
    let theirs = try JSONValue(parsing: Self.report(Sample.scores()).jsonText)
    let keys = (ours["perplexity"]?.object?.members ?? []).map(\.key)
    #expect(!keys.isEmpty && !keys.contains { $0.hasSuffix("llama_cpp") })
    for key in keys { #expect(theirs["perplexity"]?[key] == ours["perplexity"]?[key], "\(key)") }
    #expect(!Sample.report().summary.contains("+/-"))
  }

  @Test("The texts show both as llama.cpp prints them")
  func texts() throws {
    let report = Self.report(Sample.scores())
    let figure = "12.2728 +/- 0.84288 → 12.3316 +/- 0.84821"
    #expect(report.summary.contains("as llama.cpp prints it") && report.summary.contains(figure))
    let page = try report.html()
    #expect(report.markdown.contains(figure) && page.contains(figure))
    let alone = Self.report(Sample.alone(), alone: true)
    #expect(alone.summary.contains("12.2728 +/- 0.84288\n"))
    #expect(try alone.html().contains("12.2728 +/- 0.84288"))
  }

  @Test("Without spread, or of one token, there is no error, as llama.cpp prints none", arguments: [1, 40])
  func noError(_ tokens: Int) throws {
    let report = Self.report(Self.uniform(tokens), alone: true)
    let document = try JSONValue(parsing: report.jsonText)
    #expect(document["perplexity"]?["base_se_llama_cpp"] == .null)
    #expect(isClose(document["perplexity"]?["base"]?.double, exp(2.5)))
    #expect(report.summary.contains("12.1825 +/- not estimable"))
  }
}
