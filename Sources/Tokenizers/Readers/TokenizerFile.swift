public import ByteIO

/// The forms a tokenizer comes in, told apart by content.
public enum TokenizerFile: Sendable, CaseIterable {
  /// tiktoken's ranks: Llama 3's `tokenizer.model`.
  case tiktoken
  /// Hugging Face's `tokenizer.json`.
  case tokenizerJSON
  /// SentencePiece's protobuf: the `tokenizer.model` of Llama 1 and 2, Code Llama and Mistral.
  case sentencePiece

  /// The form of a file.
  /// - Throws: `ParseFailure` for a file that starts like none of them. Ranks are recognised by a first line of printable
  ///   characters, so that their reader can name what is wrong in a line.
  public init(recognising bytes: [UInt8]) throws(ParseFailure) {
    let first = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
    if ProtobufOutline.startsWithPiece(bytes) {
      self = .sentencePiece
    } else if first == UInt8(ascii: "{") {
      self = .tokenizerJSON
    } else if first != nil, Self.isText(bytes.prefix(256)) {
      self = .tiktoken
    } else {
      throw ParseFailure(
        bytes.isEmpty
          ? "the file is empty" : "neither a SentencePiece model (a protobuf) nor tiktoken's ranks (lines of base64)",
        advice: "check that the tokenizer was downloaded whole, not as a pointer of Git LFS or a page of a web server")
    }
  }

  private static func isText(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.allSatisfy { (0x20...0x7E).contains($0) || $0 == 0x0A || $0 == 0x0D }
  }

  /// Reads a tokenizer from a file's bytes.
  /// - Parameters:
  ///   - vocabularySize: rows of the model's embedding. For ranks, it decides how many special tokens there are; see
  ///     `BytePairTokenizer.init(tiktoken:vocabularySize:names:)`. The other forms say so themselves and may have fewer
  ///     ids than the model rows, but not more.
  ///   - names: special tokens' names, for ranks.
  public static func tokenizer(
    _ bytes: [UInt8], vocabularySize: Int? = nil, names: Llama3SpecialTokens = .llamaModels
  ) throws(ParseFailure) -> any Tokenizer {
    switch try TokenizerFile(recognising: bytes) {
    case .tiktoken: return try BytePairTokenizer(tiktoken: bytes, vocabularySize: vocabularySize, names: names)
    case .sentencePiece: return try SentencePieceTokenizer(sentencePiece: bytes, vocabularySize: vocabularySize)
    case .tokenizerJSON:
      let tokenizer = try Self.tokenizer(JSONValue(parsing: bytes))
      if let vocabularySize, tokenizer.vocabularySize > vocabularySize {
        throw ParseFailure(
          "the tokenizer has \(tokenizer.vocabularySize) ids, but the model only \(vocabularySize) vocabulary rows",
          advice: "check that this tokenizer.json belongs to this model")
      }
      return tokenizer
    }
  }

  private static func tokenizer(_ document: JSONValue) throws(ParseFailure) -> any Tokenizer {
    if SentencePieceRules.apply(to: document) {
      return SentencePieceTokenizer(try SentencePieceVocabulary(tokenizerJSON: document))
    }
    return try BytePairTokenizer(VocabularyParts(tokenizerJSON: document))
  }
}
