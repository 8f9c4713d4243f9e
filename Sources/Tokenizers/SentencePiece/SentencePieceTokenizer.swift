public import ByteIO

/// The tokenizer of Llama 1, Llama 2, Code Llama and Mistral: a SentencePiece model of the kind BPE, whose normalizer is
/// the identity.
///
/// Made from a `tokenizer.model`, from a GGUF's keys or from a `tokenizer.json` that was made of such a model; all forms
/// of one tokenizer give the same ids, which are those of the sentencepiece library. User-defined pieces are found in
/// every text and never cut; added tokens that are not special are taken for such pieces.
public struct SentencePieceTokenizer: Tokenizer {
  public let vocabularySize: Int
  public var beginOfText: Int32? { vocabulary.settings.beginOfText }
  public var endOfText: [Int32] { vocabulary.settings.endOfText.map { [$0] } ?? [] }
  public let specialTokens: [SpecialToken]

  private let vocabulary: SentencePieceVocabulary
  private let model: SentencePieceModel
  private let normalizer: SentencePieceNormalizer

  init(_ vocabulary: SentencePieceVocabulary) {
    self.vocabulary = vocabulary
    model = SentencePieceModel(vocabulary)
    normalizer = SentencePieceNormalizer(
      prefix: vocabulary.settings.prefix, removesExtraSpaces: vocabulary.settings.removesExtraSpaces,
      userDefined: model.userDefined)
    vocabularySize = vocabulary.pieces.count
    specialTokens = vocabulary.pieces.enumerated().filter { $0.element.kind.isSpecial }
      .map { SpecialToken(text: String(decoding: $0.element.text, as: UTF8.self), id: Int32($0.offset)) }
  }

  /// The space that `encode` puts in front of a text.
  public var textPrefix: [UInt8] { vocabulary.settings.prefix == .never ? [] : [0x20] }

  public func encode(_ text: [UInt8]) -> [Int32] {
    let isWellFormed = UTF8Scanner.firstFault(in: text.span) == nil
    let normalized = normalizer.normalized(isWellFormed ? text : RepairedText(repairing: text).bytes)
    return model.encode(normalized.span)
  }

  /// As the sentencepiece library decodes: without the space that was put in front, nothing for control pieces. Only
  /// byte pieces that are no UTF-8 stay as they are, where the library gives U+FFFD.
  public func decode(_ ids: [Int32]) throws(ParseFailure) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(ids.count * 4)
    let settings = vocabulary.settings
    let dropsSpace = settings.prefix != .never || settings.removesExtraSpaces
    // Whether a space in front is still to be dropped, and whether one was.
    var (isAtStart, hasDropped) = (true, false)
    for (index, id) in ids.enumerated() {
      guard vocabulary.isInUse(id) else {
        throw ParseFailure(
          "token id \(id) at index \(index) is not in the vocabulary of \(vocabularySize)", offset: UInt64(index))
      }
      let piece = vocabulary.pieces[Int(id)]
      if piece.kind == .byte {
        output.append(SentencePieceVocabulary.byte(of: piece.text) ?? 0)
        continue
      }
      if hasDropped || !output.isEmpty { isAtStart = false }
      hasDropped = false
      switch piece.kind {
      case .control: break
      case .unknown: output += settings.unknownSurface
      default:
        var text = piece.text[...]
        if isAtStart, dropsSpace, text.starts(with: SentencePieceNormalizer.space) {
          text = text.dropFirst(3)
          // A model that drops all spaces in front goes on with the next piece.
          hasDropped = !settings.removesExtraSpaces
        }
        output += Array(text).withSpaces
      }
    }
    return output
  }

  public func bytes(of id: Int32) -> [UInt8]? {
    guard vocabulary.isInUse(id) else { return nil }
    let piece = vocabulary.pieces[Int(id)]
    switch piece.kind {
    case .byte: return SentencePieceVocabulary.byte(of: piece.text).map { [$0] }
    case .control, .unknown: return piece.text
    default: return piece.text.withSpaces
    }
  }

  /// Little-endian throughout: the name of the scheme as a UInt32 length and UTF-8; a byte of flags (1: a space is put in
  /// front, 2: extra spaces are removed); then a record per id in use, ascending: UInt32 id, a byte for the kind as
  /// `TokenKind` has it (unknown counts as control), UInt32 length, bytes (special tokens: none); UInt32 0xFFFFFFFF; the
  /// ids of the begin-of-text token, or 0xFFFFFFFF, and of the unknown token. At last the ids of all pieces that merges
  /// can make, in the order of `mergeOrder`.
  ///
  /// The order stands for the scores, which not all forms of a tokenizer have. That a `tokenizer.json` with the Metaspace
  /// step puts no second space in front of a space is left out as well: other forms cannot say it.
  public var canonicalForm: [UInt8] {
    var form: [UInt8] = []
    func append(_ value: UInt32) {
      for shift in stride(from: 0, to: 32, by: 8) { form.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
    let name = Array("SentencePiece byte pair encoding".utf8)
    append(UInt32(name.count))
    form += name
    let settings = vocabulary.settings
    form.append((settings.prefix == .never ? 0 : 1) | (settings.removesExtraSpaces ? 2 : 0))
    for (id, piece) in vocabulary.pieces.enumerated() where vocabulary.isInUse(Int32(id)) {
      append(UInt32(id))
      let isSpecial = piece.kind.isSpecial
      form.append(UInt8(isSpecial ? TokenKind.control.rawValue : piece.kind.rawValue))
      append(isSpecial ? 0 : UInt32(piece.text.count))
      if !isSpecial { form += piece.text }
    }
    append(.max)
    append(beginOfText.map { UInt32($0) } ?? .max)
    append(UInt32(vocabulary.unknown))
    for id in vocabulary.mergeOrder() { append(UInt32(id)) }
    return form
  }
}

extension TokenKind {
  /// Stands for no text of its own.
  var isSpecial: Bool { self == .control || self == .unknown }
}
