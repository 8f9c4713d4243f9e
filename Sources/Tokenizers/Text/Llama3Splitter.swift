/// Cuts text into the pieces that Llama 3's split pattern matches. Every scalar belongs to exactly one piece.
///
/// The pattern (llama-models, `tokenizer.py`; the same string stands in every Llama 3 `tokenizer.json`) is a list of
/// alternatives, tried in order at each position, greedy with backtracking:
///
///     (?i:'s|'t|'re|'ve|'m|'ll|'d)      1  contractions, simple case folding: ſ (U+017F) is an s
///     [^\r\n\p{L}\p{N}]?\p{L}+          2  letters, with one scalar in front that is no letter, number or newline
///     \p{N}{1,3}                        3  up to three numbers
///      ?[^\s\p{L}\p{N}]+[\r\n]*         4  anything else, with a space in front and newlines behind
///     \s*[\r\n]+                        5  white space up to the last newline of its run
///     \s+(?!\S)                         6  white space but its last scalar, unless the text ends there
///     \s+                               7  that last scalar
package struct Llama3Splitter: Sendable {
  package static let pattern =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
    + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#

  private let classes = ScalarClasses.shared

  package init() {}

  /// The lengths in bytes of the pieces of well-formed UTF-8.
  package func pieceLengths(of bytes: [UInt8]) -> [Int] {
    let text = bytes.span
    var lengths: [Int] = []
    var position = 0
    while position < text.count {
      let end = end(ofPieceAt: position, in: text)
      lengths.append(end - position)
      position = end
    }
    return lengths
  }

  /// The class of the scalar that starts at a position, and where the next one starts.
  private struct Reading {
    let kind: UInt8
    let end: Int
  }

  private static let letter = ScalarClass.letter.rawValue
  private static let number = ScalarClass.number.rawValue
  private static let other = ScalarClass.other.rawValue
  private static let newline = ScalarClass.newline.rawValue

  /// Where the piece that starts at `start` ends.
  /// - Parameter text: well-formed UTF-8; `start` is the first byte of a scalar in it.
  @inline(__always)
  func end(ofPieceAt start: Int, in text: Span<UInt8>) -> Int {
    let first = read(text, start)
    switch first.kind {
    case Self.letter: return endOfLetters(from: first.end, in: text)
    case Self.number: return endOfNumbers(from: first.end, in: text)
    case Self.other:
      if let end = endOfContraction(at: start, in: text) { return end }
      guard first.end < text.count else { return first.end }
      let next = read(text, first.end)
      if next.kind == Self.letter { return endOfLetters(from: next.end, in: text) }
      return endOfOthers(from: first.end, in: text)
    default:
      return endOfWhiteSpace(at: start, first: first, in: text)
    }
  }

  @inline(__always)
  private func read(_ text: Span<UInt8>, _ position: Int) -> Reading {
    let lead = UInt32(text[position])
    if lead < 0x80 { return Reading(kind: classes.rawClass(of: lead), end: position + 1) }
    return readLong(text, position, lead)
  }

  private func readLong(_ text: Span<UInt8>, _ position: Int, _ lead: UInt32) -> Reading {
    func trail(_ index: Int) -> UInt32 { UInt32(text[position + index] & 0x3F) }
    if lead < 0xE0 {
      return Reading(kind: classes.rawClass(of: (lead & 0x1F) << 6 | trail(1)), end: position + 2)
    }
    if lead < 0xF0 {
      let scalar = (lead & 0x0F) << 12 | trail(1) << 6 | trail(2)
      return Reading(kind: classes.rawClass(of: scalar), end: position + 3)
    }
    let scalar = (lead & 0x07) << 18 | trail(1) << 12 | trail(2) << 6 | trail(3)
    return Reading(kind: classes.rawClass(of: scalar), end: position + 4)
  }

  // MARK: - Runs

  @inline(__always)
  private func endOfLetters(from position: Int, in text: Span<UInt8>) -> Int {
    var end = position
    while end < text.count {
      let next = read(text, end)
      guard next.kind == Self.letter else { break }
      end = next.end
    }
    return end
  }

  private func endOfNumbers(from position: Int, in text: Span<UInt8>) -> Int {
    var end = position
    for _ in 0..<2 where end < text.count {
      let next = read(text, end)
      guard next.kind == Self.number else { break }
      end = next.end
    }
    return end
  }

  /// Alternative 4 behind its first scalar.
  private func endOfOthers(from position: Int, in text: Span<UInt8>) -> Int {
    var end = position
    while end < text.count {
      let next = read(text, end)
      guard next.kind == Self.other else { break }
      end = next.end
    }
    while end < text.count, text[end] == 0x0A || text[end] == 0x0D { end += 1 }
    return end
  }

  private func endOfContraction(at start: Int, in text: Span<UInt8>) -> Int? {
    guard text[start] == UInt8(ascii: "'"), start + 1 < text.count else { return nil }
    func lower(_ index: Int) -> UInt8 { start + index < text.count ? text[start + index] | 0x20 : 0 }
    switch text[start + 1] | 0x20 {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"): return lower(2) == UInt8(ascii: "e") ? start + 3 : nil
    case UInt8(ascii: "l"): return lower(2) == UInt8(ascii: "l") ? start + 3 : nil
    default:
      let isLongS = text[start + 1] == 0xC5 && start + 2 < text.count && text[start + 2] == 0xBF
      return isLongS ? start + 3 : nil
    }
  }

  private func endOfWhiteSpace(at start: Int, first: Reading, in text: Span<UInt8>) -> Int {
    if first.kind != Self.newline, first.end < text.count {
      let next = read(text, first.end)
      if next.kind == Self.letter { return endOfLetters(from: next.end, in: text) }
      if next.kind == Self.other, text[start] == 0x20 { return endOfOthers(from: next.end, in: text) }
    }
    var lastNewline = first.kind == Self.newline ? first.end : nil
    var lastStart = start
    var end = first.end
    while end < text.count {
      let next = read(text, end)
      guard next.kind >= ScalarClass.whiteSpace.rawValue else { break }
      if next.kind == Self.newline { lastNewline = next.end }
      lastStart = end
      end = next.end
    }
    if let lastNewline { return lastNewline }
    return end == text.count || lastStart == start ? end : lastStart
  }
}
