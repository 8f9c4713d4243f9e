internal import ByteIO
internal import GGUFFormat
internal import Llama
internal import Quantization
internal import Tensors

/// An opened compact file: weights under GGUF's names in canonical row order, what is quantized described by the file's own
/// keys, configuration and tokenizer as Hugging Face has them.
struct CompactModel: OpenedModel {
  let path: String
  private let source: CompactFile
  private let document: JSONValue
  let configuration: LlamaConfiguration
  private let quantization: QuantizationConfiguration?
  private let descriptions: [String: CompactDescription]
  let census: Census
  private(set) var notes: [String]

  /// - Parameter path: as the user gave it, the file or a directory that holds it.
  init(path: String, file: GGUFFile) throws {
    self.path = path
    let source = try CompactFile(file)
    self.source = source
    do {
      document = try JSONValue(parsing: Array(source.configuration.utf8))
      configuration = try LlamaConfiguration(huggingFace: document)
      quantization = try document["quantization_config"].flatMap {
        try $0.isNull ? nil : QuantizationConfiguration(parsing: $0)
      }
    } catch var failure as ParseFailure {
      failure.item = failure.item ?? "compact.config"
      throw failure.in(file: file.path)
    }
    var descriptions: [String: CompactDescription] = [:]
    for entry in source.quantized {
      guard let description = CompactDescription(entry), source.info(entry.weight) != nil else {
        throw ParseFailure(
          "what the keys say of its quantization means nothing: scheme \"\(entry.scheme.prefix(40))\", activations \"\(entry.activations.prefix(40))\"",
          file: file.path, item: entry.weight)
      }
      guard descriptions.updateValue(description, forKey: entry.weight) == nil else {
        throw ParseFailure("the keys describe its quantization twice", file: file.path, item: entry.weight)
      }
    }
    self.descriptions = descriptions
    let configuration = configuration
    census = Census(
      configuration,
      entries: source.tensors.map { Census.Entry(name: $0.name, elementType: $0.elementType, shape: $0.shape) },
      dialect: .gguf
    ) { role in
      descriptions[NamingDialect.gguf.name(for: role)].map { $0.companions(of: role, configuration, source) } ?? []
    }
    notes = census.problems.filter { $0.severity == .warning }.map(\.message)
  }

  func checkpoint() throws -> Checkpoint {
    let modules = Modules(configuration, quantization)
    let tensors = try census.found.map { try logicalTensor($0.role, $0.name, modules) }
    let (carried, left) = files
    return Checkpoint(
      path: path, layout: .compact, configuration: configuration, configurationDocument: document,
      quantization: quantization, tensors: tensors, census: census, sidecars: carried, leftBehind: left,
      inputFiles: [FileSystem.lastComponent(of: source.place)], notes: notes,
      directory: FileSystem.parent(of: source.place))
  }

  /// The same names travel as from a directory.
  private var files: (carried: [SidecarFile], left: [String]) {
    let carried = source.files.filter { Sidecars.isCarried($0.name) }
    let left = source.files.map(\.name).filter { !Sidecars.isCarried($0) }
    return (carried.map { SidecarFile(name: $0.name, inside: source, tensor: $0.tensor) }, left)
  }

  func tensor(_ role: TensorRole, named name: String) throws -> LogicalTensor {
    try logicalTensor(role, name, Modules(configuration, quantization))
  }

  private func logicalTensor(_ role: TensorRole, _ name: String, _ modules: Modules) throws -> LogicalTensor {
    guard let info = source.info(name) else { throw ParseFailure("the tensor is missing", file: path, item: name) }
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, file: source.place, item: name) }
    let rows = RowExpression.stored(StoredRows(source: source, tensor: info))
    if quantization != nil, role.isLinear {
      let (said, configured) = (descriptions[name]?.scheme, modules.scheme(of: role)?.scheme)
      guard said == configured else {
        throw failure(
          "the keys say \(said?.canonicalText ?? "not quantized"), config.json says \(configured?.canonicalText ?? "not quantized")"
        )
      }
    }
    guard let description = descriptions[name] else {
      if let block = info.elementType.block {
        return try GGUFModel.blockTensor(role, info, rows, block, file: source.place)
      }
      guard info.elementType.isComputable && info.elementType != .f8e4m3 else {
        throw failure("the tensor is \(info.elementType), and the keys do not say what its codes mean")
      }
      return LogicalTensor(role: role, shape: info.shape, elementType: info.elementType, rows: rows)
    }
    guard info.elementType == .f8e4m3 || info.elementType == .i8 else {
      throw failure("the keys say that it is quantized, but it is \(info.elementType)")
    }
    return LogicalTensor(
      role: role, shape: info.shape, elementType: info.elementType, rows: rows,
      quantization: try stored(description, role, info))
  }

  private func stored(_ description: CompactDescription, _ role: TensorRole, _ weight: TensorInfo) throws
    -> StoredQuantization
  {
    let name = CompactNames.scaleName(of: role)
    guard let scales = source.info(name), scales.elementType.isComputable, scales.elementType != .f8e4m3 else {
      throw ParseFailure("scales are BF16, F16 or F32", file: source.place, item: name)
    }
    if description.isRotated, weight.shape.dimensions.last.map({ $0 & ($0 - 1) != 0 }) ?? true {
      throw ParseFailure("a rotation is undone for powers of two only", file: source.place, item: weight.name)
    }
    let adapters = CompactNames.adapterNames(of: role)
    let companions = CompactDescription.companionNames(of: role, source).compactMap { source.info($0) }.map {
      StoredRows(source: source, tensor: $0)
    }
    return StoredQuantization(
      scheme: description.scheme, scales: .stored(StoredRows(source: source, tensor: scales)),
      scaleType: scales.elementType, scaleShape: scales.shape, activations: description.activations,
      companions: companions,
      adapter: try adapter(adapters, description), isRotated: description.isRotated,
      bits: source.encoding(of: weight.name) == .int4 ? 4 : 8,
      zeroPoints: try zeroPoints(role, shape: scales.shape), columnGroups: try columnGroups(role, weight, scales))
  }

  private func zeroPoints(_ role: TensorRole, shape: Shape) throws(ParseFailure) -> RowExpression? {
    guard let info = source.info(CompactNames.zeroPointName(of: role)) else { return nil }
    guard info.elementType == .i8, info.shape == shape else {
      throw ParseFailure(
        "zero points are I8 \(shape) like the scales, not \(info.elementType) \(info.shape)", file: source.place,
        item: info.name)
    }
    return .stored(StoredRows(source: source, tensor: info))
  }

  private func columnGroups(_ role: TensorRole, _ weight: TensorInfo, _ scales: TensorInfo) throws -> [Int32]? {
    guard let info = source.info(CompactNames.groupIndexName(of: role)) else { return nil }
    func failure(_ message: String) -> ParseFailure { ParseFailure(message, file: source.place, item: info.name) }
    let columns = weight.shape.dimensions.last ?? 0
    let groups = scales.shape.dimensions.dropFirst().reduce(1, *)
    guard info.elementType == .i32, info.shape == [columns] else {
      throw failure("the groups of inputs are I32 [\(columns)], not \(info.elementType) \(info.shape)")
    }
    let index = GroupIndex.parsed(try source.bytes(of: info.name))
    guard let stray = index.firstIndex(where: { $0 < 0 || Int($0) >= groups }) else { return index }
    throw failure("input \(stray) is in group \(index[stray]), the weight has \(groups)")
  }

  private func adapter(_ names: (a: String, b: String), _ description: CompactDescription) throws -> LowRankAdapter? {
    guard description.adapterScale != 0, let a = source.info(names.a), let b = source.info(names.b) else { return nil }
    for info in [a, b] where !info.elementType.isComputable || info.elementType == .f8e4m3 {
      throw ParseFailure("an adapter is BF16, F16 or F32", file: source.place, item: info.name)
    }
    return LowRankAdapter(
      a: StoredRows(source: source, tensor: a), b: .stored(StoredRows(source: source, tensor: b)),
      bType: b.elementType, factor: description.adapterScale)
  }
}
