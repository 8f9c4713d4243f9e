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
    let document = try JSONValue(parsing: bytes)
    guard document.object != nil else { throw ParseFailure("a tokenizer.json is a JSON object; found another value") }
    try PipelineRules.check(document)
    guard let model = document["model"] else { throw ParseFailure("no member \"model\"", item: "model") }
    let added = try AddedTokens(document["added_tokens"])
    let vocabulary = try VocabularyReader.table(model["vocab"], added: added)
    let rules = try MergeReader.merges(model["merges"], tokens: vocabulary)
    let begin = try PipelineRules.beginOfText(document["post_processor"], added: added)
    let isOrdered = zip(rules.merges, rules.merges.dropFirst()).allSatisfy { $0.result <= $1.result }
    let pairs = BytePairModel(
      tokens: vocabulary, merges: rules.table, takesWholePieces: model["ignore_merges"]?.bool ?? false,
      byteTokens: try singleBytes(of: vocabulary))
    self.init(
      model: pairs, specialTokens: added.tokens, beginOfText: begin ?? added.id(of: Self.beginName),
      unorderedMerges: isOrdered ? [] : rules.merges)
  }
}

/// The tokens beside the vocabulary.
struct AddedTokens {
  private(set) var tokens: [SpecialToken] = []
  private var ids: [[UInt8]: Int32] = [:]
  private var taken: Set<Int32> = []

  init(_ value: JSONValue?) throws(ParseFailure) {
    guard let value, !value.isNull else { return }
    guard let list = value.array else { throw ParseFailure("expected a list", item: "added_tokens") }
    for entry in list {
      guard let text = entry["content"]?.string, !text.isEmpty, let id = entry["id"]?.integer else {
        throw ParseFailure("an entry without content and integer id", item: "added_tokens")
      }
      guard (0..<TokenizerLimits.vocabularySize).contains(id) else {
        throw ParseFailure(
          "id \(id) of \"\(text)\" is not in 0 to \(TokenizerLimits.vocabularySize - 1)", item: "added_tokens")
      }
      guard taken.insert(Int32(id)).inserted else {
        throw ParseFailure("id \(id) of \"\(text)\" for the second time", item: "added_tokens")
      }
      guard ids.updateValue(Int32(id), forKey: Array(text.utf8)) == nil else {
        throw ParseFailure("\"\(text)\" for the second time", item: "added_tokens")
      }
      tokens.append(SpecialToken(text: text, id: Int32(id)))
    }
  }

  func id(of text: String) -> Int32? { ids[Array(text.utf8)] }
  func contains(id: Int32) -> Bool { taken.contains(id) }
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
  static func merges(
    _ value: JSONValue?, tokens: TokenTable
  ) throws(ParseFailure) -> (table: MergeTable, merges: [BytePairTokenizer.Merge]) {
    guard let list = value?.array else { throw failure("expected a list of merge rules") }
    guard list.count <= TokenizerLimits.merges else {
      throw failure("\(list.count) rules; the limit is \(TokenizerLimits.merges)")
    }
    var table = MergeTable(capacity: list.count)
    var merges: [BytePairTokenizer.Merge] = []
    merges.reserveCapacity(list.count)
    var bytes: [UInt8] = []
    for (rank, rule) in list.enumerated() {
      bytes.removeAll(keepingCapacity: true)
      let cut = try read(rule, rank, into: &bytes)
      let text = bytes.span
      guard let left = tokens.id(of: text, 0, cut), let right = tokens.id(of: text, cut, text.count) else {
        throw failure("rule \(rank), \(spelling(rule)), merges a token that the vocabulary lacks")
      }
      guard let result = tokens.id(of: text, 0, text.count) else {
        throw failure("rule \(rank), \(spelling(rule)), makes a token that the vocabulary lacks")
      }
      guard table.insert(left, right, MergeTable.rule(rank: UInt32(rank), result: result)) else {
        throw failure("rule \(rank), \(spelling(rule)), for the second time")
      }
      merges.append(BytePairTokenizer.Merge(left: left, right: right, result: result))
    }
    return (table, merges)
  }

  private static func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: "model.merges") }

  private static func spelling(_ rule: JSONValue) -> String { rule.serialized(.compact) }

  /// Appends both parts' bytes and returns the length of the first.
  private static func read(
    _ rule: JSONValue, _ rank: Int, into bytes: inout [UInt8]
  ) throws(ParseFailure) -> Int {
    let alphabet = ByteAlphabet.shared
    var cut = 0
    var isRead = false
    switch rule {
    case .string(let text):
      let span = text.utf8.span
      if let space = (0..<span.count).first(where: { span[$0] == 0x20 }) {
        isRead = alphabet.decode(span, 0, space, into: &bytes)
        cut = bytes.count
        isRead = isRead && alphabet.decode(span, space + 1, span.count, into: &bytes)
      }
    case .array(let parts) where parts.count == 2:
      if let left = parts[0].string, let right = parts[1].string {
        isRead = alphabet.decode(left.utf8.span, 0, left.utf8.count, into: &bytes)
        cut = bytes.count
        isRead = isRead && alphabet.decode(right.utf8.span, 0, right.utf8.count, into: &bytes)
      }
    default: break
    }
    guard isRead, cut > 0, cut < bytes.count else {
      throw failure("rule \(rank), \(spelling(rule)), is not two tokens of the alphabet of byte-level BPE")
    }
    return cut
  }
}
