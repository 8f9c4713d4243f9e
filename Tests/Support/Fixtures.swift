public import Foundation

/// Where the tests' files are.
public enum Fixtures {
  /// The package's root folder.
  public static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// A file or folder in `Tests/Fixtures`.
  public static func bundled(_ name: String) -> URL { root.appending(path: "Tests/Fixtures").appending(path: name) }

  /// A vector in `Tests/Fixtures/golden`; its origin is in `manifest.json` there.
  public static func golden(_ name: String) -> URL { bundled("golden").appending(path: name) }

  /// A larger fixture that is not in the repository: in the folder named by `LLAMA_FIXTURES`, else in
  /// `shared/fixtures` beside the clone. Nil when absent: use it in `.enabled(if:)`, so that the test shows as skipped.
  public static func large(_ name: String) -> URL? {
    let folder =
      ProcessInfo.processInfo.environment["LLAMA_FIXTURES"].map { URL(filePath: $0) }
      ?? root.deletingLastPathComponent().appending(path: "shared/fixtures")
    let file = folder.appending(path: name)
    return FileManager.default.fileExists(atPath: file.path) ? file : nil
  }

  /// The bytes of a file.
  public static func bytes(_ url: URL) throws -> [UInt8] { [UInt8](try Data(contentsOf: url)) }
}

/// A new folder for one test, removed when the value dies.
public final class TemporaryFolder: Sendable {
  public let url: URL

  public init() throws {
    url = FileManager.default.temporaryDirectory.appending(path: "llama-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  public func file(_ name: String) -> URL { url.appending(path: name) }

  deinit { try? FileManager.default.removeItem(at: url) }
}
