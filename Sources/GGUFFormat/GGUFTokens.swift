public import ByteIO

/// The arrays under `tokenizer.ggml`, checked before anybody uses them: of the types that llama.cpp asks for, and as long
/// as the list of tokens.
public struct GGUFTokens: Sendable, Equatable {
  /// Texts by id, of STRING.
  public let tokens: GGUFArray
  /// Of SentencePiece models.
  public let scores: [Float]?
  /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
  public let types: [Int]?
  /// Pairs of BPE models, of STRING, by rank.
  public let merges: GGUFArray?

  static let tokensKey = "tokenizer.ggml.tokens"
  static let scoresKey = "tokenizer.ggml.scores"
  static let typesKey = "tokenizer.ggml.token_type"
  static let mergesKey = "tokenizer.ggml.merges"

  /// Nil when the file has no list of tokens.
  /// - Throws: `ParseFailure` with the key for another type, and for lengths that differ.
  public init?(_ metadata: GGUFMetadata) throws(ParseFailure) {
    guard let tokens = try metadata.strings(Self.tokensKey) else { return nil }
    self.tokens = tokens
    scores = try metadata.floats(Self.scoresKey)
    types = try metadata.integers(Self.typesKey)
    merges = try metadata.strings(Self.mergesKey)
    for (key, count) in [(Self.scoresKey, scores?.count), (Self.typesKey, types?.count)] {
      guard let count, count != tokens.count else { continue }
      throw ParseFailure(
        "the array has \(count) elements, there are \(tokens.count) tokens", file: metadata.file, item: key,
        offset: metadata.entry(key)?.offset)
    }
  }
}
