internal import ByteIO
internal import Llama
internal import Quantization
internal import Tensors

/// The integer weights of Meta's int4 checkpoints: linears of the layers as codes −8 … 7 with a scale for each group of a
/// row, embedding and head as int8 codes with a scale for each row, perhaps low-rank adapters; all in the shards.
struct MetaIntegers {
  let parameters: MetaParameters.Quantization
  let adapters: MetaParameters.Adapters?
  /// By rank.
  let files: [any TensorSource]
  let rules: TensorParallelRules

  /// Groups run along a row; embedding and head have one scale for a row.
  private func hasGroups(_ role: TensorRole) -> Bool { role.layer != nil }

  /// The tensors that belong to a weight in each shard.
  /// - Parameter shape: of the weight in a shard.
  func companions(_ role: TensorRole, shardShape shape: Shape) -> [Census.Companion] {
    guard role.isLinear || role == .tokenEmbedding, shape.rank == 2 else { return [] }
    let (rows, columns) = (shape.dimensions[0], shape.dimensions[1])
    let name = MetaQuantizedNames.integerScalesName(of: role)
    guard hasGroups(role) else { return [.init(name: name, shapes: [[rows, 1], [rows]], isRequired: true)] }
    let groups = columns / parameters.groupSize
    var companions = [Census.Companion(name: name, shapes: [[rows, groups]], isRequired: true)]
    if let adapters {
      let (a, b) = MetaQuantizedNames.adapterNames(of: role)
      companions.append(.init(name: a, shapes: [[adapters.rank, columns]], isRequired: false))
      companions.append(.init(name: b, shapes: [[rows, adapters.rank]], isRequired: false))
    }
    return companions
  }

  /// How a weight's codes become values.
  /// - Throws: `ParseFailure` for scales of another type or number, for zero points, for groups that shards cut.
  func quantization(of role: TensorRole, shape: Shape) throws(ParseFailure) -> StoredQuantization {
    let weight = NamingDialect.meta.name(for: role)
    let split = rules.split(of: role)
    let columns = shape.dimensions[1]
    func failure(_ message: String, advice: String? = nil) -> ParseFailure {
      ParseFailure(message, file: files[0].place, item: weight, advice: advice)
    }
    guard files.allSatisfy({ $0.info(MetaQuantizedNames.integerZerosName(of: role)) == nil }) else {
      throw failure("the codes have zero points; symmetric ones are read", advice: "start from the unquantized model")
    }
    var parts: [StoredRows] = []
    for file in files {
      let name = MetaQuantizedNames.integerScalesName(of: role)
      guard let info = file.info(name) else {
        throw ParseFailure("the scales are missing", file: file.place, item: name)
      }
      guard [.f32, .bf16, .f16].contains(info.elementType) else {
        throw ParseFailure(
          "the scales are \(info.elementType), expected F32, BF16 or F16", file: file.place, item: name)
      }
      parts.append(StoredRows(source: file, tensor: info))
    }
    let type = parts[0].tensor.elementType
    guard hasGroups(role) else {
      let (scheme, scales) = MergedRowScales.merged(parts, split: split, columns: columns)
      return StoredQuantization(
        scheme: scheme, scales: scales, scaleType: type,
        scaleShape: [scales.rowCount, scales.rowByteCount * 8 / type.bits], activations: .none)
    }
    let own = split == .columns ? columns / files.count : columns
    guard own % parameters.groupSize == 0 else {
      throw failure("\(own) columns of a shard are no whole number of groups of \(parameters.groupSize)")
    }
    let rows = parts.map { RowExpression.stored($0) }
    let scales: RowExpression =
      rows.count == 1 ? rows[0] : split == .columns ? .concatenatedColumns(rows) : .concatenatedRows(rows)
    let isRotated = parameters.usesSpinQuant && Self.isDown(role)
    guard !isRotated || columns & (columns - 1) == 0 else {
      throw failure("SpinQuant's rotation of \(columns) inputs is undone for powers of two only")
    }
    return StoredQuantization(
      scheme: .block(rows: 1, columns: parameters.groupSize), scales: scales, scaleType: type,
      scaleShape: [shape.rows, columns / parameters.groupSize], activations: .dynamicInt8PerToken,
      adapter: try adapter(of: role), isRotated: isRotated, bits: 4)
  }

  private func adapter(of role: TensorRole) throws(ParseFailure) -> LowRankAdapter? {
    let names = MetaQuantizedNames.adapterNames(of: role)
    guard let a = files[0].info(names.a), let b = files[0].info(names.b) else {
      guard files[0].info(names.a) == nil && files[0].info(names.b) == nil else {
        throw ParseFailure("one factor of the adapter is missing", file: files[0].place, item: names.a)
      }
      return nil
    }
    guard let adapters, files.count == 1 else {
      throw ParseFailure(
        adapters == nil
          ? "there is an adapter, but params.json has no lora_args that say its scale"
          : "adapters of several shards are not read", file: files[0].place, item: names.a)
    }
    for info in [a, b] where !info.elementType.isComputable || info.elementType == .f8e4m3 {
      throw ParseFailure(
        "the adapter is \(info.elementType), expected F32, BF16 or F16", file: files[0].place, item: info.name)
    }
    return LowRankAdapter(
      a: StoredRows(source: files[0], tensor: a), b: .stored(StoredRows(source: files[0], tensor: b)),
      bType: b.elementType, factor: adapters.scale)
  }

  private static func isDown(_ role: TensorRole) -> Bool {
    if case .layer(_, .down) = role { return true }
    return false
  }
}
