import Checkpoints
import Conversion
import Foundation
import Support
import Testing

@Suite("Hugging Face's tokenizer files from Meta's one")
struct MetaTokenizerTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  /// A Meta directory as Meta publishes it: nothing of Hugging Face's beside `tokenizer.model`.
  private func published() throws -> String {
    let fixture = Fixtures.bundled("tiny").path
    try convert(fixture, to: path("meta"), ConversionOptions(layout: .meta))
    for name in [
      "tokenizer.json", "tokenizer_config.json", "generation_config.json", "llama-convert.json", "SHA256SUMS",
    ] {
      try FileManager.default.removeItem(atPath: path("meta/" + name))
    }
    return path("meta")
  }

  @Test("What is missing is made, what is there stays, and the tokenizer is the same")
  func made() throws {
    let meta = try published()
    for (name, layout) in [("hf", Checkpoint.Layout.huggingFace), ("c.gguf", .compact)] {
      try convert(meta, to: path(name), ConversionOptions(layout: layout))
      #expect(try digest(path(name)) == digest(meta))
    }
    let files = try contents(ofDirectory: path("hf"))
    #expect(files["tokenizer.model"] == (try Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.model"))))
    let original = try Checkpoint(path: Fixtures.bundled("tiny").path)
    #expect(try Checkpoint(path: path("hf")).tokenizerDigest() == original.tokenizerDigest())
    // The file alone, without the tokenizer.model beside it, is that tokenizer too.
    try FileManager.default.removeItem(atPath: path("hf/tokenizer.model"))
    #expect(try Checkpoint(path: path("hf")).tokenizerDigest() == original.tokenizerDigest())

    let tokenizer = try foundationJSON(path("hf/tokenizer.json"))
    let added = try #require(tokenizer["added_tokens"] as? [[String: Any]])
    let names = Dictionary(
      added.compactMap { token in
        (token["content"] as? String).flatMap { name in (token["id"] as? Int).map { (name, $0) } }
      },
      uniquingKeysWith: { first, _ in first })
    // The model scales RoPE as Llama 3.1 does, whose tokens have these names at Hugging Face.
    #expect(names["<|begin_of_text|>"] == 1792 && names["<|eom_id|>"] == 1800 && names["<|eot_id|>"] == 1801)
    #expect(names["<|step_id|>"] == nil && names["<|reserved_special_token_2|>"] == 1797)
    let map = try foundationJSON(path("hf/special_tokens_map.json"))
    #expect(map["bos_token"] as? String == "<|begin_of_text|>" && map["eos_token"] as? String == "<|end_of_text|>")
    let generation = try foundationJSON(path("hf/generation_config.json"))
    // Ends of turns end a generation too; a model that was not instructed never makes them.
    #expect(generation["eos_token_id"] as? [Int] == [1793, 1800, 1801] && generation["bos_token_id"] as? Int == 1792)
    let config = try foundationJSON(path("hf/tokenizer_config.json"))
    #expect(config["tokenizer_class"] as? String == "PreTrainedTokenizerFast")
  }

  @Test("And Meta's one from Hugging Face's: the same ranks, byte for byte")
  func ranks() throws {
    let model = try ModelFolder()
    try FileManager.default.removeItem(at: model.file("tokenizer.model"))
    try convert(model.path, to: path("meta"), ConversionOptions(layout: .meta))
    let made = try Fixtures.bytes(folder.file("meta/tokenizer.model"))
    #expect(made == (try Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.model"))))
    // A rule that ranks do not imply cannot be said in that form.
    let json = try String(contentsOf: model.file("tokenizer.json"), encoding: .utf8)
    let dropped = json.replacing(/\[\s*"-",\s*"-"\s*\],/, with: "")
    try #require(dropped != json)
    try Data(dropped.utf8).write(to: model.file("tokenizer.json"))
    let plan = try plan(model.path, ConversionOptions(layout: .meta))
    #expect(plan.warnings.contains { $0.contains("carried over as it is") }, "\(plan.warnings)")
  }

  @Test("Files that came along are carried, not made anew")
  func carried() throws {
    let meta = try published()
    let own = Data(#"{"eos_token_id": [1793]}"#.utf8)
    try own.write(to: folder.file("meta/generation_config.json"))
    try convert(meta, to: path("hf"), ConversionOptions(layout: .huggingFace))
    #expect(try contents(ofDirectory: path("hf"))["generation_config.json"] == Array(own))
  }

  @Test("A tokenizer.model of no known kind is carried with a warning")
  func unknown() throws {
    let meta = try published()
    try Data("nonsense".utf8).write(to: folder.file("meta/tokenizer.model"))
    let plan = try plan(meta, ConversionOptions(layout: .huggingFace))
    #expect(plan.warnings.contains { $0.contains("carried over as it is") }, "\(plan.warnings)")
    #expect(plan.sidecars.map(\.name) == ["tokenizer.model"])
  }
}
