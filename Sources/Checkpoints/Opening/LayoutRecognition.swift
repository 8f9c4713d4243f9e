internal import ByteIO

/// Tells what kind of checkpoint a path holds, from its content.
enum LayoutRecognition {
  static let configurationName = "config.json"
  static let indexName = "model.safetensors.index.json"
  static let singleFileName = "model.safetensors"
  static let parametersName = "params.json"
  static let consolidatedName = "consolidated.safetensors"
  /// Configurations are a few kilobytes.
  static let configurationLimit = 16 << 20

  /// What is at a path, with the names in the directory.
  enum Layout {
    case huggingFace(Set<String>)
    case meta(Set<String>)
    /// The path of the file, or of a piece of the split set.
    case gguf(String)
  }

  /// - Throws: `FileFailure` when there is nothing at `path`; `ParseFailure` that says what was found instead.
  static func recognise(_ path: String) throws -> Layout {
    switch try FileSystem.kind(of: path) {
    case nil:
      throw FileFailure(path: path, operation: "open", kind: .missing, detail: "there is no such file or directory")
    case .file:
      if try Checkpoint.isFile(path) { return .gguf(path) }
      throw ParseFailure(
        "this is a file and no GGUF; other checkpoints are directories with config.json and safetensors files",
        file: path, advice: "give the directory that holds it")
    case .other: throw ParseFailure("this is neither a file nor a directory", file: path)
    case .directory: break
    }
    let names = Set(try FileSystem.names(in: path))
    let shards = metaShards(names)
    guard names.contains(configurationName) else {
      if names.contains(parametersName) && !shards.isEmpty { return .meta(names) }
      if let file = try ggufFile(names, path) { return .gguf(path + "/" + file) }
      throw unrecognised(names, path)
    }
    if names.contains(parametersName) && !shards.isEmpty && !names.contains(indexName)
      && !names.contains(singleFileName)
    {
      return .meta(names)
    }
    guard names.contains(indexName) || names.contains(singleFileName) else {
      let stray = names.filter { $0.hasSuffix(".safetensors") }.sorted()
      if stray.isEmpty, let file = try ggufFile(names, path) { return .gguf(path + "/" + file) }
      if !stray.isEmpty {
        throw ParseFailure(
          "\(stray.count) safetensors file(s) such as \(stray[0]), but neither \(singleFileName) nor \(indexName)",
          file: path, advice: "the index is missing: download it too")
      }
      throw unrecognised(names, path)
    }
    return .huggingFace(names)
  }

  /// The one GGUF model of a directory: a file, or the first piece of a split set.
  private static func ggufFile(_ names: Set<String>, _ path: String) throws(ParseFailure) -> String? {
    let files = names.filter { $0.hasSuffix(".gguf") }.sorted()
    guard let first = files.first else { return nil }
    // Pieces are called NAME-00001-of-00003.gguf.
    let isPiece = first.dropLast(5).suffix(15).hasPrefix("-00001-of-")
    let prefix = isPiece ? first.dropLast(20) : first[...]
    guard
      files.allSatisfy({ isPiece ? $0.hasPrefix(prefix) && $0.dropLast(5).suffix(9).hasPrefix("-of-") : $0 == first })
    else {
      throw ParseFailure(
        "this directory holds \(files.count) GGUF files, \(first) and \(files[1]) among them", file: path,
        advice: "give the path of one of them")
    }
    return first
  }

  /// Names of a Meta directory's shards by rank: `consolidated.NN.pth`, or the one `consolidated.safetensors` that Mistral
  /// publishes.
  static func metaShards(_ names: Set<String>) -> [String] {
    let shards = names.filter { $0.hasPrefix("consolidated.") && $0.hasSuffix(".pth") }.sorted()
    return shards.isEmpty && names.contains(consolidatedName) ? [consolidatedName] : shards
  }

  /// A leftover single file beside an index: transformers reads the single file, vLLM what the index names.
  static func refuseTwoModels(_ names: Set<String>, indexed: [String], _ path: String) throws(ParseFailure) {
    guard names.contains(singleFileName), !indexed.contains(singleFileName) else { return }
    throw ParseFailure(
      "there are \(singleFileName) and \(indexName), and the index does not name it; readers differ in which they take",
      file: path, advice: "remove the one that is left over")
  }

  private static func unrecognised(_ names: Set<String>, _ path: String) -> ParseFailure {
    let advice =
      "give a Hugging Face directory (config.json with \(singleFileName) or \(indexName)), a Meta directory "
      + "(params.json with consolidated.00.pth) or a GGUF file"
    if names.contains("params.json") || names.contains(where: { $0.hasPrefix("consolidated.") }) {
      let missing = names.contains(parametersName) ? "consolidated.00.pth" : parametersName
      return ParseFailure(
        "this is a Meta checkpoint without \(missing)", file: path, advice: "download all of its files")
    }
    if names.contains(where: { $0.hasPrefix("pytorch_model") && $0.hasSuffix(".bin") }) {
      return ParseFailure("the weights are pickled pytorch_model files", file: path, advice: advice)
    }
    if names.isEmpty { return ParseFailure("the directory is empty", file: path, advice: advice) }
    return ParseFailure("no checkpoint layout is recognised here", file: path, advice: advice)
  }
}

extension Checkpoint {
  /// Whether the file at `path` is a checkpoint by itself: a GGUF, as its first bytes say.
  /// - Throws: `FileFailure` when it cannot be read.
  public static func isFile(_ path: String) throws -> Bool {
    try ReadableFile(path: path).bytes(at: 0, upTo: 4) == Array("GGUF".utf8)
  }
}
