import Foundation
import Support
import Testing
import Tokenizers

/// Meta's own `tokenizer.model` of Llama 3 (in the package llama-models 0.3.0 on PyPI, for example), to be put at
/// `llama3/tokenizer.model` beside the other large fixtures.
private let llama3 = Fixtures.large("llama3/tokenizer.model")

@Suite("Tokenizer keys of Llama 3 itself", .enabled(if: llama3 != nil))
struct KeysLlama3Tests {
  private func file() throws -> [UInt8] {
    let bytes = try Fixtures.bytes(try #require(llama3))
    try #require(sha256(bytes) == "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55")
    return bytes
  }

  /// All cuts: digest of what transformers 5.23 makes of the file (TikTokenConverter). Last merges: of what a plain
  /// program in Python finds. For both, the digest of a `tokenizer.json` put together in Python, with which tokenizers
  /// 0.23.3 gave the ids of tiktoken 0.14.0 on 6,343 strings.
  @Test(
    "merge rules and tokenizer.json",
    arguments: [
      (
        .allCuts, 280_147, "cfe2e1ca857e85780db48349c18f4dc6e5262573b9a25e79e15f93f2a2d43339",
        "b40afe7f34d8d8813e2aa4849f8aef4e982433312aeaab0aeead7bc19527d7d4"
      ),
      (
        .lastMerges, 127_156, "2a1e21a123eecb8259e948592cd38f39d6c09cd83b815e923b7b6baba9ae08e8",
        "fb96f93a8a46662a34f3e7126cb07bbce03272627465e165bcf4a6f89a76e144"
      ),
    ] as [(ImpliedRules, Int, String, String)])
  func rules(rules: ImpliedRules, count: Int, merges: String, json: String) throws {
    let bytes = try file()
    let keys = try TokenizerKeys(tiktoken: bytes, rules: rules)
    #expect(keys.tokens.count == 128_256)
    #expect(keys.merges.count == count)
    #expect(sha256(keys.merges.flatMap { Array($0) + [0] }) == merges)
    let document = try keys.tokenizerJSON()
    #expect(sha256(document) == json)
    #expect(try keys.tiktokenModel() == bytes)
    let original = try BytePairTokenizer(tiktoken: bytes)
    let isSame = try BytePairTokenizer(keys).canonicalForm == original.canonicalForm
    #expect(isSame)
    let again = try TokenizerKeys(tokenizerJSON: document)
    #expect(again == keys)
    let text = try Fixtures.bytes(Fixtures.bundled("eval.txt"))
    let tokenizer = try BytePairTokenizer(again)
    #expect(tokenizer.encode(text) == original.encode(text))
    // Every token inside of a longer piece, where it is not taken as a whole.
    for id in Int32(0)..<128_000 {
      for end in ["q", "(("] {
        let text = (original.bytes(of: id) ?? []) + Array(end.utf8)
        guard tokenizer.encode(text) == original.encode(text) else {
          Issue.record("token \(id) and \(end)")
          return
        }
      }
    }
  }
}
