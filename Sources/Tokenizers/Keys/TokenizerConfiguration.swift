internal import ByteIO

/// A token that stands beside a tokenizer's own.
struct AddedPiece {
  let id: Int
  let text: String
  let isSpecial: Bool
}

/// What the keys take from `tokenizer_config.json`.
struct TokenizerConfiguration {
  private var texts: [(name: String, text: String)] = []
  private(set) var addsBeginOfText: Bool?
  private(set) var addsEndOfText: Bool?
  /// `add_prefix_space`, of SentencePiece models.
  private(set) var addsSpacePrefix: Bool?
  /// `added_tokens_decoder`, in the order of the file.
  private(set) var added: [AddedPiece] = []
  private(set) var chatTemplate: String?
  private(set) var namedChatTemplates: [String: String] = [:]

  private static let file = "tokenizer_config.json"

  init(_ bytes: [UInt8]?) throws(ParseFailure) {
    guard let bytes else { return }
    let document = try Self.document(bytes, Self.file)
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
      guard let value = document[name], !value.isNull else { continue }
      // Either the text, or an added token's description with the text in it.
      guard let text = value.string ?? value["content"]?.string else {
        throw ParseFailure("neither a text nor an added token", file: Self.file, item: name)
      }
      texts.append((name, text))
    }
    addsBeginOfText = document["add_bos_token"]?.bool
    addsEndOfText = document["add_eos_token"]?.bool
    addsSpacePrefix = document["add_prefix_space"]?.bool
    for (key, value) in document["added_tokens_decoder"]?.object?.members ?? [] {
      guard let id = Int(key), let text = value["content"]?.string else {
        throw ParseFailure("an entry without id and content", file: Self.file, item: "added_tokens_decoder")
      }
      added.append(AddedPiece(id: id, text: text, isSpecial: value["special"]?.bool ?? false))
    }
    try readTemplates(document["chat_template"])
  }

  /// `added_tokens.json`: texts and ids.
  static func added(addedTokens bytes: [UInt8]?) throws(ParseFailure) -> [AddedPiece] {
    guard let bytes else { return [] }
    let file = "added_tokens.json"
    var added: [AddedPiece] = []
    for (text, value) in try document(bytes, file).object?.members ?? [] {
      guard let id = value.integer else {
        throw ParseFailure("\(value.serialized(.compact)) is no token id", file: file, item: text)
      }
      added.append(AddedPiece(id: id, text: text, isSpecial: false))
    }
    return added
  }

  private static func document(_ bytes: [UInt8], _ file: String) throws(ParseFailure) -> JSONValue {
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes) } catch { throw error.in(file: file) }
    guard document.object != nil else { throw ParseFailure("expected a JSON object", file: file) }
    return document
  }

  /// One template, or a list of templates with names.
  private mutating func readTemplates(_ value: JSONValue?) throws(ParseFailure) {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, file: Self.file, item: "chat_template") }
    guard let value, !value.isNull else { return }
    if let text = value.string { return chatTemplate = text }
    guard let list = value.array else { throw failure("neither a text nor a list of named texts") }
    for entry in list {
      guard let name = entry["name"]?.string, let text = entry["template"]?.string else {
        throw failure("an entry without name and template")
      }
      let known = name == "default" ? chatTemplate : namedChatTemplates[name]
      guard known == nil else { throw failure("the template \"\(name)\" for the second time") }
      if name == "default" { chatTemplate = text } else { namedChatTemplates[name] = text }
    }
  }

  /// The ids of the tokens named. Padding and unknown tokens that are no added tokens are left out, as llama.cpp's
  /// converter leaves them; without begin and end a model could not be used.
  func ids(in added: AddedTokens) throws(ParseFailure) -> SpecialTokenIDs { try ids { added.id(of: $0) } }

  /// - Parameter id: the id of a text.
  func ids(_ id: (String) -> Int32?) throws(ParseFailure) -> SpecialTokenIDs {
    var ids = SpecialTokenIDs()
    for (name, text) in texts {
      let id = id(text).map { UInt32($0) }
      switch name {
      case "unk_token": ids.unknown = id
      case "pad_token": ids.padding = id
      default:
        guard let id else {
          throw ParseFailure("\"\(text)\" is no added token of the tokenizer", file: Self.file, item: name)
        }
        if name == "bos_token" { ids.beginOfText = id } else { ids.endOfText = id }
      }
    }
    return ids
  }

  /// Of several ends in `generation_config.json`, the first. A negative id means that there is no such token.
  static func ids(generationConfig bytes: [UInt8]?) throws(ParseFailure) -> SpecialTokenIDs {
    guard let bytes else { return SpecialTokenIDs() }
    let file = "generation_config.json"
    let document = try document(bytes, file)
    func id(_ name: String) throws(ParseFailure) -> UInt32? {
      guard let value = document[name], !value.isNull else { return nil }
      guard let id = (value.array.map { $0.first ?? .null } ?? value).integer, id <= Int(UInt32.max) else {
        throw ParseFailure("\(value.serialized(.compact)) is no token id", file: file, item: name)
      }
      return id < 0 ? nil : UInt32(id)
    }
    return SpecialTokenIDs(
      beginOfText: try id("bos_token_id"), endOfText: try id("eos_token_id"), padding: try id("pad_token_id"))
  }
}
