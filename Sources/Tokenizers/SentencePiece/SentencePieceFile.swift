public import ByteIO
internal import SwiftProtobuf

extension SentencePieceTokenizer {
  /// Reads a SentencePiece `tokenizer.model`, a protobuf of the message ModelProto; see `formats/tokenizers.md`.
  /// - Parameters:
  ///   - bytes: the file.
  ///   - vocabularySize: rows of the model's embedding, which may be more than there are pieces, but not fewer.
  /// - Throws: `ParseFailure` for bytes that are no such message, for a kind other than BPE and normalizers other than
  ///   the identity (`item` is the field that says so), for pieces that contradict each other, limits of
  ///   `TokenizerLimits` exceeded.
  public init(sentencePiece bytes: [UInt8], vocabularySize: Int? = nil) throws(ParseFailure) {
    let vocabulary = try SentencePieceVocabulary(file: bytes)
    if let vocabularySize { try vocabulary.checkFits(vocabularySize) }
    self.init(vocabulary)
  }
}

extension SentencePieceVocabulary {
  init(file bytes: [UInt8]) throws(ParseFailure) {
    let outline = try ProtobufOutline(bytes)
    guard outline.count(of: 1) <= TokenizerLimits.vocabularySize else {
      throw ParseFailure(
        "\(outline.count(of: 1)) pieces; the limit is \(TokenizerLimits.vocabularySize)", item: "pieces")
    }
    let specs: [(field: Int, name: String)] = [(2, "trainer_spec"), (3, "normalizer_spec"), (5, "denormalizer_spec")]
    for (field, name) in specs where outline.count(of: field) > 1 {
      throw ParseFailure("the field is there \(outline.count(of: field)) times, expected once at most", item: name)
    }
    let message: SPModel
    do { message = try SPModel(serializedBytes: bytes) } catch {
      throw ParseFailure("not a SentencePiece model: the protobuf is damaged (\(error))")
    }
    let trainer = message.trainerSpec.first ?? SPTrainer()
    let normalizer = message.normalizerSpec.first ?? SPNormalizer()
    try Self.check(trainer)
    try Self.check(normalizer, message.denormalizerSpec.first)
    var pieces: [Piece] = []
    pieces.reserveCapacity(message.pieces.count)
    for (id, piece) in message.pieces.enumerated() {
      guard let kind = TokenKind(rawValue: piece.type) else {
        throw ParseFailure("the piece with id \(id) is of the type \(piece.type); the types are 1 to 6", item: "pieces")
      }
      pieces.append(Piece(text: Array(piece.piece), score: piece.score, kind: kind))
    }
    let hasBytes = pieces.contains { $0.kind == .byte }
    guard hasBytes == trainer.byteFallback else {
      throw ParseFailure(
        hasBytes ? "false, but there are byte pieces" : "true, but there are no byte pieces",
        item: "trainer_spec.byte_fallback")
    }
    var settings = Settings()
    settings.prefix = normalizer.addDummyPrefix ? .always : .never
    settings.removesExtraSpaces = normalizer.removeExtraWhitespaces
    if trainer.hasUnkSurface { settings.unknownSurface = Array(trainer.unkSurface) }
    // The library goes by the names of these pieces, not by the ids that stand beside them.
    func control(_ name: some Sequence<UInt8>) -> Int32? {
      let name = Array(name)
      return pieces.firstIndex { $0.kind == .control && $0.text == name }.map { Int32($0) }
    }
    settings.beginOfText = trainer.hasBosPiece ? control(trainer.bosPiece) : control("<s>".utf8)
    settings.endOfText = trainer.hasEosPiece ? control(trainer.eosPiece) : control("</s>".utf8)
    settings.padding = trainer.hasPadPiece ? control(trainer.padPiece) : control("<pad>".utf8)
    try self.init(pieces, settings, item: "pieces")
  }

  private static let supported =
    "supported are BPE models with the identity as their normalizer, as Llama and Mistral have them"

  private static func check(_ trainer: SPTrainer) throws(ParseFailure) {
    let names: [Int32: String] = [1: "unigram", 3: "word", 4: "char"]
    guard trainer.modelType == 2 else {
      throw ParseFailure(
        "a model of the kind \(names[trainer.modelType] ?? "\(trainer.modelType)"), expected BPE",
        item: "trainer_spec.model_type", advice: supported)
    }
    guard !trainer.treatWhitespaceAsSuffix else {
      throw ParseFailure(
        "spaces belong to the word before them", item: "trainer_spec.treat_whitespace_as_suffix", advice: supported)
    }
  }

  private static func check(_ normalizer: SPNormalizer, _ denormalizer: SPNormalizer?) throws(ParseFailure) {
    guard normalizer.precompiledCharsmap.isEmpty else {
      throw ParseFailure(
        "texts are normalized by \"\(normalizer.name)\", expected the identity",
        item: "normalizer_spec.precompiled_charsmap", advice: supported)
    }
    guard normalizer.escapeWhitespaces else {
      throw ParseFailure(
        "spaces are not written as U+2581", item: "normalizer_spec.escape_whitespaces", advice: supported)
    }
    guard denormalizer?.precompiledCharsmap.isEmpty ?? true else {
      throw ParseFailure(
        "decoded texts are changed by a table", item: "denormalizer_spec.precompiled_charsmap", advice: supported)
    }
  }

  /// - Throws: `ParseFailure` when the model has fewer rows than there are pieces.
  func checkFits(_ vocabularySize: Int) throws(ParseFailure) {
    guard pieces.count <= vocabularySize else {
      throw ParseFailure(
        "the tokenizer has \(pieces.count) ids, but the model only \(vocabularySize) vocabulary rows",
        advice: "check that this tokenizer belongs to this model")
    }
  }
}

/// The fields of a protobuf's outermost message, walked over before anything is allocated for them.
struct ProtobufOutline {
  /// By field number, of the low ones.
  private var counts = [Int](repeating: 0, count: 16)

  /// - Throws: `ParseFailure` with the offset of a field that is malformed or goes beyond the end.
  init(_ bytes: [UInt8]) throws(ParseFailure) {
    let text = bytes.span
    var position = 0
    while position < text.count {
      let start = position
      func failure(_ message: String) -> ParseFailure {
        ParseFailure("not a SentencePiece model: \(message)", offset: UInt64(start))
      }
      guard let tag = Self.varint(text, &position) else { throw failure("the protobuf's field is cut short") }
      let length: UInt64?
      switch tag & 7 {
      case 0: length = Self.varint(text, &position).map { _ in 0 }
      case 1: length = 8
      case 2: length = Self.varint(text, &position)
      case 5: length = 4
      default: throw failure("a protobuf's field of the wire type \(tag & 7)")
      }
      guard let length, length <= UInt64(text.count - position) else {
        throw failure("the protobuf's field goes beyond the file's end")
      }
      position += Int(length)
      if tag >> 3 < UInt64(counts.count) { counts[Int(tag >> 3)] += 1 }
    }
  }

  func count(of field: Int) -> Int { counts[field] }

  private static func varint(_ bytes: Span<UInt8>, _ position: inout Int) -> UInt64? {
    var (value, shift) = (UInt64(0), UInt64(0))
    while position < bytes.count, shift < 64 {
      let byte = bytes[position]
      position += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }

  /// Whether a file starts as a SentencePiece model does: with a field 1 that starts with a field 1 of its own.
  static func startsWithPiece(_ bytes: [UInt8]) -> Bool {
    var position = 1
    guard bytes.first == 0x0A, Self.varint(bytes.span, &position) != nil else { return false }
    return position < bytes.count && bytes[position] == 0x0A
  }
}
