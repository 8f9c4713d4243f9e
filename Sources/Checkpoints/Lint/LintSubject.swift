internal import ByteIO
internal import GGUFFormat
internal import Llama
internal import Quantization
internal import SafetensorsFormat
internal import Tensors
internal import TorchFormat

/// A checkpoint as far as it can be understood: unlike ``Checkpoint``, nothing is refused, and what cannot be read is left
/// out and found fault with.
struct LintSubject {
  enum Kind {
    case huggingFace, meta, gguf, compact, unknown

    /// How tensors are named.
    var dialect: NamingDialect {
      switch self {
      case .meta: .meta
      case .gguf, .compact: .gguf
      case .huggingFace, .unknown: .huggingFace
      }
    }
  }

  /// A file of weights that could be opened.
  struct WeightFile {
    let name: String
    let source: any TensorSource
    /// Bytes are missing at its end: some tensors cannot be read.
    var isTruncated = false
  }

  /// As the user gave it.
  let path: String
  /// Where the files are.
  let directory: String
  private(set) var kind: Kind
  /// Names in the directory; of a single file only its own.
  let names: Set<String>
  var files: [WeightFile] = []
  /// Some file of weights could not be opened: what is missing may be in it.
  var lacksFiles = false
  var index: SafetensorsIndex?
  var document: JSONValue?
  var configuration: LlamaConfiguration?
  var quantization: QuantizationConfiguration?
  /// `quantization_config` is there and of a kind that is not read.
  var hasUnreadQuantization = false
  var parameters: MetaParameters?
  var metadata: GGUFMetadata?
  /// What the strict reader makes of it; nil where it refuses.
  var opened: (any OpenedModel)?
  var checkpoint: Checkpoint?

  /// All tensors, with the file that each is in.
  var tensors: [(file: WeightFile, info: TensorInfo)] {
    files.flatMap { file in file.source.tensors.map { (file, $0) } }
  }

  /// The stored tensor of this name in the first file that has it.
  func stored(_ name: String) -> StoredRows? {
    for file in files {
      if let info = file.source.info(name) { return StoredRows(source: file.source, tensor: info) }
    }
    return nil
  }

  /// - Throws: `FileFailure` when there is nothing at `path`, or nothing may be read there.
  init(path: String, _ findings: inout [LintFinding]) throws {
    self.path = path
    switch try FileSystem.kind(of: path) {
    case nil:
      throw FileFailure(path: path, operation: "open", kind: .missing, detail: "there is no such file or directory")
    case .directory:
      directory = path
      names = Set(try FileSystem.names(in: path))
      kind = Self.kind(names)
    case .file, .other:
      directory = FileSystem.parent(of: path)
      names = [FileSystem.lastComponent(of: path)]
      kind = try Checkpoint.isFile(path) ? .gguf : .unknown
    }
    switch kind {
    case .huggingFace:
      readConfiguration(&findings)
      openSafetensors(&findings)
    case .meta: openMeta(&findings)
    case .gguf, .compact: openGGUF(&findings)
    case .unknown:
      findings.append(
        LintFinding(
          .unrecognisedLayout, "\(path): \(Self.description(of: names))", found: Self.description(of: names)))
      // A lone file can still be looked at.
      if names.count == 1, let name = names.first { open(name, &findings) }
    }
  }

  private static func kind(_ names: Set<String>) -> Kind {
    let hasParameters = names.contains(LayoutRecognition.parametersName)
    let hasShards = !LayoutRecognition.metaShards(names).isEmpty
    let hasSafetensors = names.contains {
      $0.hasSuffix(".safetensors") && $0 != LayoutRecognition.consolidatedName
    }
    if names.contains(LayoutRecognition.configurationName) && (hasSafetensors || !hasShards) {
      return hasSafetensors || !names.contains { $0.hasSuffix(".gguf") } ? .huggingFace : .gguf
    }
    if hasShards || (hasParameters && !hasSafetensors) { return .meta }
    if names.contains(where: { $0.hasSuffix(".gguf") }) { return .gguf }
    return hasSafetensors ? .huggingFace : .unknown
  }

  private static func description(of names: Set<String>) -> String {
    let shown = names.sorted().prefix(5).joined(separator: ", ")
    if names.isEmpty { return "the directory is empty" }
    return "no checkpoint layout is recognised among " + shown + (names.count > 5 ? " and \(names.count - 5) more" : "")
  }

  // MARK: Files

  /// Opens one file of weights and notes what is wrong with it.
  mutating func open(_ name: String, _ findings: inout [LintFinding]) {
    let file = directory + "/" + name
    do {
      if name.hasSuffix(".pth") || name.hasSuffix(".pt") {
        files.append(WeightFile(name: name, source: try TorchFile(path: file)))
        return
      }
      let source = try SafetensorsFile(path: file, acceptsOtherSize: true)
      let surplus = source.header.surplusByteCount
      files.append(WeightFile(name: name, source: source, isTruncated: surplus < 0))
      if surplus != 0 { findings.append(Self.wrongSize(source, name, surplus)) }
      let format = source.metadata["format"]
      // Mistral's own reader of consolidated.safetensors does not look at it.
      if kind == .huggingFace, format != "pt" {
        findings.append(
          LintFinding(
            .formatMetadata, "\(name): its metadata say \(format.map { "format \($0)" } ?? "no format"), expected pt",
            file: name, found: format, expected: "pt"))
      }
    } catch {
      lacksFiles = true
      let missing = (error as? FileFailure)?.kind == .missing
      findings.append(LintFinding(missing ? .missingFile : .unreadableFile, any: error, file: file))
    }
  }

  private static func wrongSize(_ source: SafetensorsFile, _ name: String, _ surplus: Int64) -> LintFinding {
    let expected = Int64(clamping: source.byteCount) - surplus
    let end = UInt64(clamping: min(expected, Int64(clamping: source.byteCount)))
    let what = surplus > 0 ? "\(surplus) bytes behind its last tensor" : "\(-surplus) bytes less than its tensors take"
    return LintFinding(
      surplus > 0 ? .trailingBytes : .truncatedFile, "\(name): the file has \(what)", file: name, offset: end,
      found: "\(source.byteCount) bytes", expected: "\(expected) bytes")
  }

  private mutating func openGGUF(_ findings: inout [LintFinding]) {
    var file = path
    if directory == path {
      let pieces = names.filter { $0.hasSuffix(".gguf") }.sorted()
      file = path + "/" + (pieces.first ?? "")
    }
    do {
      let source = try GGUFSplitSet(path: file)
      metadata = source.metadata
      guard CompactProfile.describes(source.metadata), source.pieces.count == 1 else {
        kind = .gguf
        files = source.pieces.map { WeightFile(name: FileSystem.lastComponent(of: $0.path), source: $0) }
        return readKeys(source, &findings)
      }
      kind = .compact
      files = [WeightFile(name: FileSystem.lastComponent(of: file), source: try CompactFile(source.pieces[0]))]
    } catch {
      lacksFiles = true
      let missing = (error as? FileFailure)?.kind == .missing
      findings.append(LintFinding(missing ? .missingFile : .unreadableFile, any: error, file: file))
    }
  }
}
