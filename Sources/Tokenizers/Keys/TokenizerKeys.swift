public import ByteIO

/// A tokenizer as a GGUF holds it, in the keys under `tokenizer.ggml` and `tokenizer.chat_template`: plain values, which
/// nothing has checked yet. `tokenizer()` and the functions that make files check them.
///
/// Represented are Llama 3's byte-level BPE (model `gpt2`, split `llama-bpe`) and SentencePiece BPE (model `llama`).
public struct TokenizerKeys: Sendable, Hashable {
  /// `tokenizer.ggml.model`.
  public var model: String
  /// `tokenizer.ggml.pre`: how text is split, and that a piece that is a token as a whole is that token.
  public var pre: String?
  /// `tokenizer.ggml.tokens`, by id. Of byte-level BPE: normal ones in the byte alphabet of GPT-2, others as they are. Of
  /// SentencePiece: as the model has them, user-defined ones with spaces for U+2581.
  public var tokens: ByteStrings
  /// `tokenizer.ggml.token_type`, as long as `tokens`; see `TokenKind`.
  public var types: [Int32]
  /// `tokenizer.ggml.scores` of SentencePiece models: the piece of the highest score is made first.
  public var scores: [Float]?
  /// `tokenizer.ggml.merges` by rank: both parts in the byte alphabet, a space between them. Empty for SentencePiece.
  public var merges: ByteStrings
  /// `tokenizer.ggml.bos_token_id` and the like.
  public var special: SpecialTokenIDs
  /// `tokenizer.ggml.add_bos_token`: whether a text gets the begin-of-text token in front. Nil is true.
  public var addsBeginOfText: Bool?
  /// `tokenizer.ggml.add_eos_token`. Nil is false.
  public var addsEndOfText: Bool?
  /// `tokenizer.ggml.add_space_prefix`, of SentencePiece models. Nil is true.
  public var addsSpacePrefix: Bool?
  /// `tokenizer.ggml.remove_extra_whitespaces`, of SentencePiece models. Nil is false. llama.cpp does not look at it there.
  public var removesExtraSpaces: Bool?
  /// `tokenizer.chat_template`.
  public var chatTemplate: String?
  /// `tokenizer.chat_template.NAME`, by name.
  public var namedChatTemplates: [String: String]

  public init(
    model: String = byteLevelModel, pre: String? = llama3Split, tokens: ByteStrings, types: [Int32],
    scores: [Float]? = nil, merges: ByteStrings, special: SpecialTokenIDs = SpecialTokenIDs(),
    addsBeginOfText: Bool? = nil, addsEndOfText: Bool? = nil, addsSpacePrefix: Bool? = nil,
    removesExtraSpaces: Bool? = nil, chatTemplate: String? = nil, namedChatTemplates: [String: String] = [:]
  ) {
    self.model = model
    self.pre = pre
    self.tokens = tokens
    self.types = types
    self.scores = scores
    self.merges = merges
    self.special = special
    self.addsBeginOfText = addsBeginOfText
    self.addsEndOfText = addsEndOfText
    self.addsSpacePrefix = addsSpacePrefix
    self.removesExtraSpaces = removesExtraSpaces
    self.chatTemplate = chatTemplate
    self.namedChatTemplates = namedChatTemplates
  }

  /// Byte-level BPE.
  public static let byteLevelModel = "gpt2"
  /// Llama 3's split pattern. llama.cpp takes `llama3Aliases` for the same.
  public static let llama3Split = "llama-bpe"
  /// SentencePiece, and how its text is split: not at all.
  public static let sentencePieceModel = "llama"
  public static let sentencePieceSplit = "default"
  static let llama3Aliases = ["llama-bpe", "llama3", "llama-v3"]
  /// Whether `tokenizer.ggml.pre` names Llama 3's split pattern.
  public static func splitsAsLlama3(_ pre: String) -> Bool { llama3Aliases.contains(pre) }

  /// The names that failures give.
  static let tokensKey = "tokenizer.ggml.tokens"
  static let mergesKey = "tokenizer.ggml.merges"
}

extension TokenizerKeys {
  /// The tokenizer that the keys describe.
  /// - Throws: `ParseFailure` that names the key: a model that is neither `gpt2` nor `llama`, and what
  ///   `BytePairTokenizer.init(_:)` and `SentencePieceTokenizer.init(_:)` refuse.
  public func tokenizer() throws(ParseFailure) -> any Tokenizer {
    if isSentencePiece { return try SentencePieceTokenizer(self) }
    return try BytePairTokenizer(self)
  }

  public var isSentencePiece: Bool { model == Self.sentencePieceModel }
}

/// The values of `tokenizer.ggml.token_type`, which are those of SentencePiece's types of pieces.
public enum TokenKind: Int32, Sendable, CaseIterable {
  case normal = 1
  case unknown = 2
  /// Stands for no text; found in text only where that is asked for.
  case control = 3
  /// Found in every text before it is split.
  case userDefined = 4
  /// A row of the embedding that no text leads to.
  case unused = 5
  /// A byte of a SentencePiece model.
  case byte = 6
}

/// The tokens that have a role, by their keys under `tokenizer.ggml`.
public struct SpecialTokenIDs: Sendable, Hashable {
  /// `bos_token_id`.
  public var beginOfText: UInt32?
  /// `eos_token_id`.
  public var endOfText: UInt32?
  /// `eot_token_id`. llama.cpp finds `<|eot_id|>` by its text when the key is missing.
  public var endOfTurn: UInt32?
  /// `unknown_token_id`.
  public var unknown: UInt32?
  /// `padding_token_id`.
  public var padding: UInt32?

  public init(
    beginOfText: UInt32? = nil, endOfText: UInt32? = nil, endOfTurn: UInt32? = nil, unknown: UInt32? = nil,
    padding: UInt32? = nil
  ) {
    self.beginOfText = beginOfText
    self.endOfText = endOfText
    self.endOfTurn = endOfTurn
    self.unknown = unknown
    self.padding = padding
  }

  /// Every role's key and id.
  var all: [(key: String, id: UInt32?)] {
    [
      ("tokenizer.ggml.bos_token_id", beginOfText), ("tokenizer.ggml.eos_token_id", endOfText),
      ("tokenizer.ggml.eot_token_id", endOfTurn), ("tokenizer.ggml.unknown_token_id", unknown),
      ("tokenizer.ggml.padding_token_id", padding),
    ]
  }

  /// What is nil here is taken from `other`.
  func filled(from other: SpecialTokenIDs) -> SpecialTokenIDs {
    SpecialTokenIDs(
      beginOfText: beginOfText ?? other.beginOfText, endOfText: endOfText ?? other.endOfText,
      endOfTurn: endOfTurn ?? other.endOfTurn, unknown: unknown ?? other.unknown, padding: padding ?? other.padding)
  }
}
