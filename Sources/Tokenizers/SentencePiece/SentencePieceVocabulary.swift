internal import ByteIO

/// The pieces and settings of a SentencePiece BPE model, whatever file they came in, checked: texts are well-formed UTF-8
/// of 1 to `TokenizerLimits.tokenBytes` bytes, none twice; scores are numbers; one piece is the unknown one; there are
/// pieces for all 256 bytes or for none.
struct SentencePieceVocabulary: Sendable {
  struct Piece: Sendable, Equatable {
    /// As SentencePiece writes it: U+2581 for a space, `<0x0A>` for a byte.
    var text: [UInt8]
    var score: Float
    var kind: TokenKind
  }

  struct Settings: Sendable {
    var prefix = SentencePieceNormalizer.DummyPrefix.always
    var removesExtraSpaces = false
    /// What an unknown piece decodes to.
    var unknownSurface = Array(" \u{2047} ".utf8)
    var beginOfText: Int32?
    var endOfText: Int32?
    var padding: Int32?
  }

  /// By id.
  let pieces: [Piece]
  let settings: Settings
  /// Ids by text, of pieces of every kind.
  let table: TokenTable
  let unknown: Int32
  /// By byte; nil when the model has no byte pieces.
  let byteIDs: [Int32]?

  /// - Parameters:
  ///   - pieces: by id. Unused ones that only fill rows, `[PADn]` with n as their id, are no pieces: those at the end are
  ///     dropped, those between others are kept but mean nothing.
  ///   - item: what the pieces are called in their file, for failures.
  /// - Throws: `ParseFailure` for what the type promises, and for ids in `settings` that are out of range.
  init(_ pieces: [Piece], _ settings: Settings, item: String) throws(ParseFailure) {
    var pieces = pieces
    while let last = pieces.last, last.isPadding(id: pieces.count - 1) { pieces.removeLast() }
    guard !pieces.isEmpty, pieces.count <= TokenizerLimits.vocabularySize else {
      throw ParseFailure(
        "\(pieces.count) pieces; expected 1 to \(TokenizerLimits.vocabularySize)", item: item)
    }
    // What looking at every cut of every piece costs.
    guard pieces.reduce(0, { $0 + $1.text.count * $1.text.count }) <= TokenizerLimits.squaredPieceBytes else {
      throw ParseFailure("the pieces are too many and too long: their squared lengths exceed the limit", item: item)
    }
    var table = TokenTable(idLimit: pieces.count)
    var unknown: Int32?
    for (index, piece) in pieces.enumerated() {
      let id = Int32(index)
      func failure(_ message: String) -> ParseFailure {
        ParseFailure("the piece with id \(id), \"\(piece.shownText)\", \(message)", item: item)
      }
      try Self.check(piece, failure)
      if let known = table.insert(piece.text, id: id) { throw failure("is the same as that with id \(known)") }
      if piece.kind == .unknown {
        if let unknown { throw failure("is a second unknown piece beside id \(unknown)") }
        unknown = id
      }
    }
    guard let unknown else {
      throw ParseFailure("no piece is of the kind that stands for unknown text; one is expected", item: item)
    }
    for id in [settings.beginOfText, settings.endOfText, settings.padding] {
      guard let id, !pieces.indices.contains(Int(id)) else { continue }
      throw ParseFailure("a special id \(id) where there are \(pieces.count) pieces", item: item)
    }
    self.pieces = pieces
    self.settings = settings
    self.table = table
    self.unknown = unknown
    byteIDs = try Self.byteIDs(pieces, item: item)
  }

  private static func check(_ piece: Piece, _ failure: (String) -> ParseFailure) throws(ParseFailure) {
    guard !piece.text.isEmpty else { throw failure("has no text") }
    guard piece.text.count <= TokenizerLimits.tokenBytes else {
      throw failure("has \(piece.text.count) bytes; the limit is \(TokenizerLimits.tokenBytes)")
    }
    guard UTF8Scanner.firstFault(in: piece.text.span) == nil else { throw failure("is not UTF-8") }
    guard !piece.score.isNaN else { throw failure("has the score NaN; expected a number") }
  }

  /// All bytes must have a piece if any has: text that no piece matches is spelled in them.
  private static func byteIDs(_ pieces: [Piece], item: String) throws(ParseFailure) -> [Int32]? {
    var ids = [Int32](repeating: -1, count: 256)
    var count = 0
    for (id, piece) in pieces.enumerated() where piece.kind == .byte {
      guard let byte = byte(of: piece.text) else {
        throw ParseFailure(
          "the byte piece with id \(id) is \"\(piece.shownText)\"; expected <0x00> to <0xFF>", item: item)
      }
      ids[Int(byte)] = Int32(id)
      count += 1
    }
    if count == 0 { return nil }
    guard let missing = ids.firstIndex(of: -1) else { return ids }
    throw ParseFailure(
      "\(count) byte pieces, none for \(hexadecimal(UInt8(missing))); expected all 256 or none", item: item)
  }

  /// The byte that `<0xNN>` spells, with capital digits as SentencePiece writes them.
  static func byte(of text: [UInt8]) -> UInt8? {
    guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">"),
      let byte = UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16), text == spelling(of: byte)
    else { return nil }
    return byte
  }

  static func spelling(of byte: UInt8) -> [UInt8] { Array("<\(hexadecimal(byte))>".utf8) }

  /// The piece of exactly this text, of whatever kind.
  func id(of text: [UInt8]) -> Int32? { table.id(of: text.span, 0, text.count) }

  /// Whether the row `id` has a piece that means something.
  func isInUse(_ id: Int32) -> Bool {
    pieces.indices.contains(Int(id)) && !pieces[Int(id)].isPadding(id: Int(id))
  }
}

extension SentencePieceVocabulary.Piece {
  /// Whether merges can make it: it is matched with text, and has no privileges.
  var isMergeable: Bool { kind == .normal || kind == .unused }

  func isPadding(id: Int) -> Bool { kind == .unused && text == Array("[PAD\(id)]".utf8) }

  /// For messages.
  var shownText: String { String(decoding: text.prefix(80), as: UTF8.self) }

  /// Consists of U+2581 alone.
  var isOnlySpaces: Bool {
    text.count % 3 == 0
      && stride(from: 0, to: text.count, by: 3).allSatisfy {
        text[$0..<$0 + 3].elementsEqual(SentencePieceNormalizer.space)
      }
  }
}

extension Array<UInt8> {
  /// U+2581 as spaces.
  var withSpaces: [UInt8] { replacing(SentencePieceNormalizer.space, with: [0x20]) }
  /// Spaces as U+2581.
  var withoutSpaces: [UInt8] { replacing([0x20], with: SentencePieceNormalizer.space) }

  private func replacing(_ part: [UInt8], with other: [UInt8]) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(count)
    var index = 0
    while index < count {
      if self[index...].starts(with: part) {
        output += other
        index += part.count
      } else {
        output.append(self[index])
        index += 1
      }
    }
    return output
  }
}
