public import ByteIO

/// Turns plain text into token ids and back.
///
/// Text is bytes, not `String`: a model's text is whatever bytes a file holds, and no normal form may be applied to it.
public protocol Tokenizer: Sendable {
  /// One more than the highest id, special tokens included. Not every id below it need be in use.
  var vocabularySize: Int { get }

  /// The token a sequence starts with, if the model has one. `encode` never adds it.
  var beginOfText: Int32? { get }

  /// The tokens that end a text or a turn, ascending; empty when the files do not say.
  var endOfText: [Int32] { get }

  /// Tokens that stand for no text of their own, by ascending id.
  var specialTokens: [SpecialToken] { get }

  /// What `encode` puts in front of a text before it looks for tokens: the space of most SentencePiece models, or nothing.
  /// It is in the bytes of the first token.
  var textPrefix: [UInt8] { get }

  /// The ids of plain text. Nothing is added in front or behind, and text that looks like a special token is text.
  ///
  /// Ill-formed UTF-8 is read as `RepairedText` states: each maximal subpart of an ill-formed sequence becomes U+FFFD.
  /// Use `RepairedText(repairing:)` beforehand to learn whether that happened.
  func encode(_ text: [UInt8]) -> [Int32]

  /// The bytes of `ids`, one after the other; a special token stands for its own name. The bytes need not be
  /// well-formed UTF-8 when `ids` do not come from a text. In SentencePiece models the text prefix is dropped, and
  /// special tokens stand for what the library gives for them.
  /// - Throws: `ParseFailure` for an id that the vocabulary does not have; its `offset` is the index in `ids`.
  func decode(_ ids: [Int32]) throws(ParseFailure) -> [UInt8]

  /// The bytes of an id; a special token's are its name. Nil for an id that is not in use.
  func bytes(of id: Int32) -> [UInt8]?

  /// The tokenizer's meaning for plain text, independent of the form of the files it came from. Made to be hashed.
  /// Names of special tokens are left out, because Meta's and Hugging Face's releases of one vocabulary name some
  /// reserved tokens differently; their ids are in.
  var canonicalForm: [UInt8] { get }
}

extension Tokenizer {
  public var textPrefix: [UInt8] { [] }
}

/// A token outside the text's own vocabulary, such as `<|begin_of_text|>`.
public struct SpecialToken: Sendable, Equatable {
  public let text: String
  public let id: Int32

  public init(text: String, id: Int32) {
    self.text = text
    self.id = id
  }
}

/// What no tokenizer file here may exceed. Far above what Llama models use, far below what would exhaust memory.
public enum TokenizerLimits {
  /// Ids, special tokens included (Llama 3: 128,256).
  public static let vocabularySize = 1 << 21
  /// Bytes of one token (Llama 3: 128).
  public static let tokenBytes = 512
  /// Merge rules (Llama 3: 280,147).
  public static let merges = 1 << 24
  /// Sum of the squared lengths of a SentencePiece model's pieces in bytes (Llama 2: 1.5 million).
  public static let squaredPieceBytes = 1 << 32
}
