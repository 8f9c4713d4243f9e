public import ByteIO

/// Llama 3's tokenizer: the text is cut by a fixed pattern, each piece is encoded by byte pair encoding over bytes.
///
/// Made from a `tokenizer.model` (tiktoken's ranks) or from a `tokenizer.json` (vocabulary and merge rules); both forms
/// of one tokenizer give the same ids.
///
/// Ids are those of tiktoken and tokenizers for the text as a whole. Meta's own wrapper cuts a text every 400,000
/// characters, and where white space or anything else runs for more than 25,000, before it calls tiktoken: its ids can
/// differ at those cuts.
public struct BytePairTokenizer: Tokenizer {
  public let vocabularySize: Int
  public let beginOfText: Int32?
  public let endOfText: [Int32]
  public let specialTokens: [SpecialToken]

  /// Whether a piece that is a token as a whole is encoded as that token even if no merges lead to it
  /// (`ignore_merges`).
  public var takesWholePieces: Bool { model.takesWholePieces }
  /// Merge rules, implied or listed.
  public var mergeCount: Int { model.merges.count }

  private let model: BytePairModel
  /// Merge rules as listed, when they are not in the order of the tokens they make; else empty.
  private let unorderedMerges: [Merge]
  private let splitter = Llama3Splitter()

  /// The names that end a text or a turn in Llama 3, whatever the release.
  static let endNames: [String] = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
  static let beginName = "<|begin_of_text|>"

  struct Merge: Sendable {
    let left: Int32
    let right: Int32
    let result: Int32
  }

  /// - Parameter specialTokens: ids unique, none of them in the model's token table.
  init(model: BytePairModel, specialTokens: [SpecialToken], beginOfText: Int32?, unorderedMerges: [Merge]) {
    self.model = model
    self.specialTokens = specialTokens.sorted { $0.id < $1.id }
    self.beginOfText = beginOfText
    self.unorderedMerges = unorderedMerges
    endOfText = self.specialTokens
      .filter { token in Self.endNames.contains { $0.utf8.elementsEqual(token.text.utf8) } }.map(\.id)
    let highest = max(model.tokens.idLimit, self.specialTokens.last.map { Int($0.id) + 1 } ?? 0)
    vocabularySize = highest
  }

  public func encode(_ text: [UInt8]) -> [Int32] {
    guard UTF8Scanner.firstFault(in: text.span) == nil else {
      return encode(wellFormed: RepairedText(repairing: text).bytes)
    }
    return encode(wellFormed: text)
  }

  private func encode(wellFormed bytes: [UInt8]) -> [Int32] {
    let text = bytes.span
    let splitter = splitter
    let model = model
    var output: [Int32] = []
    output.reserveCapacity(bytes.count / 3 + 8)
    var scratch = BytePairModel.Scratch()
    var position = 0
    while position < text.count {
      let end = splitter.end(ofPieceAt: position, in: text)
      model.append(text, position, end, to: &output, scratch: &scratch)
      position = end
    }
    return output
  }

  public func decode(_ ids: [Int32]) throws(ParseFailure) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(ids.count * 4)
    for (index, id) in ids.enumerated() {
      if let bytes = model.tokens.bytes(of: id) {
        output += bytes
      } else if let special = special(id) {
        output += Array(special.text.utf8)
      } else {
        throw ParseFailure(
          "token id \(id) at index \(index) is not in the vocabulary of \(vocabularySize)", offset: UInt64(index))
      }
    }
    return output
  }

  private func special(_ id: Int32) -> SpecialToken? {
    var (low, high) = (0, specialTokens.count)
    while low < high {
      let middle = (low + high) / 2
      if specialTokens[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < specialTokens.count && specialTokens[low].id == id ? specialTokens[low] : nil
  }

  public func bytes(of id: Int32) -> [UInt8]? {
    model.tokens.bytes(of: id).map { Array($0) } ?? special(id).map { Array($0.text.utf8) }
  }

  /// Tokens that the rules which the vocabulary implies lead to, but none of the listed ones makes: a list that lost some.
  /// Words are then cut into smaller tokens than the model was trained on.
  public var lostTokens: [Int32] {
    let made = model.merges.makes(below: model.tokens.idLimit)
    let unmade = (0..<Int32(model.tokens.idLimit)).filter {
      !made[Int($0)] && model.tokens.bytes(of: $0)?.count ?? 0 > 1
    }
    // Where the implied rules are too many to be listed, no list has lost any.
    guard !unmade.isEmpty, let implied = try? MergeTable(impliedBy: model.tokens) else { return [] }
    let whole = BytePairModel(
      tokens: model.tokens, merges: implied, takesWholePieces: model.takesWholePieces, byteTokens: model.byteTokens)
    return unmade.filter { whole.lastMerge(of: $0) != nil }
  }

  /// Little-endian throughout: the name of the scheme and the split pattern, each as a UInt32 length and UTF-8; a byte
  /// 1 if whole pieces are taken; then a record per id in use, ascending: UInt32 id, UInt32 length, bytes (special
  /// tokens: length 0xFFFFFFFF and no bytes); UInt32 0xFFFFFFFF; the id of the begin-of-text token, or 0xFFFFFFFF.
  /// Merge rules follow, as triples of UInt32 (left, right, result), only if they are not in the order of the ids
  /// they make; then each of `lostTokens` as (id, 0xFFFFFFFF, 0xFFFFFFFF).
  ///
  /// Rules in that order are taken for those that the vocabulary implies, even when a `tokenizer.json` lists fewer, as
  /// trained tokenizers do, one for each token: otherwise the two forms of one tokenizer would never be equal.
  public var canonicalForm: [UInt8] {
    var form: [UInt8] = []
    func append(_ value: UInt32) {
      for shift in stride(from: 0, to: 32, by: 8) { form.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
    for name in ["byte pair encoding of bytes", Llama3Splitter.pattern] {
      append(UInt32(name.utf8.count))
      form += Array(name.utf8)
    }
    form.append(model.takesWholePieces ? 1 : 0)
    for id in 0..<Int32(vocabularySize) {
      if let bytes = model.tokens.bytes(of: id) {
        append(UInt32(id))
        append(UInt32(bytes.count))
        form += bytes
      } else if special(id) != nil {
        append(UInt32(id))
        append(.max)
      }
    }
    append(.max)
    append(beginOfText.map { UInt32($0) } ?? .max)
    for merge in unorderedMerges {
      append(UInt32(merge.left))
      append(UInt32(merge.right))
      append(UInt32(merge.result))
    }
    for id in lostTokens {
      append(UInt32(id))
      append(.max)
      append(.max)
    }
    return form
  }
}
