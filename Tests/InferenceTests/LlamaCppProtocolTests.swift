import Foundation
import Inference
import Kernels
import Llama
import Support
import Testing

/// Chunks written out by hand from the statement of the protocol.
private struct Chunks: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let ids: ClosedRange<Int32>
  let context: Int
  let beginOfText: Int32?
  let windows: [[Int32]]
  /// The scored tokens of each chunk; ids are their own index in the text plus 1.
  let scored: [[Int32]]

  static let all = [
    Chunks(
      testDescription: "the stream fills its chunks", ids: 1...23, context: 8, beginOfText: 99,
      windows: [[99, 1, 2, 3, 4, 5, 6, 7], [99, 9, 10, 11, 12, 13, 14, 15], [99, 17, 18, 19, 20, 21, 22, 23]],
      scored: [[5, 6, 7], [13, 14, 15], [21, 22, 23]]),
    Chunks(
      testDescription: "one token less drops a chunk", ids: 1...22, context: 8, beginOfText: 99,
      windows: [[99, 1, 2, 3, 4, 5, 6, 7], [99, 9, 10, 11, 12, 13, 14, 15]], scored: [[5, 6, 7], [13, 14, 15]]),
    Chunks(
      testDescription: "an odd context", ids: 1...10, context: 5, beginOfText: 99,
      windows: [[99, 1, 2, 3, 4], [99, 6, 7, 8, 9]], scored: [[3, 4], [8, 9]]),
    Chunks(
      testDescription: "the shortest context", ids: 1...9, context: 3, beginOfText: 99,
      windows: [[99, 1, 2], [99, 4, 5], [99, 7, 8]], scored: [[2], [5], [8]]),
    Chunks(
      testDescription: "no begin-of-text token: nothing is replaced", ids: 1...17, context: 8, beginOfText: nil,
      windows: [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16]], scored: [[6, 7, 8], [14, 15, 16]]),
    Chunks(
      testDescription: "less than a chunk", ids: 1...6, context: 8, beginOfText: 99, windows: [], scored: []),
  ]
}

@Suite("Protocol llama.cpp")
struct LlamaCppProtocolTests {
  @Test("Chunks do not overlap, the rest is dropped, and the second half of each is scored", arguments: Chunks.all)
  private func chunks(_ expected: Chunks) {
    let windows = TokenWindows(
      chunksOf: Array(expected.ids), context: expected.context, beginOfText: expected.beginOfText)
    #expect(windows.windows == expected.windows)
    #expect(windows.indices == Array(0..<expected.windows.count))
    let scored = zip(windows.windows, windows.scored).map { window, ranges in ranges.joined().map { window[$0] } }
    #expect(scored == expected.scored)
    #expect(windows.scoredCount == expected.scored.joined().count)
  }

  @Test("A limit takes whole chunks spread evenly over the text", arguments: [1, 40, 200, 399, 10_000, Int.max])
  func limit(_ limit: Int) {
    // 100 chunks of 10, of which 4 tokens are scored.
    let windows = TokenWindows(chunksOf: (1..<1000).map(Int32.init), context: 10, beginOfText: 0, limit: limit)
    let wanted = limit > 400 ? 100 : (limit + 3) / 4
    #expect(windows.windows.count == wanted && windows.scoredCount == 4 * wanted)
    #expect(windows.windows.map { $0[1] } == windows.indices.map { Int32($0 * 10 + 1) })
    let gaps = zip(windows.indices.dropFirst(), windows.indices).map { $0 - $1 }
    #expect(gaps.allSatisfy { $0 > 0 } && (gaps.max() ?? 0) - (gaps.min() ?? 0) <= 1)
    // The middle of what is taken is the middle of the text.
    let middle = Double(windows.indices.reduce(0, +)) / Double(wanted) + 0.5
    #expect(abs(middle - 50) <= 1)
  }

  /// Each token's score by the statement alone: which tokens are read in front of it, and the definition's logits in
  /// binary64 behind them.
  @Test(
    "The pairs of position and token are llama.cpp's, with their scores",
    arguments: [(8, 5), (7, 5), (3, 5), (8, nil), (9, nil)] as [(Int, Int32?)])
  func scores(_ context: Int, _ beginOfText: Int32?) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let configuration = ModelCase.all[1].configuration
    let base = RandomModel(configuration, seed: seed)
    let candidate = RandomModel(configuration, seed: seed &+ 1)
    let ids = (0..<30).map { _ in Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &random) }

    let windows = TokenWindows(chunksOf: ids, context: context, beginOfText: beginOfText)
    var scoring = TokenScoring()
    try LockstepScorer(base: base, candidate: candidate, settings: ForwardSettings(threads: 2)).score(
      windows.windows, scored: windows.scored, into: &scoring)

    let stream = (beginOfText.map { [$0] } ?? []) + ids
    var token = 0
    for chunk in 0..<stream.count / context {
      var read = Array(stream[chunk * context..<chunk * context + context])
      if let beginOfText { read[0] = beginOfText }
      let (left, right) = (try base.definition(read), try candidate.definition(read))
      for position in context / 2...context - 2 {
        try #require(token < scoring.count)
        let target = Int(stream[chunk * context + position + 1])
        #expect(scoring.window[token] == chunk && scoring.position[token] == position + 1)
        #expect(abs(scoring.baseNLL[token] - surprise(left[position], target)) < 1e-4, "seed \(seed)")
        #expect(abs(scoring.candidateNLL[token] - surprise(right[position], target)) < 1e-4, "seed \(seed)")
        token += 1
      }
    }
    #expect(token == scoring.count && token == windows.scoredCount)
  }

  /// −ln of the softmax's share, nats.
  private func surprise(_ logits: [Double], _ target: Int) -> Double {
    let largest = logits.max() ?? 0
    return largest + log(logits.reduce(0) { $0 + exp($1 - largest) }) - logits[target]
  }

  @Test("What is only read changes no score: the same bits as when all of the window is scored")
  func sameBits() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let configuration = ModelCase.all[6].configuration
    let base = RandomModel(configuration, seed: seed)
    let candidate = RandomModel(configuration, seed: seed &+ 1)
    let windows = (0..<3).map { _ in
      (0..<20).map { _ in Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &random) }
    }
    let scorer = try LockstepScorer(
      base: base, candidate: candidate, settings: ForwardSettings(threads: 2, tokensPerChunk: 25))
    var (all, half) = (TokenScoring(), TokenScoring())
    try scorer.score(windows, into: &all)
    // In two calls, so that windows are numbered on.
    try scorer.score(Array(windows[..<1]), firstScored: 11, into: &half)
    try scorer.score(Array(windows[1...]), firstScored: 11, into: &half)
    let kept = all.position.indices.filter { all.position[$0] >= 11 }
    #expect(kept.count == 27 && half.count == 27)
    #expect(half.window == kept.map { all.window[$0] } && half.position == kept.map { all.position[$0] })
    #expect(half.baseNLL == kept.map { all.baseNLL[$0] } && half.candidateNLL == kept.map { all.candidateNLL[$0] })
    #expect(half.divergence == kept.map { all.divergence[$0] }, "seed \(seed)")
    #expect(half.topAgrees == kept.map { all.topAgrees[$0] } && half.top5Overlap == kept.map { all.top5Overlap[$0] })
  }
}
