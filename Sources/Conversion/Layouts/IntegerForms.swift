internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// What `--to int4` and `int8` come to for a model.
enum IntegerTarget {
  /// Elements of a group where nothing else is said: what servers have kernels for, and published models use.
  static let defaultGroupSize = 128

  /// - Returns: nil for other targets.
  /// - Throws: `ConversionFailure` of kind `.usage` for options that contradict each other or the model.
  static func quantizer(
    _ checkpoint: Checkpoint, _ options: ConversionOptions, _ layout: Checkpoint.Layout
  ) throws -> IntegerQuantizer? {
    let wishes = options.integers
    if options.target == .fp8(.fp8Static), !wishes.isCalibrated {
      throw ConversionFailure(
        .usage, "fp8-static stores scales of activations, which are found on text; add --calibrate")
    }
    guard case .integers(let bits) = options.target else {
      guard wishes.method == nil, wishes.groupSize == nil, !wishes.isAsymmetric,
        !wishes.isCalibrated || options.target == .fp8(.fp8Static), wishes.smoothing == nil
      else {
        throw ConversionFailure(
          .usage, "--method, --group-size, --asymmetric, --smooth and --calibrate need --to int4, int8 or mixed")
      }
      return nil
    }
    if layout == .compact, wishes.layout != nil {
      throw ConversionFailure(.usage, "--layout says how codes lie in safetensors; a compact file has one way")
    }
    let integerLayout = wishes.layout ?? (bits == 4 && layout == .huggingFace ? .compressedTensors : nil)
    let grid = IntegerGrid(
      bits: bits, isSymmetric: !(wishes.isAsymmetric || integerLayout == .awq),
      groupSize: groupSize(wishes.groupSize, bits))
    let method = wishes.method ?? (wishes.isCalibrated && wishes.smoothing == nil ? .gptq : .mse)
    // SmoothQuant needs text whatever comes after it.
    guard method.isCalibrated == wishes.isCalibrated || wishes.smoothing != nil && wishes.isCalibrated else {
      throw ConversionFailure(
        .usage,
        method.isCalibrated
          ? "--method \(method.rawValue) fits weights to text; add --calibrate"
          : "--method \(method.rawValue) looks at weights alone; leave out --calibrate, or choose imse, gptq or awq")
    }
    let quantizer = IntegerQuantizer(
      grid: grid, method: method, layout: integerLayout, groupsByActivation: wishes.groupsByActivation,
      smoothing: wishes.smoothing)
    try check(quantizer, isCompact: layout == .compact)
    for tensor in checkpoint.tensors where tensor.role.isLinear && tensor.role.layer != nil {
      try check(quantizer, tensor, checkpoint)
    }
    return quantizer
  }

  private static func groupSize(_ wish: IntegerOptions.GroupSize?, _ bits: Int) -> Int? {
    switch wish {
    case .elements(let size): size
    case .channel: nil
    case nil: bits == 4 ? defaultGroupSize : nil
    }
  }

  private static func check(_ quantizer: IntegerQuantizer, isCompact: Bool) throws {
    let grid = quantizer.grid
    if quantizer.smoothing != nil, quantizer.activations == .none || quantizer.method.scalesChannels {
      throw ConversionFailure(
        .usage, "--smooth is for int8 with int8 activations (SmoothQuant), by another method than awq")
    }
    if quantizer.groupsByActivation {
      guard quantizer.method.feedsErrorsForward, grid.groupSize != nil else {
        throw ConversionFailure(.usage, "--act-order group is for groups of gptq and awq+gptq")
      }
      guard let layout = quantizer.layout, layout != .awq else {
        throw ConversionFailure(
          .usage, "--act-order group needs a layout that lists each input's group: compressed-tensors or gptq")
      }
    }
    if grid.bits == 8, quantizer.layout == nil, !isCompact, grid.groupSize != nil || !grid.isSymmetric {
      throw ConversionFailure(
        .usage,
        "int8 with int8 activations has one scale for each row and no zero points; for other weights add --layout compressed-tensors (weights only)"
      )
    }
    if grid.bits == 8, quantizer.layout == .awq {
      throw ConversionFailure(.usage, "AWQ has codes of 4 bits; use --to int4")
    }
    if grid.groupSize == nil, quantizer.layout == .awq {
      throw ConversionFailure(
        .usage, "AWQ's kernels take groups of inputs, not whole rows; use --group-size 128, 64 or 32")
    }
    if grid.bits == 8, !grid.isSymmetric { throw ConversionFailure(.usage, "--asymmetric is for int4") }
  }

  private static func check(_ quantizer: IntegerQuantizer, _ tensor: LogicalTensor, _ checkpoint: Checkpoint) throws {
    let name = NamingDialect.huggingFace.moduleName(of: tensor.role)
    if let size = quantizer.grid.groupSize, tensor.columnCount % size != 0 {
      let others = [128, 64, 32].filter { size in
        checkpoint.tensors.allSatisfy { !$0.role.isLinear || $0.role.layer == nil || $0.columnCount % size == 0 }
      }
      let advice = (others.map(String.init) + ["channel"]).joined(separator: ", ")
      throw ConversionFailure(
        .usage,
        "\(name): its \(tensor.columnCount) inputs are no whole number of groups of \(size); use --group-size \(advice)"
      )
    }
    guard let layout = quantizer.layout else { return }
    let packed = PackedWeight(
      layout: layout, bits: quantizer.grid.bits, rows: tensor.rowCount, columns: tensor.columnCount,
      groupCount: quantizer.grid.groupCount(columns: tensor.columnCount), hasZeroPoints: !quantizer.grid.isSymmetric,
      hasGroupIndex: quantizer.groupsByActivation)
    if let obstacle = packed.obstacle { throw ConversionFailure(.usage, "\(name): \(obstacle)") }
  }
}

extension IntegerQuantizer {
  /// What `config.json` inside a compact file says: the layout that it would be taken over to.
  var documentLayout: IntegerLayout? { grid.bits == 4 ? .compressedTensors : layout }
}

/// How integer codes that a model has already lie in the safetensors that are written.
struct IntegerForms {
  private let layouts: [TensorRole: IntegerLayout]
  /// The layout was asked for and is another than the input's.
  private let isNew: Bool

  /// - Throws: `ConversionFailure` of kind `.usage` when the layout that is asked for cannot hold them.
  init(_ checkpoint: Checkpoint, _ options: ConversionOptions, _ layout: Checkpoint.Layout) throws {
    guard options.target == .unchanged, layout == .huggingFace else {
      (layouts, isNew) = ([:], false)
      if options.integers.layout != nil, !options.target.isIntegers, options.target != .mixed {
        throw ConversionFailure(
          .usage,
          "--layout says how integer codes lie in safetensors; it needs --to int4, int8 or mixed, or a model that has such"
        )
      }
      return
    }
    let coded = checkpoint.tensors.filter { $0.elementType == .i8 && $0.quantization != nil }
    guard let wish = options.integers.layout else {
      layouts = Dictionary(
        coded.compactMap { tensor in checkpoint.integerLayout(of: tensor.role).map { (tensor.role, $0) } },
        uniquingKeysWith: { first, _ in first })
      isNew = false
      return
    }
    guard !coded.isEmpty else {
      throw ConversionFailure(.usage, "\(checkpoint.path): --layout is for integer codes, and the model has none")
    }
    for tensor in coded { try Self.check(tensor, wish, checkpoint) }
    layouts = Dictionary(coded.map { ($0.role, wish) }, uniquingKeysWith: { first, _ in first })
    // Types are mixed in compressed-tensors alone: the input's configuration says all there is to say.
    let other = checkpoint.tensors.first { $0.quantization != nil && $0.elementType != .i8 }
    guard other == nil || wish == .compressedTensors else {
      throw ConversionFailure(
        .usage, "\(checkpoint.path): its modules differ in type, and \(wish.rawValue) has one kind for all")
    }
    isNew = other == nil
  }

  private static func check(_ tensor: LogicalTensor, _ layout: IntegerLayout, _ checkpoint: Checkpoint) throws {
    let name = checkpoint.layout.dialect.name(for: tensor.role)
    func refusal(_ reason: String) -> ConversionFailure {
      ConversionFailure(.usage, "\(checkpoint.path): \(name): \(reason); add --to bf16, f16 or f32")
    }
    guard let quantization = tensor.quantization, tensor.role.layer != nil else {
      throw refusal("layouts of integer codes are for the linears of the layers")
    }
    guard quantization.adapter == nil, !quantization.isRotated else {
      throw refusal("it has an adapter or a rotation, which \(layout.rawValue) does not know")
    }
    guard quantization.activations == .none else {
      throw refusal("its activations are quantized, which \(layout.rawValue) does not know")
    }
    guard layout != .awq || !quantization.scheme.isRowWise else {
      throw refusal("AWQ's kernels take groups of inputs, and each of its scales is for a whole row")
    }
    let groups = quantization.scaleShape.dimensions.dropFirst().reduce(1, *)
    let packed = PackedWeight(
      layout: layout, bits: quantization.bits, rows: tensor.rowCount, columns: tensor.columnCount, groupCount: groups,
      hasZeroPoints: quantization.zeroPoints != nil, hasGroupIndex: quantization.columnGroups != nil)
    if let obstacle = packed.obstacle { throw refusal(obstacle) }
  }

  /// Nil where codes are written as they are.
  func layout(of tensor: LogicalTensor) -> IntegerLayout? { layouts[tensor.role] }

  /// `quantization_config` for a new layout; nil where the input's stays.
  /// - Throws: `ConversionFailure` when the modules differ in what the layout says of all together.
  func document(_ checkpoint: Checkpoint) throws -> JSONValue? {
    guard isNew else { return nil }
    let linears = checkpoint.tensors.filter { $0.role.isLinear }
    let coded = linears.filter { layouts[$0.role] != nil }
    guard let first = coded.first, let quantization = first.quantization, let layout = layouts[first.role] else {
      return nil
    }
    func grid(_ stored: StoredQuantization) -> IntegerGrid {
      var size: Int?
      if case .block(_, let columns) = stored.scheme { size = columns }
      return IntegerGrid(
        bits: stored.bits, isSymmetric: stored.zeroPoints == nil && layout != .awq, groupSize: size)
    }
    let common = grid(quantization)
    guard coded.allSatisfy({ $0.quantization.map(grid) == common }) else {
      throw ConversionFailure(
        .usage, "\(checkpoint.path): its modules differ, and \(layout.rawValue) has one kind for all")
    }
    let kept = linears.filter { layouts[$0.role] == nil }.map { NamingDialect.huggingFace.moduleName(of: $0.role) }
    guard !layout.isGPTQ || kept.allSatisfy({ $0 == NamingDialect.huggingFace.moduleName(of: .outputHead) }) else {
      throw ConversionFailure(.usage, "\(checkpoint.path): GPTQ quantizes all linears of the layers, here some are not")
    }
    return QuantizationConfiguration.document(
      for: .init(
        grid: common, layout: layout,
        hasGroupIndex: coded.contains { $0.quantization?.columnGroups != nil }), kept: kept)
  }
}

extension TargetType {
  var isIntegers: Bool { if case .integers = self { true } else { false } }
}

extension LogicalTensor {
  /// Its scales and zero points as a layout wants them: AWQ's has zero points always, GPTQ's and AWQ's scales are F16.
  func inForm(of layout: IntegerLayout, _ quantization: StoredQuantization) -> LogicalTensor {
    var scales = quantization.scales
    var type = quantization.scaleType
    if layout.storesF16Scales, type != .f16 {
      scales = .recast(scales, from: type, to: .f16)
      type = .f16
    }
    let groups = quantization.scaleShape.dimensions.dropFirst().reduce(1, *)
    let zeroPoints =
      quantization.zeroPoints
      ?? (layout == .awq ? RowExpression.zeros(rowCount: rowCount, rowByteCount: groups) : nil)
    return LogicalTensor(
      role: role, shape: shape, elementType: elementType, rows: rows,
      quantization: StoredQuantization(
        scheme: quantization.scheme, scales: scales, scaleType: type, scaleShape: [rowCount, groups],
        activations: quantization.activations, companions: quantization.companions, adapter: quantization.adapter,
        isRotated: quantization.isRotated, bits: quantization.bits, zeroPoints: zeroPoints,
        columnGroups: quantization.columnGroups))
  }
}
