internal import ByteIO
internal import Crypto

/// SHA-256 of a file, and its MD5 where a list that came with it has that; in one pass.
public struct FileSums: Sendable, Equatable {
  public let sha256: String
  public let md5: String?

  /// - Throws: `FileFailure`.
  public init(ofFile path: String, withMD5: Bool) throws {
    var sha256 = SHA256Sum()
    var md5 = Insecure.MD5()
    try ReadableFile(path: path).forEachPiece { _, bytes in
      sha256.update(bytes)
      if withMD5 { md5.update(data: bytes) }
    }
    self.sha256 = sha256.hexadecimal()
    self.md5 = withMD5 ? SHA256Sum.digits(of: md5.finalize()) : nil
  }
}

/// Meta's `checklist.chk`: for each file a line of its MD5, two spaces and its name. Against damage, not against attack.
public struct Checklist: Sendable, Equatable {
  public static let fileName = "checklist.chk"

  public let entries: [Entry]

  public struct Entry: Sendable, Equatable {
    public let name: String
    public let md5: String

    public init(name: String, md5: String) {
      self.name = name
      self.md5 = md5
    }
  }

  public init(_ entries: [Entry]) { self.entries = entries }

  /// - Throws: `ParseFailure` with the line that is no sum and name.
  init(parsing bytes: [UInt8]) throws(ParseFailure) {
    var entries: [Entry] = []
    for (number, line) in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).enumerated() {
      let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
      // A star before the name says that the sum was taken in binary.
      let name = parts.count == 2 ? parts[1].drop { $0 == " " || $0 == "*" } : ""
      guard parts.count == 2, parts[0].utf8.count == 32, parts[0].allSatisfy(\.isHexDigit), !name.isEmpty else {
        throw ParseFailure("line \(number + 1) is no MD5 with a name")
      }
      entries.append(Entry(name: String(name), md5: parts[0].lowercased()))
    }
    self.entries = entries
  }

  /// The sum that a file should have.
  public func md5(of name: String) -> String? { entries.first { $0.name == name }?.md5 }

  public var text: String { entries.map { "\($0.md5)  \($0.name)\n" }.joined() }
}
