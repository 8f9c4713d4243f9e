internal import ByteIO
internal import Inference
internal import Tokenizers

/// Conversations, one JSON document in each line, as the model reads them.
struct ChatTranscripts {
  private(set) var texts: [(ids: [Int32], scored: [Range<Int>])] = []
  /// Of the line of each text.
  private(set) var conversations: [[ChatMessage]] = []
  private let format: ChatFormat

  private static let limit = 1 << 20

  /// - Throws: `ParseFailure` with the line for what is no conversation.
  init(_ bytes: [UInt8], file: String, tokenizer: any Tokenizer) throws(ParseFailure) {
    do throws(ParseFailure) {
      format = try ChatFormat(of: tokenizer)
      var number = 0
      var rest = bytes[...]
      // Line by line: millions of empty ones must not become millions of slices.
      while !rest.isEmpty {
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
        let line = rest[..<end]
        rest = rest[min(end + 1, rest.endIndex)...]
        number += 1
        guard line.contains(where: { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\r") }) else { continue }
        guard conversations.count < Self.limit else {
          throw ParseFailure("more than \(Self.limit) conversations", item: "line \(number)")
        }
        do throws(ParseFailure) {
          let messages = try ChatMessage.conversation(parsing: Array(line))
          let rendering = try format.render(messages, with: tokenizer)
          conversations.append(messages)
          texts.append((rendering.ids, rendering.scored))
        } catch {
          var failure = error
          failure.item = "line \(number)" + (error.item.map { ", \($0)" } ?? "")
          throw failure
        }
      }
    } catch {
      throw error.in(file: file)
    }
  }

  /// The same conversations as another tokenizer has them.
  func rendered(with tokenizer: any Tokenizer) throws(ParseFailure) -> [[Int32]] {
    let format = try ChatFormat(of: tokenizer)
    var all: [[Int32]] = []
    for messages in conversations { all.append(try format.render(messages, with: tokenizer).ids) }
    return all
  }

  /// What was left out of the windows.
  /// - Throws: `ParseFailure` when nothing is left to score.
  func remarks(_ windows: TokenWindows, file: String) throws(ParseFailure) -> [String] {
    guard windows.scoredCount > 0 else {
      throw ParseFailure(
        "no conversation has anything that the assistant says", file: file,
        advice: texts.isEmpty
          ? "each line is one conversation: {\"messages\": [{\"role\": …, \"content\": …}]}"
          : "messages with the role assistant are scored; a longer --context may reach them")
    }
    var remarks: [String] = []
    let silent = texts.count { $0.scored.allSatisfy(\.isEmpty) }
    if silent > 0 { remarks.append("\(file): \(silent) conversations have nothing that the assistant says") }
    let long = texts.count { $0.ids.count > windows.context }
    if long > 0 {
      remarks.append(
        "\(file): \(long) conversations are longer than \(windows.context) tokens and were cut (--context)")
    }
    return remarks
  }
}
