internal import ByteIO
internal import Checkpoints

/// The directory `NAME.journal` beside an output that is being made: what it is made from, which tiles are done, who is at
/// it. It is there before the staging directory and goes after it.
///
/// | file | |
/// |---|---|
/// | `plan.json` | ``ConversionIdentity`` with the command that began the work |
/// | `tiles`, or `part-I-of-N.tiles` for each part | a `RecordLog` of ``TileRecord``s |
/// | `lock`, `part-I-of-N.lock` | `OutputLock`s |
/// | `publication.json` | ``Publication``: everything is proven, names are being given |
struct JournalDirectory: Sendable {
  let path: String
  private static let planName = "plan.json"
  private static let publicationName = "publication.json"
  private static let lockName = "lock"
  private static let tilesName = "tiles"
  private static let partPrefix = "part-"
  private static let documentLimit = 64 << 20

  static func path(for output: String) -> String {
    let parent = FileSystem.parent(of: output)
    return (parent == "/" ? "" : parent) + "/" + FileSystem.lastComponent(of: output) + ".journal"
  }

  init(of output: String) { path = Self.path(for: output) }

  var exists: Bool { (try? FileSystem.kind(of: path)) == .directory }

  /// - Throws: `FileFailure` of kind `.exists` for a directory that holds other files: it is somebody else's.
  func create() throws(FileFailure) {
    do {
      try FileSystem.createDirectory(path)
    } catch  where error.kind == .exists {
      try check()
    }
  }

  func check() throws(FileFailure) {
    for name in try FileSystem.names(in: path) where !Self.isOwn(name) {
      throw FileFailure(
        path: path, operation: "keep the journal of the work", kind: .exists,
        detail: "the directory holds other files, such as \(name)")
    }
  }

  /// Whether this program calls a file so; else it is somebody's, and not to be removed.
  private static func isOwn(_ name: String) -> Bool {
    // NFS calls files so that were removed while they were open.
    if name.hasPrefix(".nfs") { return true }
    let documents = [planName, publicationName, lockName, tilesName]
    if documents.contains(name) { return true }
    // What is written before it is renamed has a number behind its name.
    func isTemporary(_ name: Substring, of document: String) -> Bool {
      guard name.hasPrefix(document + ".") else { return false }
      let end = name.dropFirst(document.count + 1)
      return UInt64(end.hasSuffix(".partial") ? end.dropLast(8) : end) != nil
    }
    if documents.contains(where: { isTemporary(name[...], of: $0) }) { return true }
    guard name.hasPrefix(partPrefix), let dot = name.firstIndex(of: ".") else { return false }
    let numbers = name[..<dot].dropFirst(partPrefix.count).split(separator: "-", omittingEmptySubsequences: false)
    let kind = name[name.index(after: dot)...]
    return numbers.count == 3 && numbers[1] == "of" && Int(numbers[0]) != nil && Int(numbers[2]) != nil
      && ["lock", "tiles"].contains { kind == $0 || isTemporary(kind, of: $0) }
  }

  func lockPath(_ part: WorkPart?) -> String { path + "/" + (part.map { Self.name($0) + ".lock" } ?? Self.lockName) }
  func tilesPath(_ part: WorkPart?) -> String { path + "/" + (part.map { Self.name($0) + ".tiles" } ?? Self.tilesName) }

  private static func name(_ part: WorkPart) -> String { "\(partPrefix)\(part.index)-of-\(part.count)" }

  /// What is in `plan.json`; nil when there is none that can be read.
  var begun: BegunWork? { document(Self.planName).flatMap { BegunWork(document: $0) } }

  /// - Returns: whether it was written; false where another process was first.
  func write(_ begun: BegunWork, exclusively: Bool) throws(FileFailure) -> Bool {
    let bytes = Array(begun.document.serialized().utf8)
    let file = path + "/" + Self.planName
    guard exclusively else {
      try FileSystem.writeAtomically(bytes, to: file)
      return true
    }
    return try FileSystem.writeExclusively(bytes, to: file)
  }

  var publication: Publication? { document(Self.publicationName).flatMap { Publication(document: $0) } }

  private func document(_ name: String) -> JSONValue? {
    guard let bytes = try? ReadableFile.contents(of: path + "/" + name, limit: Self.documentLimit) else { return nil }
    return try? JSONValue(parsing: bytes)
  }

  func write(_ publication: Publication) throws(FileFailure) {
    try FileSystem.writeAtomically(Array(publication.document.serialized().utf8), to: path + "/" + Self.publicationName)
  }

  /// Removes all but the lock: the next work begins anew.
  func clear() throws(FileFailure) {
    let names = try FileSystem.names(in: path).filter { $0 != Self.lockName }
    // What names are being given is known to the last.
    let last = [Self.planName, Self.publicationName]
    for name in names.filter({ !last.contains($0) }) + last { try FileSystem.remove(path + "/" + name) }
  }

  /// Removes a lock, and the directory if nothing is left in it.
  func removeIfUnused(_ part: WorkPart?) {
    try? FileSystem.remove(lockPath(part))
    try? FileSystem.removeEmptyDirectory(path)
  }

  /// Removes the directory. One that another process has begun to use meanwhile stays.
  func remove() throws(FileFailure) {
    guard exists else { return }
    try clear()
    try FileSystem.remove(path + "/" + Self.lockName)
    do {
      try FileSystem.removeEmptyDirectory(path)
    } catch  where error.kind == .exists {
    }
  }
}

/// Work that was begun: its identity, and the command.
struct BegunWork: Sendable {
  let identity: ConversionIdentity
  let arguments: [String]
  let workingDirectory: String

  init(_ identity: ConversionIdentity, _ settings: JournalSettings) {
    self.identity = identity
    arguments = settings.arguments
    workingDirectory = settings.workingDirectory
  }

  init?(document: JSONValue) {
    guard let identity = document["identity"], identity["schema"]?.string == ConversionIdentity.schema,
      let arguments = document["arguments"]?.array?.compactMap(\.string),
      let directory = document["working_directory"]?.string
    else { return nil }
    self.identity = ConversionIdentity(document: identity)
    self.arguments = arguments
    workingDirectory = directory
  }

  var document: JSONValue {
    [
      "identity": identity.document, "arguments": .array(arguments.map { .string($0) }),
      "working_directory": .string(workingDirectory),
    ]
  }
}
