public import ByteIO

extension SentencePieceTokenizer {
  /// Reads a `tokenizer.json` that was made of a SentencePiece model: BPE over characters, spaces written as U+2581 by a
  /// normalizer (Prepend, Replace) or a pre-tokenizer (Metaspace).
  ///
  /// Pieces are made in the order of their merge rules, which stands for the scores. The list must have every way to make a
  /// piece of two, and no piece's rules between those of another, unless both are of spaces alone and runs of spaces come
  /// to the same pieces: then it says no more than scores do. Ids are those of the tokenizers library; so with Metaspace,
  /// no space is put in front of a space.
  /// - Throws: `ParseFailure` for JSON that is not valid, for any other kind of tokenizer (`item` is the member that says
  ///   so), for merge rules that are not those of scores, limits of `TokenizerLimits` exceeded.
  public init(tokenizerJSON bytes: [UInt8]) throws(ParseFailure) {
    self.init(try SentencePieceVocabulary(tokenizerJSON: JSONValue(parsing: bytes)))
  }
}

extension SentencePieceVocabulary {
  init(tokenizerJSON document: JSONValue) throws(ParseFailure) {
    var settings = try SentencePieceRules.check(document)
    let added = try AddedTokens(document["added_tokens"])
    let model = document["model"] ?? .null
    var pieces = try Self.pieces(model, added)
    settings.beginOfText =
      try PipelineRules.beginOfText(document["post_processor"], added: added) ?? added.id(ofSpecial: "<s>")
    settings.endOfText = added.id(ofSpecial: "</s>")
    settings.padding = added.id(ofSpecial: "<pad>")
    let item = "model.vocab"
    let unscored = try SentencePieceVocabulary(pieces, settings, item: item)
    let groups = try MergeGroups(model["merges"], unscored)
    for (id, group) in groups.byPiece.enumerated() where pieces[id].kind == .normal {
      pieces[id].score = -Float(group ?? groups.count + id)
    }
    try self.init(pieces, settings, item: item)
    guard groups.spaces.agree(with: SentencePieceModel(self)) else {
      throw MergeGroups.failure("the rules cut runs of spaces otherwise than any scores do")
    }
  }

  /// Vocabulary and added tokens by id, all of the score 0.
  private static func pieces(_ model: JSONValue, _ added: AddedTokens) throws(ParseFailure) -> [Piece] {
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: "model.vocab") }
    guard let members = model["vocab"]?.object?.members else {
      throw failure("expected an object of tokens and ids")
    }
    guard let unknown = model["unk_token"]?.string else {
      throw ParseFailure("no unknown token; SentencePiece models have one", item: "model.unk_token")
    }
    let limit = TokenizerLimits.vocabularySize
    guard members.count <= limit else { throw failure("\(members.count) tokens; the limit is \(limit)") }
    var entries: [(text: [UInt8], id: Int)] = []
    // Bytes, since two spellings of one character are two tokens.
    var ids: [[UInt8]: Int] = [:]
    for (text, value) in members {
      guard let id = value.integer, (0..<limit).contains(id) else {
        throw failure("the id of \"\(text)\" is no integer in 0 to \(limit - 1)")
      }
      let bytes = Array(text.utf8)
      entries.append((bytes, id))
      ids[bytes] = id
    }
    for token in added.tokens {
      let bytes = Array(token.text.utf8)
      guard ids[bytes] ?? Int(token.id) == Int(token.id) else {
        throw failure("\"\(token.text)\" has another id than the added token of this text, \(token.id)")
      }
      if ids[bytes] == nil { entries.append((bytes, Int(token.id))) }
    }
    let fallsBack = model["byte_fallback"] == true
    let unknownBytes = Array(unknown.utf8)
    var pieces = (0...(entries.map(\.id).max() ?? 0)).map { Piece.padding(id: $0) }
    for (bytes, id) in entries {
      var piece = Piece(text: bytes, score: 0, kind: .normal)
      guard pieces[id].isPadding(id: id) else {
        throw failure("id \(id) of \"\(piece.shownText)\" for the second time")
      }
      if bytes == unknownBytes {
        piece.kind = .unknown
      } else if added.contains(id: Int32(id)) {
        piece.kind = added.userDefined.contains(Int32(id)) ? .userDefined : .control
        if piece.kind == .userDefined { piece.text = bytes.withoutSpaces }
      } else if fallsBack, byte(of: bytes) != nil {
        piece.kind = .byte
      }
      pieces[id] = piece
    }
    guard fallsBack == pieces.contains(where: { $0.kind == .byte }) else {
      throw failure("text falls back on bytes, but there is no token <0x00>")
    }
    return pieces
  }
}

extension AddedTokens {
  /// Only of a token that is special.
  fileprivate func id(ofSpecial text: String) -> Int32? {
    id(of: text).flatMap { userDefined.contains($0) ? nil : $0 }
  }
}

/// Merge rules as an order of the pieces they make.
private struct MergeGroups {
  /// By id: when the piece is made; pieces of spaces whose rules are mixed have the same number. Nil for pieces without
  /// rules.
  let byPiece: [Int?]
  let count: Int
  /// The rules that make pieces of spaces alone.
  private(set) var spaces = SpaceRuns()

  private static let item = "model.merges"

  init(_ value: JSONValue?, _ vocabulary: SentencePieceVocabulary) throws(ParseFailure) {
    guard let list = value?.array else { throw ParseFailure("expected a list of merge rules", item: Self.item) }
    var rules = try MergeRules(count: list.count, item: Self.item)
    for rule in list {
      let (bytes, cut) = try Self.read(rule)
      try rules.append(bytes, cut: cut, tokens: vocabulary.table, spelling: rule.serialized(.compact))
    }
    // First and last rank, and how many.
    var spans: [Int32: (first: Int, last: Int, count: Int)] = [:]
    for (rank, merge) in rules.merges.enumerated() {
      // A part that no text leads to: the rule does nothing.
      guard Self.isReachable(merge.left, vocabulary), Self.isReachable(merge.right, vocabulary) else { continue }
      guard vocabulary.pieces[Int(merge.result)].kind == .normal else {
        throw Self.failure("rule \(rank) makes the token \(merge.result), which is no normal one")
      }
      if vocabulary.pieces[Int(merge.result)].isOnlySpaces {
        func count(_ id: Int32) -> Int { vocabulary.pieces[Int(id)].text.count / SentencePieceNormalizer.space.count }
        spaces.add(left: count(merge.left), right: count(merge.right), rank: rank)
      }
      spans[merge.result, default: (rank, rank, 0)].last = rank
      spans[merge.result]?.count += 1
    }
    for id in 0..<Int32(vocabulary.pieces.count) {
      let cuts = vocabulary.cuts(of: id)
      guard cuts.count == spans[id]?.count ?? 0, !cuts.contains(where: { $0.left == nil || $0.right == nil }) else {
        throw Self.failure(
          "\(spans[id]?.count ?? 0) rules make the token \(id), \"\(vocabulary.pieces[Int(id)].shownText)\"; scores make "
            + "it in \(cuts.count) ways")
      }
    }
    var groups = [Int?](repeating: nil, count: vocabulary.pieces.count)
    var (group, last, isSpaces) = (-1, -1, true)
    for (id, span) in spans.sorted(by: { $0.value.first < $1.value.first }) {
      let isMixed = span.first < last
      let isAlsoSpaces = vocabulary.pieces[Int(id)].isOnlySpaces
      guard !isMixed || isSpaces && isAlsoSpaces else {
        throw Self.failure("the rules that make the token \(id) stand between those of another")
      }
      if !isMixed { group += 1 }
      (last, isSpaces) = (max(last, span.last), isAlsoSpaces)
      groups[Int(id)] = group
    }
    byPiece = groups
    count = group + 1
  }

  static func failure(_ message: String) -> ParseFailure {
    ParseFailure(
      message, item: item,
      advice: "these are not the rules of a SentencePiece model; put its tokenizer.model beside the file")
  }

  private static func isReachable(_ id: Int32, _ vocabulary: SentencePieceVocabulary) -> Bool {
    vocabulary.pieces[Int(id)].kind == .normal && !vocabulary.pieces[Int(id)].text.contains(0x20)
  }

  /// Both parts of `"a b"` or `["a", "b"]`, and the length of the first. Pieces have no spaces.
  private static func read(_ rule: JSONValue) throws(ParseFailure) -> (bytes: [UInt8], cut: Int) {
    let parts: [[UInt8]]
    switch rule {
    case .string(let text): parts = text.utf8.split(separator: 0x20, omittingEmptySubsequences: false).map { Array($0) }
    case .array(let texts): parts = texts.map { Array(($0.string ?? "").utf8) }
    default: parts = []
    }
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
      throw ParseFailure("\(rule.serialized(.compact)) is not two tokens", item: item)
    }
    return (parts[0] + parts[1], parts[0].count)
  }
}
