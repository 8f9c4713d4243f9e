public import ByteIO

extension BytePairTokenizer {
  /// Reads a `tokenizer.json` as Hugging Face's tokenizers library writes it for Llama 3: a BPE model over the byte
  /// alphabet, the Llama 3 split pattern, no normalizer.
  ///
  /// Truncation and padding in the file are settings for batches, not part of the tokenizer, and are not used. Added
  /// tokens are never looked for in text, special or not.
  /// - Throws: `ParseFailure` for JSON that is not valid, for any other kind of tokenizer (`item` is the member that
  ///   says so), and for contradictions: doubled ids, merges of unknown tokens, limits of `TokenizerLimits` exceeded.
  public init(tokenizerJSON bytes: [UInt8]) throws(ParseFailure) {
    try self.init(VocabularyParts(tokenizerJSON: JSONValue(parsing: bytes)))
  }
}

extension VocabularyParts {
  init(tokenizerJSON document: JSONValue) throws(ParseFailure) {
    guard document.object != nil else { throw ParseFailure("a tokenizer.json is a JSON object; found another value") }
    try PipelineRules.check(document)
    guard let model = document["model"] else { throw ParseFailure("no member \"model\"", item: "model") }
    added = try AddedTokens(document["added_tokens"])
    tokens = try VocabularyReader.table(model["vocab"], added: added)
    rules = try MergeReader.rules(model["merges"], tokens: tokens)
    takesWholePieces = model["ignore_merges"]?.bool ?? false
    prefix = try PipelineRules.beginOfText(document["post_processor"], added: added)
  }
}

extension AddedTokens {
  init(_ value: JSONValue?) throws(ParseFailure) {
    guard let value, !value.isNull else { return }
    guard let list = value.array else { throw ParseFailure("expected a list", item: "added_tokens") }
    for entry in list {
      guard let text = entry["content"]?.string, !text.isEmpty, let id = entry["id"]?.integer else {
        throw ParseFailure("an entry without content and integer id", item: "added_tokens")
      }
      try insert(text, id: id, isUserDefined: entry["special"] != true, item: "added_tokens")
    }
  }
}

enum VocabularyReader {
  /// `model.vocab`: token in the byte alphabet → id. Entries that repeat an added token belong to that one.
  static func table(_ value: JSONValue?, added: AddedTokens) throws(ParseFailure) -> TokenTable {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: "model.vocab") }
    guard let members = value?.object?.members else { throw failure("expected an object of tokens and ids") }
    guard members.count <= TokenizerLimits.vocabularySize else {
      throw failure("\(members.count) tokens; the limit is \(TokenizerLimits.vocabularySize)")
    }
    var highest = -1
    var ids: [Int32] = []
    ids.reserveCapacity(members.count)
    for (text, value) in members {
      guard let id = value.integer, (0..<TokenizerLimits.vocabularySize).contains(id) else {
        throw failure(
          "the id of \"\(text)\" is no integer in 0 to \(TokenizerLimits.vocabularySize - 1)")
      }
      highest = max(highest, id)
      ids.append(Int32(id))
    }
    var table = TokenTable(idLimit: highest + 1)
    var token: [UInt8] = []
    for (member, id) in zip(members, ids) {
      if added.contains(id: id) {
        if added.id(of: member.key) == id { continue }
        throw failure("id \(id) of \"\(member.key)\" is also the id of an added token")
      }
      guard !table.contains(id: id) else { throw failure("id \(id) of \"\(member.key)\" for the second time") }
      token.removeAll(keepingCapacity: true)
      let text = member.key.utf8.span
      guard ByteAlphabet.shared.decode(text, 0, text.count, into: &token), !token.isEmpty else {
        throw failure("\"\(member.key)\" is not written in the alphabet of byte-level BPE")
      }
      guard token.count <= TokenizerLimits.tokenBytes else {
        throw failure("the token with id \(id) has \(token.count) bytes; the limit is \(TokenizerLimits.tokenBytes)")
      }
      let known = table.insert(token, id: id)
      precondition(known == nil, "object members have different names, and the alphabet is one to one")
    }
    return table
  }
}

enum MergeReader {
  /// `model.merges`, in both spellings: `"a b"` and `["a", "b"]`. A rule's rank is its index.
  static func rules(_ value: JSONValue?, tokens: TokenTable) throws(ParseFailure) -> MergeRules {
    let item = "model.merges"
    guard let list = value?.array else { throw ParseFailure("expected a list of merge rules", item: item) }
    var rules = try MergeRules(count: list.count, item: item)
    var bytes: [UInt8] = []
    for rule in list {
      bytes.removeAll(keepingCapacity: true)
      let cut = read(rule, into: &bytes)
      try rules.append(bytes, cut: cut ?? 0, tokens: tokens, spelling: rule.serialized(.compact))
    }
    return rules
  }

  /// Appends both parts' bytes and returns the length of the first; nil when they are not of the alphabet.
  private static func read(_ rule: JSONValue, into bytes: inout [UInt8]) -> Int? {
    let alphabet = ByteAlphabet.shared
    switch rule {
    case .string(let text): return alphabet.decode(rule: text.utf8.span, into: &bytes)
    case .array(let parts) where parts.count == 2:
      guard let left = parts[0].string, let right = parts[1].string,
        alphabet.decode(left.utf8.span, 0, left.utf8.count, into: &bytes)
      else { return nil }
      let cut = bytes.count
      return alphabet.decode(right.utf8.span, 0, right.utf8.count, into: &bytes) ? cut : nil
    default: return nil
    }
  }
}

extension ByteAlphabet {
  /// Appends the bytes of both parts of `"a b"` and returns the length of the first; nil when they are not of the
  /// alphabet, to which a space does not belong.
  func decode(rule text: Span<UInt8>, into bytes: inout [UInt8]) -> Int? {
    guard let space = (0..<text.count).first(where: { text[$0] == 0x20 }), decode(text, 0, space, into: &bytes) else {
      return nil
    }
    let cut = bytes.count
    return decode(text, space + 1, text.count, into: &bytes) ? cut : nil
  }
}
