internal import Tokenizers

/// Which bytes of a text its tokens stand for.
struct TextCoverage {
  /// By token, where it starts in the text; at last the text's end.
  private let starts: [Int]

  /// Nil when the tokens' bytes are not the text's: a SentencePiece model may drop spaces or have an unknown token.
  /// - Parameters:
  ///   - ids: all tokens of the text.
  ///   - text: what was encoded.
  init?(_ ids: [Int32], of text: [UInt8], by tokenizer: any Tokenizer) {
    var starts = [0]
    starts.reserveCapacity(ids.count + 1)
    var position = 0
    for id in ids {
      var bytes = (tokenizer.bytes(of: id) ?? [])[...]
      // What the tokenizer puts in front of the text is in its first token, but not of the text.
      if starts.count == 1, bytes.starts(with: tokenizer.textPrefix) {
        bytes = bytes.dropFirst(tokenizer.textPrefix.count)
      }
      for byte in bytes {
        if position < text.count, text[position] == byte {
          position += 1
        } else if byte == 0x20, text[position...].starts(with: Self.blockSpace) {
          position += Self.blockSpace.count
        } else {
          return nil
        }
      }
      starts.append(position)
    }
    guard position == text.count else { return nil }
    self.starts = starts
  }

  /// U+2581, which SentencePiece does not tell from a space.
  private static let blockSpace: [UInt8] = [0xE2, 0x96, 0x81]

  /// The bytes of some neighbouring tokens.
  func bytes(of tokens: Range<Int>) -> Range<Int> { starts[tokens.lowerBound]..<starts[tokens.upperBound] }
}
