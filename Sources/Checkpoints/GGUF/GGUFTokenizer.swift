internal import ByteIO
internal import GGUFFormat
internal import Llama
internal import Tokenizers

/// The tokenizer of a GGUF file: keys to plain values and back.
enum GGUFTokenizer {
  private static let prefix = "tokenizer.ggml."
  private static let template = "tokenizer.chat_template"

  /// Nil when the file has none.
  /// - Throws: `ParseFailure` for keys of other types. Whether the values make a tokenizer shows when one is made of them.
  static func keys(_ metadata: GGUFMetadata) throws(ParseFailure) -> TokenizerKeys? {
    guard let tokens = try GGUFTokens(metadata) else { return nil }
    var special = SpecialTokenIDs()
    special.beginOfText = try metadata.scalar(prefix + "bos_token_id")
    special.endOfText = try metadata.scalar(prefix + "eos_token_id")
    special.endOfTurn = try metadata.scalar(prefix + "eot_token_id")
    special.unknown = try metadata.scalar(prefix + "unknown_token_id")
    special.padding = try metadata.scalar(prefix + "padding_token_id")
    var named: [String: String] = [:]
    for entry in metadata.entries where entry.key.hasPrefix(template + ".") {
      named[String(entry.key.dropFirst(template.count + 1))] = try metadata.string(entry.key)
    }
    return TokenizerKeys(
      model: try metadata.requiredString(prefix + "model"), pre: try metadata.string(prefix + "pre"),
      tokens: strings(tokens.tokens),
      types: tokens.types?.map { Int32(clamping: $0) }
        ?? Array(repeating: TokenKind.normal.rawValue, count: tokens.tokens.count),
      scores: tokens.scores, merges: tokens.merges.map(strings) ?? ByteStrings(), special: special,
      addsBeginOfText: try metadata.scalar(prefix + "add_bos_token"),
      addsEndOfText: try metadata.scalar(prefix + "add_eos_token"),
      addsSpacePrefix: try metadata.scalar(prefix + "add_space_prefix"),
      removesExtraSpaces: try metadata.scalar(prefix + "remove_extra_whitespaces"),
      chatTemplate: try metadata.string(template), namedChatTemplates: named)
  }

  private static func strings(_ array: GGUFArray) -> ByteStrings {
    var strings = ByteStrings()
    for index in 0..<array.count { strings.append(array.string(at: index).bytes) }
    return strings
  }

  /// The keys in llama.cpp's order.
  static func entries(_ keys: TokenizerKeys) -> [(key: String, value: GGUFValue)] {
    func array(_ strings: ByteStrings) -> GGUFValue {
      .array(GGUFArray(strings.map { GGUFString(bytes: Array($0)) }))
    }
    var entries: [(key: String, value: GGUFValue)] = [(prefix + "model", GGUFValue(keys.model))]
    if let pre = keys.pre { entries.append((prefix + "pre", GGUFValue(pre))) }
    entries.append((prefix + "tokens", array(keys.tokens)))
    if let scores = keys.scores { entries.append((prefix + "scores", .array(GGUFArray(scores)))) }
    entries.append((prefix + "token_type", .array(GGUFArray(keys.types))))
    if !keys.isSentencePiece { entries.append((prefix + "merges", array(keys.merges))) }
    for (name, id) in [
      ("bos", keys.special.beginOfText), ("eos", keys.special.endOfText), ("eot", keys.special.endOfTurn),
      ("unknown", keys.special.unknown), ("padding", keys.special.padding),
    ] {
      if let id { entries.append((prefix + name + "_token_id", .uint32(id))) }
    }
    for (name, value) in [
      ("add_bos_token", keys.addsBeginOfText), ("add_eos_token", keys.addsEndOfText),
      ("add_space_prefix", keys.addsSpacePrefix), ("remove_extra_whitespaces", keys.removesExtraSpaces),
    ] {
      if let value { entries.append((prefix + name, .bool(value))) }
    }
    if let text = keys.chatTemplate { entries.append((template, GGUFValue(text))) }
    for (name, text) in keys.namedChatTemplates.sorted(by: { $0.key < $1.key }) {
      entries.append((template + "." + name, GGUFValue(text)))
    }
    return entries
  }
}

extension Checkpoint {
  /// The keys of the tokenizer that travels with the model as files; none when it came in a GGUF, whose own keys stay.
  /// - Throws: `ParseFailure` for a tokenizer that a GGUF cannot hold.
  func tokenizerKeyEntries() throws -> [(key: String, value: GGUFValue)] {
    guard ownMetadata == nil, let keys = try tokenizerKeysOfFiles() else { return [] }
    return GGUFTokenizer.entries(keys)
  }

  /// The release's names as Hugging Face publishes it: Llama 3.1 and later scale RoPE.
  private var specialTokenNames: Llama3SpecialTokens {
    if case .llama3 = configuration.rope.scaling { .huggingFace } else { .llama3 }
  }

  private func tokenizerKeysOfFiles() throws -> TokenizerKeys? {
    guard let source = try tokenizerSource() else { return nil }
    var special = SpecialTokenIDs()
    special.beginOfText = configuration.beginOfTextID.flatMap { UInt32(exactly: $0) }
    special.endOfText = configuration.endOfTextIDs.first.flatMap { UInt32(exactly: $0) }
    let chatTemplate = try sidecarContents("chat_template.jinja").map { String(decoding: $0, as: UTF8.self) }
    let config = try sidecarContents("tokenizer_config.json")
    let size = configuration.vocabularySize
    do throws(ParseFailure) {
      if let files = source.sentencePiece {
        return try TokenizerKeys(
          sentencePiece: files, special: special, chatTemplate: chatTemplate, vocabularySize: size)
      }
      switch try TokenizerFile(recognising: source.bytes) {
      case .tokenizerJSON:
        return try TokenizerKeys(
          tokenizerJSON: source.bytes, tokenizerConfig: config, special: special, chatTemplate: chatTemplate,
          vocabularySize: size)
      case .tiktoken, .sentencePiece:
        return try TokenizerKeys(
          tiktoken: source.bytes, vocabularySize: size, names: specialTokenNames, special: special,
          chatTemplate: chatTemplate)
      }
    } catch {
      throw error.in(file: source.file.path)
    }
  }

  /// The keys of a tokenizer whose files lack the form that the readers of another layout want: Meta's `tokenizer.model`, or
  /// Hugging Face's `tokenizer.json`.
  private func keysOfMissingForm(for layout: Layout) throws -> TokenizerKeys? {
    let wanted: String
    switch (self.layout, layout) {
    case (.meta, .huggingFace), (.meta, .compact): wanted = "tokenizer.json"
    case (.huggingFace, .meta), (.compact, .meta): wanted = "tokenizer.model"
    default: return nil
    }
    return sidecars.contains { $0.name == wanted } ? nil : try tokenizerKeysOfFiles()
  }

  /// `generation_config.json`: the ids that begin and end a text. An instructed Llama 3 ends its turns by other tokens than
  /// its texts, which no file of Meta's says; a model that was not instructed never makes them.
  private func generationConfiguration(_ keys: TokenizerKeys) -> [UInt8] {
    var ends = configuration.endOfTextIDs
    for name in ["<|eom_id|>", "<|eot_id|>"] {
      if let id = keys.tokens.firstIndex(where: { $0.elementsEqual(name.utf8) }), !ends.contains(id) { ends.append(id) }
    }
    var members = JSONObject()
    if let begin = configuration.beginOfTextID { members["bos_token_id"] = .number(JSONNumber(begin)) }
    if !ends.isEmpty { members["eos_token_id"] = .tokenIDs(ends) }
    return Array(JSONValue.object(members).serialized(.indented).utf8)
  }

  /// Files of the tokenizer that the layout holds inside, or has in its own form alone, in the forms of another layout.
  /// - Parameter layout: which other layout.
  /// - Throws: `ParseFailure` for a tokenizer that the form cannot express.
  public func tokenizerFiles(for layout: Layout) throws -> [(name: String, bytes: [UInt8])] {
    guard let keys = try tokenizerKeys ?? keysOfMissingForm(for: layout) else { return [] }
    do throws(ParseFailure) {
      switch layout {
      case .huggingFace, .compact:
        let config = try keys.tokenizerConfiguration(maximumLength: configuration.maximumPositions)
        var files = [(name: "tokenizer_config.json", bytes: config)]
        if keys.isSentencePiece {
          files.append(("tokenizer.model", try keys.sentencePieceModel()))
          // The model says all there is to say; merge rules cannot express every one.
          if let json = try? keys.tokenizerJSON() { files.append(("tokenizer.json", json)) }
        } else {
          files.append(("tokenizer.json", try keys.tokenizerJSON()))
        }
        files.append(("special_tokens_map.json", try keys.specialTokensMap()))
        files.append(("generation_config.json", generationConfiguration(keys)))
        let carried = Set(sidecars.map(\.name))
        return files.filter { !carried.contains($0.name) }
      case .meta:
        return [("tokenizer.model", try keys.isSentencePiece ? keys.sentencePieceModel() : keys.tiktokenModel())]
      case .gguf: return []
      }
    } catch {
      throw error.in(file: path)
    }
  }
}
