import Foundation
import Support
import Testing

/// GGUF files as a user makes, judges and reshapes them.
@Suite("GGUF at the command line")
struct BlockModelTests {
  let model: ModelFolder
  let text: String

  init() throws {
    model = try ModelFolder()
    text = model.beside("text.txt")
    try Data(try Fixtures.bytes(Fixtures.bundled("eval.txt")).prefix(6000)).write(to: URL(filePath: text))
  }

  private func convert(_ arguments: String...) throws {
    let outcome = try run(.convert, arguments)
    try #require(outcome.status == 0, "\(outcome.stderr)")
  }

  private func digest(_ path: String) throws -> String {
    let outcome = try run(.convert, "digest", path, "--json")
    return try #require(outcome.json?["model"] as? String, "\(outcome.stderr)")
  }

  private func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }

  /// Keys differ: the name is the input's, and Meta's tokenizer has no names for tokens that are not used.
  @Test("GGUF to Meta shards and back: the same digest, the same bytes of tensors", arguments: ["2", "4"])
  func shards(_ count: String) throws {
    let (first, shards, last) = (model.beside("1.gguf"), model.beside("shards"), model.beside("2.gguf"))
    try convert("--format", "gguf", model.path, first)
    try convert("--format", "pth", "--tp", count, first, shards)
    try convert("--format", "gguf", shards, last)
    let digests = try [model.path, first, shards, last].map(digest)
    #expect(Set(digests).count == 1)
    let weights = try Fixtures.bytes(URL(filePath: model.path + "/model.safetensors"))
    let size = weights.count - 8 - weights[0..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
    let files = try [first, last].map { try Fixtures.bytes(URL(filePath: $0)).suffix(size) }
    #expect(files[0] == files[1])
  }

  @Test("--verify publishes a Q8_0 file that passes, and nothing of a Q4_0 file that fails")
  func judged() throws {
    let good = model.beside("good.gguf")
    try convert("--to", "q8_0", "--verify", text, model.path, good)
    let record = try Fixtures.bytes(URL(filePath: good + ".llama-convert.json"))
    let document = try JSONSerialization.jsonObject(with: Data(record)) as? [String: Any]
    #expect((document?["verification"] as? [String: Any])?["verdict"] as? String == "pass")
    let before = try names()
    let bad = try run(
      .convert, "--to", "q4_0", "--verify", text, "--policy", "lossless", model.path, model.beside("bad.gguf"))
    #expect(bad.status == 1, "\(bad.stderr)")
    #expect(bad.stderr.contains("not published"))
    #expect(try names() == before)
  }

  @Test("A report about blocks says how they are computed with")
  func remark() throws {
    let file = model.beside("q4.gguf")
    try convert("--to", "q4_k_m", model.path, file)
    let (options, says) = (["--text", text, "--context", "128"], "ggml blocks dequantized, activations unquantized")
    let summary = try run(.verify, [model.path, file] + options)
    #expect([0, 1, 2].contains(summary.status) && summary.stdout.contains(says), "\(summary.stdout)")
    let report = model.beside("report")
    let json = try run(.verify, [model.path, file, "--json", "--report", report] + options)
    let facts = json.json?["run"] as? [String: Any]
    #expect(facts?["blocks"] as? String == "dequantized, activations unquantized")
    for name in ["report.md", "report.html"] {
      #expect(try String(contentsOfFile: report + "/" + name, encoding: .utf8).contains(says), "\(name)")
    }
    let plain = try run(.verify, [model.path, model.path] + options)
    #expect(plain.status == 0 && !plain.stdout.contains("blocks"))
  }
}
