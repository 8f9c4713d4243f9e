internal import ByteIO

/// Which steps a `tokenizer.json` that was made of a SentencePiece model may name.
enum SentencePieceRules {
  /// The normalizer's steps for a model that removes extra spaces, in which U+2581 takes their place.
  static let removals: [(pattern: String, content: String)] = [
    ("\\A +", ""), (" {2,}", " "), (" ", "\u{2581}"), ("\u{2581}+\\z", ""),
  ]

  /// Whether a `tokenizer.json` is one of these: it falls back on bytes, or writes spaces as U+2581.
  static func apply(to document: JSONValue) -> Bool {
    document["model"]?["byte_fallback"] == true || document["pre_tokenizer"]?["type"] == "Metaspace"
      || steps(document["normalizer"], list: "normalizers").contains { PipelineRules.type(of: $0) == "Prepend" }
  }

  private static func failure(_ message: String, _ item: String) -> ParseFailure {
    ParseFailure(
      message, item: item,
      advice: "supported are the steps that Hugging Face's converter writes for Llama 2; a tokenizer.model says it all")
  }

  private static func steps(_ value: JSONValue?, list: String) -> [JSONValue] {
    guard let value, !value.isNull else { return [] }
    return PipelineRules.steps(value, list: list)
  }

  /// - Returns: the normalizer's settings.
  static func check(_ document: JSONValue) throws(ParseFailure) -> SentencePieceVocabulary.Settings {
    guard let model = document["model"], model.object != nil else {
      throw ParseFailure("expected an object", item: "model")
    }
    try checkModel(model)
    var settings = SentencePieceVocabulary.Settings()
    let normalizer = steps(document["normalizer"], list: "normalizers")
    let preTokenizer = document["pre_tokenizer"] ?? .null
    switch (normalizer.isEmpty, preTokenizer.isNull) {
    case (false, true): try read(normalizer, into: &settings)
    case (true, false): settings.prefix = try prefix(preTokenizer)
    case (false, false):
      throw failure("both a normalizer and a pre-tokenizer, expected one of them", "pre_tokenizer")
    case (true, true):
      throw failure("neither a normalizer nor a pre-tokenizer writes spaces as U+2581", "normalizer")
    }
    let decoders = steps(document["decoder"], list: "decoders").map { PipelineRules.type(of: $0) }
    let known = ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"]
    if let other = decoders.first(where: { !known.contains($0) }) {
      throw failure("a step of type \(other); expected \(known.joined(separator: ", "))", "decoder")
    }
    return settings
  }

  private static func checkModel(_ model: JSONValue) throws(ParseFailure) {
    guard PipelineRules.type(of: model) == "BPE" else {
      throw failure("a model of type \(PipelineRules.type(of: model)), expected BPE", "model.type")
    }
    if let dropout = model["dropout"], !dropout.isNull, dropout.double != 0 {
      throw failure("random dropout of merges, expected none", "model.dropout")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let mark = model[name], !mark.isNull, mark != "" {
        throw failure("\(mark.serialized(.compact)), expected none", "model.\(name)")
      }
    }
    guard PipelineRules.isUnset(model["ignore_merges"]) || model["ignore_merges"] == false else {
      throw failure("a text that is a piece as a whole is taken, expected false", "model.ignore_merges")
    }
    guard model["byte_fallback"] == true || model["fuse_unk"] == true else {
      throw failure("each unknown character is a token, expected true", "model.fuse_unk")
    }
  }

  private static func read(
    _ normalizer: [JSONValue], into settings: inout SentencePieceVocabulary.Settings
  ) throws(ParseFailure) {
    let item = "normalizer"
    settings.prefix = .never
    var replacements: [(pattern: String, content: String)] = []
    for step in normalizer {
      switch PipelineRules.type(of: step) {
      case "Prepend" where step["prepend"] == "\u{2581}" && settings.prefix == .never: settings.prefix = .always
      case "Replace":
        let pattern = step["pattern"]
        guard let text = pattern?["String"]?.string ?? pattern?["Regex"]?.string, let content = step["content"]?.string
        else { throw failure("a replacement without pattern and content", item) }
        replacements.append((text, content))
      default: throw failure("a step of type \(PipelineRules.type(of: step)); expected Prepend, Replace", item)
      }
    }
    func equal(_ expected: [(pattern: String, content: String)]) -> Bool {
      replacements.count == expected.count
        && zip(replacements, expected).allSatisfy {
          $0.pattern.utf8.elementsEqual($1.pattern.utf8) && $0.content.utf8.elementsEqual($1.content.utf8)
        }
    }
    if equal([(" ", "\u{2581}")]) {
      settings.removesExtraSpaces = false
    } else if equal(removals) {
      settings.removesExtraSpaces = true
    } else {
      throw failure("other replacements than that of U+0020 by U+2581", item)
    }
  }

  private static func prefix(_ step: JSONValue) throws(ParseFailure) -> SentencePieceNormalizer.DummyPrefix {
    let item = "pre_tokenizer"
    guard PipelineRules.type(of: step) == "Metaspace", step["replacement"] == "\u{2581}" else {
      throw failure("a step of type \(PipelineRules.type(of: step)), expected Metaspace with U+2581", item)
    }
    guard step["split"] == false else { throw failure("text is split at spaces, expected split: false", item) }
    switch step["prepend_scheme"]?.string {
    case "first", "always": return .unlessSpace
    case "never": return .never
    default: throw failure("no prepend_scheme; expected first, always or never", item)
    }
  }
}
