internal import ByteIO
internal import Tensors

/// A file beside the weights that belongs to a model and is carried over unchanged: in the same directory, or inside the
/// file that holds the whole model.
public struct SidecarFile: Sendable {
  /// Name in the directory.
  public let name: String
  public let byteCount: UInt64
  private let place: Place

  private enum Place: Sendable {
    /// Symbolic links not yet followed.
    case file(String)
    /// Bytes of a tensor.
    case inside(any TensorSource, tensor: String)
  }

  init(name: String, path: String) throws(FileFailure) {
    self.name = name
    place = .file(path)
    byteCount = try ReadableFile(path: path).byteCount
  }

  /// - Parameter tensor: whose bytes are the file's.
  init(name: String, inside source: any TensorSource, tensor: TensorInfo) {
    self.name = name
    place = .inside(source, tensor: tensor.name)
    byteCount = UInt64(tensor.byteCount)
  }

  /// A licence or the like, which belongs beside a model in any layout.
  public var isNotice: Bool { Sidecars.notices.contains { name.lowercased().hasPrefix($0) } }

  /// Where the file is, for messages.
  public var path: String {
    switch place {
    case .file(let path): path
    case .inside(let source, _): source.place + "/" + name
    }
  }

  /// Whether it is a file by itself.
  public var isOutside: Bool { if case .file = place { true } else { false } }

  /// The whole of a small file.
  /// - Throws: `ParseFailure` when it is larger than `limit`, `FileFailure` when it cannot be read.
  public func contents(limit: Int) throws -> [UInt8] {
    switch place {
    case .file(let path): return try ReadableFile.contents(of: path, limit: limit)
    case .inside(let source, let tensor):
      guard byteCount <= UInt64(limit) else {
        throw ParseFailure("the file has \(byteCount) bytes, at most \(limit) are expected of its kind", file: path)
      }
      return try source.bytes(of: tensor)
    }
  }

  /// Lends all bytes front to back.
  /// - Throws: what reading throws, what `body` throws.
  public func forEachPiece(_ body: (_ offset: UInt64, _ bytes: ArraySlice<UInt8>) throws -> Void) throws {
    switch place {
    case .file(let path): try ReadableFile(path: path).forEachPiece(body)
    case .inside(let source, let tensor):
      var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, 1 << 20)))
      for start in stride(from: 0, to: Int(byteCount), by: 1 << 20) {
        let count = min(buffer.count, Int(byteCount) - start)
        var span = buffer.mutableSpan
        var part = span.part(0..<count)
        try source.read(tensor, at: start, into: &part)
        try body(UInt64(start), buffer[0..<count])
      }
    }
  }

  /// SHA-256 of the bytes, in lower-case hexadecimal digits.
  public func sha256() throws -> String {
    var sum = SHA256Sum()
    try forEachPiece { _, bytes in sum.update(bytes) }
    return sum.hexadecimal()
  }
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
      carried.append(try SidecarFile(name: name, path: path))
    }
    return (carried, left)
  }
}
