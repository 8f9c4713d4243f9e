import ByteIO
import GGUFFormat
import Testing

/// Item 12 of the guard list.
@Suite("Token lists")
struct TokenTests {
  private func metadata(_ edit: (inout GGUFMetadata) -> Void) -> GGUFMetadata {
    var metadata = GGUFMetadata()
    metadata.set("tokenizer.ggml.tokens", to: .array(GGUFArray(["a", "b"])))
    metadata.set("tokenizer.ggml.scores", to: .array(GGUFArray([0, -1] as [Float])))
    metadata.set("tokenizer.ggml.token_type", to: .array(GGUFArray([1, 3] as [Int32])))
    metadata.set("tokenizer.ggml.merges", to: .array(GGUFArray(["a b"])))
    edit(&metadata)
    return metadata
  }

  @Test func readsThem() throws {
    let tokens = try #require(try GGUFTokens(metadata { _ in }))
    #expect(tokens.tokens.string(at: 1).text == "b" && tokens.merges?.string(at: 0).text == "a b")
    #expect(tokens.scores == [0, -1] && tokens.types == [1, 3])
    #expect(try GGUFTokens(GGUFMetadata()) == nil)
    let unsigned = metadata { $0.set("tokenizer.ggml.token_type", to: .array(GGUFArray([1, 6] as [UInt32]))) }
    #expect(try GGUFTokens(unsigned)?.types == [1, 6])
    let bare = metadata { for key in ["scores", "token_type", "merges"] { $0.remove("tokenizer.ggml." + key) } }
    #expect(try GGUFTokens(bare)?.types == nil)
  }

  static let wrong: [(key: String, value: GGUFValue, says: String)] = [
    ("tokens", GGUFValue("a"), "the value is STRING, expected is array of STRING"),
    ("tokens", .array(GGUFArray([1, 2] as [Int32])), "array of 2 INT32, expected is array of STRING"),
    ("scores", .array(GGUFArray([1, 2] as [Double])), "array of 2 FLOAT64, expected is array of FLOAT32"),
    ("scores", .float32(0), "the value is FLOAT32"),
    ("scores", .array(GGUFArray([0] as [Float])), "has 1 elements, there are 2 tokens"),
    ("token_type", .array(GGUFArray([1, 2] as [Int64])), "array of 2 INT64, expected is array of INT32 or UINT32"),
    ("token_type", .array(GGUFArray([1, 1, 1] as [Int32])), "has 3 elements, there are 2 tokens"),
    ("merges", .array(GGUFArray([true])), "array of 1 BOOL, expected is array of STRING"),
  ]

  @Test(arguments: wrong)
  func refuses(_ key: String, _ value: GGUFValue, _ says: String) throws {
    let key = "tokenizer.ggml." + key
    let failure = #expect(throws: ParseFailure.self) { try GGUFTokens(metadata { $0.set(key, to: value) }) }
    Fault(item: key, says: says).check(failure)
  }
}
