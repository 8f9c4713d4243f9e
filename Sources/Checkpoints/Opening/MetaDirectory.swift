internal import ByteIO
internal import Llama
internal import Quantization
internal import SafetensorsFormat
internal import Tensors
internal import TorchFormat

/// An opened Meta directory: `params.json` and tensor-parallel shards `consolidated.NN.pth`, or Mistral's one
/// `consolidated.safetensors`. The shards are merged as expressions; nothing is read for it but headers.
struct MetaDirectory: OpenedModel {
  let path: String
  private let document: JSONValue
  private let model: MetaModel
  /// By rank.
  private let files: [any TensorSource]
  private let headIsEmbedding: Bool
  let census: Census
  let notes: [String]
  private let sidecars: (carried: [SidecarFile], left: [String])
  private let inputFiles: [String]
  private let scales: MetaScales
  /// Nil for checkpoints that are not int4.
  private let integers: MetaIntegers?

  /// - Parameter names: all names in the directory.
  init(path: String, names: Set<String>) throws {
    self.path = path
    let parametersPath = path + "/" + LayoutRecognition.parametersName
    let parameters: MetaParameters
    do {
      let bytes = try ReadableFile.contents(of: parametersPath, limit: LayoutRecognition.configurationLimit)
      document = try JSONValue(parsing: bytes)
      parameters = try MetaParameters(parsing: document)
    } catch let failure as ParseFailure {
      throw failure.in(file: parametersPath)
    }
    let shardNames = LayoutRecognition.metaShards(names)
    files = try shardNames.map { name -> any TensorSource in
      let file = path + "/" + name
      return name == LayoutRecognition.consolidatedName ? try SafetensorsFile(path: file) : try TorchFile(path: file)
    }
    let shards = zip(shardNames, files).map { MetaShard(fileName: $0, $1) }
    do {
      // A single safetensors file has no number, and nothing to be compared with.
      if files[0] is TorchFile { try MetaShardCheck(shards).refuse() }
      headIsEmbedding = Self.headIsEmbedding(files)
      let copies = try Self.keyValueCopies(parameters, shards, files)
      model = try MetaModel(
        parameters, shards: shards,
        contents: MetaModel.Contents(headIsEmbedding: headIsEmbedding, keyValueCopies: copies))
      try MetaShardCheck(shards, model: model).refuse()
    } catch let failure as ParseFailure {
      var placed = failure
      placed.file = path + (failure.file.map { "/" + $0 } ?? "")
      throw placed
    }
    scales = try MetaScales(in: path, names, shards: shardNames.count)
    inputFiles = [LayoutRecognition.parametersName] + shardNames + scales.fileNames
    sidecars = try Sidecars.collect(in: path, consumed: Set(inputFiles + [Checklist.fileName]))
    let unread = names.contains(Checklist.fileName) ? try Self.checkListedFiles(in: path, names) : nil
    let (files, model) = (files, model)
    integers = parameters.quantization.map {
      MetaIntegers(parameters: $0, adapters: parameters.adapters, files: files, rules: model.rules)
    }
    census = Self.census(model, shards[0], integers, headIsEmbedding: headIsEmbedding)
    var notes = model.warnings
    if let unread { notes.append(unread) }
    if parameters.quantization?.usesSpinQuant == true {
      notes.append(
        "the input of \(NamingDialect.meta.moduleName(of: .layer(0, .down))) and its like is rotated when Meta's code serves the model (SpinQuant); here the rotation is folded into the weights"
      )
    }
    notes += ((files[0] as? TorchFile)?.others ?? []).map { "\($0) in \(shardNames[0]) is no tensor and is left out" }
    // Leftovers are among the model's warnings already.
    notes += census.problems.filter { $0.severity == .warning && $0.code != "leftover-tensor" }.map(\.message)
    self.notes = notes
  }

  /// - Returns: what to say of a list that cannot be read. It stops nobody here: a conversion compares sums, and refuses it
  ///   unless told not to.
  /// - Throws: `ParseFailure` for a shard that `checklist.chk` names and that is missing.
  private static func checkListedFiles(in path: String, _ names: Set<String>) throws -> String? {
    let file = path + "/" + Checklist.fileName
    let bytes = try ReadableFile.contents(of: file, limit: 1 << 20)
    let entries: [Checklist.Entry]
    do throws(ParseFailure) {
      entries = try Checklist(parsing: bytes).entries
    } catch {
      return "\(Checklist.fileName) cannot be read: \(error)"
    }
    for entry in entries where entry.name.hasSuffix(".pth") && !names.contains(entry.name) {
      throw ParseFailure(
        "\(entry.name) is listed, but missing", file: file, advice: "the download may be incomplete")
    }
    return nil
  }

  /// The tensors of the whole model under their names, with the shapes that the merged shards have.
  private static func census(
    _ model: MetaModel, _ shard: MetaShard, _ integers: MetaIntegers?, headIsEmbedding: Bool
  ) -> Census {
    let configuration = model.configuration
    let tiedScales = MetaQuantizedNames.integerScalesName(of: .outputHead)
    let entries = shard.entries.compactMap { entry -> Census.Entry? in
      guard let role = NamingDialect.meta.role(for: entry.name) else {
        return entry.name == tiedScales && configuration.tiesEmbeddings && headIsEmbedding ? nil : entry
      }
      // A tied head is stored under its own name, but it is no tensor of its own.
      if role == .outputHead && configuration.tiesEmbeddings && headIsEmbedding { return nil }
      if let layer = role.layer, layer >= configuration.layerCount { return entry }
      return Census.Entry(name: entry.name, elementType: entry.elementType, shape: configuration.shape(of: role))
    }
    return Census(configuration, entries: entries, dialect: .meta) { role in
      shard[role].flatMap { integers?.companions(role, shardShape: $0.shape) } ?? []
    }
  }

  // MARK: Contents

  private static let headName = NamingDialect.meta.name(for: .outputHead)
  private static let embeddingName = NamingDialect.meta.name(for: .tokenEmbedding)

  /// The head shares the embedding's storage, or their records' CRCs are the same in every shard. That they are equal to
  /// the bit is checked when they are read.
  private static func headIsEmbedding(_ files: [any TensorSource]) -> Bool {
    func isSame(_ file: any TensorSource, _ name: String, _ other: String) -> Bool {
      if file.areAliases(name, other) { return true }
      guard let one = file.checksum(of: name), let two = file.checksum(of: other) else { return false }
      return one == two && file.info(name)?.shape == file.info(other)?.shape
    }
    let scales = [TensorRole.outputHead, .tokenEmbedding].map { MetaQuantizedNames.integerScalesName(of: $0) }
    return files.allSatisfy { file in
      isSame(file, headName, embeddingName)
        && (file.info(scales[0]) == nil && file.info(scales[1]) == nil || isSame(file, scales[0], scales[1]))
    }
  }

  /// How many consecutive shards hold the same keys and values. Records' CRCs tell it without reading; that the copies
  /// are equal to the bit is checked when they are read.
  private static func keyValueCopies(
    _ parameters: MetaParameters, _ shards: [MetaShard], _ files: [any TensorSource]
  ) throws -> Int {
    guard MetaModel.mayCopyKeyValueHeads(parameters, shards: shards) else { return 1 }
    let names = (0..<parameters.layerCount).flatMap { layer in
      [LayerRole.key, .value].map { NamingDialect.meta.name(for: .layer(layer, $0)) }
    }
    let contents = try files.map { file in
      try names.map { name -> String in
        if let checksum = file.checksum(of: name) { return String(checksum) }
        return SHA256Sum.hexadecimal(of: try file.bytes(of: name))
      }
    }
    return try TensorParallelRules.keyValueCopies(contents)
  }

  // MARK: Merging

  func checkpoint() throws -> Checkpoint {
    let tensors = try census.found.map { try logicalTensor($0.role, $0.name) }
    return Checkpoint(
      path: path, layout: .meta, configuration: model.configuration, configurationDocument: document,
      quantization: nil, tensors: tensors, census: census, sidecars: sidecars.carried, leftBehind: sidecars.left,
      inputFiles: inputFiles, notes: notes, inferences: model.inferences, shardCount: files.count)
  }

  var configuration: LlamaConfiguration { model.configuration }
  /// What is odd about the parameters.
  var warnings: [String] { model.warnings }

  func tensor(_ role: TensorRole, named name: String) throws -> LogicalTensor { try logicalTensor(role, name) }

  private func logicalTensor(_ role: TensorRole, _ name: String) throws -> LogicalTensor {
    var rows = merged(try blocks(name), role)
    if role == .tokenEmbedding, model.configuration.tiesEmbeddings, headIsEmbedding,
      !files[0].areAliases(Self.headName, Self.embeddingName)
    {
      rows = .replicas([rows, merged(try blocks(Self.headName), .outputHead)])
    }
    let shape = model.configuration.shape(of: role)
    if files[0].info(name)?.elementType == .f8e4m3 {
      return LogicalTensor(
        role: role, shape: shape, elementType: .f8e4m3, rows: rows,
        quantization: try scales.quantization(of: role, shape: shape, split: model.rules.split(of: role), path: path))
    }
    let type = files[0].info(name)?.elementType
    if type == .i8, let integers, shape.rank == 2 {
      return LogicalTensor(
        role: role, shape: shape, elementType: .i8, rows: rows,
        quantization: try integers.quantization(of: role, shape: shape))
    }
    guard let type, type.isComputable else {
      throw ParseFailure(
        "the tensor is \(type?.rawValue ?? "missing"), expected F32, F16 or BF16",
        file: files[0].place, item: name,
        advice: type == .i8 && integers == nil
          ? "params.json has no quantization_args that say what the codes mean" : nil)
    }
    return LogicalTensor(role: role, shape: shape, elementType: type, rows: rows)
  }

  private func blocks(_ name: String) throws(ParseFailure) -> [RowExpression] {
    var blocks: [RowExpression] = []
    for file in files {
      guard let info = file.info(name) else {
        throw ParseFailure("the tensor is missing", file: file.place, item: name)
      }
      blocks.append(.stored(StoredRows(source: file, tensor: info)))
    }
    return blocks
  }

  /// The whole tensor from its blocks, by the table of tensor-parallel rules.
  private func merged(_ blocks: [RowExpression], _ role: TensorRole) -> RowExpression {
    guard blocks.count > 1 else { return blocks[0] }
    let copies = model.rules.copies(of: role, model.configuration, shards: blocks.count)
    let distinct = stride(from: 0, to: blocks.count, by: copies).map { start in
      copies == 1 ? blocks[start] : RowExpression.replicas(Array(blocks[start..<start + copies]))
    }
    switch model.rules.split(of: role) {
    case .replicated: return distinct[0]
    case .rows: return distinct.count == 1 ? distinct[0] : .concatenatedRows(distinct)
    case .columns: return .concatenatedColumns(distinct)
    }
  }
}

extension MetaShard {
  fileprivate init(fileName: String, _ file: any TensorSource) {
    var checksums: [UTF8Key: UInt32] = [:]
    for tensor in file.tensors { checksums[UTF8Key(tensor.name)] = file.checksum(of: tensor.name) }
    self.init(
      fileName: fileName,
      entries: file.tensors.map { Census.Entry(name: $0.name, elementType: $0.elementType, shape: $0.shape) },
      checksums: checksums)
  }
}
