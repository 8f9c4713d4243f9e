import ByteIO
import Foundation
import Tokenizers

enum TokenizerTargets {
  /// What can be read encodes text, and comes back from the keys and the files that are made of it.
  static func file(_ input: [UInt8]) throws {
    guard let tokenizer = try reading({ try TokenizerFile.tokenizer(input) }) else { return }
    let texts = ["", " a  b\u{2581}\n<s>\u{65E5}\0", String(repeating: "a ", count: 120)].map { Array($0.utf8) }
    let ids = texts.map { tokenizer.encode($0) }
    for list in ids { _ = try again("its own ids are decoded") { try tokenizer.decode(list) } }
    guard let keys = try reading({ try keys(input) }) else { return }
    if tokenizer is SentencePieceTokenizer {
      let forms: [any Tokenizer] = try again("what was read is read again") {
        [try keys.tokenizer(), try SentencePieceTokenizer(sentencePiece: try keys.sentencePieceModel())]
      }
      for form in forms {
        try require(form.canonicalForm == tokenizer.canonicalForm, "the forms mean the same")
        // Metaspace puts no space in front of a space, which the other forms cannot say.
        try require(form.encode(texts[2]) == ids[2], "the forms give the same ids")
      }
    } else {
      let form = try again("the keys give a tokenizer") { try keys.tokenizer() }
      for (text, expected) in zip(texts, ids) {
        try require(form.encode(text) == expected, "the keys give the same ids")
      }
    }
  }

  private static func keys(_ input: [UInt8]) throws -> TokenizerKeys {
    switch try TokenizerFile(recognising: input) {
    case .sentencePiece: try TokenizerKeys(sentencePiece: SentencePieceFiles(model: input))
    case .tokenizerJSON: try TokenizerKeys(tokenizerJSON: input)
    case .tiktoken: try TokenizerKeys(tiktoken: input)
    }
  }

  /// Both readers of the keys take both files.
  static func sidecars(_ input: [UInt8]) throws {
    let model = Self.small
    let alone = try reading { try TokenizerKeys(tokenizerJSON: model, tokenizerConfig: input) }
    _ = try reading { try TokenizerKeys(tokenizerJSON: model, generationConfig: input) }
    guard let keys = alone, let made = try reading({ try keys.tokenizerConfiguration() }) else { return }
    let second = try again("what was written is read") {
      try TokenizerKeys(tokenizerJSON: model, tokenizerConfig: made)
    }
    try require(second.chatTemplate == keys.chatTemplate, "the chat template is kept")
    try require(second.namedChatTemplates == keys.namedChatTemplates, "named chat templates are kept")
    try require(second.special.beginOfText == keys.special.beginOfText, "the begin of text is kept")
    try require(second.special.endOfText == keys.special.endOfText, "the end of text is kept")
  }

  /// Each line as a conversation, rendered with Llama 3's tokens.
  static func chat(_ input: [UInt8]) throws {
    guard let tokenizer = try reading({ try TokenizerFile.tokenizer(small) }) else { return }
    let format = try again("the small tokenizer has a chat format") { try ChatFormat(of: tokenizer) }
    for line in input.split(separator: UInt8(ascii: "\n")).prefix(16) {
      guard let messages = try reading({ try ChatMessage.conversation(parsing: Array(line)) }),
        let rendering = try reading({ try format.render(messages, with: tokenizer) })
      else { continue }
      try require(
        rendering.scored.allSatisfy { $0.lowerBound >= 1 && $0.upperBound <= rendering.ids.count },
        "what is scored lies within the conversation, behind its first token")
    }
  }

  /// `tokenizer.json` of the 256 bytes and Llama 3's 256 special tokens.
  private static let small: [UInt8] = {
    let ranks = (0..<256).map { "\(Data([UInt8($0)]).base64EncodedString()) \($0)\n" }.joined()
    do {
      return try TokenizerKeys(tiktoken: Array(ranks.utf8), vocabularySize: 512).tokenizerJSON()
    } catch {
      fatalError("the tokenizer of bytes cannot be made: \(error)")
    }
  }()
}
