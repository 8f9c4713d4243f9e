internal import ByteIO

/// Which steps around the model a `tokenizer.json` may name: exactly those of Llama 3. Any other step would change ids.
enum PipelineRules {
  static func check(_ document: JSONValue) throws(ParseFailure) {
    try checkModel(document["model"])
    try checkNormalizer(document["normalizer"])
    try checkPreTokenizer(document["pre_tokenizer"])
    try checkDecoder(document["decoder"])
  }

  private static let supported =
    "supported is byte-level BPE with the Llama 3 split pattern, as Llama 3 models have it"

  private static func failure(_ message: String, _ item: String) -> ParseFailure {
    ParseFailure(message, item: item, advice: supported)
  }

  static func type(of step: JSONValue) -> String { step["type"]?.string ?? "without a type" }

  static func isUnset(_ value: JSONValue?) -> Bool { value.map { $0.isNull } ?? true }

  /// The steps of a `Sequence` under `list`, else the one step itself.
  static func steps(_ step: JSONValue, list: String) -> [JSONValue] {
    type(of: step) == "Sequence" ? step[list]?.array ?? [] : [step]
  }

  private static func checkModel(_ model: JSONValue?) throws(ParseFailure) {
    guard let model, model.object != nil else { throw ParseFailure("expected an object", item: "model") }
    guard type(of: model) == "BPE" else {
      throw failure("a model of type \(type(of: model)), expected BPE", "model.type")
    }
    if let dropout = model["dropout"], !dropout.isNull, dropout.double != 0 {
      throw failure("random dropout of merges, expected none", "model.dropout")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let mark = model[name], !mark.isNull, mark != "" {
        throw failure("\(mark.serialized(.compact)), expected none", "model.\(name)")
      }
    }
    if let fallback = model["byte_fallback"], !fallback.isNull, fallback != false {
      throw failure("byte fallback, as converted SentencePiece models have it; expected false", "model.byte_fallback")
    }
    if let whole = model["ignore_merges"], !whole.isNull, whole.bool == nil {
      throw failure("\(whole.serialized(.compact)), expected true or false", "model.ignore_merges")
    }
  }

  private static func checkNormalizer(_ normalizer: JSONValue?) throws(ParseFailure) {
    guard let normalizer, !normalizer.isNull else { return }
    for step in steps(normalizer, list: "normalizers") {
      throw failure("a normalizer of type \(type(of: step)), expected none", "normalizer")
    }
  }

  private static func checkPreTokenizer(_ value: JSONValue?) throws(ParseFailure) {
    let item = "pre_tokenizer"
    guard let value, !value.isNull else { throw failure("none, expected Split and ByteLevel", item) }
    let steps = steps(value, list: "pretokenizers")
    let types = steps.map { type(of: $0) }
    guard types == ["Split", "ByteLevel"] else {
      throw failure("the steps \(types.joined(separator: ", ")); expected Split, ByteLevel", item)
    }
    let (split, bytes) = (steps[0], steps[1])
    guard let pattern = split["pattern"]?["Regex"]?.string else {
      throw failure("a split without a regular expression", item)
    }
    guard pattern.utf8.elementsEqual(Llama3Splitter.pattern.utf8) else {
      throw failure("the split pattern \(pattern), expected \(Llama3Splitter.pattern)", item)
    }
    guard split["behavior"] == "Isolated", isUnset(split["invert"]) || split["invert"] == false else {
      throw failure("a split that does not isolate what the pattern matches", item)
    }
    // Both are true when a file leaves them out.
    guard bytes["add_prefix_space"] == false else { throw failure("add_prefix_space, expected false", item) }
    guard bytes["use_regex"] == false else { throw failure("use_regex, expected false", item) }
  }

  private static func checkDecoder(_ decoder: JSONValue?) throws(ParseFailure) {
    guard let decoder, !decoder.isNull else { return }
    let types = steps(decoder, list: "decoders").map { type(of: $0) }
    guard types == ["ByteLevel"] else {
      throw failure("the steps \(types.joined(separator: ", ")); expected ByteLevel", "decoder")
    }
  }

  /// The token that the template puts in front of a text; nil if there is no template or it starts with the text.
  static func beginOfText(_ value: JSONValue?, added: AddedTokens) throws(ParseFailure) -> Int32? {
    let item = "post_processor"
    guard let value, !value.isNull else { return nil }
    var begin: Int32?
    for step in steps(value, list: "processors") {
      switch type(of: step) {
      case "ByteLevel": break
      case "TemplateProcessing":
        guard let template = step["single"]?.array else { throw failure("a template without \"single\"", item) }
        guard let name = template.first?["SpecialToken"]?["id"]?.string else { break }
        guard let id = added.id(of: name), isUnset(step["special_tokens"]) || templateID(step, name) == Int(id) else {
          throw failure("the template's token \"\(name)\" does not agree with the added tokens", item)
        }
        begin = id
      default: throw failure("a step of type \(type(of: step)); expected ByteLevel, TemplateProcessing", item)
      }
    }
    return begin
  }

  /// `special_tokens` maps a name to the ids that take its place in the template.
  private static func templateID(_ step: JSONValue, _ name: String) -> Int? {
    guard let ids = step["special_tokens"]?[name]?["ids"]?.array, ids.count == 1 else { return nil }
    return ids[0].integer
  }
}
