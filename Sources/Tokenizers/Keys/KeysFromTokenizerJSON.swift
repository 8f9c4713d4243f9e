public import ByteIO

extension TokenizerKeys {
  /// The keys for a `tokenizer.json` and what lies beside it, as llama.cpp's converter fills them: tokens and merges as
  /// they are listed, added tokens that are special or look so as control tokens and others as user-defined, and for
  /// every id without a token up to `vocabularySize` an unused `[PADn]`.
  ///
  /// A special token's id comes from the first of these that names it: `tokenizer_config.json`, `special`,
  /// `generation_config.json`, `tokenizer.json`. Templates in `tokenizer_config.json` are preferred to `chatTemplate`.
  /// - Parameters:
  ///   - tokenizerJSON: the file.
  ///   - tokenizerConfig: `tokenizer_config.json`, if there is one.
  ///   - generationConfig: `generation_config.json`, if there is one.
  ///   - special: ids from elsewhere, such as `config.json`.
  ///   - chatTemplate: the text of `chat_template.jinja`, if there is one.
  ///   - vocabularySize: rows of the model's embedding; nil for as many as there are ids.
  ///
  /// Of a tokenizer that was made of a SentencePiece model, the keys are that model's, with scores that say in which order
  /// pieces are made.
  /// - Throws: `ParseFailure` for what `BytePairTokenizer.init(tokenizerJSON:)` refuses, and for what the keys cannot
  ///   say: a tokenizer that does not take whole pieces (`ignore_merges`), added tokens that take in white space or
  ///   only whole words, two tokens of one text, a begin of text other than the one put in front, no end of text.
  public init(
    tokenizerJSON: [UInt8], tokenizerConfig: [UInt8]? = nil, generationConfig: [UInt8]? = nil,
    special: SpecialTokenIDs = SpecialTokenIDs(), chatTemplate: String? = nil, vocabularySize: Int? = nil
  ) throws(ParseFailure) {
    let document = try JSONValue(parsing: tokenizerJSON)
    if SentencePieceRules.apply(to: document) {
      try Self.checkAddedTokens(document["added_tokens"])
      try self.init(
        try SentencePieceVocabulary(tokenizerJSON: document), try TokenizerConfiguration(tokenizerConfig),
        elsewhere: special.filled(from: try TokenizerConfiguration.ids(generationConfig: generationConfig)),
        chatTemplate: chatTemplate, vocabularySize: vocabularySize)
      return
    }
    let parts = try VocabularyParts(tokenizerJSON: document)
    guard parts.takesWholePieces else {
      throw ParseFailure(
        "ignore_merges is not true, but \(Self.llama3Split) always takes a piece that is a token as a whole",
        item: "model.ignore_merges",
        advice: "if the file was written before tokenizers knew ignore_merges, set it to true: Llama 3 is meant so")
    }
    try Self.checkAddedTokens(document["added_tokens"])
    let config = try TokenizerConfiguration(tokenizerConfig)
    var ids = try config.ids(in: parts.added)
    ids = ids.filled(from: special).filled(from: try TokenizerConfiguration.ids(generationConfig: generationConfig))
    ids = ids.filled(from: SpecialTokenIDs(parts))
    guard ids.endOfText != nil else {
      throw ParseFailure(
        "no file says which token ends a text, and none is named \(BytePairTokenizer.endNames[0])",
        advice: "llama.cpp would take token 11; name eos_token in tokenizer_config.json")
    }
    let size = try Self.size(parts, vocabularySize)
    let table = Self.table(parts, size: size)
    self.init(
      tokens: table.tokens, types: table.types, merges: Self.spelled(parts.rules, parts.tokens), special: ids,
      addsBeginOfText: config.addsBeginOfText ?? Self.adds(parts), chatTemplate: config.chatTemplate ?? chatTemplate,
      namedChatTemplates: config.namedChatTemplates)
    let (own, ours) = (parts.beginOfText, try VocabularyParts(self).beginOfText)
    guard own == ours else {
      func name(_ id: Int32?) -> String { id.flatMap { parts.added.text(of: $0) }.map { "\"\($0)\"" } ?? "none" }
      throw ParseFailure(
        "the begin of text is \(name(own)) in tokenizer.json and \(name(ours)) in the files beside it; the keys hold one"
      )
    }
  }

  /// True if the template says so, false if nothing is ever put in front; nil leaves it to the split's default, as
  /// llama.cpp's converter does for a begin-of-text token without a template.
  private static func adds(_ parts: VocabularyParts) -> Bool? {
    parts.prefix != nil ? true : parts.beginOfText == nil ? false : nil
  }

  /// The keys know a token's text and kind, nothing of how it is looked for.
  private static func checkAddedTokens(_ value: JSONValue?) throws(ParseFailure) {
    for entry in value?.array ?? [] {
      for setting in ["single_word", "lstrip", "rstrip"] where entry[setting] == true {
        throw ParseFailure(
          "\"\(entry["content"]?.string ?? "")\" has \(setting), which a GGUF cannot say", item: "added_tokens")
      }
    }
  }

  static func size(_ parts: VocabularyParts, _ vocabularySize: Int?) throws(ParseFailure) -> Int {
    let size = vocabularySize ?? parts.idLimit
    guard size >= parts.idLimit else {
      throw ParseFailure(
        "the tokenizer has \(parts.idLimit) ids, but the model only \(size) vocabulary rows",
        advice: "check that this tokenizer belongs to this model")
    }
    guard size <= TokenizerLimits.vocabularySize else {
      throw ParseFailure("the model has \(size) vocabulary rows; the limit is \(TokenizerLimits.vocabularySize)")
    }
    return size
  }

  /// Texts and types by id.
  static func table(_ parts: VocabularyParts, size: Int) -> (tokens: ByteStrings, types: [Int32]) {
    var tokens = ByteStrings()
    var types: [Int32] = []
    types.reserveCapacity(size)
    var text: [UInt8] = []
    for id in 0..<Int32(size) {
      text.removeAll(keepingCapacity: true)
      var kind = TokenKind.normal
      if let bytes = parts.tokens.bytes(of: id) {
        ByteAlphabet.shared.encode(bytes, into: &text)
      } else if let added = parts.added.text(of: id) {
        text += Array(added.utf8)
        kind = parts.added.userDefined.contains(id) && !looksSpecial(added) ? .userDefined : .control
      } else {
        text += Array("[PAD\(id)]".utf8)
        kind = .unused
      }
      tokens.append(text)
      types.append(kind.rawValue)
    }
    return (tokens, types)
  }

  /// Names that llama.cpp's converter takes for control tokens even where the file does not say so. The second form
  /// has full-width bars, as DeepSeek's tokens do.
  static func looksSpecial(_ text: String) -> Bool {
    let text = Array(text.utf8)
    return [("<|", "|>"), ("<\u{FF5C}", "\u{FF5C}>")].contains {
      text.starts(with: $0.0.utf8) && text.reversed().starts(with: $0.1.utf8.reversed())
    }
  }

  /// Rules in the byte alphabet.
  static func spelled(_ rules: MergeRules, _ tokens: TokenTable) -> ByteStrings {
    spelled(rules.merges.lazy.map { ($0.left, $0.right) }, tokens)
  }

  static func spelled(_ pairs: some Sequence<(Int32, Int32)>, _ tokens: TokenTable) -> ByteStrings {
    var list = ByteStrings()
    var text: [UInt8] = []
    for (left, right) in pairs {
      text.removeAll(keepingCapacity: true)
      ByteAlphabet.shared.encode(tokens.bytes(of: left) ?? [], into: &text)
      text.append(0x20)
      ByteAlphabet.shared.encode(tokens.bytes(of: right) ?? [], into: &text)
      list.append(text)
    }
    return list
  }
}

extension SpecialTokenIDs {
  /// By what the tokenizer itself says, and by Llama 3's names.
  fileprivate init(_ parts: VocabularyParts) {
    self.init(
      beginOfText: parts.beginOfText.map { UInt32($0) },
      endOfText: parts.added.id(of: BytePairTokenizer.endNames[0]).map { UInt32($0) })
  }
}
