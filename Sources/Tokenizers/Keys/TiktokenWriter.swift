public import ByteIO

extension TokenizerKeys {
  /// A Llama 3 `tokenizer.model`: a line per normal token, its bytes in base64, a space, its rank.
  ///
  /// The file holds neither the special tokens nor the merge rules, so both must be those that Meta's code takes for
  /// granted.
  /// - Throws: `ParseFailure` for what `BytePairTokenizer.init(_:)` refuses, and for what the file cannot say: ids of
  ///   normal tokens that are not 0 to n-1, rows without a token, special tokens elsewhere than in Llama 3, merge rules
  ///   that are not those of the ranks.
  public func tiktokenModel() throws(ParseFailure) -> [UInt8] {
    let parts = try VocabularyParts(self)
    try checkLayout(parts)
    try Self.checkRules(parts)
    var file: [UInt8] = []
    for id in 0..<Int32(parts.tokens.idLimit) {
      Self.appendBase64(parts.tokens.bytes(of: id) ?? [], to: &file)
      file += Array(" \(id)\n".utf8)
    }
    return file
  }

  private func checkLayout(_ parts: VocabularyParts) throws(ParseFailure) {
    let count = parts.tokens.count
    func failure(_ message: String) -> ParseFailure {
      ParseFailure(
        message, item: Self.tokensKey,
        advice: "a tokenizer.model holds the ranks only; Hugging Face's layout has a tokenizer.json, which holds all")
    }
    guard parts.tokens.idLimit == count else {
      throw failure("\(count) normal tokens have ids up to \(parts.tokens.idLimit - 1); ranks have no gaps")
    }
    // Every row must have a token: the reader would take a row without one for a reserved token.
    if let id = types.firstIndex(of: TokenKind.unused.rawValue) {
      throw failure("row \(id) has no token; Meta's code names all \(tokens.count - count) rows behind the ranks")
    }
    guard tokens.count >= count + 2 else {
      throw failure("\(tokens.count - count) special tokens; expected at least begin and end of text")
    }
    guard parts.beginOfText == Int32(count) else {
      throw failure(
        "the begin of text is token \(parts.beginOfText.map { "\($0)" } ?? "none"); Meta's code expects \(count)")
    }
    for (position, name) in Llama3SpecialTokens.common where count + position < tokens.count {
      let text = parts.added.text(of: Int32(count + position)) ?? ""
      guard text.utf8.elementsEqual(name.utf8) else {
        throw failure("token \(count + position) is \"\(text)\"; Meta's code expects \"\(name)\"")
      }
    }
  }

  /// The rules that ranks imply have an effect through the last merge of each token only; see `ImpliedRules`.
  private static func checkRules(_ parts: VocabularyParts) throws(ParseFailure) {
    func failure(_ message: String) -> ParseFailure {
      ParseFailure(message, item: mergesKey, advice: "ids of a tokenizer.model would differ")
    }
    guard parts.rules.isOrdered else {
      throw failure("the merge rules are not in the order of the tokens that they make, as ranks are")
    }
    let implied = BytePairModel(
      tokens: parts.tokens, merges: try MergeTable(impliedBy: parts.tokens), takesWholePieces: true,
      byteTokens: try singleBytes(of: parts.tokens))
    for merge in implied.lastMerges() where parts.rules.table[merge.left, merge.right] == MergeTable.none {
      throw failure("no rule merges tokens \(merge.left) and \(merge.right) into \(merge.result), as ranks do")
    }
  }

  /// RFC 4648 section 4, padded.
  private static func appendBase64(_ bytes: ArraySlice<UInt8>, to file: inout [UInt8]) {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var start = bytes.startIndex
    while start < bytes.endIndex {
      let group = bytes[start..<min(start + 3, bytes.endIndex)]
      var bits: UInt32 = 0
      for index in 0..<3 { bits = bits << 8 | (index < group.count ? UInt32(group[start + index]) : 0) }
      for index in 0..<4 {
        let digit = digits[Int(bits >> UInt32(18 - 6 * index) & 63)]
        file.append(index <= group.count ? digit : UInt8(ascii: "="))
      }
      start += 3
    }
  }
}
