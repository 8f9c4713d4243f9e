internal import ByteIO

extension TokenizerKeys {
  /// A `tokenizer.json` as Hugging Face's converter makes it of a SentencePiece model in its first form: spaces are
  /// written as U+2581 by a normalizer, merge rules are listed by descending score, then by the lengths of their parts.
  ///
  /// The tokenizers library gives the ids of the model with it, with one exception: around user-defined pieces, where it
  /// treats each part of a text as a text of its own.
  /// - Throws: `ParseFailure` for what `SentencePieceTokenizer.init(_:)` refuses, and for what merge rules cannot say:
  ///   unused pieces, pieces with a character that is no piece itself, pieces of equal scores other than of spaces alone.
  func sentencePieceJSON() throws(ParseFailure) -> [UInt8] {
    let vocabulary = try SentencePieceVocabulary(self)
    let document: JSONValue = [
      "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": addedTokens(vocabulary),
      "normalizer": Self.normalizer(vocabulary.settings), "pre_tokenizer": nil,
      "post_processor": postProcessor(vocabulary), "decoder": Self.decoder(vocabulary),
      "model": try model(vocabulary),
    ]
    return Array(document.serialized(.indented).utf8)
  }

  private static let space: JSONValue = "\u{2581}"

  private func addedTokens(_ vocabulary: SentencePieceVocabulary) -> JSONValue {
    .array(
      vocabulary.pieces.enumerated().filter { $0.element.kind.isSpecial || $0.element.kind == .userDefined }.map {
        (id, piece) in
        [
          "id": .number(JSONNumber(id)), "content": .string(name(id)), "single_word": false, "lstrip": false,
          "rstrip": false, "normalized": false, "special": .bool(piece.kind.isSpecial),
        ]
      })
  }

  /// The texts are well-formed: they were read.
  private func name(_ id: Int) -> String { String(decoding: tokens[id], as: UTF8.self) }

  private static func normalizer(_ settings: SentencePieceVocabulary.Settings) -> JSONValue {
    func replace(_ pattern: JSONValue, _ content: JSONValue) -> JSONValue {
      ["type": "Replace", "pattern": pattern, "content": content]
    }
    let escape = replace(["String": " "], space)
    let prepend: [JSONValue] = settings.prefix == .never ? [] : [["type": "Prepend", "prepend": space]]
    let steps: [JSONValue] =
      settings.removesExtraSpaces
      ? SentencePieceRules.removals.map { replace(["Regex": .string($0.pattern)], .string($0.content)) } + prepend
      : prepend + [escape]
    return ["type": "Sequence", "normalizers": .array(steps)]
  }

  private func postProcessor(_ vocabulary: SentencePieceVocabulary) -> JSONValue {
    guard addsBeginOfText ?? true, let begin = vocabulary.settings.beginOfText else { return nil }
    return Self.template(begin, name(Int(begin)))
  }

  private static func decoder(_ vocabulary: SentencePieceVocabulary) -> JSONValue {
    var steps: [JSONValue] = [["type": "Replace", "pattern": ["String": space], "content": " "]]
    if vocabulary.byteIDs != nil { steps.append(["type": "ByteFallback"]) }
    steps.append(["type": "Fuse"])
    if vocabulary.settings.prefix != .never {
      steps.append(["type": "Strip", "content": " ", "start": 1, "stop": 0])
    }
    return ["type": "Sequence", "decoders": .array(steps)]
  }

  private func model(_ vocabulary: SentencePieceVocabulary) throws(ParseFailure) -> JSONValue {
    let entries = vocabulary.pieces.indices.filter { vocabulary.isInUse(Int32($0)) }.map {
      (key: name($0), value: JSONValue.number(JSONNumber($0)))
    }
    return [
      "type": "BPE", "dropout": nil, "unk_token": .string(name(Int(vocabulary.unknown))),
      "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": true,
      "byte_fallback": .bool(vocabulary.byteIDs != nil), "ignore_merges": false,
      "vocab": .object(JSONObject(entries)), "merges": .array(try Self.merges(vocabulary).map { .string($0) }),
    ]
  }

  /// Every way to make a piece of two, in the order of transformers' converter: by score, then by the lengths of both
  /// parts in scalar values, all descending, then by id.
  private static func merges(_ vocabulary: SentencePieceVocabulary) throws(ParseFailure) -> [String] {
    func failure(_ id: Int32, _ message: String) -> ParseFailure {
      ParseFailure(
        "the piece with id \(id), \"\(vocabulary.pieces[Int(id)].shownText)\", \(message)", item: tokensKey,
        advice: "a tokenizer.model can hold this tokenizer, a tokenizer.json cannot")
    }
    if let id = vocabulary.pieces.indices.first(where: {
      vocabulary.pieces[$0].kind == .unused && vocabulary.isInUse(Int32($0))
    }) {
      throw failure(Int32(id), "is unused, which merge rules cannot say")
    }
    let ranks = SentencePieceModel(vocabulary).ranks
    var cuts = try vocabulary.allCuts()
    for cut in cuts where cut.left == nil || cut.right == nil {
      throw failure(cut.result, "begins or ends with a character that is no piece, which merge rules cannot say")
    }
    cuts.sort {
      (ranks[Int($0.result)], -$0.leftCount, -$0.rightCount, $0.result)
        < (ranks[Int($1.result)], -$1.leftCount, -$1.rightCount, $1.result)
    }
    // Of pieces of spaces alone the leftmost is always the longest as well, which the rules come to.
    for (cut, next) in zip(cuts, cuts.dropFirst()) where next.result != cut.result {
      guard
        ranks[Int(next.result)] != ranks[Int(cut.result)]
          || [cut.result, next.result].allSatisfy({ vocabulary.pieces[Int($0)].isOnlySpaces })
      else {
        throw failure(next.result, "has the same score as the one with id \(cut.result); merge rules have an order")
      }
    }
    return cuts.map {
      let text = vocabulary.pieces[Int($0.result)].text
      return String(decoding: text[..<$0.length], as: UTF8.self) + " "
        + String(decoding: text[$0.length...], as: UTF8.self)
    }
  }
}
