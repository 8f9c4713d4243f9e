import ByteIO
import Foundation
import Support
import Testing
import Verification

@Suite("Evidence") struct EvidenceTests {
  /// Two windows of three and two tokens, two layers, two stretches: table at 48, scores at 72, flags at 132, sums at 137
  /// and 201, facts at 265.
  static func small() -> Evidence {
    var scores = Sample.scores(sizes: [3, 2], drift: Sample.drift)
    scores.residuals = residuals(windows: 2, layers: 2, stretches: 2)
    return Evidence(scores: scores, facts: [:])
  }

  static func residuals(windows: Int, layers: Int, stretches: Int) -> ResidualDrift {
    var residuals = ResidualDrift(layers: layers, stretches: stretches)
    let size = layers * stretches
    for window in 0..<windows {
      residuals.append(
        off: (0..<size).map { Double(window * size + $0 + 1) / 64 }, whole: (0..<size).map { Double($0 + window + 4) })
    }
    return residuals
  }

  @Test("a report's folder holds five files, the evidence among them")
  func files() throws {
    let scores = Sample.scores()
    let files = try Sample.report(scores).files(scores: scores)
    #expect(files.map(\.name) == ["report.json", "report.html", "report.md", "junit.xml", "tokens.bin"])
    #expect(try Evidence(parsing: #require(files.last).bytes).scores == scores)
    #expect(files.allSatisfy { !$0.bytes.isEmpty })
  }

  @Test("evidence makes the report again, in every form to the letter", arguments: [true, false])
  func roundTrip(_ hasCandidate: Bool) throws {
    var scores = hasCandidate ? Sample.scores() : Sample.alone()
    if hasCandidate { scores.residuals = Self.residuals(windows: 12, layers: 4, stretches: 8) }
    var subject = Sample.subject(
      policy: Policy(name: "p", maximumRatio: 1.0048, maximumKLDMean: 0.03, minimumTokens: 100),
      candidate: hasCandidate ? ReportTextTests.nasty : nil, layers: scores.residuals?.layerErrors ?? [],
      tensors: [
        TensorError(name: "a\u{1}\"\\<b>", sqnrDecibels: -3.25), TensorError(name: "equal", sqnrDecibels: .infinity),
        TensorError(name: "broken", sqnrDecibels: .nan), TensorError(name: "zero", sqnrDecibels: -.infinity),
      ])
    subject.run.memory = MemoryFacts(held: 1, hiddenStates: 2, weights: 3, scratch: 1 << 40)
    subject.run.emulation = "activations=fp8"
    subject.run.emulatedActivations = ["fp8 token"]
    subject.excerpts = [WindowExcerpt(window: 3, text: "| `x` </td>\n")]
    let report = VerificationReport(subject, scores: scores)
    let files = try report.files(scores: scores)
    let bytes = try #require(files.last).bytes
    let evidence = try Evidence(parsing: bytes)
    #expect(evidence.scores == scores && evidence.bytes == bytes)
    let again = try VerificationReport(evidence).files(scores: evidence.scores)
    for (file, other) in zip(files, again) { #expect(file.bytes == other.bytes, "\(file.name)") }
  }

  @Test("144,000 tokens fit in 2 MB, with 32 layers in 3.2 MB")
  func size() {
    var scores = Sample.identical(sizes: Array(repeating: 512, count: 282))
    #expect(scores.count >= 144_000 && Evidence(scores: scores).bytes.count <= 2_000_000)
    scores.residuals = Self.residuals(windows: 282, layers: 32, stretches: 8)
    #expect(Evidence(scores: scores).bytes.count <= 3_200_000)
  }

  /// The blocks `tokens` of formats/evidence.md.
  private func pageVectors() throws -> [[UInt8]] {
    let page = String(decoding: try Fixtures.bytes(Fixtures.root.appending(path: "formats/evidence.md")), as: UTF8.self)
    return page.components(separatedBy: "```tokens\n").dropFirst().map { part in
      let digits = Array((part.components(separatedBy: "```").first ?? "").filter(\.isHexDigit))
      return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) }
    }
  }

  @Test("the bytes are those of formats/evidence.md")
  func layout() throws {
    var scores = TokenScores(hasCandidate: true)
    scores.append(
      ScoredWindow(index: 5, firstPosition: 1, count: 1), baseNLL: [1], candidateNLL: [2], kld: [0.5],
      flags: [TokenFlags(baseIsRight: true, candidateIsRight: false, top1Agrees: true, top5Overlap: 4)])
    var residuals = ResidualDrift(layers: 1, stretches: 1)
    residuals.append(off: [0.25], whole: [4])
    scores.residuals = residuals
    var alone = TokenScores(hasCandidate: false)
    alone.append(
      ScoredWindow(index: 0, firstPosition: 1, count: 2), nll: [0.5, 0.25],
      flags: [TokenFlags(baseIsRight: true), TokenFlags(baseIsRight: false)])
    let vectors = try pageVectors()
    try #require(vectors.count == 2)
    for (evidence, vector) in zip([Evidence(scores: scores, facts: [:]), Evidence(scores: alone)], vectors) {
      #expect(evidence.bytes == vector)
      #expect(try Evidence(parsing: vector) == evidence)
    }
  }

  @Test("every truncation is refused, and bytes behind the end")
  func truncated() {
    let bytes = Self.small().bytes
    for length in 0..<bytes.count {
      #expect(throws: ParseFailure.self) { try Evidence(parsing: Array(bytes.prefix(length))) }
    }
    #expect(throws: ParseFailure.self) { try Evidence(parsing: bytes + [0]) }
  }

  @Test(
    "hostile bytes are refused at their place",
    arguments: [
      (0, 0x58, 0), (8, 3, 8), (12, 2, 12), (12, 0, 32), (16, 6, 16), (23, 0xFF, 16), (24, 3, 16), (31, 0x80, 24),
      (32, 0, 32), (32, 3, 16), (33, 0xFF, 32), (36, 3, 16), (37, 1, 36), (40, 3, 16), (43, 0xFF, 40), (47, 0x80, 40),
      (56, 0xFF, 56), (56, 0, 56), (56, 2, 48), (60, 0, 16), (68, 9, 68), (133, 0x80, 133), (134, 0x60, 134),
      (144, 0xBF, 137), (208, 0xBF, 201), (265, 0x5D, 265),
    ] as [(Int, UInt8, UInt64)])
  func hostile(_ at: Int, _ byte: UInt8, _ offset: UInt64) {
    var bytes = Self.small().bytes
    bytes[at] = byte
    let error = #expect(throws: ParseFailure.self) { try Evidence(parsing: bytes) }
    #expect(error?.offset == offset)
  }

  @Test(
    "facts that are not whole are refused by name",
    arguments: [
      ("tensors", "facts.tensors"), ("base", "facts.base"), ("schema", "facts.schema"), ("run", "facts.run"),
      ("bootstrap", "facts.bootstrap"), ("policy", "facts.policy"),
    ])
  func facts(_ key: String, _ item: String) {
    var facts = Sample.subject().facts.object ?? JSONObject()
    facts[key] = 1
    let error = #expect(throws: ParseFailure.self) {
      try VerificationReport(Evidence(scores: Sample.scores(), facts: .object(facts)))
    }
    #expect(error?.item == item)
    facts[key] = nil
    #expect(throws: ParseFailure.self) {
      try VerificationReport(Evidence(scores: Sample.scores(), facts: .object(facts)))
    }
  }

  @Test("deep and repeated facts are refused")
  func deepFacts() {
    for text in [
      String(repeating: "{\"a\":", count: 9) + "1" + String(repeating: "}", count: 9), "{\"a\":1,\"a\":2}", "[]",
      "{\"a\":1e999}",
    ] {
      var bytes = Self.small().bytes.dropLast(2) + Array(text.utf8)
      bytes[40] = UInt8(text.utf8.count)
      #expect(throws: ParseFailure.self) { try Evidence(parsing: Array(bytes)) }
    }
  }

  @Test("random damage never traps")
  func damage() {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let whole = Self.small().bytes
    for _ in 0..<5000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if let evidence = try? Evidence(parsing: bytes), evidence.facts == [:] {
        // What it accepts, it can write again: the same bytes.
        #expect(evidence.bytes == bytes, "seed \(seed)")
      }
    }
  }

  /// Sums of one run and of its parts must be the same to the bit, so the parts' windows are put in order first.
  @Test("parts put together are the run, in any order; a doubled window and another kind are refused")
  func merging() throws {
    var whole = Sample.scores()
    whole.residuals = Self.residuals(windows: 12, layers: 3, stretches: 2)
    let parts = (0..<3).map { part in Self.part(of: whole, windows: Array(stride(from: part, to: 12, by: 3))) }
    for order in [[0, 1, 2], [2, 0, 1]] {
      #expect(try TokenScores(merging: order.map { parts[$0] }) == whole)
    }
    #expect(throws: ParseFailure.self) { try TokenScores(merging: [parts[0], parts[1], parts[0]]) }
    #expect(throws: ParseFailure.self) { try TokenScores(merging: [parts[0], Sample.alone()]) }
    var bare = parts[1]
    bare.residuals = nil
    #expect(throws: ParseFailure.self) { try TokenScores(merging: [parts[0], bare]) }
  }

  /// Windows of one entry each.
  static func part(of scores: TokenScores, windows: [Int]) -> TokenScores {
    var part = TokenScores(hasCandidate: true)
    var residuals = ResidualDrift(layers: 3, stretches: 2)
    for index in windows {
      let start = scores.windows[..<index].reduce(0) { $0 + $1.count }
      let tokens = start..<start + scores.windows[index].count
      part.append(
        scores.windows[index], baseNLL: Array(scores.baseNLL[tokens]), candidateNLL: Array(scores.candidateNLL[tokens]),
        kld: scores.kld[tokens].map { Double($0) }, flags: Array(scores.flags[tokens]))
      let sums = index * 6..<index * 6 + 6
      if let all = scores.residuals { residuals.append(off: Array(all.off[sums]), whole: Array(all.whole[sums])) }
    }
    part.residuals = residuals
    return part
  }
}

@Suite("Residual drift") struct ResidualDriftTests {
  @Test("relative errors follow from the sums by hand")
  func errors() {
    var residuals = ResidualDrift(layers: 2, stretches: 2)
    residuals.append(off: [1, 3, 0, 0], whole: [10, 6, 1, 1])
    residuals.append(off: [0, 5, 0, 0], whole: [0, 20, 0, 0])
    // Layer 0: √(9/36); its stretches √(1/10) and √(8/26). Layer 1 is equal; its stretches too.
    #expect(
      residuals.layerErrors == [LayerError(layer: 0, relativeError: 0.5), LayerError(layer: 1, relativeError: 0)])
    #expect(isClose(residuals.relativeError(layer: 0, stretch: 0), 0.31622776601683794))
    #expect(isClose(residuals.relativeError(layer: 0, stretch: 1), 0.5547001962252291))
    #expect(residuals.relativeError(layer: 1, stretch: 1) == 0)
    var unread = ResidualDrift(layers: 1, stretches: 2)
    unread.append(off: [1, 0], whole: [4, 0])
    #expect(unread.relativeError(layer: 0, stretch: 1) == nil)
  }

  @Test("stretches cover the context without a gap", arguments: [1, 2, 7, 8, 9, 17, 512, 100_003])
  func bins(_ context: Int) {
    let bins = PositionBins(context: context)
    #expect(bins.count == min(8, context))
    #expect((0..<bins.count).flatMap { bins.range($0) } == Array(0..<context))
    #expect(bins.bounds.last == context)
  }
}
