import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

/// Faults of the tokenizer and of the files that name its ids, in the bundled model; headers only.
@Suite struct LintTokenizerTests {
  private func codes(_ change: (inout TinyCheckpoint) throws -> Void) throws -> [LintCode] {
    var model = try TinyCheckpoint(reading: Fixtures.bundled("tiny"))
    try change(&model)
    return try model.linted(readsValues: false).codes
  }

  private func replace(_ name: String, in model: inout TinyCheckpoint, _ body: (inout String) throws -> Void) throws {
    let index = try #require(model.files.firstIndex { $0.name == name })
    var text = String(decoding: model.files[index].bytes, as: UTF8.self)
    try body(&text)
    model.files[index].bytes = Array(text.utf8)
  }

  @Test func otherIDs() throws {
    #expect(try codes { _ in } == [])
    #expect(try codes { $0.configuration["eos_token_id"] = 5 } == [.generationConfiguration, .endOfText])
    #expect(try codes { $0.configuration["eos_token_id"] = [5, 1793] } == [])
  }

  @Test func twoTokenizersThatDiffer() throws {
    let found = try codes { model in
      try replace("tokenizer.model", in: &model) { text in
        var lines = text.split(separator: "\n").map { $0.split(separator: " ") }
        // Two tokens of the merges change their ids.
        (lines[1700][0], lines[1701][0]) = (lines[1701][0], lines[1700][0])
        text = lines.map { $0.joined(separator: " ") }.joined(separator: "\n") + "\n"
      }
    }
    #expect(found == [.tokenizersDiffer])
  }

  /// Digests told nothing of it once, and neither did a self-check.
  @Test func lostMerges() throws {
    func cut(_ keep: Int) throws -> [LintCode] {
      try codes { model in
        model.files.removeAll { $0.name == "tokenizer.model" }
        let index = try #require(model.files.firstIndex { $0.name == "tokenizer.json" })
        var document = try #require(
          try JSONSerialization.jsonObject(with: Data(model.files[index].bytes)) as? [String: Any])
        var inner = try #require(document["model"] as? [String: Any])
        inner["merges"] = Array(try #require(inner["merges"] as? [Any]).prefix(keep))
        document["model"] = inner
        model.files[index].bytes = Array(try JSONSerialization.data(withJSONObject: document))
      }
    }
    #expect(try cut(.max) == [])
    #expect(try cut(0) == [.mergesMissing] && cut(700) == [.mergesMissing])
  }

  @Test func tooManyTokens() throws {
    let found = try codes { model in
      model.files.removeAll { $0.name == "tokenizer.model" }
      try replace("tokenizer.json", in: &model) { $0 = $0.replacing("\"id\": 2047", with: "\"id\": 2100") }
    }
    #expect(found == [.vocabularySize])
  }

  @Test func brokenForms() throws {
    #expect(try codes { try replace("tokenizer.model", in: &$0) { $0 = "" } } == [.tokenizerUnread])
    #expect(try codes { try replace("tokenizer_config.json", in: &$0) { $0 = "{" } } == [.configurationUnreadable])
  }

  @Test func chatTemplates() throws {
    let template = "{{ '<|start_header_id|>' }}{{ '<|eot_id|>' }}"
    #expect(try codes { $0.files.append(("chat_template.jinja", Array(template.utf8))) } == [])
    #expect(
      try codes { $0.files.append(("chat_template.jinja", Array((template + "<|im_start|>").utf8))) }
        == [.chatTemplateTokens])
    let found = try codes { model in
      model.files.append(("chat_template.jinja", Array(template.utf8)))
      try replace("tokenizer_config.json", in: &model) {
        $0 = $0.replacing("\"tokenizer_class\"", with: "\"chat_template\": \"another\", \"tokenizer_class\"")
      }
    }
    #expect(found == [.chatTemplatesDiffer])
  }
}
