public import ByteIO

/// How a model was taught that a conversation looks, as token ids: Meta's own formats. Texts of messages are plain text:
/// what looks like a special token in them is text.
public enum ChatFormat: Sendable, Equatable {
  /// Llama 3 and later: a header with the role before each message, an end of turn behind it. Messages are rendered as
  /// they are, without the system message of dates that Hugging Face's template of Llama 3.1 puts in front.
  ///
  /// Source: `ChatFormat` of Meta's llama-models (Llama 3).
  case llama3(beginOfText: Int32, startOfHeader: Int32, endOfHeader: Int32, endOfTurn: Int32)
  /// Llama 2: `[INST] question [/INST] answer ` between begin and end of text, the system message in the first
  /// question. Texts are stripped of white space at their ends.
  ///
  /// Source: `chat_completion` of Meta's llama (Llama 2).
  case llama2(beginOfText: Int32, endOfText: Int32)

  /// The format of a tokenizer's models, by its special tokens.
  /// - Throws: `ParseFailure` when it has those of neither.
  public init(of tokenizer: any Tokenizer) throws(ParseFailure) {
    func id(_ name: String) -> Int32? {
      tokenizer.specialTokens.first { $0.text.utf8.elementsEqual(name.utf8) }?.id
    }
    if let begin = tokenizer.beginOfText, let start = id("<|start_header_id|>"), let end = id("<|end_header_id|>"),
      let turn = id("<|eot_id|>")
    {
      self = .llama3(beginOfText: begin, startOfHeader: start, endOfHeader: end, endOfTurn: turn)
    } else if let begin = id("<s>"), let end = id("</s>") {
      self = .llama2(beginOfText: begin, endOfText: end)
    } else {
      throw ParseFailure(
        "the tokenizer has neither the headers of Llama 3 (<|start_header_id|>) nor <s> and </s> of Llama 2",
        advice: "score plain text instead (--text)")
    }
  }

  /// A conversation as a model reads it.
  public struct Rendering: Sendable, Equatable {
    public internal(set) var ids: [Int32] = []
    /// Where the assistant's tokens are: its texts and what ends them. The first id is never among them.
    public internal(set) var scored: [Range<Int>] = []
  }

  /// - Throws: `ParseFailure` with the message for an order of roles that the format does not have.
  public func render(_ messages: [ChatMessage], with tokenizer: any Tokenizer) throws(ParseFailure) -> Rendering {
    switch self {
    case .llama3(let begin, let start, let end, let turn):
      var rendering = Rendering(ids: [begin])
      let gap = tokenizer.encode(Array("\n\n".utf8))
      for message in messages {
        rendering.ids += [start] + tokenizer.encode(Array(message.role.utf8)) + [end] + gap
        let first = rendering.ids.count
        rendering.ids += tokenizer.encode(Array(message.text.utf8)) + [turn]
        if message.isAssistant { rendering.scored.append(first..<rendering.ids.count) }
      }
      return rendering
    case .llama2(let begin, let end):
      var rendering = Rendering()
      for (question, answer) in try Self.turns(messages) {
        let first = rendering.ids.count
        let text = "[INST] \(question) [/INST] "
        let ids = tokenizer.encode(Array("\(text)\(answer) ".utf8))
        rendering.ids += [begin] + ids + [end]
        // SentencePiece does not tell U+2581 from a space, and gives a space back.
        let given = answer.unicodeScalars.reduce(1) { $0 + ($1 == "\u{2581}" ? 1 : UTF8.width($1)) }
        let own = Self.firstToken(of: given, in: ids, tokenizer)
        rendering.scored.append(first + 1 + own..<rendering.ids.count)
      }
      return rendering
    }
  }

  /// Questions with their answers. A question without one is left out: nothing in it is the assistant's.
  private static func turns(
    _ messages: [ChatMessage]
  ) throws(ParseFailure) -> [(question: String, answer: String)] {
    var turns: [(question: String, answer: String)] = []
    var system: String?
    var question: String?
    for (number, message) in messages.enumerated() {
      func failure(_ text: String) -> ParseFailure { ParseFailure(text, item: "message \(number + 1)") }
      switch message.role {
      case "system":
        guard number == 0 else { throw failure("a system message behind others; Llama 2 has one in front") }
        system = message.text
      case "user":
        guard question == nil else { throw failure("two questions in a row; in Llama 2 they alternate with answers") }
        question = stripped(system.map { "<<SYS>>\n\($0)\n<</SYS>>\n\n\(message.text)" } ?? message.text)
        system = nil
      case "assistant":
        guard let asked = question else { throw failure("an answer without a question") }
        turns.append((asked, stripped(message.text)))
        question = nil
      default: throw failure("the role is \"\(message.role.prefix(40))\"; Llama 2 has system, user and assistant")
      }
    }
    return turns
  }

  /// Without white space at both ends, as Python's `strip` sees it.
  private static func stripped(_ text: String) -> String {
    let scalars = text.unicodeScalars
    func isSpace(_ scalar: Unicode.Scalar) -> Bool {
      scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
    guard let first = scalars.firstIndex(where: { !isSpace($0) }), let last = scalars.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(scalars[first...last])
  }

  /// Index of the first token that holds a byte of the last `count` bytes of the text.
  private static func firstToken(of count: Int, in ids: [Int32], _ tokenizer: any Tokenizer) -> Int {
    var left = count
    for (index, id) in ids.enumerated().reversed() {
      left -= tokenizer.bytes(of: id)?.count ?? 0
      if left <= 0 { return index }
    }
    return 0
  }
}
