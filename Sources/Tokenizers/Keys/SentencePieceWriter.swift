public import ByteIO
internal import FoundationEssentials
internal import SwiftProtobuf

extension TokenizerKeys {
  /// A SentencePiece `tokenizer.model`. The library gives the ids of these keys with it.
  ///
  /// Chat templates, and whether tokens are put around a text, are not in such a file. Rows without a token are left out at
  /// the end and unused pieces elsewhere.
  /// - Throws: `ParseFailure` for what `SentencePieceTokenizer.init(_:)` refuses.
  public func sentencePieceModel() throws(ParseFailure) -> [UInt8] {
    let vocabulary = try SentencePieceVocabulary(self)
    var message = SPModel()
    message.pieces = vocabulary.pieces.map { piece in
      var message = SPPiece()
      message.piece = Data(piece.text)
      message.score = piece.score
      // The library leaves the type of normal pieces out.
      if piece.kind != .normal { message.type = piece.kind.rawValue }
      return message
    }
    message.trainerSpec = [Self.trainer(vocabulary)]
    var normalizer = SPNormalizer()
    normalizer.name = "identity"
    normalizer.precompiledCharsmap = Data()
    normalizer.addDummyPrefix = vocabulary.settings.prefix != .never
    normalizer.removeExtraWhitespaces = vocabulary.settings.removesExtraSpaces
    normalizer.escapeWhitespaces = true
    message.normalizerSpec = [normalizer]
    do { return try message.serializedBytes() } catch {
      throw ParseFailure("the SentencePiece model cannot be written: \(error)")
    }
  }

  private static func trainer(_ vocabulary: SentencePieceVocabulary) -> SPTrainer {
    var trainer = SPTrainer()
    let settings = vocabulary.settings
    func id(_ id: Int32?) -> Int32 { id ?? -1 }
    func text(_ id: Int32) -> Data { Data(vocabulary.pieces[Int(id)].text) }
    trainer.modelType = 2
    trainer.vocabSize = Int32(vocabulary.pieces.count)
    trainer.byteFallback = vocabulary.byteIDs != nil
    trainer.unkID = vocabulary.unknown
    trainer.bosID = id(settings.beginOfText)
    trainer.eosID = id(settings.endOfText)
    trainer.padID = id(settings.padding)
    trainer.unkSurface = Data(settings.unknownSurface)
    trainer.unkPiece = text(vocabulary.unknown)
    // Names decide, and the library has names of its own for pieces that are not named.
    if let id = settings.beginOfText { trainer.bosPiece = text(id) }
    if let id = settings.endOfText { trainer.eosPiece = text(id) }
    if let id = settings.padding { trainer.padPiece = text(id) }
    return trainer
  }
}
