import ByteIO
import Foundation
import Support
import Testing
import Tokenizers

@Suite("Conversations")
struct ChatTests {
  private static let tokenizer: any Tokenizer = {
    let bytes = try? Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.json"))
    guard let bytes, let tokenizer = try? TokenizerFile.tokenizer(bytes) else { preconditionFailure("no fixture") }
    return tokenizer
  }()

  private func messages(_ json: String) throws -> [ChatMessage] {
    try ChatMessage.conversation(parsing: Array(json.utf8))
  }

  private func ids(_ text: String) -> [Int32] { Self.tokenizer.encode(Array(text.utf8)) }

  private func special(_ name: String) throws -> Int32 {
    try #require(Self.tokenizer.specialTokens.first { $0.text == name }).id
  }

  /// Header and end of turn around texts as they are; the order is that of Meta's code.
  @Test func llama3() throws {
    let chat = try messages(
      #"[{"role":"system","content":" Be terse. "},{"role":"user","content":"What?"},{"role":"assistant","content":"This.\n"},{"role":"user","content":"<|eot_id|>"},{"role":"assistant","content":""}]"#
    )
    let (begin, turn) = (try special("<|begin_of_text|>"), try special("<|eot_id|>"))
    let (start, end) = (try special("<|start_header_id|>"), try special("<|end_header_id|>"))
    func header(_ role: String) -> [Int32] { [start] + ids(role) + [end] + ids("\n\n") }
    let opening = [begin] + header("system") + ids(" Be terse. ") + [turn]
    let head = opening + header("user") + ids("What?") + [turn] + header("assistant")
    let answer = ids("This.\n") + [turn]
    let middle = header("user") + ids("<|eot_id|>") + [turn] + header("assistant")
    let format = try ChatFormat(of: Self.tokenizer)
    let rendering = try format.render(chat, with: Self.tokenizer)
    let expected = head + answer + middle + [turn]
    #expect(rendering.ids == expected)
    let first = head.count..<head.count + answer.count
    #expect(rendering.scored == [first, rendering.ids.count - 1..<rendering.ids.count])
    // What looks like a special token is text: two turns of the user, two of the assistant, one of the system.
    #expect(rendering.ids.count { $0 == turn } == 5)
  }

  @Test func documents() throws {
    let expected = [ChatMessage(role: "user", text: "ab"), ChatMessage(role: "assistant", text: "c")]
    for json in [
      #"[{"role":"user","content":"ab"},{"role":"assistant","content":"c","tool_calls":[]}]"#,
      #"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":"c","tool_calls":null}],"id":7}"#,
    ] { #expect(try messages(json) == expected) }
    for json in [
      "", "7", "{}", #"{"messages":7}"#, "[7]", #"[{"content":"x"}]"#, #"[{"role":"","content":"x"}]"#,
      #"[{"role":"user"}]"#, #"[{"role":"user","content":7}]"#, #"[{"role":"user","content":null}]"#,
      #"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#, #"[{"role":"user","content":[7]}]"#,
      #"[{"role":"assistant","content":"x","tool_calls":[{"id":"1"}]}]"#,
    ] { #expect(throws: ParseFailure.self, "\(json)") { try messages(json) } }
  }

  /// A tokenizer whose tokens are the bytes, with the special tokens of Llama 2.
  private struct Bytes: Tokenizer {
    let vocabularySize = 258
    let beginOfText: Int32? = 256
    let endOfText: [Int32] = [257]
    let specialTokens = [SpecialToken(text: "<s>", id: 256), SpecialToken(text: "</s>", id: 257)]
    func encode(_ text: [UInt8]) -> [Int32] { text.map { Int32($0) } }
    func decode(_ ids: [Int32]) throws(ParseFailure) -> [UInt8] { ids.map { UInt8(truncatingIfNeeded: $0) } }
    func bytes(of id: Int32) -> [UInt8]? { id < 256 ? [UInt8(id)] : Array("<s>".utf8) }
    var canonicalForm: [UInt8] { [] }
  }

  /// As in Meta's `chat_completion`: the system message in the first question, texts stripped, one space behind an answer.
  @Test func llama2() throws {
    let format = try ChatFormat(of: Bytes())
    #expect(format == .llama2(beginOfText: 256, endOfText: 257))
    let chat = try messages(
      #"[{"role":"system","content":"S"},{"role":"user","content":" Q1 "},{"role":"assistant","content":"\u001fA1\n"},{"role":"user","content":"Q2"},{"role":"assistant","content":"A2"},{"role":"user","content":"Q3"}]"#
    )
    let rendering = try format.render(chat, with: Bytes())
    let texts = ["[INST] <<SYS>>\nS\n<</SYS>>\n\n Q1 [/INST] A1 ", "[INST] Q2 [/INST] A2 "]
    let expected = texts.flatMap { text -> [Int32] in [256] + text.utf8.map { Int32($0) } + [257] }
    #expect(rendering.ids == expected)
    let scored = rendering.scored.map { range in
      String(decoding: rendering.ids[range].dropLast().map { UInt8($0) }, as: UTF8.self)
    }
    #expect(scored == ["A1 ", "A2 "])
    #expect(rendering.scored.allSatisfy { rendering.ids[$0.upperBound - 1] == 257 })
    for json in [
      #"[{"role":"user","content":"a"},{"role":"user","content":"b"}]"#, #"[{"role":"assistant","content":"a"}]"#,
      #"[{"role":"user","content":"a"},{"role":"system","content":"b"}]"#, #"[{"role":"tool","content":"a"}]"#,
    ] {
      let chat = try messages(json)
      let failure = #expect(throws: ParseFailure.self) { try format.render(chat, with: Bytes()) }
      #expect(failure?.item?.hasPrefix("message ") == true)
    }
  }
}
