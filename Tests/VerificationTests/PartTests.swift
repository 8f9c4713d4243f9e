import ByteIO
import Checkpoints
import Testing
import Verification

@Suite struct PartTests {
  @Test("shares are interleaved, cover all windows once, and their counts are right", arguments: [1, 2, 3, 7, 24])
  func shares(_ count: Int) throws {
    for windows in [1, 5, 24, 25] {
      let shares = try (0..<count).map { WindowShare(try #require(WorkPart($0, of: count)), of: windows) }
      #expect(shares.flatMap(\.numbers).sorted() == Array(0..<windows))
      for share in shares {
        #expect(share.numbers.count == share.count)
        #expect(share.numbers.allSatisfy { $0 % count == share.part.index })
      }
    }
  }

  /// A part of the sample: its windows number i, i + n, …
  func part(_ index: Int, of count: Int, windows: Int = 12) throws -> PartEvidence {
    let share = WindowShare(try #require(WorkPart(index, of: count)), of: windows)
    let all = Sample.scores()
    var scores = TokenScores(hasCandidate: true)
    var first = 0
    for (number, window) in all.windows.enumerated() {
      let range = first..<first + window.count
      first = range.upperBound
      guard number % count == index else { continue }
      scores.append(
        window, baseNLL: Array(all.baseNLL[range]), candidateNLL: Array(all.candidateNLL[range]),
        kld: all.kld[range].map { Double($0) }, flags: Array(all.flags[range]))
    }
    var subject = Sample.subject()
    subject.layers = []
    subject.share = share
    subject.text.characters = 100 * (index + 1)
    subject.text.utf8Bytes = 110 * (index + 1)
    return try PartEvidence(
      try Evidence(parsing: Evidence(scores: scores, facts: subject.facts).bytes), path: "part \(index)")
  }

  @Test("parts in any order give the whole's figures, from files' bytes")
  func combined() throws {
    let parts = try [2, 0, 1].map { try part($0, of: 3) }
    let combined = try CombinedParts(parts)
    let whole = Sample.report()
    #expect(combined.scores == Sample.scores())
    #expect(combined.report.drift?.lnRatio == whole.drift?.lnRatio && combined.report.drift?.kld == whole.drift?.kld)
    #expect(combined.report.subject.text.characters == 600 && combined.report.subject.text.utf8Bytes == 660)
    #expect(combined.report.subject.share == nil)
    let strict = try CombinedParts(parts, policy: Policy(name: "strict", maximumRatio: 1.001))
    #expect(strict.report.verdict == .fail && strict.report.subject.policy.name == "strict")
  }

  @Test("what is missing, doubled or of another run is named")
  func refusals() throws {
    func says(_ text: String, _ parts: [PartEvidence]) {
      let error = #expect(throws: ParseFailure.self) { try CombinedParts(parts) }
      #expect(error?.description.contains(text) == true, "\(error?.description ?? "")")
    }
    let (zero, one) = (try part(0, of: 3), try part(1, of: 3))
    says("part 2/3 of the evidence is missing", [zero, one])
    says("twice", [zero, one, one])
    says("another division", [zero, try part(1, of: 2)])
    says("no evidence", [])
    // Claims more windows than it holds.
    let error = #expect(throws: ParseFailure.self) { try part(0, of: 3, windows: 4_000_000_000) }
    #expect(error?.description.contains("expected 1333333334") == true, "\(error?.description ?? "")")
  }
}
