import Foundation
import Support
import Testing

private let tiny = Fixtures.bundled("tiny").path

@Suite("Models and their tokenizers")
struct OwnTokenizerTests {
  let model: ModelFolder
  let text: String

  /// A candidate whose tokenizer lacks one rule, which the text does not need.
  init() throws {
    model = try ModelFolder()
    text = model.beside("text.txt")
    let words = (0..<400).map { "The tensor number \($0) has a shape and a type.\n" }.joined()
    try Data(words.utf8).write(to: URL(filePath: text))
    let file = model.file("tokenizer.json")
    var document = try #require(
      try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    var bpe = try #require(document["model"] as? [String: Any])
    let merges = try #require(bpe["merges"] as? [Any])
    let kept = merges.filter { ($0 as? String) != "- -" && ($0 as? [String]) != ["-", "-"] }
    try #require(kept.count == merges.count - 1)
    bpe["merges"] = kept
    document["model"] = bpe
    try JSONSerialization.data(withJSONObject: document).write(to: file)
    try FileManager.default.removeItem(at: model.file("tokenizer.model"))
  }

  @Test("Another tokenizer is noticed in texts that nobody scores")
  func parity() throws {
    let outcome = try run(.verify, tiny, model.path, "--text", text)
    #expect(outcome.status == 1)
    #expect(outcome.stdout.hasPrefix("FAIL") && outcome.stdout.contains("tokenize the text"))
    #expect(outcome.stdout.contains("--each-its-own-tokenizer"))
    // Nothing was scored.
    #expect(outcome.stdout.contains("NOT RUN  maximum_ratio"))
  }

  @Test("Each with its own: per byte and character only, no verdict; the same weights need the same bits here")
  func own() throws {
    let outcome = try run(.verify, tiny, model.path, "--text", text, "--each-its-own-tokenizer", "--json", "--quiet")
    #expect(outcome.status == 0 && outcome.stderr.isEmpty, "\(outcome.stderr)")
    let report = try #require(outcome.json)
    #expect(report["verdict"] as? String == "none" && report["schema"] as? String == "llama-verify/1")
    let nll = try #require(report["nll"] as? [String: Any])
    let base = try #require(nll["base_bits_per_byte"] as? Double)
    #expect(base > 0 && base == nll["candidate_bits_per_byte"] as? Double)
    let difference = try #require(report["difference"] as? [String: Any])
    #expect(difference["bits_per_byte"] as? Double == 0)
    #expect(difference["bits_per_byte_ci95"] as? [Double] == [0, 0])
    #expect(report["perplexity"] == nil && report["kld"] == nil)
    // The text is ASCII: a character is a byte.
    let perCharacter = try #require(nll["base_per_character"] as? Double)
    #expect(abs(perCharacter / base - 0.693147180559945) < 1e-12)
    let words = try run(.verify, tiny, model.path, "--text", text, "--each-its-own-tokenizer")
    #expect(words.stdout.contains("bits per byte") && words.stdout.contains("no policy was applied"))
  }

  @Test(
    "Options that do not go together are usage errors",
    arguments: [
      ["--each-its-own-tokenizer"], ["--each-its-own-tokenizer", "--report", "/nowhere/r"], ["--chat", "x"],
      ["--protocol", "chat"],
    ])
  func usage(_ options: [String]) throws {
    let models = options.count == 1 ? [tiny] : [tiny, model.path]
    let outcome = try run(.verify, models + ["--text", text] + options)
    #expect(outcome.status == 64, "\(outcome.stderr)")
  }

  @Test("Conversations are judged: what the assistant says, each conversation a window")
  func chat() throws {
    let chat = model.beside("chat.jsonl")
    let lines = (0..<12).map {
      #"{"messages":[{"role":"user","content":"Number \#($0)?"},{"role":"assistant","content":"It is \#($0)."}]}"#
    }
    try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: chat))
    let outcome = try run(.verify, tiny, tiny, "--chat", chat, "--json", "--policy", "lossless")
    #expect(outcome.status == 0, "\(outcome.stderr)")
    let tokens = try #require(outcome.json?["tokens"] as? [String: Any])
    #expect(tokens["windows"] as? Int == 12 && tokens["protocol"] as? String == "chat")
    let cut = try run(.verify, tiny, "--chat", chat, "--context", "4")
    #expect(cut.status == 65 && cut.stderr.contains("longer --context"), "\(cut.stderr)")
    let some = try run(.verify, tiny, "--chat", chat, "--tokens", "20", "--json")
    let scored = try #require(some.json?["tokens"] as? [String: Any])
    #expect((scored["windows"] as? Int).map { $0 > 1 && $0 < 12 } == true)
  }
}
