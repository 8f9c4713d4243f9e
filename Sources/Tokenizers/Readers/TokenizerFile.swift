public import ByteIO

/// The forms a tokenizer comes in, told apart by content.
public enum TokenizerFile: Sendable, CaseIterable {
  /// tiktoken's ranks: Llama 3's `tokenizer.model`.
  case tiktoken
  /// Hugging Face's `tokenizer.json`.
  case tokenizerJSON

  /// The form of a file. What is not JSON is taken for ranks, whose reader names the first line that is none.
  public init(recognising bytes: [UInt8]) {
    let first = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
    self = first == UInt8(ascii: "{") ? .tokenizerJSON : .tiktoken
  }

  /// Reads a tokenizer from a file's bytes.
  /// - Parameters:
  ///   - vocabularySize: rows of the model's embedding. For ranks, it decides how many special tokens there are; see
  ///     `BytePairTokenizer.init(tiktoken:vocabularySize:names:)`. A `tokenizer.json` says so itself and may have
  ///     fewer ids than the model rows, but not more.
  ///   - names: special tokens' names, for ranks.
  public static func tokenizer(
    _ bytes: [UInt8], vocabularySize: Int? = nil, names: Llama3SpecialTokens = .llamaModels
  ) throws(ParseFailure) -> any Tokenizer {
    switch TokenizerFile(recognising: bytes) {
    case .tiktoken: return try BytePairTokenizer(tiktoken: bytes, vocabularySize: vocabularySize, names: names)
    case .tokenizerJSON:
      let tokenizer = try BytePairTokenizer(tokenizerJSON: bytes)
      if let vocabularySize, tokenizer.vocabularySize > vocabularySize {
        throw ParseFailure(
          "the tokenizer has \(tokenizer.vocabularySize) ids, but the model only \(vocabularySize) vocabulary rows",
          advice: "check that this tokenizer.json belongs to this model")
      }
      return tokenizer
    }
  }
}
