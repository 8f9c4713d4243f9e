internal import ByteIO
internal import CommandLineSupport
internal import Verification

/// The folder of `--report`.
enum ReportFolder {
  /// - Throws: `FileFailure` when the name is taken or its place is not there: known before hours of work, not after.
  static func refuseExisting(_ path: String?) throws {
    guard let path else { return }
    guard !FileSystem.nameIsTaken(path) else {
      throw FileFailure(path: path, operation: "create the report", kind: .exists, detail: "it exists already")
    }
    try checkPlace(of: path, operation: "create the report")
  }

  /// - Throws: `FileFailure` when a file or folder cannot be made there.
  static func checkPlace(of path: String, operation: String) throws {
    guard !path.isEmpty, try FileSystem.kind(of: FileSystem.parent(of: path)) == .directory else {
      throw FileFailure(path: path, operation: operation, kind: .cannotCreate, detail: "its directory does not exist")
    }
    guard FileSystem.mayWrite(FileSystem.parent(of: path)) else {
      throw FileFailure(path: path, operation: operation, kind: .permission, detail: "its directory is not writable")
    }
  }

  /// Writes all files and publishes the folder in one step. Names may have one folder in them.
  static func write(_ files: [(name: String, bytes: [UInt8])], to directory: String) throws {
    let staging = try StagedDirectory(creatingFor: directory)
    do {
      var folders: Set<String> = []
      for file in files {
        let parts = file.name.split(separator: "/")
        if parts.count == 2, folders.insert(String(parts[0])).inserted {
          try FileSystem.createDirectory(staging.file(String(parts[0])))
        }
        try FileSystem.write(file.bytes, toNew: staging.file(file.name))
      }
      for folder in folders { try FileSystem.synchronizeDirectory(staging.file(folder)) }
      try staging.publish(replacing: false)
    } catch {
      try? staging.discard()
      throw error
    }
  }
}

extension Verdict {
  /// - Throws: `ExitCodeCarrier` for a verdict that is not a pass.
  func exit() throws {
    switch self {
    case .fail: throw ExitCodeCarrier(.gateFailed)
    case .inconclusive: throw ExitCodeCarrier(.inconclusive)
    case .pass, .none: break
    }
  }
}
