import ByteIO
import Checkpoints
import Conversion
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing
import Tokenizers

/// Conversions of models with the tokenizer of the bundled tiny2, `Tests/Fixtures/README.md`.
@Suite("SentencePiece tokenizers in every layout")
struct SentencePieceTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func path(_ name: String) -> String { folder.file(name).path }

  private static let addedTokens = #"{"<pad>": 4096, "hello world": 4097}"#
  private static let tokenizerConfig = """
    {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "chat_template": "{{ x }}",
     "added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "4096": {"content": "<pad>", "special": true}}}
    """

  /// A model of random weights with the tokenizer, and files beside it.
  private func model(_ name: String, rows: Int, _ files: [(name: String, bytes: [UInt8])] = []) throws -> String {
    var model = TinyCheckpoint(.init { $0.vocabulary = rows })
    model.files = [("tokenizer.model", try Fixtures.bytes(Fixtures.bundled("tiny2/tokenizer.model")))] + files
    try model.write(to: folder.file(name))
    return path(name)
  }

  private static let layouts: [(name: String, options: ConversionOptions)] = [
    ("1.gguf", ConversionOptions(layout: .gguf)), ("2", ConversionOptions(layout: .huggingFace)),
    ("3", ConversionOptions(layout: .meta, tensorParallel: 2)), ("4.gguf", ConversionOptions(layout: .gguf)),
    ("5.gguf", ConversionOptions(layout: .compact)), ("6", ConversionOptions(layout: .meta)),
    ("7", ConversionOptions(layout: .huggingFace)), ("8.gguf", ConversionOptions(layout: .compact)),
    ("9", ConversionOptions(layout: .huggingFace)),
  ]

  @Test(
    "the tokenizer stays what it is through all layouts", arguments: [4096, 4104], [false, true])
  func chain(rows: Int, hasAdded: Bool) throws {
    let files =
      hasAdded
      ? [
        ("added_tokens.json", Array(Self.addedTokens.utf8)),
        ("tokenizer_config.json", Array(Self.tokenizerConfig.utf8)),
      ] : []
    var current = try model("0", rows: rows, files)
    let start = try digest(current)
    #expect(start.tokenizer?.hasPrefix("file:") == false)
    let text = try Fixtures.bytes(Fixtures.bundled("eval.txt"))
    let ids = try #require(try Checkpoint(path: current).tokenizer()).encode(text)
    for (name, options) in Self.layouts {
      try convert(current, to: path(name), options)
      current = path(name)
      #expect(try digest(current) == start, "\(name)")
      let tokenizer = try #require(try Checkpoint(path: current).tokenizer())
      #expect(tokenizer.encode(text) == ids, "\(name)")
      #expect(tokenizer.beginOfText == 1 && tokenizer.endOfText == [2])
    }
    let keys = try ["1.gguf", "4.gguf"].map { try #require(try Checkpoint(path: path($0)).tokenizerKeys) }
    #expect(keys[0].tokens.count == rows)
    #expect(keys[0].tokens == keys[1].tokens && keys[0].types == keys[1].types)
    #expect(keys[0].special == keys[1].special)
    for name in ["tokenizer.model", "tokenizer.json", "tokenizer_config.json"] {
      #expect(FileManager.default.fileExists(atPath: path("2/" + name)), "\(name)")
    }
    #expect(FileManager.default.fileExists(atPath: path("6/tokenizer.model")))
  }

  /// Either file alone, and both.
  @Test("a tokenizer.json that was made of the model means the same")
  func json() throws {
    let model = try model("0", rows: 4096)
    try convert(model, to: path("1.gguf"), ConversionOptions(layout: .gguf))
    try convert(path("1.gguf"), to: path("2"), ConversionOptions(layout: .huggingFace))
    let start = try digest(model)
    for name in ["tokenizer.model", "SHA256SUMS"] { try FileManager.default.removeItem(atPath: path("2/" + name)) }
    #expect(try Checkpoint(path: path("2")).tokenizerDigest() == start.tokenizer)
    try convert(path("2"), to: path("3.gguf"), ConversionOptions(layout: .gguf))
    #expect(try digest(path("3.gguf")).tokenizer == start.tokenizer)
  }

  @Test("a SentencePiece model is preferred to what lies beside it, ranks are not")
  func preference() throws {
    let folder = try model("0", rows: 4096, [("tokenizer.json", Array("{}".utf8))])
    #expect(try Checkpoint(path: folder).tokenizer()?.vocabularySize == 4096)
    try FileManager.default.removeItem(atPath: folder + "/tokenizer.model")
    #expect(throws: ParseFailure.self) { try Checkpoint(path: folder).tokenizer() }
  }

  @Test("a tokenizer.model that is neither form stops a conversion to GGUF, and both are named")
  func neither() throws {
    let folder = try model("0", rows: 4096)
    try Data([0x50, 0x4B, 3, 4]).write(to: URL(filePath: folder + "/tokenizer.model"))
    let failure = #expect(throws: ParseFailure.self) {
      try convert(folder, to: path("1.gguf"), ConversionOptions(layout: .gguf))
    }
    #expect(failure?.file == folder + "/tokenizer.model")
    #expect(failure?.message.contains("SentencePiece") == true && failure?.message.contains("tiktoken") == true)
  }

  /// Hosts give models out whose added tokens have no rows: llama.cpp's converter leaves these tokens out.
  @Test("added tokens beyond the rows are left out")
  func beyond() throws {
    let folder = try model("0", rows: 4096, [("added_tokens.json", Array(Self.addedTokens.utf8))])
    #expect(try Checkpoint(path: folder).tokenizer()?.vocabularySize == 4096)
    try convert(folder, to: path("1.gguf"), ConversionOptions(layout: .gguf))
    #expect(try digest(path("1.gguf")) == digest(folder))
  }

  @Test("fewer rows than pieces are an error")
  func fewerRows() throws {
    let folder = try model("0", rows: 4000)
    let failure = #expect(throws: ParseFailure.self) { try Checkpoint(path: folder).tokenizer() }
    #expect(failure?.message.contains("4096 ids, but the model only 4000") == true)
  }

  @Test("a GGUF has the keys in llama.cpp's order and types")
  func keys() throws {
    try convert(try model("0", rows: 4096), to: path("1.gguf"), ConversionOptions(layout: .gguf))
    let metadata = try #require(try Checkpoint(path: path("1.gguf")).ownMetadata)
    let keys = metadata.entries.map(\.key).filter { $0.hasPrefix("tokenizer.") }
    let names = [
      "model", "pre", "tokens", "scores", "token_type", "bos_token_id", "eos_token_id", "unknown_token_id",
      "add_bos_token",
    ]
    #expect(keys == names.map { "tokenizer.ggml." + $0 })
    #expect(try metadata.string("tokenizer.ggml.model") == "llama")
    #expect(try metadata.string("tokenizer.ggml.pre") == "default")
  }
}
