internal import ByteIO

/// What all forms of a tokenizer say, read and checked: a tokenizer is made of it, and so are the other forms.
struct VocabularyParts {
  let tokens: TokenTable
  let added: AddedTokens
  let rules: MergeRules
  let takesWholePieces: Bool
  /// The token that is put in front of every text, if the form says so.
  let prefix: Int32?

  var beginOfText: Int32? { prefix ?? added.id(of: BytePairTokenizer.beginName) }

  /// One more than the highest id in use.
  var idLimit: Int { max(tokens.idLimit, added.tokens.map { Int($0.id) + 1 }.max() ?? 0) }
}

extension BytePairTokenizer {
  /// - Throws: `ParseFailure` when a single byte has no token.
  init(_ parts: VocabularyParts) throws(ParseFailure) {
    let model = BytePairModel(
      tokens: parts.tokens, merges: parts.rules.table, takesWholePieces: parts.takesWholePieces,
      byteTokens: try singleBytes(of: parts.tokens))
    self.init(
      model: model, specialTokens: parts.added.tokens, beginOfText: parts.beginOfText,
      unorderedMerges: parts.rules.isOrdered ? [] : parts.rules.merges)
  }
}

/// The tokens beside the vocabulary.
struct AddedTokens {
  private(set) var tokens: [SpecialToken] = []
  private var ids: [[UInt8]: Int32] = [:]
  private var texts: [Int32: String] = [:]
  /// Those that stand for text of their own, which is looked for in every text.
  private(set) var userDefined: Set<Int32> = []

  /// - Parameter item: the list's name, for the failure.
  mutating func insert(_ text: String, id: Int, isUserDefined: Bool, item: String) throws(ParseFailure) {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: item) }
    guard (0..<TokenizerLimits.vocabularySize).contains(id) else {
      throw failure("id \(id) of \"\(text)\" is not in 0 to \(TokenizerLimits.vocabularySize - 1)")
    }
    guard text.utf8.count <= TokenizerLimits.tokenBytes else {
      throw failure("the token with id \(id) has \(text.utf8.count) bytes; the limit is \(TokenizerLimits.tokenBytes)")
    }
    guard texts.updateValue(text, forKey: Int32(id)) == nil else {
      throw failure("id \(id) of \"\(text)\" for the second time")
    }
    guard ids.updateValue(Int32(id), forKey: Array(text.utf8)) == nil else {
      throw failure("\"\(text)\" for the second time")
    }
    tokens.append(SpecialToken(text: text, id: Int32(id)))
    if isUserDefined { userDefined.insert(Int32(id)) }
  }

  func id(of text: String) -> Int32? { ids[Array(text.utf8)] }
  func text(of id: Int32) -> String? { texts[id] }
  func contains(id: Int32) -> Bool { texts[id] != nil }
}

/// Merge rules as they are listed, by rank.
struct MergeRules {
  private(set) var table: MergeTable
  private(set) var merges: [BytePairTokenizer.Merge] = []
  private let item: String

  /// - Parameters:
  ///   - count: how many rules will be added.
  ///   - item: the list's name, for failures.
  init(count: Int, item: String) throws(ParseFailure) {
    guard count <= TokenizerLimits.merges else {
      throw ParseFailure("\(count) rules; the limit is \(TokenizerLimits.merges)", item: item)
    }
    table = MergeTable(capacity: count)
    merges.reserveCapacity(count)
    self.item = item
  }

  /// Whether the rules are in the order of the ids they make, as those that ranks imply are.
  var isOrdered: Bool { zip(merges, merges.dropFirst()).allSatisfy { $0.result <= $1.result } }

  /// Adds the rule of the next rank.
  /// - Parameters:
  ///   - bytes: both parts' bytes.
  ///   - cut: length of the first part.
  ///   - spelling: the rule as the file has it.
  mutating func append(
    _ bytes: [UInt8], cut: Int, tokens: TokenTable, spelling: @autoclosure () -> String
  ) throws(ParseFailure) {
    let rank = merges.count
    let text = bytes.span
    func failure(_ message: String) -> ParseFailure {
      ParseFailure("rule \(rank), \(spelling()), \(message)", item: item)
    }
    guard cut > 0, cut < text.count else {
      throw failure("is not two tokens of the alphabet of byte-level BPE")
    }
    guard let left = tokens.id(of: text, 0, cut), let right = tokens.id(of: text, cut, text.count) else {
      throw failure("merges a token that the vocabulary lacks")
    }
    guard let result = tokens.id(of: text, 0, text.count) else {
      throw failure("makes a token that the vocabulary lacks")
    }
    guard table.insert(left, right, MergeTable.rule(rank: UInt32(rank), result: result)) else {
      throw failure("for the second time")
    }
    merges.append(BytePairTokenizer.Merge(left: left, right: right, result: result))
  }
}
