import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

/// `Tests/Fixtures/tokenizer_keys.json`, made by `Tests/Interop/tokenizer_keys.py`: the keys as gguf and transformers
/// give them, and the digest of a `tokenizer.json` that tokenizers and transformers read as the original.
@Suite("Tokenizer keys as the libraries give them")
struct KeysVectorTests {
  private func vector(_ name: String) throws -> JSONValue {
    try #require(try JSONValue(parsing: Fixtures.bytes(Fixtures.bundled("tokenizer_keys.json")))[name])
  }

  private func check(_ keys: TokenizerKeys, _ vector: JSONValue) throws {
    let special = try #require(vector["special"]?.object).members.map { "\($0.key) \($0.value.integer ?? -1)" }
    let ours: [(String, UInt32?)] = [
      ("bos", keys.special.beginOfText), ("eos", keys.special.endOfText), ("unk", keys.special.unknown),
      ("pad", keys.special.padding), ("eot", keys.special.endOfTurn),
    ]
    #expect(ours.compactMap { name, id in id.map { "\(name) \($0)" } } == special)
    #expect(vector["add"]?["bos"]?.bool == true && keys.addsBeginOfText == true)
    #expect(keys.model == "gpt2" && keys.pre == "llama-bpe" && keys.scores == nil)
    #expect(try sha256(keys.tokenizerJSON()) == vector["json_sha256"]?.string)
  }

  private func digest(_ list: ByteStrings) -> String { sha256(list.flatMap { Array($0) + [0] }) }

  @Test("tiny, padded to 2056 rows")
  func tiny() throws {
    let vector = try vector("tiny")
    let folder = Fixtures.bundled("tiny")
    let keys = try TokenizerKeys(
      tokenizerJSON: Fixtures.bytes(folder.appending(path: "tokenizer.json")),
      tokenizerConfig: Fixtures.bytes(folder.appending(path: "tokenizer_config.json")),
      vocabularySize: try #require(vector["rows"]?.integer))
    #expect(digest(keys.tokens) == vector["tokens_sha256"]?.string)
    #expect(digest(keys.merges) == vector["merges_sha256"]?.string)
    let types = keys.types.flatMap { type in (0..<4).map { UInt8(truncatingIfNeeded: type >> Int32($0 * 8)) } }
    #expect(sha256(types) == vector["types_sha256"]?.string)
    try check(keys, vector)
  }

  @Test("all kinds of tokens, an id without a token, rows beyond, named templates")
  func small() throws {
    let vector = try vector("small")
    let files = try #require(vector["files"])
    let keys = try TokenizerKeys(
      tokenizerJSON: Array(try #require(files["tokenizer.json"]?.string).utf8),
      tokenizerConfig: Array(try #require(files["tokenizer_config.json"]?.string).utf8),
      vocabularySize: try #require(vector["rows"]?.integer))
    #expect(keys.tokens.indices.map { keys.tokens.text(at: $0) } == vector["tokens"]?.array?.map(\.string))
    #expect(keys.types.map { Int($0) } == vector["types"]?.array?.map(\.integer))
    #expect(Set(keys.types) == [1, 3, 4, 5])
    #expect(keys.merges.indices.map { keys.merges.text(at: $0) } == vector["merges"]?.array?.map(\.string))
    #expect(keys.namedChatTemplates == ["tool_use": "{{ tools }}"])
    #expect(keys.chatTemplate == "{{ bos_token }}\n\"é\"")
    try check(keys, vector)
    let again = try TokenizerKeys(
      tokenizerJSON: keys.tokenizerJSON(), tokenizerConfig: keys.tokenizerConfiguration(), vocabularySize: 272)
    #expect(again == keys)
  }
}
