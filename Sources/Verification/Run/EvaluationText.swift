internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Llama
internal import Tokenizers

/// What is scored, as windows of token ids, the same for both models.
struct EvaluationText {
  let windows: TokenWindows
  let remarks: [String]
  /// What each candidate's tokenizer reads differently.
  let tokenizerProblems: [[String]]
  /// What the scored tokens of each window stand for.
  private let counts: [Counts]
  private let path: String
  private let sha256: String
  private let tokenizer: any Tokenizer

  private struct Counts {
    var characters = 0
    var bytes = 0
  }

  /// Counts of the scored windows.
  var facts: TextFacts {
    TextFacts(
      characters: counts.reduce(0) { $0 + $1.characters }, utf8Bytes: counts.reduce(0) { $0 + $1.bytes }, path: path,
      sha256: sha256)
  }

  /// Some of its windows.
  /// - Parameter numbers: places in `windows`, ascending.
  func selecting(_ numbers: [Int]) -> EvaluationText { EvaluationText(self, numbers) }

  private init(_ all: EvaluationText, _ numbers: [Int]) {
    windows = all.windows.selecting(numbers)
    counts = numbers.map { all.counts[$0] }
    (remarks, tokenizerProblems, path, sha256) = (all.remarks, all.tokenizerProblems, all.path, all.sha256)
    tokenizer = all.tokenizer
  }

  /// Texts are read whole.
  private static let textLimit = 1 << 30

  /// - Throws: `ParseFailure` when there is no tokenizer, or when nothing is left to score.
  init(_ request: VerificationRequest) throws {
    let bytes = try ReadableFile.contents(of: request.textPath, limit: Self.textLimit)
    var found = try request.base.tokenizer()
    for candidate in request.candidates where found == nil { found = try candidate.tokenizer() }
    guard let tokenizer = found else {
      throw ParseFailure(
        "there is no tokenizer", file: request.base.path,
        advice: "put tokenizer.json or tokenizer.model beside the weights")
    }
    var parity = try TokenizerParity(request, tokenizer)
    parity.check(AdversarialTexts.all)
    var remarks: [String] = []
    var coverage: (text: [UInt8], tokens: TextCoverage)?
    if request.rule == .chat {
      let chat = try ChatTranscripts(bytes, file: request.textPath, tokenizer: tokenizer)
      parity.check(chat)
      windows = TokenWindows(separate: chat.texts, context: request.context, limit: request.tokenLimit)
      remarks += try chat.remarks(windows, file: request.textPath)
    } else {
      let text = RepairedText(repairing: bytes)
      if let fault = text.firstFault {
        remarks.append(
          "\(request.textPath): \(text.replacements) ill-formed UTF-8 sequences were replaced by U+FFFD, the first at byte \(fault)"
        )
      }
      var scored = text.bytes
      // llama.cpp drops one line feed at the end of the file that it is given, and a token may end with it.
      if request.rule == .llamaCpp, scored.last == UInt8(ascii: "\n") { scored.removeLast() }
      let ids = tokenizer.encode(scored)
      parity.check(ids, of: scored)
      let begin = tokenizer.beginOfText ?? request.base.configuration.beginOfTextID.flatMap(Int32.init(exactly:))
      windows = try Self.windows(request, ids, beginOfText: begin)
      coverage = TextCoverage(ids, of: scored, by: tokenizer).map { (scored, $0) }
    }
    tokenizerProblems = parity.problems
    counts = Self.counts(windows, coverage, tokenizer)
    path = request.textPath
    sha256 = SHA256Sum.hexadecimal(of: bytes)
    self.remarks = remarks
    self.tokenizer = tokenizer
  }

  /// Tokens shown before and behind the one that drifts most.
  private static let excerptTokens = (before: 24, behind: 12)

  /// The words around the token of a window that drifts most, which stands between brackets.
  func excerpt(_ drift: WindowDrift) -> WindowExcerpt {
    guard let number = windows.indices.firstIndex(of: drift.window) else {
      return WindowExcerpt(window: drift.window, text: "")
    }
    let ids = windows.windows[number]
    let at = min(max(drift.worstPosition, 0), ids.count - 1)
    // What stands in front of a window is no text.
    let first = min(at, max(1, at - Self.excerptTokens.before))
    let end = min(ids.count, at + 1 + Self.excerptTokens.behind)
    func text(_ range: Range<Int>) -> String {
      String(decoding: ids[range].flatMap { tokenizer.bytes(of: $0) ?? [] }, as: UTF8.self)
    }
    // Tokens may be long, and a hostile tokenizer's very long.
    let parts = [
      String(text(first..<at).suffix(200)), String(text(at..<at + 1).prefix(100)),
      String(text(at + 1..<end).prefix(100)),
    ]
    return WindowExcerpt(window: drift.window, text: "\(parts[0])⟦\(parts[1])⟧\(parts[2])")
  }

  /// - Parameter coverage: which bytes of the text its tokens stand for, where that is known.
  private static func counts(
    _ windows: TokenWindows, _ coverage: (text: [UInt8], tokens: TextCoverage)?, _ tokenizer: any Tokenizer
  ) -> [Counts] {
    // The name of a token that ends a turn is no text.
    let special = Set(tokenizer.specialTokens.map(\.id))
    return windows.scored.enumerated().map { number, ranges in
      var counts = Counts()
      func count(_ bytes: ArraySlice<UInt8>) {
        counts.bytes += bytes.count
        // Tokens may cut a character: count its first byte only.
        counts.characters += bytes.count { $0 & 0xC0 != 0x80 }
      }
      for range in ranges {
        if let (text, tokens) = coverage {
          let offset = windows.offsets[number]
          count(text[tokens.bytes(of: range.lowerBound + offset..<range.upperBound + offset)])
          continue
        }
        for id in windows.windows[number][range] where !special.contains(id) {
          count((tokenizer.bytes(of: id) ?? [])[...])
        }
      }
      return counts
    }
  }

  private static func windows(
    _ request: VerificationRequest, _ ids: [Int32], beginOfText: Int32?
  ) throws(ParseFailure) -> TokenWindows {
    guard request.rule == .llamaCpp else {
      guard let beginOfText else {
        throw ParseFailure("neither tokenizer nor config.json names a begin-of-text token", file: request.base.path)
      }
      guard !ids.isEmpty else { throw ParseFailure("the text has no token to score", file: request.textPath) }
      return TokenWindows(ids: ids, context: request.context, beginOfText: beginOfText, limit: request.tokenLimit)
    }
    // One chunk could be scored, but llama.cpp gives no figure below two: there would be nothing to compare with.
    let (found, needed) = (ids.count + (beginOfText == nil ? 0 : 1), 2 * request.context)
    guard found >= needed else {
      throw ParseFailure(
        "the text has \(found) tokens\(beginOfText == nil ? "" : " with the begin-of-text token"); protocol llama.cpp "
          + "needs \(needed), two chunks of \(request.context), as llama.cpp itself does",
        file: request.textPath, advice: "use a longer text or a shorter --context")
    }
    return TokenWindows(chunksOf: ids, context: request.context, beginOfText: beginOfText, limit: request.tokenLimit)
  }
}
