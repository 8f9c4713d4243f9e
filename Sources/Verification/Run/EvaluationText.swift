internal import Llama
internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Tokenizers

/// The text as windows of token ids, the same for both models.
struct EvaluationText {
  let windows: TokenWindows
  /// Counts of the scored windows.
  let facts: TextFacts
  let remarks: [String]

  /// Texts are read whole.
  private static let textLimit = 1 << 30

  /// - Throws: `ParseFailure` when there is no tokenizer, when the two models' tokenizers disagree about the text, or when
  ///   nothing is left to score.
  init(_ request: VerificationRequest) throws {
    let bytes = try ReadableFile.contents(of: request.textPath, limit: Self.textLimit)
    let text = RepairedText(repairing: bytes)
    var remarks: [String] = []
    if let fault = text.firstFault {
      remarks.append(
        "\(request.textPath): \(text.replacements) ill-formed UTF-8 sequences were replaced by U+FFFD, the first at byte \(fault)"
      )
    }
    guard let tokenizer = try request.base.tokenizer() ?? request.candidate?.tokenizer() else {
      throw ParseFailure(
        "there is no tokenizer", file: request.base.path,
        advice: "put tokenizer.json or tokenizer.model beside the weights")
    }
    var scored = text.bytes
    // llama.cpp drops one line feed at the end of the file that it is given, and a token may end with it.
    if request.rule == .llamaCpp, scored.last == UInt8(ascii: "\n") { scored.removeLast() }
    let ids = tokenizer.encode(scored)
    try Self.checkParity(request, ids, scored)
    let begin = tokenizer.beginOfText ?? request.base.configuration.beginOfTextID.flatMap(Int32.init(exactly:))
    windows = try Self.windows(request, ids, beginOfText: begin)
    var counts = (characters: 0, bytes: 0)
    for window in windows.windows {
      for id in window.dropFirst(windows.firstScored) {
        let piece = tokenizer.bytes(of: id) ?? []
        counts.bytes += piece.count
        // Tokens may cut a character: count its first byte only.
        counts.characters += piece.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
      }
    }
    facts = TextFacts(
      characters: counts.characters, utf8Bytes: counts.bytes, path: request.textPath,
      sha256: SHA256Sum.hexadecimal(of: bytes))
    self.remarks = remarks
  }

  private static func windows(
    _ request: VerificationRequest, _ ids: [Int32], beginOfText: Int32?
  ) throws(ParseFailure) -> TokenWindows {
    switch request.rule {
    case .windows:
      guard let beginOfText else {
        throw ParseFailure("neither tokenizer nor config.json names a begin-of-text token", file: request.base.path)
      }
      guard !ids.isEmpty else { throw ParseFailure("the text has no token to score", file: request.textPath) }
      return TokenWindows(ids: ids, context: request.context, beginOfText: beginOfText, limit: request.tokenLimit)
    case .llamaCpp:
      // One chunk could be scored, but llama.cpp gives no figure below two: there would be nothing to compare with.
      let (found, needed) = (ids.count + (beginOfText == nil ? 0 : 1), 2 * request.context)
      guard found >= needed else {
        throw ParseFailure(
          "the text has \(found) tokens\(beginOfText == nil ? "" : " with the begin-of-text token"); protocol llama.cpp "
            + "needs \(needed), two chunks of \(request.context), as llama.cpp itself does",
          file: request.textPath, advice: "use a longer text or a shorter --context")
      }
      return TokenWindows(
        chunksOf: ids, context: request.context, beginOfText: beginOfText, limit: request.tokenLimit)
    }
  }

  /// Drift between two models is only defined on the same tokens.
  private static func checkParity(_ request: VerificationRequest, _ ids: [Int32], _ text: [UInt8]) throws {
    guard let candidate = request.candidate, let other = try candidate.tokenizer() else { return }
    let theirs = other.encode(text)
    guard theirs != ids else { return }
    let index =
      zip(ids, theirs).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(ids.count, theirs.count)
    throw ParseFailure(
      "base and candidate tokenize the text differently from token \(index) on", file: candidate.path,
      advice: "the candidate has another model's tokenizer; per-token drift would mean nothing")
  }

  /// The forward pass's scores in the report's form.
  func scores(_ scoring: TokenScoring, hasCandidate: Bool) -> TokenScores {
    var scores = TokenScores(hasCandidate: hasCandidate)
    let firstScored = windows.firstScored
    var first = 0
    for (index, window) in windows.windows.enumerated() {
      let range = first..<first + window.count - firstScored
      first = range.upperBound
      let scored = ScoredWindow(index: windows.indices[index], firstPosition: firstScored, count: range.count)
      let base = range.map { Float(scoring.baseNLL[$0]) }
      if hasCandidate {
        scores.append(
          scored, baseNLL: base, candidateNLL: range.map { Float(scoring.candidateNLL[$0]) },
          kld: range.map { scoring.divergence[$0] },
          flags: range.map {
            TokenFlags(
              baseIsRight: scoring.baseIsRight[$0], candidateIsRight: scoring.candidateIsRight[$0],
              top1Agrees: scoring.topAgrees[$0], top5Overlap: scoring.top5Overlap[$0])
          })
      } else {
        scores.append(scored, nll: base, flags: range.map { TokenFlags(baseIsRight: scoring.baseIsRight[$0]) })
      }
    }
    return scores
  }
}
