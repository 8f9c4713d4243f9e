internal import ByteIO
internal import Crypto
internal import Kernels
internal import Synchronization

/// A sum over a whole file, in lower-case hexadecimal digits.
public struct FileSum: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable {
    case sha256 = "SHA-256"
    case md5 = "MD5"
    /// SHA-1 of `blob`, a space, the size in decimal digits, a zero byte and the bytes: what git calls a file's content.
    case gitBlob = "git object id"
  }

  public let path: String
  public let kind: Kind

  public init(_ kind: Kind, ofFile path: String) {
    self.path = path
    self.kind = kind
  }

  /// - Parameter check: called before each piece; may throw to stop.
  /// - Throws: `FileFailure`.
  public func compute(check: () throws -> Void = {}) throws -> String {
    let file = try ReadableFile(path: path)
    switch kind {
    case .sha256:
      var sum = SHA256Sum()
      try file.forEachPiece { _, bytes in
        try check()
        sum.update(bytes)
      }
      return sum.hexadecimal()
    case .md5:
      var sum = Insecure.MD5()
      try file.forEachPiece { _, bytes in
        try check()
        sum.update(data: bytes)
      }
      return SHA256Sum.digits(of: sum.finalize())
    case .gitBlob:
      var sum = Insecure.SHA1()
      sum.update(data: Array("blob \(file.byteCount)\0".utf8))
      try file.forEachPiece { _, bytes in
        try check()
        sum.update(data: bytes)
      }
      return SHA256Sum.digits(of: sum.finalize())
    }
  }

  /// What one thread can do of them while others have other work: a file after the other, the largest first, none begun once
  /// the others are done. With few files no thread is then left alone with a sum at the end.
  /// - Parameters:
  ///   - othersWork: whether more is to be begun.
  ///   - isInVain: whether to stop within a file, since another has failed.
  ///   - check: may throw to stop within a file.
  /// - Returns: what was computed.
  public static func compute(
    _ sums: [FileSum], while othersWork: () -> Bool, unless isInVain: () -> Bool, check: () throws -> Void
  ) throws -> [FileSum: String] {
    let sizes = try sums.map { try ReadableFile(path: $0.path).byteCount }
    var found: [FileSum: String] = [:]
    do {
      for index in sums.indices.sorted(by: { (sizes[$1], $0) < (sizes[$0], $1) }) where othersWork() {
        found[sums[index]] = try sums[index].compute {
          try check()
          // The other's error is the one to be told.
          if isInVain() { throw CancellationError() }
        }
      }
    } catch is CancellationError {}
    return found
  }

  /// All sums, each on one thread: a sum cannot be shared, so those that take longest begin first.
  /// - Returns: a sum for each of `sums`, in their order.
  /// - Throws: `FileFailure`.
  public static func compute(_ sums: [FileSum], threads: Int) throws -> [String] {
    // MD5 has no instructions of its own and takes more than twice as long.
    let costs = try sums.map { try ReadableFile(path: $0.path).byteCount * ($0.kind == .md5 ? 5 : 2) }
    let order = sums.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
    let found = Mutex<[Int: String]>([:])
    try Parallel.forEach(count: order.count, threads: threads) { position in
      let sum = try sums[order[position]].compute()
      found.withLock { $0[order[position]] = sum }
    }
    let results = found.withLock { $0 }
    return sums.indices.map { results[$0] ?? "" }
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
      let (digits, name) = try SumLine.parts(of: line, number: number + 1, .md5)
      entries.append(Entry(name: String(name), md5: digits))
    }
    self.entries = entries
  }

  public var text: String { entries.map { "\($0.md5)  \($0.name)\n" }.joined() }
}

/// A line of `sha256sum` or `md5sum`: a sum, a space, a space or a star, and a name.
enum SumLine {
  /// - Parameter number: of the line, from 1, for the message.
  /// - Returns: lower-case digits, and the name as it is written.
  /// - Throws: `ParseFailure` for a line that is no sum of this kind with a name.
  static func parts(
    of line: Substring, number: Int, _ kind: FileSum.Kind
  ) throws(ParseFailure) -> (digits: String, name: Substring) {
    let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
    // A star before the name says that the sum was taken in binary.
    let name = parts.count == 2 ? parts[1].drop { $0 == " " || $0 == "*" } : ""
    let count = kind == .sha256 ? 64 : 32
    guard parts.count == 2, parts[0].utf8.count == count, parts[0].allSatisfy(\.isHexDigit), !name.isEmpty else {
      throw failure(number, kind)
    }
    return (parts[0].lowercased(), name)
  }

  static func failure(_ number: Int, _ kind: FileSum.Kind) -> ParseFailure {
    ParseFailure("line \(number) is no \(kind.rawValue) with a name")
  }
}
