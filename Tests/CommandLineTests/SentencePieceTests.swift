import Foundation
import Support
import Testing

@Suite("Models with a SentencePiece tokenizer")
struct SentencePieceTests {
  let model: ModelFolder

  init() throws {
    var synthetic = SyntheticModel()
    synthetic.vocabulary = 4096
    model = try ModelFolder(synthetic)
    try FileManager.default.copyItem(
      at: Fixtures.bundled("tiny2/tokenizer.model"), to: model.file("tokenizer.model"))
  }

  private func number(_ report: [String: Any]?, _ key: String) throws -> Double {
    let members = try #require(report?["nll"] as? [String: Any])
    return try #require((members[key] as? NSNumber)?.doubleValue)
  }

  /// The tokenizer puts a space in front and makes a space of U+2581; neither changes what the text is.
  @Test(
    "the report counts the text's own characters and bytes",
    arguments: ["a short text", "\u{2581} two\u{2581}words \u{2581}\u{2581}x", " \u{6F22}\u{5B57}  \n"])
  func counts(text: String) throws {
    let file = model.beside("text.txt")
    try Data(text.utf8).write(to: URL(filePath: file))
    let outcome = try run(.verify, model.path, "--text", file, "--json", "--quiet")
    try #require(outcome.status == 0, "\(outcome.stderr)")
    // Both are the text's whole NLL.
    let byCharacters = try number(outcome.json, "base_per_character") * Double(text.unicodeScalars.count)
    let byBytes = try number(outcome.json, "base_bits_per_byte") * Double(text.utf8.count) * log(2)
    #expect(abs(byCharacters / byBytes - 1) < 1e-9)
  }

  @Test("a GGUF of it is the same model to llama-verify")
  func equalModels() throws {
    let gguf = model.beside("model.gguf")
    let converted = try run(.convert, "--format", "gguf", model.path, gguf)
    try #require(converted.status == 0, "\(converted.stderr)")
    let outcome = try run(.verify, model.path, gguf, "--policy", "lossless")
    #expect(outcome.status == 0)
    #expect(outcome.stdout.contains("one model"), "\(outcome.stdout)")
  }

  private func tokenize(_ line: String, _ file: URL) throws -> Outcome {
    let script = "echo \(line) | \"$0\" tokenize \"$1\""
    return try Started(URL(filePath: "/bin/sh"), ["-c", script, Program.verify.url.path, file.path]).outcome()
  }

  @Test("tokenize gives sentencepiece's ids; a file of neither kind names both")
  func ids() throws {
    // Origin: sentencepiece 0.2.3 with this model.
    let outcome = try tokenize("5175616e74697a656420696e20342062697473", model.file("tokenizer.model"))
    #expect(outcome.stdout == "1541 3612 677 974 288 3599 3645 1808\n")
    let file = URL(filePath: model.beside("tokenizer.model"))
    try Data([1, 2, 3]).write(to: file)
    let failed = try tokenize("61", file)
    #expect(failed.status == 65)
    #expect(failed.stderr.contains("SentencePiece") && failed.stderr.contains("tiktoken"))
  }
}
