public import ByteIO

/// A SentencePiece `tokenizer.model` and the files beside it that add tokens and settings to it.
public struct SentencePieceFiles: Sendable {
  public var model: [UInt8]
  /// `added_tokens.json`.
  public var addedTokens: [UInt8]?
  /// `tokenizer_config.json`.
  public var tokenizerConfig: [UInt8]?

  public init(model: [UInt8], addedTokens: [UInt8]? = nil, tokenizerConfig: [UInt8]? = nil) {
    self.model = model
    self.addedTokens = addedTokens
    self.tokenizerConfig = tokenizerConfig
  }
}

extension SentencePieceTokenizer {
  /// The tokenizer of a directory. Added tokens are pieces: control pieces if they are special or look so, user-defined
  /// ones if not.
  /// - Parameter vocabularySize: rows of the model's embedding. Added tokens beyond them are left out: the model has no
  ///   such rows.
  /// - Throws: `ParseFailure` for what `init(sentencePiece:vocabularySize:)` refuses, for an added token of a text or id
  ///   that the model has otherwise, for files that are no JSON.
  public init(_ files: SentencePieceFiles, vocabularySize: Int? = nil) throws(ParseFailure) {
    self.init(try SentencePieceVocabulary(files, vocabularySize))
  }
}

extension SentencePieceVocabulary {
  init(_ files: SentencePieceFiles, _ vocabularySize: Int?) throws(ParseFailure) {
    let config = try TokenizerConfiguration(files.tokenizerConfig)
    let own = try SentencePieceVocabulary(file: files.model)
    if let vocabularySize { try own.checkFits(vocabularySize) }
    let added = try TokenizerConfiguration.added(addedTokens: files.addedTokens) + config.added
    let limit = min(vocabularySize ?? .max, TokenizerLimits.vocabularySize)
    var settings = own.settings
    if let addsPrefix = config.addsSpacePrefix { settings.prefix = addsPrefix ? .always : .never }
    let pieces = try own.pieces(with: added, limit: limit)
    let whole = try SentencePieceVocabulary(pieces, settings, item: "pieces and added tokens")
    let ids = try config.ids { whole.id(of: Array($0.utf8)) }
    settings.beginOfText = ids.beginOfText.map { Int32($0) } ?? settings.beginOfText
    settings.endOfText = ids.endOfText.map { Int32($0) } ?? settings.endOfText
    settings.padding = ids.padding.map { Int32($0) } ?? settings.padding
    try self.init(whole.pieces, settings, item: "pieces and added tokens")
  }

  /// llama.cpp's converter gives added tokens this score.
  static let addedScore: Float = -1000
  /// And rows that no token belongs to this one.
  static let paddingScore: Float = -10_000

  /// The pieces with added tokens in their places. A special piece of the same text stays what it is.
  private func pieces(with added: [AddedPiece], limit: Int) throws(ParseFailure) -> [Piece] {
    var pieces = pieces
    for token in added where token.id < limit {
      guard token.id >= 0 else { throw ParseFailure("\"\(token.text)\" has the id \(token.id)", item: "added tokens") }
      while pieces.count <= token.id { pieces.append(.padding(id: pieces.count)) }
      let text = Array(token.text.utf8)
      let known = pieces[token.id]
      if known.text == text, known.kind.isSpecial || known.kind == .byte { continue }
      let isControl = token.isSpecial || TokenizerKeys.looksSpecial(token.text)
      pieces[token.id] = Piece(
        text: isControl ? text : text.withoutSpaces, score: Self.addedScore, kind: isControl ? .control : .userDefined)
    }
    return pieces
  }
}

extension SentencePieceVocabulary.Piece {
  static func padding(id: Int) -> Self {
    Self(text: Array("[PAD\(id)]".utf8), score: SentencePieceVocabulary.paddingScore, kind: .unused)
  }
}

extension TokenizerKeys {
  /// The keys for a SentencePiece `tokenizer.model` and what lies beside it, as llama.cpp's converter fills them: pieces,
  /// scores and types as the model has them, added tokens with the score -1000, and an unused `[PADn]` with the score
  /// -10000 for every id without a piece up to `vocabularySize`. Unlike there, user-defined pieces keep their type, which
  /// llama.cpp needs to find them in text.
  ///
  /// A special token's id comes from the first of these that names it: `tokenizer_config.json`, `special`,
  /// `generation_config.json`, `tokenizer.model`; that of the begin of text from the first and the last only.
  /// - Parameters:
  ///   - files: the model, and what adds tokens to it.
  ///   - generationConfig: `generation_config.json`, if there is one.
  ///   - special: ids from elsewhere, such as `config.json`.
  ///   - chatTemplate: the text of `chat_template.jinja`, if there is one.
  ///   - vocabularySize: rows of the model's embedding; nil for as many as there are ids.
  /// - Throws: `ParseFailure` for what `SentencePieceTokenizer.init(_:vocabularySize:)` refuses.
  public init(
    sentencePiece files: SentencePieceFiles, generationConfig: [UInt8]? = nil,
    special: SpecialTokenIDs = SpecialTokenIDs(), chatTemplate: String? = nil, vocabularySize: Int? = nil
  ) throws(ParseFailure) {
    try self.init(
      try SentencePieceVocabulary(files, vocabularySize), try TokenizerConfiguration(files.tokenizerConfig),
      elsewhere: special.filled(from: try TokenizerConfiguration.ids(generationConfig: generationConfig)),
      chatTemplate: chatTemplate, vocabularySize: vocabularySize)
  }

  /// - Parameter elsewhere: ids from files that say nothing about tokens.
  init(
    _ vocabulary: SentencePieceVocabulary, _ config: TokenizerConfiguration, elsewhere: SpecialTokenIDs,
    chatTemplate: String?, vocabularySize: Int?
  ) throws(ParseFailure) {
    if let vocabularySize { try vocabulary.checkFits(vocabularySize) }
    let size = vocabularySize ?? vocabulary.pieces.count
    guard size <= TokenizerLimits.vocabularySize else {
      throw ParseFailure("the model has \(size) vocabulary rows; the limit is \(TokenizerLimits.vocabularySize)")
    }
    func id(_ id: Int32?) -> UInt32? { id.map { UInt32($0) } }
    let settings = vocabulary.settings
    var ids = try config.ids { vocabulary.id(of: Array($0.utf8)) }
    let begin = id(settings.beginOfText)
    guard ids.beginOfText ?? begin == begin else {
      func name(_ id: UInt32?) -> String { id.map { "\($0)" } ?? "none" }
      throw ParseFailure(
        "the begin of text is token \(name(begin)) in the tokenizer and \(name(ids.beginOfText)) in the files beside it; "
          + "the keys hold one")
    }
    ids.unknown = id(vocabulary.unknown)
    ids = ids.filled(from: elsewhere)
    // Nobody else knows better than the tokenizer which token it begins with, if any.
    ids.beginOfText = begin
    ids = ids.filled(from: SpecialTokenIDs(endOfText: id(settings.endOfText), padding: id(settings.padding)))
    for (key, id) in ids.all {
      guard let id, id >= size else { continue }
      throw ParseFailure("id \(id) where there are \(size) tokens", item: key)
    }
    let pieces = vocabulary.pieces + (vocabulary.pieces.count..<size).map { .padding(id: $0) }
    self.init(
      model: Self.sentencePieceModel, pre: Self.sentencePieceSplit,
      tokens: ByteStrings(pieces.lazy.map { $0.kind == .userDefined ? $0.text.withSpaces : $0.text }),
      types: pieces.map(\.kind.rawValue), scores: pieces.map(\.score), merges: ByteStrings(), special: ids,
      addsBeginOfText: config.addsBeginOfText ?? (begin != nil), addsEndOfText: config.addsEndOfText,
      addsSpacePrefix: settings.prefix == .never ? false : config.addsSpacePrefix == nil ? nil : true,
      removesExtraSpaces: settings.removesExtraSpaces ? true : nil,
      chatTemplate: config.chatTemplate ?? chatTemplate, namedChatTemplates: config.namedChatTemplates)
  }
}
