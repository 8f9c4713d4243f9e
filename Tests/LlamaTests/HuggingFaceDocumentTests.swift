import ByteIO
import Foundation
import Llama
import Support
import Tensors
import Testing

@Suite struct HuggingFaceDocumentTests {
  /// Members by key; numbers by value, since 1e-5 and 1e-05 are the same.
  private func differences(_ written: JSONValue, _ expected: JSONObject, except ignored: Set<String>) -> [String] {
    let keys = Set((written.object?.members ?? []).map(\.key)).union(expected.members.map(\.key)).subtracting(ignored)
    return keys.filter { !Self.agree(written[$0], expected[$0]) }.sorted()
  }

  private static func agree(_ left: JSONValue?, _ right: JSONValue?) -> Bool {
    guard let left, let right else { return false }
    if let members = left.object?.members, let others = right.object?.members {
      return members.map(\.key) == others.map(\.key) && zip(members, others).allSatisfy { agree($0.value, $1.value) }
    }
    if let number = left.double, let other = right.double { return number == other }
    return left == right
  }

  /// The labels of the upload, and keys that transformers wrote later.
  private static let labels: Set = ["_name_or_path", "transformers_version"]

  @Test("a published model's config.json is written as published", arguments: PublishedModel.all)
  func writesPublishedDocuments(_ model: PublishedModel) throws {
    var expected = model.version4
    // Since 4.45.
    expected["head_dim"] = .number(JSONNumber(model.hidden / model.heads))
    #expect(differences(model.expected.huggingFaceDocument, expected, except: Self.labels) == [])
  }

  @Test("what is written is read back", arguments: PublishedModel.all)
  func readsBack(_ model: PublishedModel) throws {
    let text = model.expected.huggingFaceDocument.serialized()
    #expect(try LlamaConfiguration(huggingFace: JSONValue(parsing: text)) == model.expected)
  }

  @Test func keysAreInAlphabeticalOrder() {
    for model in PublishedModel.all {
      let keys = model.expected.huggingFaceDocument.object?.members.map(\.key) ?? []
      #expect(keys == keys.sorted() && Set(keys).count == keys.count)
    }
  }

  @Test func whatIsNoneIsStatedAsNull() throws {
    var configuration = PublishedModel.llama3[0].expected
    configuration.beginOfTextID = nil
    configuration.endOfTextIDs = []
    configuration.claimedElementType = nil
    configuration.rope.scaling = .linear(factor: 4)
    let document = configuration.huggingFaceDocument
    #expect(document["bos_token_id"] == .null && document["eos_token_id"] == .null && document["torch_dtype"] == nil)
    // transformers before 4.43 demands exactly two keys.
    #expect(document["rope_scaling"]?.object?.members.map(\.key) == ["factor", "type"])
    #expect(try LlamaConfiguration(huggingFace: document) == configuration)
  }

  @Test(
    "element types have transformers' names",
    arguments: [(ElementType.f32, "float32"), (.f16, "float16"), (.bf16, "bfloat16")])
  func namesElementTypes(_ type: ElementType, _ name: String) {
    var configuration = PublishedModel.llama3[0].expected
    configuration.claimedElementType = type
    #expect(configuration.huggingFaceDocument["torch_dtype"]?.string == name)
  }

  /// Written by transformers for the model that the Meta fixtures hold.
  @Test(
    "the fixture's config.json is written as transformers wrote it",
    .enabled(if: Fixtures.large("tiny_meta") != nil, "needs LLAMA_FIXTURES"))
  func writesTheFixture() throws {
    let file = try #require(Fixtures.large("tiny_meta/hf_v4/config.json"))
    let document = try JSONValue(parsing: String(contentsOf: file, encoding: .utf8))
    let configuration = try LlamaConfiguration(huggingFace: document)
    let expected = try #require(document.object)
    let ignored: Set = ["transformers_version", "pad_token_id"]
    #expect(differences(configuration.huggingFaceDocument, expected, except: ignored) == [])
  }
}
