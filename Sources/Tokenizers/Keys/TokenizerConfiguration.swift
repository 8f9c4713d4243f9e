internal import ByteIO

/// What the keys take from `tokenizer_config.json`.
struct TokenizerConfiguration {
  private var texts: [(name: String, text: String)] = []
  private(set) var addsBeginOfText: Bool?
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
    try readTemplates(document["chat_template"])
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
  func ids(in added: AddedTokens) throws(ParseFailure) -> SpecialTokenIDs {
    var ids = SpecialTokenIDs()
    for (name, text) in texts {
      let id = added.id(of: text).map { UInt32($0) }
      switch name {
      case "unk_token": ids.unknown = id
      case "pad_token": ids.padding = id
      default:
        guard let id else {
          throw ParseFailure("\"\(text)\" is no added token of tokenizer.json", file: Self.file, item: name)
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
