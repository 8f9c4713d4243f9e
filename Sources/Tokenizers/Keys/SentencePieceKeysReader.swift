public import ByteIO

extension SentencePieceTokenizer {
  /// The tokenizer that `keys` describe. It means the same as the one read from the files the keys were made of.
  ///
  /// Where keys are missing, llama.cpp's defaults hold: the unknown token is 0, the begin of text 1, if one is put in front
  /// of texts, and the end of text 2.
  /// - Throws: `ParseFailure` that names the key: another model than `llama`, lists of different lengths, no scores, ids
  ///   out of range, and what pieces must not be; see `SentencePieceTokenizer.init(sentencePiece:vocabularySize:)`.
  public init(_ keys: TokenizerKeys) throws(ParseFailure) { self.init(try SentencePieceVocabulary(keys)) }
}

extension SentencePieceVocabulary {
  init(_ keys: TokenizerKeys) throws(ParseFailure) {
    guard keys.isSentencePiece else {
      throw ParseFailure("\"\(keys.model)\", expected \"llama\"", item: "tokenizer.ggml.model")
    }
    let scores = try Self.scores(keys)
    guard keys.tokens.count <= TokenizerLimits.vocabularySize else {
      throw ParseFailure(
        "\(keys.tokens.count) tokens; the limit is \(TokenizerLimits.vocabularySize)", item: TokenizerKeys.tokensKey)
    }
    var pieces: [Piece] = []
    pieces.reserveCapacity(keys.tokens.count)
    for (id, type) in keys.types.enumerated() {
      guard let kind = TokenKind(rawValue: type) else {
        throw ParseFailure("token \(id) is of type \(type); the types are 1 to 6", item: "tokenizer.ggml.token_type")
      }
      let text = Array(keys.tokens[id])
      pieces.append(Piece(text: kind == .userDefined ? text.withoutSpaces : text, score: scores[id], kind: kind))
    }
    // llama.cpp's converter makes control tokens of all that tokenizer_config.json calls special.
    if !pieces.contains(where: { $0.kind == .unknown }), let piece = pieces.index(of: keys.special.unknown ?? 0) {
      pieces[piece].kind = .unknown
    }
    var settings = Settings()
    settings.prefix = keys.addsSpacePrefix ?? true ? .always : .never
    settings.removesExtraSpaces = keys.removesExtraSpaces ?? false
    settings.beginOfText = try Self.control(
      keys.special.beginOfText, keys.special.all[0].key, pieces, standard: keys.addsBeginOfText == false ? nil : 1)
    settings.endOfText = try Self.control(keys.special.endOfText, keys.special.all[1].key, pieces, standard: 2)
    settings.padding = keys.special.padding.flatMap { pieces.index(of: $0) }.map { Int32($0) }
    try self.init(pieces, settings, item: TokenizerKeys.tokensKey)
  }

  private static func scores(_ keys: TokenizerKeys) throws(ParseFailure) -> [Float] {
    guard let scores = keys.scores else {
      throw ParseFailure(
        "the key is missing; a SentencePiece model merges by its scores", item: "tokenizer.ggml.scores")
    }
    for (name, count) in [("scores", scores.count), ("token_type", keys.types.count)] where count != keys.tokens.count {
      throw ParseFailure(
        "the array has \(count) elements, there are \(keys.tokens.count) tokens", item: "tokenizer.ggml.\(name)")
    }
    return scores
  }

  /// The token that begins or ends a text; nil when no key names it and the one of llama.cpp's default is none.
  private static func control(
    _ id: UInt32?, _ key: String, _ pieces: [Piece], standard: UInt32?
  ) throws(ParseFailure) -> Int32? {
    guard let index = (id ?? standard).flatMap({ pieces.index(of: $0) }) else {
      guard let id else { return nil }
      throw ParseFailure("id \(id) where there are \(pieces.count) tokens", item: key)
    }
    return id != nil || pieces[index].kind == .control ? Int32(index) : nil
  }
}

extension Array {
  /// `id` as an index, if it is one.
  fileprivate func index(of id: UInt32) -> Int? { Int(id) < count ? Int(id) : nil }
}
