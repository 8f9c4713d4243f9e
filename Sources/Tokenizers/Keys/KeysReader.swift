public import ByteIO

extension BytePairTokenizer {
  /// The tokenizer that `keys` describe. It means the same as the one read from the files the keys were made of.
  ///
  /// The begin of text is the token that is put in front of a text; where none is put there, the one that is named
  /// `<|begin_of_text|>`.
  /// - Throws: `ParseFailure` that names the key: a model or split other than Llama 3's, lists of different lengths,
  ///   doubled texts, texts that are not of the byte alphabet, rules of unknown tokens, ids out of range, limits of
  ///   `TokenizerLimits` exceeded.
  public init(_ keys: TokenizerKeys) throws(ParseFailure) {
    try self.init(VocabularyParts(keys))
    guard keys.merges.count > 0 || lostTokens.isEmpty else {
      throw ParseFailure(
        "there are tokens of several bytes, but no merge rules", item: TokenizerKeys.mergesKey,
        advice: "llama.cpp refuses such a file too: convert it again")
    }
  }
}

extension VocabularyParts {
  init(_ keys: TokenizerKeys) throws(ParseFailure) {
    try keys.checkKind()
    (tokens, added) = try keys.vocabulary()
    rules = try keys.rules(tokens)
    try keys.checkSpecialIDs(added)
    takesWholePieces = true
    prefix = keys.prefix
  }
}

extension TokenizerKeys {
  /// The token in front of every text.
  var prefix: Int32? { addsBeginOfText ?? true ? special.beginOfText.map { Int32($0) } : nil }

  fileprivate func checkKind() throws(ParseFailure) {
    let advice = "supported is byte-level BPE with Llama 3's split, \(Self.byteLevelModel) and \(Self.llama3Split)"
    let item = "tokenizer.ggml.model"
    switch model {
    case Self.byteLevelModel: break
    case "llama":
      throw ParseFailure("a SentencePiece model, as Llama 1 and 2 have it (\"llama\")", item: item, advice: advice)
    default: throw ParseFailure("a tokenizer of the kind \"\(model)\"", item: item, advice: advice)
    }
    guard let pre, Self.llama3Aliases.contains(pre) else {
      throw ParseFailure(
        pre.map { "text is split as \"\($0)\"" } ?? "the key that says how text is split is missing",
        item: "tokenizer.ggml.pre", advice: advice)
    }
    guard types.count == tokens.count else {
      throw ParseFailure(
        "the array has \(types.count) elements, there are \(tokens.count) tokens", item: "tokenizer.ggml.token_type")
    }
    guard !tokens.isEmpty, tokens.count <= TokenizerLimits.vocabularySize else {
      throw ParseFailure(
        "\(tokens.count) tokens; expected 1 to \(TokenizerLimits.vocabularySize)", item: Self.tokensKey)
    }
  }

  fileprivate func vocabulary() throws(ParseFailure) -> (TokenTable, AddedTokens) {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: Self.tokensKey) }
    let limit = types.lastIndex(of: TokenKind.normal.rawValue).map { $0 + 1 } ?? 0
    var table = TokenTable(idLimit: limit)
    var added = AddedTokens()
    // With the unused ones, to find doubled texts.
    var others = AddedTokens()
    for (id, type) in types.enumerated() {
      guard let text = tokens.text(at: id) else { throw failure("the token with id \(id) is not UTF-8") }
      guard !text.isEmpty else { throw failure("the token with id \(id) is empty") }
      switch TokenKind(rawValue: type) {
      case .normal:
        if let known = table.insert(try bytes(of: text, id), id: Int32(id)) {
          throw failure("the token with id \(id), \"\(text)\", is the same as that with id \(known)")
        }
      case .control, .userDefined:
        try others.insert(text, id: id, isUserDefined: false, item: Self.tokensKey)
        try added.insert(text, id: id, isUserDefined: type == TokenKind.userDefined.rawValue, item: Self.tokensKey)
      case .unused: try others.insert(text, id: id, isUserDefined: false, item: Self.tokensKey)
      case .unknown, .byte, nil:
        throw ParseFailure(
          "token \(id) is of type \(type); byte-level BPE has the types 1, 3, 4 and 5",
          item: "tokenizer.ggml.token_type")
      }
    }
    try Self.checkUnique(table, others.tokens)
    return (table, added)
  }

  /// A normal token's bytes.
  private func bytes(of text: String, _ id: Int) throws(ParseFailure) -> [UInt8] {
    let span = text.utf8.span
    var bytes: [UInt8] = []
    let limit = TokenizerLimits.tokenBytes
    // The alphabet spells a byte in one or two.
    if span.count <= 2 * limit, !ByteAlphabet.shared.decode(span, 0, span.count, into: &bytes) {
      throw ParseFailure(
        "the token with id \(id), \"\(text)\", is not written in the alphabet of byte-level BPE", item: Self.tokensKey)
    }
    guard span.count <= 2 * limit, bytes.count <= limit else {
      throw ParseFailure("the token with id \(id) has more than \(limit) bytes", item: Self.tokensKey)
    }
    return bytes
  }

  /// No text may occur twice, whatever the kinds: llama.cpp looks tokens up by their text, and stops.
  private static func checkUnique(_ table: TokenTable, _ others: [SpecialToken]) throws(ParseFailure) {
    for token in others {
      guard let known = id(of: token.text, in: table) else { continue }
      throw ParseFailure(
        "the token with id \(token.id), \"\(token.text)\", is the same text as that with id \(known)", item: tokensKey)
    }
  }

  /// The token that is written so in the byte alphabet.
  private static func id(of text: String, in table: TokenTable) -> Int32? {
    let span = text.utf8.span
    var bytes: [UInt8] = []
    guard ByteAlphabet.shared.decode(span, 0, span.count, into: &bytes) else { return nil }
    return table.id(of: bytes.span, 0, bytes.count)
  }

  fileprivate func rules(_ table: TokenTable) throws(ParseFailure) -> MergeRules {
    var rules = try MergeRules(count: merges.count, item: Self.mergesKey)
    var bytes: [UInt8] = []
    for (rank, merge) in merges.enumerated() {
      guard let text = merges.text(at: rank), merge.count <= 2 * TokenizerLimits.tokenBytes + 1 else {
        throw ParseFailure("rule \(rank) is too long or not UTF-8", item: Self.mergesKey)
      }
      bytes.removeAll(keepingCapacity: true)
      let cut = ByteAlphabet.shared.decode(rule: text.utf8.span, into: &bytes)
      try rules.append(bytes, cut: cut ?? 0, tokens: table, spelling: "\"\(text)\"")
    }
    return rules
  }

  fileprivate func checkSpecialIDs(_ added: AddedTokens) throws(ParseFailure) {
    for (key, id) in special.all {
      guard let id, id >= tokens.count else { continue }
      throw ParseFailure("id \(id) where there are \(tokens.count) tokens", item: key)
    }
    guard let prefix, !added.contains(id: prefix) else { return }
    throw ParseFailure(
      "token \(prefix), which starts every text, is of type \(types[Int(prefix)]); expected a control token",
      item: special.all[0].key)
  }
}
