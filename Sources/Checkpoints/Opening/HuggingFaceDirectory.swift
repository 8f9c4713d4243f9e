internal import ByteIO
internal import Llama
internal import Quantization
internal import SafetensorsFormat
internal import Tensors

/// An opened Hugging Face directory with safetensors.
struct HuggingFaceDirectory: OpenedModel {
  let path: String
  let configuration: LlamaConfiguration
  let document: JSONValue
  let quantization: QuantizationConfiguration?
  let source: any TensorSource
  let packed: PackedSource?
  let census: Census
  let sidecars: (carried: [SidecarFile], left: [String])
  let inputFiles: [String]
  private(set) var notes: [String]

  /// - Parameter names: all names in the directory.
  init(path: String, names: Set<String>) throws {
    self.path = path
    let configurationPath = path + "/" + LayoutRecognition.configurationName
    do {
      let bytes = try ReadableFile.contents(of: configurationPath, limit: LayoutRecognition.configurationLimit)
      document = try JSONValue(parsing: bytes)
      configuration = try LlamaConfiguration(huggingFace: document)
      quantization = try document["quantization_config"].flatMap {
        try $0.isNull ? nil : QuantizationConfiguration(parsing: $0)
      }
    } catch let failure as ParseFailure {
      throw failure.in(file: configurationPath)
    }
    var files = [LayoutRecognition.configurationName]
    notes = []
    let stored: any TensorSource
    if names.contains(LayoutRecognition.indexName) {
      let sharded = try ShardedSafetensors(directory: path, indexFileName: LayoutRecognition.indexName)
      try LayoutRecognition.refuseTwoModels(names, indexed: sharded.index.fileNames, path)
      files += [LayoutRecognition.indexName] + sharded.index.fileNames
      notes += sharded.remarks
      notes += sharded.unlisted.map { "\($0.tensor) is in \($0.fileName), but not in the index" }
      stored = sharded
    } else {
      stored = try SafetensorsFile(path: path + "/" + LayoutRecognition.singleFileName)
      files.append(LayoutRecognition.singleFileName)
    }
    let modules = Modules(configuration, quantization)
    packed = modules.arePacked ? try PackedSource(stored, configuration, modules) : nil
    source = packed ?? stored
    notes += packed?.notes ?? []
    inputFiles = files
    sidecars = try Sidecars.collect(in: path, consumed: Set(files))
    notes += sidecars.left.filter(Sidecars.isCarried).map {
      "\($0) is not carried over: it is no file (a link to something that is not there?)"
    }
    let entries = source.tensors.map { Census.Entry(name: $0.name, elementType: $0.elementType, shape: $0.shape) }
    census = Census(configuration, entries: entries, dialect: .huggingFace, companions: modules.companions)
    notes += census.problems.filter { $0.severity == .warning }.map(\.message)
    notes += modules.strayIgnoreEntries.map {
      "quantization_config ignores \($0), which matches no module of the model"
    }
  }

  /// - Throws: `ParseFailure` for element types that contradict the quantization, and for a stored head that differs from
  ///   the embedding though the configuration ties them.
  func checkpoint() throws -> Checkpoint {
    let modules = Modules(configuration, quantization)
    let tensors = try census.found.map { try logicalTensor($0.role, $0.name, modules) }
    if census.problems.contains(where: { $0.code == "head-though-tied" }) { try checkTiedHead() }
    return Checkpoint(
      path: path, layout: .huggingFace, configuration: configuration, configurationDocument: document,
      quantization: quantization, tensors: tensors, census: census, sidecars: sidecars.carried,
      leftBehind: sidecars.left, inputFiles: inputFiles, notes: notes)
  }

  func tensor(_ role: TensorRole, named name: String) throws -> LogicalTensor {
    try logicalTensor(role, name, Modules(configuration, quantization))
  }

  private func logicalTensor(_ role: TensorRole, _ name: String, _ modules: Modules) throws -> LogicalTensor {
    guard let info = source.info(name) else { throw ParseFailure("the tensor is missing", file: path, item: name) }
    let permutation = NamingDialect.huggingFace.rowOrder(of: role, headDimension: configuration.headDimension)
    let stored = RowExpression.stored(StoredRows(source: source, tensor: info))
    let rows = permutation.map { stored.permuted(by: $0) } ?? stored
    guard let module = modules.scheme(of: role) else {
      guard info.elementType.isComputable && info.elementType != .f8e4m3 else {
        throw ParseFailure(
          "the tensor is \(info.elementType), and config.json does not say how it is quantized", file: path, item: name,
          advice: "quantization_config is missing or ignores this module; without it the codes mean nothing")
      }
      return LogicalTensor(role: role, shape: info.shape, elementType: info.elementType, rows: rows)
    }
    let expected: ElementType = module.storage == .fp8 ? .f8e4m3 : .i8
    guard info.elementType == expected else {
      throw ParseFailure(
        "quantization_config says that this weight is \(expected == .i8 ? "int8" : "FP8"), but it is \(info.elementType)",
        file: path, item: name,
        advice: "the configuration belongs to another model, or its ignore list is incomplete")
    }
    return LogicalTensor(
      role: role, shape: info.shape, elementType: info.elementType, rows: rows,
      quantization: try quantization(of: info, role, module, permutation))
  }

  private func quantization(
    of weight: TensorInfo, _ role: TensorRole, _ module: QuantizationConfiguration.Module,
    _ permutation: RowPermutation?
  ) throws -> StoredQuantization {
    let name = Modules.companionName(weight.name, module.scaleSuffix)
    guard let info = source.info(name) else {
      throw ParseFailure("the scales of \(weight.name) are missing", file: path, item: name)
    }
    guard info.elementType.isComputable && info.elementType != .f8e4m3 else {
      throw ParseFailure("scales are \(info.elementType), expected BF16, F16 or F32", file: path, item: name)
    }
    if case .block(let rows, _) = module.scheme, rows > 1, permutation != nil {
      // Reordering within a head must not carry a row into another block of scales.
      guard rows % configuration.headDimension == 0 else {
        throw ParseFailure(
          "blocks of \(rows) rows cut heads of \(configuration.headDimension) rows; their rows cannot be reordered",
          file: path, item: weight.name)
      }
    }
    let stored = RowExpression.stored(StoredRows(source: source, tensor: info))
    let companions = module.optionalSuffixes.compactMap { suffix in
      source.info(Modules.companionName(weight.name, suffix)).map { StoredRows(source: source, tensor: $0) }
    }
    func inOrder(_ rows: RowExpression) -> RowExpression {
      module.scheme.hasRowsOfScales ? permutation.map { rows.permuted(by: $0) } ?? rows : rows
    }
    guard case .packed(let form) = module.storage else {
      return StoredQuantization(
        scheme: module.scheme, scales: inOrder(stored), scaleType: info.elementType, scaleShape: info.shape,
        activations: module.activations, companions: companions)
    }
    let zeroPoints = source.info(Modules.companionName(weight.name, PackedWeight.Part.zeroPoints.rawValue)).map {
      inOrder(.stored(StoredRows(source: source, tensor: $0)))
    }
    return StoredQuantization(
      scheme: module.scheme, scales: inOrder(stored), scaleType: info.elementType, scaleShape: info.shape,
      activations: module.activations, bits: form.bits, zeroPoints: zeroPoints,
      columnGroups: packed?.groupIndex(ofModule: NamingDialect.huggingFace.moduleName(of: role)))
  }

  /// A head stored beside a tied embedding is dropped when it is the embedding, and refused when it is not.
  private func checkTiedHead() throws {
    let dialect = NamingDialect.huggingFace
    guard let head = source.info(dialect.name(for: .outputHead)),
      let embedding = source.info(dialect.name(for: .tokenEmbedding))
    else { return }
    let same =
      try head.elementType == embedding.elementType && head.shape == embedding.shape
      && LogicalTensor(
        role: .tokenEmbedding, shape: head.shape, elementType: head.elementType,
        rows: .stored(StoredRows(source: source, tensor: head))
      ).digest()
        == LogicalTensor(
          role: .tokenEmbedding, shape: head.shape, elementType: head.elementType,
          rows: .stored(StoredRows(source: source, tensor: embedding))
        ).digest()
    guard same else {
      throw ParseFailure(
        "the head is stored and differs from the embedding, though tie_word_embeddings is true", file: path,
        item: head.name, advice: "set tie_word_embeddings to false in config.json if the head is meant")
    }
  }
}
