internal import ByteIO
internal import Llama
public import Tokenizers

extension Checkpoint {
  /// Names of tokenizer files in order of preference: the layout's own form first.
  static let tokenizerNames = ["tokenizer.json", "tokenizer.model"]
  /// Llama 3's tokenizer.json has 17 MB.
  static let tokenizerLimit = 256 << 20

  /// The tokenizer that travels with the model; nil when there is no tokenizer file.
  /// - Throws: `ParseFailure` for a file that is damaged or of an unsupported kind.
  public func tokenizer() throws -> (any Tokenizer)? {
    if let keys = tokenizerKeys {
      do throws(ParseFailure) { return try BytePairTokenizer(keys) } catch { throw error.in(file: path) }
    }
    for name in Self.tokenizerNames {
      if let file = sidecars.first(where: { $0.name == name }) { return try tokenizer(of: file) }
    }
    return nil
  }

  private func tokenizer(of file: SidecarFile) throws -> any Tokenizer {
    let bytes = try file.contents(limit: Self.tokenizerLimit)
    do {
      return try TokenizerFile.tokenizer(bytes, vocabularySize: configuration.vocabularySize)
    } catch {
      throw error.in(file: file.path)
    }
  }

  /// SHA-256 of what the tokenizer means, whatever the form of its file. A tokenizer of a kind that this version does not
  /// read is told apart by the bytes of its file.
  public func tokenizerDigest() throws -> String? {
    if tokenizerKeys != nil {
      // One that is of no kind that this version reads has no meaning to be told apart by.
      return (try? tokenizer()).flatMap { $0 }.map { SHA256Sum.hexadecimal(of: $0.canonicalForm) }
    }
    guard let file = Self.tokenizerNames.lazy.compactMap({ name in sidecars.first { $0.name == name } }).first else {
      return nil
    }
    do {
      return SHA256Sum.hexadecimal(of: try tokenizer(of: file).canonicalForm)
    } catch let failure as ParseFailure {
      guard file.byteCount <= UInt64(Self.tokenizerLimit) else { throw failure }
      return try "file:" + file.sha256()
    }
  }
}
