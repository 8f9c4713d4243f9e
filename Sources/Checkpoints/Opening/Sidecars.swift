internal import ByteIO

/// Files beside the weights that belong to a model and are carried over unchanged.
public struct SidecarFile: Sendable, Equatable {
  /// Name in the directory.
  public let name: String
  /// Where it is, symbolic links not yet followed.
  public let path: String
  public let byteCount: UInt64

  /// A licence or the like, which belongs beside a model in any layout.
  public var isNotice: Bool { Sidecars.notices.contains { name.lowercased().hasPrefix($0) } }
}

/// Which files of a directory travel with the model. An allow list: what is not on it is named in the record as left behind.
public enum Sidecars {
  /// Exact names.
  static let names: Set<String> = [
    "generation_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.json", "chat_template.jinja",
  ]
  /// Beginnings, compared without regard to case: `LICENSE.txt`, `USE_POLICY.md`, `Notice`, `tokenizer.model.v3`.
  static let prefixes = notices + ["tokenizer", "chat_template"]
  static let notices = ["license", "use_policy", "notice"]

  static func isCarried(_ name: String) -> Bool {
    let lower = name.lowercased()
    return names.contains(name) || prefixes.contains { lower.hasPrefix($0) }
  }

  /// Sorts a directory's names into those carried and those left behind. `consumed` are the names that the conversion
  /// itself reads and writes anew (weights, index, configuration).
  static func collect(in directory: String, consumed: Set<String>) throws -> (carried: [SidecarFile], left: [String]) {
    var carried: [SidecarFile] = []
    var left: [String] = []
    for name in try FileSystem.names(in: directory) where !consumed.contains(name) {
      let path = directory + "/" + name
      // Symbolic links, as in hub caches, are followed: the output holds the file, not the link.
      guard isCarried(name), try FileSystem.kind(of: path) == .file else {
        left.append(name)
        continue
      }
      carried.append(SidecarFile(name: name, path: path, byteCount: try ReadableFile(path: path).byteCount))
    }
    return (carried, left)
  }
}
