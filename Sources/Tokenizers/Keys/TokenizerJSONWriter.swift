public import ByteIO

extension TokenizerKeys {
  /// A complete `tokenizer.json`, as Hugging Face's tokenizers library reads it for Llama 3. It means what the keys
  /// mean. Rows without a token are not in it.
  ///
  /// Merge rules are written as `"a b"`, which all versions of the library read.
  /// - Throws: `ParseFailure` for what `BytePairTokenizer.init(_:)` refuses.
  public func tokenizerJSON() throws(ParseFailure) -> [UInt8] {
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
    func begin(_ type: JSONValue) -> JSONValue { ["SpecialToken": ["id": .string(text), "type_id": type]] }
    func sequence(_ name: JSONValue, _ type: JSONValue) -> JSONValue { ["Sequence": ["id": name, "type_id": type]] }
    let token: JSONValue = ["id": .string(text), "ids": [.number(JSONNumber(prefix))], "tokens": [.string(text)]]
    let template: JSONValue = [
      "type": "TemplateProcessing", "single": [begin(0), sequence("A", 0)],
      "pair": [begin(0), sequence("A", 0), begin(1), sequence("B", 1)],
      "special_tokens": .object(JSONObject([(key: text, value: token)])),
    ]
    return ["type": "Sequence", "processors": [bytes, template]]
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

  /// A `tokenizer_config.json`: the class, the tokens that have a role and are special, and the chat templates.
  ///
  /// A padding or unknown token that is a normal token is left out; its id belongs in the model's configuration.
  /// - Parameter maximumLength: `model_max_length`, in tokens; left out if nil.
  /// - Throws: `ParseFailure` for what `BytePairTokenizer.init(_:)` refuses, and for an end of text that is missing or
  ///   no special token.
  public func tokenizerConfiguration(maximumLength: Int? = nil) throws(ParseFailure) -> [UInt8] {
    let added = try VocabularyParts(self).added
    func text(_ id: UInt32?) -> String? { id.flatMap { Int32(exactly: $0) }.flatMap { added.text(of: $0) } }
    guard let end = text(special.endOfText) else {
      throw ParseFailure(
        special.endOfText.map { "token \($0), which ends a text, is not special" } ?? "no token ends a text",
        item: special.all[1].key)
    }
    var object = JSONObject()
    if addsBeginOfText == false { object["add_bos_token"] = false }
    object["bos_token"] = text(special.beginOfText).map { .string($0) }
    object["chat_template"] = templates
    object["clean_up_tokenization_spaces"] = true
    object["eos_token"] = .string(end)
    object["model_input_names"] = ["input_ids", "attention_mask"]
    object["model_max_length"] = maximumLength.map { .number(JSONNumber($0)) }
    object["pad_token"] = text(special.padding).map { .string($0) }
    object["tokenizer_class"] = "PreTrainedTokenizerFast"
    object["unk_token"] = text(special.unknown).map { .string($0) }
    return Array(JSONValue.object(object).serialized(.indented).utf8)
  }

  private var templates: JSONValue? {
    guard !namedChatTemplates.isEmpty else { return chatTemplate.map { .string($0) } }
    let named = namedChatTemplates.sorted { UTF8Key($0.key) < UTF8Key($1.key) }.map { (name: $0.key, text: $0.value) }
    let all = (chatTemplate.map { [(name: "default", text: $0)] } ?? []) + named
    return .array(all.map { ["name": .string($0.name), "template": .string($0.text)] })
  }
}
