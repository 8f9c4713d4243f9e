internal import ByteIO
internal import GGUFFormat
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors
internal import Tokenizers

/// An opened GGUF file or split set.
struct GGUFModel: OpenedModel {
  let path: String
  private let source: GGUFSplitSet
  let configuration: LlamaConfiguration
  private let tokenizerKeys: TokenizerKeys?
  let census: Census
  private(set) var notes: [String]

  /// - Parameters:
  ///   - path: as the user gave it, the file or a directory that holds it.
  ///   - source: the file or split set.
  init(path: String, source: GGUFSplitSet) throws {
    self.path = path
    self.source = source
    let factors = try Self.ropeFactors(source)
    configuration = try GGUFKeys.configuration(source.metadata, tensors: source, factors: factors)
    notes = []
    tokenizerKeys = try GGUFTokenizer.keys(source.metadata)
    if let tokenizerKeys {
      let (tokens, rows) = (tokenizerKeys.tokens.count, configuration.vocabularySize)
      if tokens != rows { notes.append("the tokenizer has \(tokens) tokens, the embedding \(rows) rows") }
    } else {
      notes.append("the file has no tokenizer")
    }
    let entries = source.tensors.filter { $0.name != GGUFKeys.ropeFactors }.map {
      Census.Entry(name: $0.name, elementType: $0.elementType, shape: $0.shape)
    }
    census = Census(configuration, entries: entries, dialect: .gguf)
    notes += census.problems.filter { $0.severity == .warning }.map(\.message)
  }

  /// The values of `rope_freqs.weight`; nil when there is none.
  static func ropeFactors(_ source: GGUFSplitSet) throws -> [Float]? {
    guard let info = source.info(GGUFKeys.ropeFactors) else { return nil }
    guard info.elementType == .f32, info.byteCount <= 1 << 20 else {
      throw ParseFailure(
        "the tensor is \(info.elementType) \(info.shape), expected F32 of half a head's rows", file: source.place,
        item: info.name)
    }
    let bytes = try source.bytes(of: info.name)
    return NumberFormat.widened(bytes.span.rawBytes, from: .f32)
  }

  /// Licences and the like beside the file, where a directory was given: beside a single file may lie anything.
  private func notices(_ pieces: [String]) throws -> (carried: [SidecarFile], left: [String]) {
    guard try FileSystem.kind(of: path) == .directory else { return ([], []) }
    let (carried, left) = try Sidecars.collect(in: path, consumed: Set(pieces))
    return (carried.filter(\.isNotice), left + carried.filter { !$0.isNotice }.map(\.name))
  }

  func checkpoint() throws -> Checkpoint {
    var configuration = configuration
    let plain = plainType
    let pieces = source.pieces.map { FileSystem.lastComponent(of: $0.path) }
    let notices = try notices(pieces)
    configuration.claimedElementType = plain
    let tensors = try census.found.map { try logicalTensor($0.role, $0.name, plain: plain) }
    return Checkpoint(
      path: path, layout: .gguf, configuration: configuration, configurationDocument: configuration.huggingFaceDocument,
      quantization: nil, tensors: tensors, census: census, sidecars: notices.carried, leftBehind: notices.left,
      inputFiles: pieces, notes: notes,
      directory: FileSystem.parent(of: source.pieces[0].path), ownMetadata: source.metadata,
      tokenizerKeys: tokenizerKeys)
  }

  /// - Throws: `ParseFailure` for blocks that are not read, and for vectors.
  static func blockTensor(
    _ role: TensorRole, _ info: TensorInfo, _ rows: RowExpression, _ block: BlockType, file: String
  ) throws(ParseFailure) -> LogicalTensor {
    guard info.shape.rank > 1 else {
      throw ParseFailure("the tensor is a vector in blocks of \(block)", file: file, item: info.name)
    }
    guard BlockFormat(block).canDequantize else {
      throw ParseFailure(
        "the tensor is \(block), which is not read", file: file, item: info.name,
        advice: "start from a file of another type")
    }
    return LogicalTensor(role: role, shape: info.shape, elementType: info.elementType, rows: rows)
  }

  /// The type of all matrices, where they are of one plain 16-bit type.
  private var plainType: ElementType? {
    let types = Set(source.tensors.filter { $0.shape.rank > 1 }.map(\.elementType))
    guard types.count == 1, let type = types.first, type == .bf16 || type == .f16 else { return nil }
    return type
  }

  func tensor(_ role: TensorRole, named name: String) throws -> LogicalTensor {
    try logicalTensor(role, name, plain: plainType)
  }

  /// - Parameter plain: the matrices' type. GGUF stores norms in F32 whatever they were; where narrowing loses nothing they
  ///   are what they were, so that the model is the same in all layouts.
  private func logicalTensor(_ role: TensorRole, _ name: String, plain: ElementType?) throws -> LogicalTensor {
    guard let info = source.info(name) else { throw ParseFailure("the tensor is missing", file: path, item: name) }
    let rows = RowExpression.stored(StoredRows(source: source, tensor: info))
    if let block = info.elementType.block {
      return try Self.blockTensor(role, info, rows, block, file: source.place)
    }
    if !info.elementType.isComputable || info.elementType == .f8e4m3 {
      throw ParseFailure(
        "the tensor is \(info.elementType), expected F32, F16, BF16 or blocks", file: source.place, item: name)
    }
    if let plain, info.shape.rank == 1, info.elementType == .f32,
      source.metadata[GGUFKeys.ownNormType] != GGUFValue("F32")
    {
      let narrowed = RowExpression.recast(rows, from: .f32, to: plain)
      do {
        _ = try narrowed.bytes(rows: 0..<narrowed.rowCount)
        return LogicalTensor(role: role, shape: info.shape, elementType: plain, rows: narrowed)
      } catch is ParseFailure {
        // Values that the narrower type does not hold: they are what they are.
      }
    }
    return LogicalTensor(role: role, shape: info.shape, elementType: info.elementType, rows: rows)
  }
}
