internal import ByteIO
public import Checkpoints
internal import Inference
internal import Llama
internal import Tokenizers

/// The text that weights are fitted to, as windows of token ids.
public struct CalibrationText: Sendable {
  public let windows: [[Int32]]
  /// The file's name, without its place.
  public let name: String
  /// Of the file.
  public let sha256: String
  public let context: Int
  public let remarks: [String]

  /// What published recipes take (GPTQ: 128 windows of 2,048 tokens).
  public static let defaultContext = 2048
  public static let defaultTokens = 128 * 2048

  public var tokens: Int { windows.reduce(0) { $0 + $1.count } }

  /// Windows that are there already.
  /// - Parameters:
  ///   - name: for the evidence.
  ///   - sha256: of what they were made from, for the evidence.
  public init(windows: [[Int32]], name: String, sha256: String) {
    self.windows = windows
    self.name = name
    self.sha256 = sha256
    context = windows.map(\.count).max() ?? 0
    remarks = []
  }

  /// Cuts a text as `llama-verify` does: tokens without special ones; each window is the begin-of-text token and the next
  /// `context` − 1 tokens; the last may be shorter.
  /// - Parameter limit: so many tokens about are taken, whole windows spread evenly over the text; nil for all.
  /// - Throws: `ParseFailure` when the model has no tokenizer or begin-of-text token, or the text no tokens; `FileFailure`.
  public init(path: String, for checkpoint: Checkpoint, context: Int, limit: Int?) throws {
    let bytes = try ReadableFile.contents(of: path, limit: 1 << 30)
    guard let tokenizer = try checkpoint.tokenizer() else {
      throw ParseFailure(
        "there is no tokenizer", file: checkpoint.path,
        advice: "put tokenizer.json or tokenizer.model beside the weights"
      )
    }
    let text = RepairedText(repairing: bytes)
    remarks =
      text.firstFault.map {
        ["\(path): \(text.replacements) ill-formed UTF-8 sequences were replaced by U+FFFD, the first at byte \($0)"]
      } ?? []
    let ids = tokenizer.encode(text.bytes)
    guard let begin = tokenizer.beginOfText ?? checkpoint.configuration.beginOfTextID.flatMap(Int32.init(exactly:))
    else {
      throw ParseFailure("neither tokenizer nor config.json names a begin-of-text token", file: checkpoint.path)
    }
    guard !ids.isEmpty else { throw ParseFailure("the text has no tokens to calibrate with", file: path) }
    if let stray = ids.first(where: { $0 < 0 || Int($0) >= checkpoint.configuration.vocabularySize }) {
      throw ParseFailure(
        "token id \(stray) is outside the model's vocabulary of \(checkpoint.configuration.vocabularySize)",
        file: checkpoint.path, advice: "the tokenizer does not belong to this model")
    }
    windows = TokenWindows(ids: ids, context: context, beginOfText: begin, limit: limit).windows
    name = FileSystem.lastComponent(of: path)
    sha256 = SHA256Sum.hexadecimal(of: bytes)
    self.context = context
  }
}
