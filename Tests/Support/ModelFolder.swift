public import Foundation

/// A writable model directory inside a temporary folder, with room beside it for outputs.
public final class ModelFolder: Sendable {
  private let folder: TemporaryFolder
  public let url: URL
  public var path: String { url.path }

  /// A copy of a folder of `Tests/Fixtures`.
  public init(copying fixture: String = "tiny") throws {
    folder = try TemporaryFolder()
    url = folder.file("model")
    try FileManager.default.copyItem(at: Fixtures.bundled(fixture), to: url)
  }

  /// A model of random weights; see `SyntheticModel`.
  public init(_ model: SyntheticModel) throws {
    folder = try TemporaryFolder()
    url = folder.file("model")
    try model.write(to: url)
  }

  public func file(_ name: String) -> URL { url.appending(path: name) }
  /// A path beside the model.
  public func beside(_ name: String) -> String { folder.file(name).path }
  /// The folder that holds model and outputs.
  public var parent: String { folder.url.path }

  public var weights: SafetensorsBytes { get throws { try SafetensorsBytes(file("model.safetensors")) } }

  public func editWeights(_ body: (inout SafetensorsBytes) throws -> Void) throws {
    var weights = try weights
    try body(&weights)
    try weights.write(to: file("model.safetensors"))
  }

  /// Changes one tensor.
  public func edit(_ tensor: String, _ body: (inout SafetensorsBytes.Tensor) throws -> Void) throws {
    try editWeights { weights in
      var edited = try weights[tensor]
      try body(&edited)
      weights.tensors[tensor] = edited
    }
  }

  /// Replaces text in `config.json`. Throws when it is not there.
  public func replaceInConfiguration(_ old: String, with new: String) throws {
    let text = try String(contentsOf: file("config.json"), encoding: .utf8)
    guard text.contains(old) else { throw CocoaError(.keyValueValidation) }
    try Data(text.replacingOccurrences(of: old, with: new).utf8).write(to: file("config.json"))
  }
}

/// Every file of a directory with its bytes; a symbolic link stands for itself, as the text `-> target`.
public func contents(ofDirectory path: String) throws -> [String: [UInt8]] {
  let manager = FileManager.default
  var files: [String: [UInt8]] = [:]
  for name in try manager.contentsOfDirectory(atPath: path) {
    let file = path + "/" + name
    if let target = try? manager.destinationOfSymbolicLink(atPath: file) {
      files[name] = Array("-> \(target)".utf8)
    } else {
      files[name] = try Fixtures.bytes(URL(filePath: file))
    }
  }
  return files
}
