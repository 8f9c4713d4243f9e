public import ByteIO
public import GGUFFormat
public import Llama
public import Quantization
internal import SafetensorsFormat
internal import Tensors
public import Tokenizers

/// An opened model in any layout: its configuration, its logical tensors in model order, and the files that travel with
/// it. Opening reads headers and configuration only; a checkpoint that opens has passed the census.
public struct Checkpoint: Sendable {
  public enum Layout: String, Sendable {
    /// `config.json` with safetensors.
    case huggingFace = "hf-safetensors"
    /// `params.json` with `consolidated.NN.pth`.
    case meta = "meta-pth"
    /// A GGUF file or split set.
    case gguf
    /// Our own one-file profile of GGUF: `formats/compact.md`.
    case compact

    /// How it names tensors and orders rows.
    public var dialect: NamingDialect {
      switch self {
      case .huggingFace: .huggingFace
      case .meta: .meta
      case .gguf, .compact: .gguf
      }
    }
  }

  /// As given by the user.
  public let path: String
  public let layout: Layout
  public let configuration: LlamaConfiguration
  /// `config.json` or `params.json` as it was read.
  public let configurationDocument: JSONValue
  /// Tensor-parallel shards that the tensors were merged from; 1 for layouts without.
  public let shardCount: Int
  public let quantization: QuantizationConfiguration?
  /// In model order: embedding, layers, norm, head.
  public let tensors: [LogicalTensor]
  public let census: Census
  /// Files carried over unchanged.
  public let sidecars: [SidecarFile]
  /// Names in the directory that are neither read nor carried over.
  public let leftBehind: [String]
  /// Names of the files that were opened: weights, index, configuration.
  public let inputFiles: [String]
  /// Things that the user should know and that are no errors.
  public let notes: [String]
  /// Where `inputFiles` and sidecars are.
  public let directory: String
  /// All keys of a GGUF file, those that mean nothing here among them.
  public let ownMetadata: GGUFMetadata?
  /// The tokenizer of a layout that holds it inside: a GGUF file.
  public let tokenizerKeys: TokenizerKeys?
  /// Of the files that were opened, as they were then.
  let fileFacts: [String: FileFacts]
  /// What the layout's files leave out and was inferred, and from what.
  public let inferences: [String]

  /// Opens the model at `path`, whose layout is recognised from its content.
  /// - Throws: `FileFailure` (missing, unreadable), `ParseFailure` (corrupt, contradictory, not a supported layout).
  public init(path: String) throws {
    let opened = try LayoutRecognition.open(path)
    if let error = opened.census.problems.first(where: { $0.severity == .error }) {
      let more = opened.census.problems.filter { $0.severity == .error }.count - 1
      throw ParseFailure(
        error.message + (more > 0 ? " (and \(more) more; `llama-convert lint` lists all)" : ""), file: path)
    }
    self = try opened.checkpoint()
  }

  init(
    path: String, layout: Layout, configuration: LlamaConfiguration, configurationDocument: JSONValue,
    quantization: QuantizationConfiguration?, tensors: [LogicalTensor], census: Census, sidecars: [SidecarFile],
    leftBehind: [String], inputFiles: [String], notes: [String], inferences: [String] = [],
    shardCount: Int = 1, directory: String? = nil, ownMetadata: GGUFMetadata? = nil,
    tokenizerKeys: TokenizerKeys? = nil
  ) {
    self.directory = directory ?? path
    self.ownMetadata = ownMetadata
    self.tokenizerKeys = tokenizerKeys
    self.inferences = inferences
    self.shardCount = shardCount
    self.path = path
    self.layout = layout
    self.configuration = configuration
    self.configurationDocument = configurationDocument
    self.quantization = quantization
    self.tensors = tensors
    self.census = census
    self.sidecars = sidecars
    self.leftBehind = leftBehind
    self.inputFiles = inputFiles
    self.notes = notes
    fileFacts = Self.facts(of: Self.readFileNames(inputFiles, sidecars), in: directory ?? path)
  }

  /// `config.json` for this model: its own, else the one that its configuration gives.
  public var huggingFaceDocument: JSONValue {
    layout == .huggingFace || layout == .compact ? configurationDocument : configuration.huggingFaceDocument
  }

  /// Checks what checksums the containers themselves have, for all bytes that reading has not checked yet.
  /// - Throws: `ParseFailure` for a checksum that does not agree, `FileFailure` when reading fails.
  public func proveIntegrity() throws {
    var proven: Set<String> = []
    for stored in tensors.flatMap(\.storedTensors) where proven.insert(stored.source.place).inserted {
      try stored.source.proveIntegrity()
    }
  }

  /// What to call the model: the last part of its path, without `.gguf`.
  public var name: String {
    let last = FileSystem.lastComponent(of: path)
    return Self.stem(ofGGUF: last) ?? last
  }

  /// NAME of a file name `NAME.gguf`; nil for other names.
  public static func stem(ofGGUF fileName: String) -> String? {
    fileName.hasSuffix(".gguf") && fileName != ".gguf" ? String(fileName.dropLast(5)) : nil
  }

  /// Positions that the configuration says the model was made for.
  public var maximumPositions: Int { configuration.maximumPositions }

  /// The tensor of a role; nil when the model has none (a tied head).
  public func tensor(_ role: TensorRole) -> LogicalTensor? { tensors.first { $0.role == role } }
}
