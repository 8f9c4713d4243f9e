import ByteIO
import Foundation
import Testing
import Tokenizers

struct HostileRanks: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  /// What the message must say.
  let says: String
  var testDescription: String { name }

  init(_ name: String, _ lines: [String], says: String) {
    (self.name, self.bytes, self.says) = (name, file(lines), says)
  }

  init(_ name: String, bytes: [UInt8], says: String) { (self.name, self.bytes, self.says) = (name, bytes, says) }
}

/// One line of a valid file is replaced.
private func edited(_ line: Int, _ text: String) -> [String] {
  var lines = ranks()
  lines[line - 1] = text
  return lines
}

private let hostileRanks: [HostileRanks] = [
  HostileRanks("empty file", bytes: [], says: "no tokens"),
  HostileRanks("only newlines", bytes: [10, 10, 10], says: "no tokens"),
  HostileRanks("no space", edited(7, "Bg==6"), says: "no space between token and rank in line 7"),
  HostileRanks("no rank", edited(7, "Bg== "), says: "no rank behind the token in line 7"),
  HostileRanks("no token", edited(7, " 6"), says: "an empty token in line 7"),
  HostileRanks("padding only", edited(7, "==== 6"), says: "not base64 in line 7"),
  HostileRanks("base64 of three digits", edited(7, "Bg= 6"), says: "not base64 in line 7"),
  HostileRanks("base64 with a foreign sign", edited(7, "Bg*= 6"), says: "not base64 in line 7"),
  HostileRanks("base64 with bits to spare", edited(7, "Bh== 6"), says: "not base64 in line 7"),
  HostileRanks("padding in the middle", edited(7, "Bg==Bg== 6"), says: "not base64 in line 7"),
  HostileRanks("rank with a sign", edited(7, "Bg== +6"), says: "not a decimal number in line 7"),
  HostileRanks("two spaces", edited(7, "Bg==  6"), says: "not a decimal number in line 7"),
  HostileRanks("rank too large for any integer", edited(7, "Bg== 99999999999999999999999"), says: "beyond the limit"),
  HostileRanks("rank beyond the count", edited(256, "/w== 256"), says: "rank 256 where 256 tokens"),
  HostileRanks("rank twice", edited(7, "Bg== 5"), says: "rank 5 for the second time in line 7"),
  HostileRanks("token twice", edited(7, "BQ== 6"), says: "the same token as rank 5, now with rank 6 in line 7"),
  HostileRanks("a byte is missing", edited(7, "Bgc= 6"), says: "no token for the single byte 0x06"),
  HostileRanks(
    "a token of 513 bytes", ranks() + [Data(count: 513).base64EncodedString() + " 256"], says: "longer than 512 bytes"),
  HostileRanks(
    "one endless line", bytes: [UInt8](repeating: 65, count: 1 << 20), says: "no space between token and rank in line 1"
  ),
  HostileRanks("SentencePiece", bytes: [0x0A, 0x0E, 0x0A, 0x05] + Array("<unk>".utf8), says: "SentencePiece"),
]

@Suite("tokenizer.model")
struct TiktokenReaderTests {
  @Test("rejects", arguments: hostileRanks)
  func rejects(hostile: HostileRanks) {
    let failure = #expect(throws: ParseFailure.self) { try BytePairTokenizer(tiktoken: hostile.bytes) }
    #expect(failure?.message.contains(hostile.says) == true, "\(failure?.message ?? "")")
  }

  @Test("the failure's offset is the line's")
  func offset() {
    let lines = edited(7, "Bg== 5")
    let failure = #expect(throws: ParseFailure.self) { try BytePairTokenizer(tiktoken: file(lines)) }
    #expect(failure?.offset == UInt64(file(Array(lines[..<6])).count))
  }

  @Test("any order of lines, carriage returns, empty lines and no newline at the end are read")
  func tolerated() throws {
    let plain = try BytePairTokenizer(tiktoken: file(ranks([[97, 98]])))
    let text = "\r\n" + ranks([[97, 98]]).reversed().joined(separator: "\r\n\n")
    let other = try BytePairTokenizer(tiktoken: Array(text.utf8))
    #expect(other.canonicalForm == plain.canonicalForm)
    #expect(other.encode(Array("abab".utf8)) == [256, 256])
  }

  @Test("special tokens fill the model's rows", arguments: [(258, 2), (512, 256), (513, 257)])
  func specialTokens(rows: Int, count: Int) throws {
    let tokenizer = try BytePairTokenizer(tiktoken: file(ranks()), vocabularySize: rows)
    #expect(tokenizer.vocabularySize == rows)
    #expect(tokenizer.specialTokens.count == count)
    #expect(tokenizer.beginOfText == 256)
  }

  @Test("rejects a model with another number of rows", arguments: [0, -5, 255, 256, 257, 1 << 22, Int.max])
  func rejectsRows(rows: Int) {
    let failure = #expect(throws: ParseFailure.self) {
      try BytePairTokenizer(tiktoken: file(ranks()), vocabularySize: rows)
    }
    #expect(failure?.message.contains("\(rows) vocabulary rows") == true)
  }

  /// "abc" has no merges leading to it, since neither "ab" nor "bc" is a token: only a whole piece becomes it.
  @Test("a whole piece is its token, reachable or not")
  func wholePieces() throws {
    let tokenizer = try BytePairTokenizer(tiktoken: file(ranks([Array("abc".utf8)])))
    #expect(tokenizer.encode(Array("abc".utf8)) == [256])
    #expect(tokenizer.encode(Array("abcd".utf8)) == [97, 98, 99, 100])
  }

  /// "aaa" can be cut as a·aa and aa·a; both have its rank, and the leftmost pair wins.
  @Test("of equal ranks the leftmost merges first")
  func leftmost() throws {
    let tokenizer = try BytePairTokenizer(tiktoken: file(ranks([Array("aa".utf8), Array("aaa".utf8)])))
    #expect(tokenizer.encode(Array("aaaaab".utf8)) == [256, 257, 98])
    #expect(tokenizer.mergeCount == 3)
  }
}
