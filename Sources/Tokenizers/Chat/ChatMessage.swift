public import ByteIO

/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
  /// `system`, `user`, `assistant`, or what else a format knows.
  public let role: String
  public let text: String

  public init(role: String, text: String) {
    self.role = role
    self.text = text
  }

  public var isAssistant: Bool { role == "assistant" }

  /// Conversations have some thousand messages at most.
  private static let limit = 1 << 16

  /// A conversation as one JSON document: a list of messages, or an object with such a list under `messages`. A message's
  /// `content` is a text, or a list of parts of type `text`, which are joined.
  /// - Throws: `ParseFailure` for everything else: calls of tools and pictures among it, which have no rendering here.
  public static func conversation(parsing bytes: [UInt8]) throws(ParseFailure) -> [ChatMessage] {
    let document = try JSONValue(parsing: bytes)
    guard let list = document.array ?? document["messages"]?.array else {
      throw ParseFailure("neither a list of messages nor an object with one under \"messages\"")
    }
    guard list.count <= limit else { throw ParseFailure("\(list.count) messages, at most \(limit) are allowed") }
    var messages: [ChatMessage] = []
    for (number, entry) in list.enumerated() {
      func failure(_ message: String) -> ParseFailure { ParseFailure(message, item: "message \(number + 1)") }
      guard let role = entry["role"]?.string, !role.isEmpty else { throw failure("there is no role") }
      if let calls = entry["tool_calls"], !calls.isNull, calls.array?.isEmpty != true {
        throw failure("calls of tools are not rendered")
      }
      guard let content = entry["content"] else { throw failure("there is no content") }
      messages.append(ChatMessage(role: role, text: try text(content, failure)))
    }
    return messages
  }

  private static func text(
    _ content: JSONValue, _ failure: (String) -> ParseFailure
  ) throws(ParseFailure) -> String {
    if let text = content.string { return text }
    guard let parts = content.array else { throw failure("the content is neither a text nor a list of parts") }
    var whole = ""
    for part in parts {
      guard part["type"]?.string == "text", let text = part["text"]?.string else {
        throw failure("a part of the content is of type \(part["type"]?.string ?? "none"), only text is rendered")
      }
      whole += text
    }
    return whole
  }
}
