/// What SentencePiece does to a text before it is cut, for models whose normalizer is the identity: spaces become U+2581,
/// one is put in front, and a model may have runs of them shortened.
struct SentencePieceNormalizer: Sendable {
  /// When a space is put in front of a text.
  enum DummyPrefix: Sendable {
    case never
    case always
    /// The Metaspace step of the tokenizers library: not in front of a space.
    case unlessSpace
  }

  let prefix: DummyPrefix
  /// Whether spaces at both ends are dropped and runs of them become one (`remove_extra_whitespaces`).
  let removesExtraSpaces: Bool
  /// User-defined pieces are taken as they are.
  let userDefined: PrefixMatcher

  /// U+2581, LOWER ONE EIGHTH BLOCK.
  static let space: [UInt8] = [0xE2, 0x96, 0x81]

  /// - Parameter text: well-formed UTF-8.
  func normalized(_ text: [UInt8]) -> [UInt8] {
    removesExtraSpaces ? withoutExtraSpaces(text.span) : withAllSpaces(text)
  }

  private func hasPrefix(_ text: ArraySlice<UInt8>) -> Bool {
    switch prefix {
    case .never: false
    case .always: true
    case .unlessSpace: text.first != 0x20 && !text.starts(with: Self.space)
    }
  }

  private func withAllSpaces(_ text: [UInt8]) -> [UInt8] {
    guard !text.isEmpty else { return [] }
    var output: [UInt8] = []
    output.reserveCapacity(text.count + 2 * text.count { $0 == 0x20 } + 3)
    if hasPrefix(text[...]) { output += Self.space }
    for byte in text {
      if byte == 0x20 { output += Self.space } else { output.append(byte) }
    }
    return output
  }

  /// In the order of SentencePiece's own normalizer, which the result depends on: a user-defined piece may begin or end
  /// with spaces, and a U+2581 of the text is dropped at the end, but nowhere else.
  private func withoutExtraSpaces(_ text: Span<UInt8>) -> [UInt8] {
    var start = 0
    while start < text.count, step(text, start) == start + 1, text[start] == 0x20 { start += 1 }
    guard start < text.count else { return [] }
    var output: [UInt8] = []
    output.reserveCapacity(text.count + text.count / 4 + 3)
    if prefix != .never { output += Self.space }
    var isBehindSpace = true
    while start < text.count {
      let end = step(text, start)
      var index = start
      if isBehindSpace {
        while index < end, text[index] == 0x20 { index += 1 }
      }
      if index < end { isBehindSpace = text[end - 1] == 0x20 }
      while index < end {
        if text[index] == 0x20 { output += Self.space } else { output.append(text[index]) }
        index += 1
      }
      start = end
    }
    while output.suffix(3).elementsEqual(Self.space) { output.removeLast(3) }
    return output
  }

  /// Where the user-defined piece or the scalar value at `start` ends.
  private func step(_ text: Span<UInt8>, _ start: Int) -> Int {
    let matched = userDefined.longestMatch(in: text, at: start)
    return start + (matched > 0 ? matched : UTF8Scanner.length(ofLead: text[start]))
  }
}

extension UTF8Scanner {
  /// Length of the well-formed sequence that starts with `lead`.
  @inline(__always)
  static func length(ofLead lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4 }

  /// Length and value of the scalar at `position` of well-formed text.
  @inline(__always)
  static func scalar(in text: Span<UInt8>, at position: Int) -> (length: Int, value: UInt32) {
    let lead = text[position]
    let length = length(ofLead: lead)
    if length == 1 { return (1, UInt32(lead)) }
    var value = UInt32(lead) & (0x7F >> UInt32(length))
    for index in position + 1..<position + length { value = value << 6 | UInt32(text[index] & 0x3F) }
    return (length, value)
  }
}
