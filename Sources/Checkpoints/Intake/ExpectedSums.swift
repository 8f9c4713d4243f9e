public import ByteIO

/// A sum that a file should have, and who says so.
public struct ExpectedSum: Sendable, Equatable {
  public let fileName: String
  public let kind: FileSum.Kind
  /// Lower-case hexadecimal digits.
  public let digits: String
  /// `SHA256SUMS`, `checklist.chk`, the name of a `.sha256` file, or what a download cache says.
  public let source: String
}

/// The lists of sums that come with files: `SHA256SUMS` (and `NAME.gguf.sha256` beside a single file) as `sha256sum`
/// writes it, Meta's `checklist.chk` as `md5sum` writes it, and the names that the Hugging Face cache gives its files: a
/// snapshot's files are links into `blobs/`, called by their SHA-256, small ones by git's object id.
public struct ExpectedSums: Sendable {
  public private(set) var sums: [ExpectedSum] = []
  /// Listed, and not there.
  public private(set) var missing: [(fileName: String, list: String)] = []
  /// Lists that cannot be read.
  public private(set) var failures: [ParseFailure] = []

  public static let listName = "SHA256SUMS"
  static let cacheName = "the download cache"
  private static let listLimit = 1 << 20

  /// - Parameters:
  ///   - directory: where files and lists are.
  ///   - names: the files that sums are wanted of, names in the directory.
  ///   - isSingleFile: one file among others, or the pieces of one: what else lists name is not missed.
  public init(in directory: String, names: [String], isSingleFile: Bool) throws {
    let own = names.filter { $0.hasSuffix(".gguf") }.map { ($0 + ".sha256", FileSum.Kind.sha256) }
    let lists: [(name: String, kind: FileSum.Kind)] = [(Self.listName, .sha256), (Checklist.fileName, .md5)] + own
    for list in lists where try FileSystem.kind(of: directory + "/" + list.name) == .file {
      do {
        try read(list.name, list.kind, directory, Set(names), isSingleFile)
      } catch let failure as ParseFailure {
        failures.append(failure.in(file: directory + "/" + list.name))
      } catch let failure as FileFailure {
        failures.append(ParseFailure("it cannot be read: \(failure.detail)", file: directory + "/" + list.name))
      }
    }
    for name in names { sums += Self.cached(directory + "/" + name, name) }
  }

  private mutating func read(
    _ list: String, _ kind: FileSum.Kind, _ directory: String, _ names: Set<String>, _ isSingleFile: Bool
  ) throws {
    let bytes = try ReadableFile.contents(of: directory + "/" + list, limit: Self.listLimit)
    for (digits, name) in try Self.entries(bytes, kind) {
      if names.contains(name) {
        sums.append(ExpectedSum(fileName: name, kind: kind, digits: digits, source: list))
      } else if !isSingleFile, try FileSystem.kind(of: directory + "/" + name) == nil {
        missing.append((name, list))
      }
    }
  }

  /// Lines of a sum, a space, a space or a star, and a name below the directory.
  static func entries(_ bytes: [UInt8], _ kind: FileSum.Kind) throws(ParseFailure) -> [(digits: String, name: String)] {
    var entries: [(digits: String, name: String)] = []
    for (number, line) in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).enumerated() {
      let (sum, written) = try SumLine.parts(of: line, number: number + 1, kind)
      let name = written.hasPrefix("./") ? written.dropFirst(2) : written
      guard !name.isEmpty else { throw SumLine.failure(number + 1, kind) }
      // No file has such a name; looking it up would be an error of another kind.
      guard name.utf8.count <= 4096, name.split(separator: "/").allSatisfy({ $0.utf8.count <= 255 }) else {
        throw ParseFailure("line \(number + 1) has a name of \(name.utf8.count) bytes, which no file can have")
      }
      // A list must not lead out of its directory.
      guard !name.hasPrefix("/"), !name.split(separator: "/").contains(".."), !name.utf8.contains(0) else {
        throw ParseFailure("line \(number + 1) names \(name.prefix(80)), which is outside of the directory")
      }
      entries.append((sum, String(name)))
    }
    return entries
  }

  /// What the cache's own name of the file says.
  private static func cached(_ path: String, _ name: String) -> [ExpectedSum] {
    guard let target = try? FileSystem.canonicalPath(path) else { return [] }
    let digits = FileSystem.lastComponent(of: target)
    guard FileSystem.lastComponent(of: FileSystem.parent(of: target)) == "blobs", digits != name,
      digits.allSatisfy({ $0.isHexDigit && !$0.isUppercase })
    else { return [] }
    switch digits.utf8.count {
    case 64: return [ExpectedSum(fileName: name, kind: .sha256, digits: digits, source: cacheName)]
    case 40: return [ExpectedSum(fileName: name, kind: .gitBlob, digits: digits, source: cacheName)]
    default: return []
    }
  }
}
