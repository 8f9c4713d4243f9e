public import ByteIO

/// Which merge rules are listed for ranks, which imply them. Both lists give the same ids.
public enum ImpliedRules: Sendable, CaseIterable {
  /// Every cut of a token into two tokens, by the ranks of the parts: what Hugging Face's converter of ranks makes, so
  /// what its `tokenizer.json` of Llama 3 and the GGUF files made of that have (280,147 rules).
  case allCuts
  /// For each token the pair that it is made of when its own bytes are encoded. No other pair ever makes it, so this
  /// is enough: while a token's bytes are merged, nothing outside them has a part in it. It is what trainers list
  /// (Llama 3: 127,156 rules). Tokens that no merges lead to have no rule.
  ///
  /// Parts may have higher ranks than the token. A recipe that merges lower ranks only leaves out 90 rules of Llama 3:
  /// " nghiệq" then gets other ids than tiktoken gives.
  case lastMerges
}

extension TokenizerKeys {
  /// The keys for a Llama 3 `tokenizer.model` (tiktoken's ranks): all ids behind the ranks are control tokens.
  /// - Parameters:
  ///   - bytes: the file.
  ///   - vocabularySize: rows of the model's embedding; nil for the ranks and the 256 special tokens of every release.
  ///   - names: whose names the special tokens get.
  ///   - rules: which merge rules are listed.
  ///   - special: ids known from elsewhere. Without them, the first two special tokens begin and end a text, as in base
  ///     models; the end of an instructed model is `<|eot_id|>`.
  ///   - chatTemplate: the template of an instructed model.
  /// - Throws: `ParseFailure` for what `BytePairTokenizer.init(tiktoken:vocabularySize:names:)` refuses.
  public init(
    tiktoken bytes: [UInt8], vocabularySize: Int? = nil, names: Llama3SpecialTokens = .llamaModels,
    rules: ImpliedRules = .allCuts, special: SpecialTokenIDs = SpecialTokenIDs(), chatTemplate: String? = nil
  ) throws(ParseFailure) {
    let parts = try TiktokenParts(bytes, vocabularySize: vocabularySize, names: names)
    let first = UInt32(parts.special[0].id)
    var tokens = ByteStrings()
    var text: [UInt8] = []
    for id in 0..<Int32(first) {
      text.removeAll(keepingCapacity: true)
      ByteAlphabet.shared.encode(parts.model.tokens.bytes(of: id) ?? [], into: &text)
      tokens.append(text)
    }
    for token in parts.special { tokens.append(token.text.utf8) }
    let types =
      Array(repeating: TokenKind.normal.rawValue, count: Int(first))
      + Array(repeating: TokenKind.control.rawValue, count: parts.special.count)
    let pairs = rules == .lastMerges ? parts.model.lastMerges() : try parts.model.tokens.cuts(sorted: true)
    self.init(
      tokens: tokens, types: types,
      merges: Self.spelled(pairs.lazy.map { ($0.left, $0.right) }, parts.model.tokens),
      special: special.filled(from: SpecialTokenIDs(beginOfText: first, endOfText: first + 1)),
      addsBeginOfText: true, chatTemplate: chatTemplate)
    let begin = try VocabularyParts(self).beginOfText
    guard begin == Int32(first) else {
      throw ParseFailure(
        "token \(begin.map { "\($0)" } ?? "none") is to begin a text; in a tokenizer.model it is \(first), the first "
          + "behind the ranks", item: self.special.all[0].key)
    }
  }
}

extension BytePairModel {
  /// For each token of several bytes, the last merge when its bytes are encoded by merges alone, in the order of ids;
  /// none for a token that merges do not lead to.
  func lastMerges() -> [BytePairTokenizer.Merge] {
    (0..<Int32(tokens.idLimit)).compactMap { lastMerge(of: $0) }
  }

  func lastMerge(of id: Int32) -> BytePairTokenizer.Merge? {
    guard let bytes = tokens.bytes(of: id), bytes.count > 1 else { return nil }
    var parts = bytes.map { byteTokens[Int($0)] }
    while parts.count > 2 {
      var (best, place) = (MergeTable.none, 0)
      for index in 0..<parts.count - 1 where merges[parts[index], parts[index + 1]] < best {
        (best, place) = (merges[parts[index], parts[index + 1]], index)
      }
      guard best != MergeTable.none else { return nil }
      parts[place] = MergeTable.result(of: best)
      parts.remove(at: place + 1)
    }
    return BytePairTokenizer.Merge(left: parts[0], right: parts[1], result: id)
  }
}
