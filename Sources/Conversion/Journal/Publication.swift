internal import ByteIO

/// Names that are given when everything is proven, written down before the first is given: who is cut off in the middle is
/// followed by one who gives the rest.
struct Publication: Sendable {
  /// The work and the command that was to be published.
  let begun: BegunWork
  let replaces: Bool
  /// The staged directory, which keeps its identity under its final name.
  private let device: UInt64
  private let inode: UInt64
  /// For an output that is one file with what belongs to it: staged names and final ones beside the output.
  private let files: [(staged: String, name: String)]
  /// Names beside the output that an older one may have left.
  private let outdated: [String]
  /// What the program says when it is done, as text.
  let summary: String

  /// - Parameter files: empty for a directory.
  init(
    of staging: StagedDirectory, _ begun: BegunWork, files: [(staged: String, name: String)], outdated: [String],
    replaces: Bool, summary: String
  ) throws(FileFailure) {
    let facts = try FileFacts(path: staging.path)
    (device, inode) = (facts.device, facts.inode)
    self.begun = begun
    self.files = files
    self.outdated = outdated
    self.replaces = replaces
    self.summary = summary
  }

  init?(document: JSONValue) {
    guard let begun = document["work"].flatMap({ BegunWork(document: $0) }), let replaces = document["replaces"]?.bool,
      let device = document["device"]?.string.flatMap({ UInt64($0) }),
      let inode = document["inode"]?.string.flatMap({ UInt64($0) }),
      let outdated = document["outdated"]?.array?.compactMap(\.string), let summary = document["summary"]?.string,
      let files = document["files"]?.array?.compactMap({ file in
        file["staged"]?.string.flatMap { staged in file["name"]?.string.map { (staged: staged, name: $0) } }
      })
    else { return nil }
    self.begun = begun
    self.replaces = replaces
    self.device = device
    self.inode = inode
    self.outdated = outdated
    self.summary = summary
    self.files = files
  }

  var document: JSONValue {
    [
      "work": begun.document, "replaces": .bool(replaces), "device": .string("\(device)"), "inode": .string("\(inode)"),
      "files": .array(files.map { ["staged": .string($0.staged), "name": .string($0.name)] }),
      "outdated": .array(outdated.map { .string($0) }), "summary": .string(summary),
    ]
  }

  private func isStaged(at path: String) -> Bool {
    guard let facts = try? FileFacts(path: path) else { return false }
    return facts.device == device && facts.inode == inode
  }

  /// Gives the names, or those that are still to be given.
  /// - Returns: false when neither the staged files nor the published ones are there any more.
  /// - Throws: `FileFailure`.
  func carryOut(_ staging: StagedDirectory) throws(FileFailure) -> Bool {
    let parent = FileSystem.parent(of: staging.target)
    guard files.isEmpty else {
      let isThere = files.allSatisfy {
        FileSystem.nameIsTaken(staging.file($0.staged)) || FileSystem.nameIsTaken(parent + "/" + $0.name)
      }
      guard isThere else { return false }
      try staging.publish(
        files: files.map { ($0.staged, parent + "/" + $0.name) }, outdated: outdated.map { parent + "/" + $0 },
        replacing: replaces)
      return true
    }
    if isStaged(at: staging.path) {
      try staging.publish(replacing: replaces)
    } else if isStaged(at: staging.target) {
      try staging.removeReplaced()
    } else {
      return false
    }
    return true
  }
}
