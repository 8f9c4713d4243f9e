internal import ByteIO
internal import Llama
public import Tokenizers

extension Checkpoint {
  /// Names of tokenizer files in order of preference: the layout's own form first.
  static let tokenizerNames = ["tokenizer.json", "tokenizer.model"]
  /// Llama 3's tokenizer.json has 17 MB.
  static let tokenizerLimit = 256 << 20

  /// The file that the tokenizer is read from.
  struct TokenizerSource {
    let file: SidecarFile
    let bytes: [UInt8]
    /// With what lies beside a SentencePiece model.
    let sentencePiece: SentencePieceFiles?
  }

  /// A SentencePiece model before all others, since it alone holds the scores; else in the order of `tokenizerNames`.
  func tokenizerSource() throws -> TokenizerSource? {
    let files = try Self.tokenizerNames.compactMap { name in
      try sidecars.first { $0.name == name }.map { file in
        (file: file, bytes: try file.contents(limit: Self.tokenizerLimit))
      }
    }
    if let (file, bytes) = files.first(where: { (try? TokenizerFile(recognising: $0.bytes)) == .sentencePiece }) {
      let beside = SentencePieceFiles(
        model: bytes, addedTokens: try sidecarContents("added_tokens.json"),
        tokenizerConfig: try sidecarContents("tokenizer_config.json"))
      return TokenizerSource(file: file, bytes: bytes, sentencePiece: beside)
    }
    return files.first.map { TokenizerSource(file: $0.file, bytes: $0.bytes, sentencePiece: nil) }
  }

  /// The bytes of a file that travels with the model; nil when there is none.
  func sidecarContents(_ name: String) throws -> [UInt8]? {
    try sidecars.first { $0.name == name }?.contents(limit: Self.tokenizerLimit)
  }

  /// The tokenizer that travels with the model; nil when there is no tokenizer file.
  /// - Throws: `ParseFailure` for a file that is damaged or of an unsupported kind.
  public func tokenizer() throws -> (any Tokenizer)? {
    if let keys = tokenizerKeys {
      do throws(ParseFailure) { return try keys.tokenizer() } catch { throw error.in(file: path) }
    }
    return try tokenizerSource().map { try tokenizer(of: $0) }
  }

  private func tokenizer(of source: TokenizerSource) throws -> any Tokenizer {
    do throws(ParseFailure) {
      if let files = source.sentencePiece {
        return try SentencePieceTokenizer(files, vocabularySize: configuration.vocabularySize)
      }
      return try TokenizerFile.tokenizer(source.bytes, vocabularySize: configuration.vocabularySize)
    } catch {
      throw error.in(file: source.file.path)
    }
  }

  /// SHA-256 of what the tokenizer means, whatever the form of its file. A tokenizer of a kind that this version does not
  /// read is told apart by the bytes of its file.
  public func tokenizerDigest() throws -> String? {
    if tokenizerKeys != nil {
      // One that is of no kind that this version reads has no meaning to be told apart by.
      return (try? tokenizer()).flatMap { $0 }.map { SHA256Sum.hexadecimal(of: $0.canonicalForm) }
    }
    guard let source = try tokenizerSource() else { return nil }
    do {
      return SHA256Sum.hexadecimal(of: try tokenizer(of: source).canonicalForm)
    } catch is ParseFailure {
      return "file:" + SHA256Sum.hexadecimal(of: source.bytes)
    }
  }
}
