public import ByteIO

extension TokenizerKeys {
  /// A complete `tokenizer.json`, as Hugging Face's tokenizers library reads it for Llama 3, or for Llama 2 when the keys
  /// are a SentencePiece model's (`sentencePieceJSON`). It means what the keys mean. Rows without a token are not in it.
  ///
  /// Merge rules are written as `"a b"`, which all versions of the library read.
  /// - Throws: `ParseFailure` for what `tokenizer()` refuses.
  public func tokenizerJSON() throws(ParseFailure) -> [UInt8] {
    if isSentencePiece { return try sentencePieceJSON() }
    let parts = try VocabularyParts(self)
    _ = try singleBytes(of: parts.tokens)
    let document: JSONValue = [
      "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": Self.addedTokens(parts), "normalizer": nil,
      "pre_tokenizer": Self.preTokenizer, "post_processor": Self.postProcessor(parts),
      "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
      "model": model(parts),
    ]
    return Array(document.serialized(.indented).utf8)
  }

  private static func addedTokens(_ parts: VocabularyParts) -> JSONValue {
    .array(
      parts.added.tokens.sorted { $0.id < $1.id }.map { token in
        [
          "id": .number(JSONNumber(token.id)), "content": .string(token.text), "single_word": false, "lstrip": false,
          "rstrip": false, "normalized": false, "special": .bool(!parts.added.userDefined.contains(token.id)),
        ]
      })
  }

  private static let preTokenizer: JSONValue = [
    "type": "Sequence",
    "pretokenizers": [
      [
        "type": "Split", "pattern": ["Regex": .string(Llama3Splitter.pattern)], "behavior": "Isolated",
        "invert": false,
      ],
      ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false],
    ],
  ]

  private static func postProcessor(_ parts: VocabularyParts) -> JSONValue {
    let bytes: JSONValue = ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true]
    guard let prefix = parts.prefix, let text = parts.added.text(of: prefix) else { return bytes }
    return ["type": "Sequence", "processors": [bytes, template(prefix, text)]]
  }

  /// The step that puts a token in front of every text.
  static func template(_ prefix: Int32, _ text: String) -> JSONValue {
    func begin(_ type: JSONValue) -> JSONValue { ["SpecialToken": ["id": .string(text), "type_id": type]] }
    func sequence(_ name: JSONValue, _ type: JSONValue) -> JSONValue { ["Sequence": ["id": name, "type_id": type]] }
    let token: JSONValue = ["id": .string(text), "ids": [.number(JSONNumber(prefix))], "tokens": [.string(text)]]
    return [
      "type": "TemplateProcessing", "single": [begin(0), sequence("A", 0)],
      "pair": [begin(0), sequence("A", 0), begin(1), sequence("B", 1)],
      "special_tokens": .object(JSONObject([(key: text, value: token)])),
    ]
  }

  /// The texts are well-formed: they were read.
  private func model(_ parts: VocabularyParts) -> JSONValue {
    var vocabulary: [(key: String, value: JSONValue)] = []
    vocabulary.reserveCapacity(parts.idLimit)
    // tokenizers does not read an added token's id: it looks the text up in the vocabulary, and numbers through what is
    // not there, from the vocabulary's size.
    let count = parts.tokens.count
    let isNumberedThrough = parts.idLimit == count + parts.added.tokens.count && parts.tokens.idLimit == count
    for id in 0..<Int32(parts.idLimit)
    where parts.tokens.contains(id: id) || parts.added.contains(id: id) && !isNumberedThrough {
      vocabulary.append((String(decoding: tokens[Int(id)], as: UTF8.self), .number(JSONNumber(id))))
    }
    return [
      "type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
      "fuse_unk": false, "byte_fallback": false, "ignore_merges": true, "vocab": .object(JSONObject(vocabulary)),
      "merges": .array(merges.map { .string(String(decoding: $0, as: UTF8.self)) }),
    ]
  }

  /// `special_tokens_map.json`: the texts of the tokens that have a role.
  /// - Throws: `ParseFailure` as `tokenizerConfiguration` does.
  public func specialTokensMap() throws(ParseFailure) -> [UInt8] {
    let special = try specialTexts()
    var object = JSONObject()
    for (name, id) in [
      ("bos_token", self.special.beginOfText), ("eos_token", self.special.endOfText),
      ("pad_token", self.special.padding), ("unk_token", self.special.unknown),
    ] {
      object[name] = id.flatMap { special[$0] }.map { .string($0) }
    }
    return Array(JSONValue.object(object).serialized(.indented).utf8)
  }

  /// A `tokenizer_config.json`: the class, the tokens that have a role and are special, and the chat templates.
  ///
  /// A padding or unknown token that is a normal token is left out; its id belongs in the model's configuration.
  /// - Parameter maximumLength: `model_max_length`, in tokens; left out if nil.
  /// - Throws: `ParseFailure` for what `tokenizer()` refuses, and for an end of text that is missing or no special token.
  public func tokenizerConfiguration(maximumLength: Int? = nil) throws(ParseFailure) -> [UInt8] {
    let special = try specialTexts()
    func text(_ id: UInt32?) -> String? { id.flatMap { special[$0] } }
    let ids = self.special
    guard let end = text(ids.endOfText) else {
      throw ParseFailure(
        ids.endOfText.map { "token \($0), which ends a text, is not special" } ?? "no token ends a text",
        item: ids.all[1].key)
    }
    var object = JSONObject()
    if addsBeginOfText == false || isSentencePiece { object["add_bos_token"] = .bool(addsBeginOfText ?? true) }
    if let addsEndOfText { object["add_eos_token"] = .bool(addsEndOfText) }
    object["add_prefix_space"] = addsSpacePrefix.map { .bool($0) }
    object["bos_token"] = text(ids.beginOfText).map { .string($0) }
    object["chat_template"] = templates
    object["clean_up_tokenization_spaces"] = .bool(!isSentencePiece)
    object["eos_token"] = .string(end)
    object["model_input_names"] = ["input_ids", "attention_mask"]
    object["model_max_length"] = maximumLength.map { .number(JSONNumber($0)) }
    object["pad_token"] = text(ids.padding).map { .string($0) }
    // Without a tokenizer.json, only the slow class reads a tokenizer.model.
    let hasJSON = !isSentencePiece || (try? sentencePieceJSON()) != nil
    object["tokenizer_class"] = hasJSON ? "PreTrainedTokenizerFast" : "LlamaTokenizer"
    object["unk_token"] = text(ids.unknown).map { .string($0) }
    return Array(JSONValue.object(object).serialized(.indented).utf8)
  }

  /// Texts of the tokens that stand beside the vocabulary, by id.
  private func specialTexts() throws(ParseFailure) -> [UInt32: String] {
    var texts: [UInt32: String] = [:]
    if isSentencePiece {
      let pieces = try SentencePieceVocabulary(self).pieces
      for (id, piece) in pieces.enumerated() where piece.kind.isSpecial || piece.kind == .userDefined {
        texts[UInt32(id)] = tokens.text(at: id)
      }
    } else {
      for token in try VocabularyParts(self).added.tokens { texts[UInt32(token.id)] = token.text }
    }
    return texts
  }

  private var templates: JSONValue? {
    guard !namedChatTemplates.isEmpty else { return chatTemplate.map { .string($0) } }
    let named = namedChatTemplates.sorted { UTF8Key($0.key) < UTF8Key($1.key) }.map { (name: $0.key, text: $0.value) }
    let all = (chatTemplate.map { [(name: "default", text: $0)] } ?? []) + named
    return .array(all.map { ["name": .string($0.name), "template": .string($0.text)] })
  }
}
