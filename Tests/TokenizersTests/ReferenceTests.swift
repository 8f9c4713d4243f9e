import Foundation
import Support
import Testing
import Tokenizers

@Suite("Ids as the libraries give them")
struct ReferenceTests {
  @Test("SHA-256 of the standard's example")
  func digestOfTheExample() {
    #expect(sha256(Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  /// `*.ref.json`: ids by transformers, without special tokens.
  private func checkEvaluationText(_ tokenizer: any Tokenizer, reference: URL) throws {
    let text = try Fixtures.bytes(Fixtures.bundled("eval.txt"))
    let ids = tokenizer.encode(text)
    let document = try JSONSerialization.jsonObject(with: Data(contentsOf: reference)) as? [String: Any]
    let expected = try #require(document?["eval.txt"] as? [String: Any])
    #expect(ids.count == expected["tokens"] as? Int)
    #expect(ids.prefix(16).map(Int.init) == expected["first_ids"] as? [Int])
    let bytes = ids.flatMap { id in (0..<4).map { UInt8(truncatingIfNeeded: id >> Int32($0 * 8)) } }
    #expect(sha256(bytes) == expected["ids_sha256"] as? String)
    #expect(try tokenizer.decode(ids) == text)
  }

  @Test("the bundled text with tiny", arguments: Form.allCases)
  func evaluationText(form: Form) throws {
    try checkEvaluationText(try tiny(form), reference: Fixtures.bundled("tiny.ref.json"))
  }

  @Test("the bundled text with small3", .enabled(if: Fixtures.large("small3") != nil), arguments: Form.allCases)
  func evaluationTextOfSmall3(form: Form) throws {
    let folder = try #require(Fixtures.large("small3"))
    let tokenizer = try form.tokenizer(in: folder, rows: 4096)
    try checkEvaluationText(tokenizer, reference: try #require(Fixtures.large("small3.ref.json")))
  }

  @Test("pieces", arguments: referenceVectors)
  func pieces(vector: ReferenceVector) {
    #expect(Llama3Splitter().pieceLengths(of: vector.text) == vector.pieces)
  }

  @Test("ids", arguments: Form.allCases)
  func ids(form: Form) throws {
    let tokenizer = try tiny(form)
    for vector in referenceVectors {
      #expect(tokenizer.encode(vector.text) == vector.ids, "\(vector.name)")
    }
  }

  @Test("special tokens, begin and ends", arguments: Form.allCases)
  func specialTokens(form: Form) throws {
    let tokenizer = try tiny(form)
    #expect(tokenizer.vocabularySize == 2048)
    #expect(tokenizer.beginOfText == 1792)
    #expect(tokenizer.specialTokens.count == 256)
    #expect(tokenizer.specialTokens.map(\.id) == Array(1792..<2048))
    #expect(tokenizer.endOfText == [1793, 1800, 1801])
    #expect(tokenizer.specialTokens[9] == SpecialToken(text: "<|eot_id|>", id: 1801))
    // The bundled tokenizer.json has a name for every position but 11, which llama-models calls image.
    let last = form == .model ? 245 : 246
    #expect(tokenizer.specialTokens[255].text == "<|reserved_special_token_\(last)|>")
  }

  @Test("both forms mean the same, and so do all releases' names")
  func canonicalForms() throws {
    let form = try tiny(.model).canonicalForm
    let isEqual = try tiny(.json).canonicalForm == form
    #expect(isEqual)
    let file = try Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.model"))
    for names in Llama3SpecialTokens.allCases {
      let isEqual = try BytePairTokenizer(tiktoken: file, vocabularySize: 2048, names: names).canonicalForm == form
      #expect(isEqual)
    }
    let isOther = try BytePairTokenizer(tiktoken: file, vocabularySize: 2047).canonicalForm != form
    #expect(isOther)
  }

  /// Reference, section 6.1: the ids behind 128,000 ranks in the three releases.
  @Test(
    "names by release",
    arguments: [
      (Llama3SpecialTokens.llama3, 4, "reserved_special_token_2"), (.llama3, 5, "reserved_special_token_3"),
      (.llama3, 8, "reserved_special_token_4"), (.llama3, 10, "reserved_special_token_5"),
      (.llama3, 11, "reserved_special_token_6"), (.llama3, 12, "reserved_special_token_7"),
      (.llama3, 255, "reserved_special_token_250"), (.llamaModels, 4, "finetune_right_pad_id"),
      (.llamaModels, 5, "step_id"), (.llamaModels, 8, "eom_id"), (.llamaModels, 10, "python_tag"),
      (.llamaModels, 11, "image"), (.llamaModels, 12, "reserved_special_token_2"),
      (.llamaModels, 255, "reserved_special_token_245"), (.huggingFace, 5, "reserved_special_token_2"),
      (.huggingFace, 11, "reserved_special_token_3"), (.huggingFace, 12, "reserved_special_token_4"),
      (.huggingFace, 255, "reserved_special_token_247"),
    ])
  func names(release: Llama3SpecialTokens, position: Int, name: String) {
    let names = release.names(256)
    #expect(names.count == 256)
    #expect(names[position] == "<|\(name)|>")
    #expect(names[0] == "<|begin_of_text|>" && names[1] == "<|end_of_text|>" && names[9] == "<|eot_id|>")
    #expect(names[6] == "<|start_header_id|>" && names[7] == "<|end_header_id|>")
    #expect(Set(names).count == 256)
  }

  @Test("classes are those measured on the libraries")
  func classes() {
    var bytes: [UInt8] = []
    for value in UInt32(0)..<0x110000 where !(0xD800..<0xE000).contains(value) {
      let kind = ScalarClasses.shared[value]
      bytes.append(kind == .newline ? ScalarClass.whiteSpace.rawValue : kind.rawValue)
    }
    #expect(sha256(bytes) == UnicodeClasses.digest)
  }
}
