public import ByteIO

extension BytePairTokenizer {
  /// Reads a Llama 3 `tokenizer.model`: one line per token, its bytes in base64, a space, its rank. The rank is the id.
  ///
  /// Special tokens take the ids from the number of ranks up to `vocabularySize`.
  /// - Parameters:
  ///   - bytes: the file.
  ///   - vocabularySize: rows of the model's embedding; nil for the ranks and the 256 special tokens of every release.
  ///   - names: whose names the special tokens get.
  /// - Throws: `ParseFailure` that names the line: not base64, not dense ranks, doubled tokens, a missing single byte,
  ///   a limit of `TokenizerLimits` exceeded.
  public init(
    tiktoken bytes: [UInt8], vocabularySize: Int? = nil, names: Llama3SpecialTokens = .llamaModels
  ) throws(ParseFailure) {
    let parts = try TiktokenParts(bytes, vocabularySize: vocabularySize, names: names)
    self.init(
      model: parts.model, specialTokens: parts.special, beginOfText: parts.special[0].id, unorderedMerges: [])
  }
}

/// A `tokenizer.model`, read and checked.
struct TiktokenParts {
  let model: BytePairModel
  /// At least two: begin and end of text are the least that a model has.
  let special: [SpecialToken]

  init(_ bytes: [UInt8], vocabularySize: Int?, names: Llama3SpecialTokens) throws(ParseFailure) {
    var reader = TiktokenReader(bytes: bytes)
    let entries = try reader.entries()
    let tokens = try reader.table(of: entries)
    let size = vocabularySize ?? entries.count + Llama3SpecialTokens.count
    guard size >= entries.count + 2, size <= TokenizerLimits.vocabularySize else {
      throw ParseFailure(
        "the model has \(size) vocabulary rows, but the tokenizer \(entries.count) ranks and at least 2 special tokens",
        advice: "check that this tokenizer.model belongs to this model")
    }
    special = names.names(size - entries.count).enumerated()
      .map { SpecialToken(text: $0.element, id: Int32(entries.count + $0.offset)) }
    model = BytePairModel(
      tokens: tokens, merges: try MergeTable(impliedBy: tokens), takesWholePieces: true,
      byteTokens: try singleBytes(of: tokens))
  }
}

/// The tokens of the 256 single bytes, which every text must be able to fall back on.
func singleBytes(of tokens: TokenTable) throws(ParseFailure) -> [Int32] {
  var ids: [Int32] = []
  for byte in UInt8.min...UInt8.max {
    let text = [byte]
    guard let id = tokens.id(of: text.span, 0, 1) else {
      throw ParseFailure("the vocabulary has no token for the single byte \(hexadecimal(byte)); all 256 are expected")
    }
    ids.append(id)
  }
  return ids
}

func hexadecimal(_ byte: UInt8) -> String { "0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true) }

private struct TiktokenReader {
  struct Entry {
    let token: [UInt8]
    let rank: Int
    let line: Int
    let offset: Int
  }

  let bytes: [UInt8]

  /// - Parameter line: counted from 1.
  private func failure(_ message: String, line: Int, offset: Int, advice: String? = nil) -> ParseFailure {
    ParseFailure("\(message) in line \(line)", offset: UInt64(offset), advice: advice)
  }

  mutating func entries() throws(ParseFailure) -> [Entry] {
    if bytes.first == 0x0A, bytes.count > 2, bytes[1] != 0x0A, bytes[2] == 0x0A {
      throw ParseFailure(
        "this looks like a SentencePiece model; expected tiktoken ranks, lines of base64 and a number", offset: 0)
    }
    var entries: [Entry] = []
    var (start, line) = (0, 0)
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
      line += 1
      // A carriage return before the line feed is what a checkout on Windows leaves; tiktoken reads that too.
      let trimmed = end > start && bytes[end - 1] == 0x0D ? end - 1 : end
      if trimmed > start {
        guard entries.count < TokenizerLimits.vocabularySize else {
          throw failure("more than \(TokenizerLimits.vocabularySize) tokens", line: line, offset: start)
        }
        entries.append(try entry(start, trimmed, line))
      }
      start = end + 1
    }
    guard !entries.isEmpty else { throw ParseFailure("the file holds no tokens; expected lines of base64 and a rank") }
    return entries
  }

  private func entry(_ start: Int, _ end: Int, _ line: Int) throws(ParseFailure) -> Entry {
    guard let space = bytes[start..<end].firstIndex(of: 0x20) else {
      throw failure(
        "no space between token and rank", line: line, offset: start,
        advice: "expected tiktoken ranks: base64, a space, a number")
    }
    guard space > start else { throw failure("an empty token", line: line, offset: start) }
    guard space - start <= (TokenizerLimits.tokenBytes + 2) / 3 * 4 else {
      throw failure("a token longer than \(TokenizerLimits.tokenBytes) bytes", line: line, offset: start)
    }
    guard let token = base64(start, space) else {
      throw failure("a token that is not base64", line: line, offset: start)
    }
    guard token.count <= TokenizerLimits.tokenBytes else {
      throw failure("a token longer than \(TokenizerLimits.tokenBytes) bytes", line: line, offset: start)
    }
    var rank = 0
    guard space + 1 < end else { throw failure("no rank behind the token", line: line, offset: space) }
    for index in space + 1..<end {
      guard (0x30...0x39).contains(bytes[index]) else {
        throw failure("a rank that is not a decimal number", line: line, offset: index)
      }
      rank = rank * 10 + Int(bytes[index] - 0x30)
      guard rank < TokenizerLimits.vocabularySize else {
        throw failure("a rank beyond the limit of \(TokenizerLimits.vocabularySize)", line: line, offset: space + 1)
      }
    }
    return Entry(token: token, rank: rank, line: line, offset: start)
  }

  /// RFC 4648 section 4, padded, canonical (unused bits are zero).
  private func base64(_ start: Int, _ end: Int) -> [UInt8]? {
    guard (end - start) % 4 == 0 else { return nil }
    let padding = bytes[end - 1] != UInt8(ascii: "=") ? 0 : bytes[end - 2] != UInt8(ascii: "=") ? 1 : 2
    var token: [UInt8] = []
    token.reserveCapacity((end - start) / 4 * 3)
    var (bits, held) = (UInt32(0), 0)
    for index in start..<end - padding {
      guard let digit = Self.digit(bytes[index]) else { return nil }
      bits = bits << 6 | digit
      held += 6
      if held >= 8 {
        held -= 8
        token.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
        bits &= 1 << UInt32(held) - 1
      }
    }
    return bits == 0 && !token.isEmpty ? token : nil
  }

  private static func digit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }

  /// Ranks must be 0 to n-1, each once, and no two tokens the same.
  func table(of entries: [Entry]) throws(ParseFailure) -> TokenTable {
    var tokens = TokenTable(idLimit: entries.count)
    for entry in entries {
      guard entry.rank < entries.count else {
        throw failure(
          "rank \(entry.rank) where \(entries.count) tokens should have the ranks 0 to \(entries.count - 1)",
          line: entry.line, offset: entry.offset)
      }
      let id = Int32(entry.rank)
      guard !tokens.contains(id: id) else {
        throw failure("rank \(entry.rank) for the second time", line: entry.line, offset: entry.offset)
      }
      if let known = tokens.insert(entry.token, id: id) {
        throw failure(
          "the same token as rank \(known), now with rank \(id)", line: entry.line, offset: entry.offset)
      }
    }
    return tokens
  }
}
