import ByteIO
import Support
import Testing
import Tokenizers

/// A tokenizer.json with begin, end and two more tokens, and what lies beside it.
private struct Sources: Sendable {
  var json = SmallJSON().with(
    "added_tokens",
    value: [
      ["id": 300, "content": "<|begin_of_text|>", "special": true],
      ["id": 301, "content": "<|end_of_text|>", "special": true], ["id": 302, "content": "<s>", "special": true],
      ["id": 303, "content": "</s>", "special": true],
    ])
  var config: JSONValue?
  var generation: JSONValue?
  var special = SpecialTokenIDs()
  var rows: Int?

  func with(_ change: (inout Sources) -> Void) -> Sources {
    var copy = self
    change(&copy)
    return copy
  }

  func keys() throws -> TokenizerKeys {
    func bytes(_ value: JSONValue?) -> [UInt8]? { value.map { Array($0.serialized(.compact).utf8) } }
    return try TokenizerKeys(
      tokenizerJSON: json.bytes, tokenizerConfig: bytes(config), generationConfig: bytes(generation), special: special,
      chatTemplate: "from a file", vocabularySize: rows)
  }
}

struct HostileSource: Sendable, CustomTestStringConvertible {
  let name: String
  let item: String?
  let says: String
  fileprivate let change: @Sendable (inout Sources) -> Void
  var testDescription: String { name }

  fileprivate init(
    _ name: String, item: String?, says: String, _ change: @escaping @Sendable (inout Sources) -> Void
  ) {
    (self.name, self.item, self.says, self.change) = (name, item, says, change)
  }
}

private let hostileSources: [HostileSource] = [
  HostileSource("no whole pieces", item: "model.ignore_merges", says: "is not true") {
    $0.json = $0.json.with("model", "ignore_merges", value: false)
  },
  HostileSource("whole words only", item: "added_tokens", says: "\"<s>\" has single_word") {
    $0.json = $0.json.with("added_tokens", "2", "single_word", value: true)
  },
  HostileSource("takes white space", item: "added_tokens", says: "lstrip") {
    $0.json = $0.json.with("added_tokens", "2", "lstrip", value: true)
  },
  HostileSource("takes white space behind", item: "added_tokens", says: "rstrip") {
    $0.json = $0.json.with("added_tokens", "2", "rstrip", value: true)
  },
  HostileSource("fewer rows than ids", item: nil, says: "304 ids, but the model only 303") { $0.rows = 303 },
  HostileSource("too many rows", item: nil, says: "limit") { $0.rows = 1 << 40 },
  HostileSource("an added token like a vocabulary's", item: "tokenizer.ggml.tokens", says: "id 256") {
    $0.json = $0.json.with("added_tokens", "2", "content", value: "ab")
  },
  HostileSource("a token like a padding row's", item: "tokenizer.ggml.tokens", says: "second time") {
    $0.json = $0.json.with("added_tokens", "2", "content", value: "[PAD260]")
  },
  HostileSource("a token of 513 bytes", item: "added_tokens", says: "513 bytes") {
    $0.json = $0.json.with("added_tokens", "2", "content", value: .string(String(repeating: "x", count: 513)))
  },
  HostileSource("no end", item: nil, says: "which token ends a text") {
    $0.json = $0.json.with("added_tokens", "1", "content", value: "<|end|>")
  },
  HostileSource("two begins", item: nil, says: "\"<|begin_of_text|>\" in tokenizer.json and \"<s>\"") {
    $0.config = ["bos_token": "<s>", "add_bos_token": true]
  },
  HostileSource("a begin that does not exist", item: "bos_token", says: "no added token") {
    $0.config = ["bos_token": "<x>"]
  },
  HostileSource("an end that does not exist", item: "eos_token", says: "\"ab\" is no added token") {
    $0.config = ["eos_token": "ab"]
  },
  HostileSource("a number as end", item: "eos_token", says: "neither a text") { $0.config = ["eos_token": 5] },
  HostileSource("a number as template", item: "chat_template", says: "neither a text") {
    $0.config = ["chat_template": 5]
  },
  HostileSource("a template twice", item: "chat_template", says: "\"a\" for the second time") {
    $0.config = ["chat_template": [["name": "a", "template": "x"], ["name": "a", "template": "y"]]]
  },
  HostileSource("a template without name", item: "chat_template", says: "without name") {
    $0.config = ["chat_template": [["template": "x"]]]
  },
  HostileSource("a list as configuration", item: nil, says: "JSON object") { $0.config = [] },
  HostileSource("a text as id", item: "eos_token_id", says: "no token id") { $0.generation = ["eos_token_id": "x"] },
  HostileSource("no end in the list", item: "eos_token_id", says: "no token id") {
    $0.generation = ["eos_token_id": []]
  },
  HostileSource("an id beyond 32 bits", item: "pad_token_id", says: "no token id") {
    $0.generation = ["pad_token_id": 4_294_967_296]
  },
  HostileSource("an id out of range", item: "tokenizer.ggml.eos_token_id", says: "id 304 where there are 304") {
    $0.generation = ["eos_token_id": [304, 301]]
  },
]

@Suite("Where tokenizer keys come from")
struct KeysSourceTests {
  @Test("rejects", arguments: hostileSources)
  func rejects(hostile: HostileSource) throws {
    let failure = #expect(throws: ParseFailure.self) { try Sources().with(hostile.change).keys() }
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.message ?? "")")
    #expect(failure?.item == hostile.item)
  }

  @Test("a failure says which of the files it is in")
  func files() {
    let config = #expect(throws: ParseFailure.self) { try Sources().with { $0.config = ["eos_token": 5] }.keys() }
    #expect(config?.file == "tokenizer_config.json")
    let ids = #expect(throws: ParseFailure.self) { try Sources().with { $0.generation = ["eos_token_id": "x"] }.keys() }
    #expect(ids?.file == "generation_config.json")
  }

  @Test("ids come from the first file that names them")
  func order() throws {
    var sources = Sources()
    #expect(try sources.keys().special == SpecialTokenIDs(beginOfText: 300, endOfText: 301))
    sources.generation = ["bos_token_id": 300, "eos_token_id": [303, 301], "pad_token_id": -1]
    #expect(try sources.keys().special == SpecialTokenIDs(beginOfText: 300, endOfText: 303))
    sources.special = SpecialTokenIDs(endOfText: 302, endOfTurn: 303, padding: 0)
    #expect(
      try sources.keys().special == SpecialTokenIDs(beginOfText: 300, endOfText: 302, endOfTurn: 303, padding: 0))
    sources.config = ["eos_token": ["content": "<|end_of_text|>"], "pad_token": "</s>", "unk_token": "<unk>"]
    #expect(
      try sources.keys().special == SpecialTokenIDs(beginOfText: 300, endOfText: 301, endOfTurn: 303, padding: 303))
  }

  @Test("begin of text: the template's, the name's, none")
  func begin() throws {
    // Without a template nothing says that the token is put in front.
    #expect(try Sources().keys().addsBeginOfText == nil)
    let template: JSONValue = ["type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>"]]]]
    let sources = Sources().with { $0.json = $0.json.with("post_processor", value: template) }
    let keys = try sources.keys()
    #expect(keys.special.beginOfText == 302 && keys.addsBeginOfText == true)
    #expect(try BytePairTokenizer(keys).canonicalForm == sources.json.tokenizer().canonicalForm)
    let none = Sources().with { $0.json = $0.json.with("added_tokens", "0", "content", value: "<b>") }
    let without = try none.with { $0.config = ["bos_token": "<s>"] }.keys()
    #expect(without.special.beginOfText == 302 && without.addsBeginOfText == false)
    #expect(try BytePairTokenizer(without).canonicalForm == none.json.tokenizer().canonicalForm)
  }

  @Test("templates: the configuration's, else the file's")
  func templates() throws {
    #expect(try Sources().keys().chatTemplate == "from a file")
    #expect(try Sources().with { $0.config = ["chat_template": "own"] }.keys().chatTemplate == "own")
    #expect(try Sources().with { $0.config = ["chat_template": nil] }.keys().chatTemplate == "from a file")
  }

  @Test("special ids for ranks")
  func ranksWithIDs() throws {
    let lines = file(ranks())
    let keys = try TokenizerKeys(tiktoken: lines, special: SpecialTokenIDs(endOfText: 265, padding: 260))
    #expect(keys.special == SpecialTokenIDs(beginOfText: 256, endOfText: 265, padding: 260))
    for special in [SpecialTokenIDs(beginOfText: 257), SpecialTokenIDs(endOfText: 512)] {
      #expect(throws: ParseFailure.self) { try TokenizerKeys(tiktoken: lines, special: special) }
    }
  }
}
