internal import ByteIO
internal import Checkpoints
internal import GGUFFormat
internal import Llama
internal import Quantization
internal import SafetensorsFormat
internal import Tensors

/// Which layout a conversion writes, decided from input and options, and what that layout demands.
struct OutputLayout {
  let layout: Checkpoint.Layout
  private let shards: Int
  private let rules: TensorParallelRules
  /// Of a GGUF.
  private let mixture: GGUFMixture?
  /// How integer codes that are taken over lie in safetensors.
  private let integerForms: IntegerForms
  /// How linears are rounded, when the target is integers or mixed types.
  let rounding: LinearRounding?
  let importance: ImportanceMatrix?
  private let card: ModelCard?
  /// What the input's configuration, which stays, calls the scales of a module.
  private let scaleSuffixes: [TensorRole: String]
  /// Files of the tokenizer that the input holds inside, in this layout's forms.
  private let tokenizerDocuments: [ConversionPlan.PlannedDocument]
  /// What readers of the layout will not understand.
  let warnings: [String]

  /// - Throws: `ConversionFailure` of kind `.usage` for options that no layout can satisfy together.
  init(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws {
    layout = try Self.layout(checkpoint, options)
    rules = TensorParallelRules(embeddingSplit: checkpoint.configuration.metaEmbeddingSplit)
    var warnings: [String] = []
    if layout == .meta {
      shards = options.tensorParallel ?? checkpoint.shardCount
      do { try rules.checkDivisible(checkpoint.configuration, shards: shards) } catch {
        throw ConversionFailure(.usage, "--tp \(shards): \(error)")
      }
      warnings = MetaParameters.remarks(for: checkpoint.configuration, shards: shards)
    } else {
      guard options.tensorParallel == nil else {
        throw ConversionFailure(
          .usage, "--tp cuts Meta checkpoints; it needs --format pth (safetensors are cut by size: --max-shard-size)")
      }
      shards = 1
    }
    guard options.maximumShardSize == nil || layout == .huggingFace || layout == .gguf else {
      throw ConversionFailure(
        .usage,
        "--max-shard-size cuts safetensors and GGUF by size; Meta shards are cut by --tp, a compact file is one file")
    }
    guard layout == .gguf || options.maximumShardTensors == nil else {
      throw ConversionFailure(.usage, "--max-shard-tensors splits GGUF files; use it with --format gguf")
    }
    guard layout == .compact || !options.compresses else {
      throw ConversionFailure(.usage, "--compress is for compact files; use it with --format compact")
    }
    importance = try Self.importance(checkpoint, options, layout)
    rounding = try LinearRounding(checkpoint, options, layout)
    integerForms = try IntegerForms(checkpoint, options, layout)
    guard layout == .gguf || options.tensorTypes.isEmpty else {
      throw ConversionFailure(.usage, "--tensor-type gives types to a GGUF's tensors; it needs --format gguf")
    }
    mixture = layout == .gguf ? try GGUFMixture(checkpoint, options) : nil
    let quantized = checkpoint.tensors.filter(\.isQuantized)
    if !quantized.isEmpty && !options.target.dequantizes {
      let carried = CarriedQuantization(checkpoint, shards: shards)
      for tensor in quantized {
        guard let obstacle = carried.obstacle(tensor, in: layout) else { continue }
        let name = checkpoint.layout.dialect.name(for: tensor.role)
        throw ConversionFailure(
          .usage, "\(checkpoint.path): \(name) is quantized, and \(obstacle); add --to bf16, f16 or f32")
      }
      if layout == .huggingFace && checkpoint.layout == .meta && options.target != .fp8(.fp8FBGEMM) {
        warnings.append(
          "Meta bounds row maxima of activations by \(Int(QuantizationConfiguration.metaActivationBound)) when it serves the model, which this layout cannot say; --to fp8-fbgemm writes one that can"
        )
      }
    }
    if layout == .gguf, checkpoint.tokenizerKeys == nil, !checkpoint.hasTokenizerFile {
      warnings.append("the model has no tokenizer, and llama.cpp loads no GGUF without one")
    }
    if layout == .compact {
      for sidecar in checkpoint.sidecars where CompactProfile.tensorName(ofFile: sidecar.name) == nil {
        warnings.append("\(sidecar.name) is left behind: its name is too long for a compact file")
      }
    }
    do { card = layout == .gguf ? try checkpoint.modelCard() : nil } catch let failure as ParseFailure {
      card = nil
      warnings.append("\(failure)")
    }
    scaleSuffixes =
      layout == .huggingFace && options.target == .unchanged
      ? Dictionary(
        checkpoint.tensors.compactMap { tensor in checkpoint.scaleSuffix(of: tensor.role).map { (tensor.role, $0) } },
        uniquingKeysWith: { first, _ in first }) : [:]
    do {
      tokenizerDocuments = try checkpoint.tokenizerFiles(for: layout).map { .init(name: $0.name, bytes: $0.bytes) }
    } catch let failure as ParseFailure {
      tokenizerDocuments = []
      warnings.append(
        checkpoint.tokenizerKeys == nil
          ? "the tokenizer is carried over as it is, since it cannot be made in this layout's form: \(failure.message)"
          : "the tokenizer is left behind, since it cannot be written in this layout's form: \(failure.message)")
    }
    self.warnings = warnings
  }

  private static func importance(
    _ checkpoint: Checkpoint, _ options: ConversionOptions, _ layout: Checkpoint.Layout
  ) throws -> ImportanceMatrix? {
    guard let (matrix, name) = options.importance.map({ ($0.matrix, $0.name) }) else { return nil }
    guard layout == .gguf else {
      throw ConversionFailure(.usage, "--imatrix weighs the columns of GGUF's blocks; it needs --to with such a type")
    }
    let names = checkpoint.tensors.map { NamingDialect.gguf.name(for: $0.role) }
    guard names.contains(where: { matrix.weights(of: $0) != nil }) else {
      throw ConversionFailure(.usage, "--imatrix \(name) has nothing about any tensor of this model")
    }
    return matrix
  }

  private static func layout(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws -> Checkpoint.Layout {
    switch options.target {
    case .fp8(let recipe):
      // A compact file holds all recipes; where one comes in and nothing else is asked for, one goes out.
      let layout = options.layout ?? (checkpoint.layout == .compact ? .compact : .huggingFace)
      guard layout == .huggingFace || layout == .compact || layout == .meta && recipe == .fp8Meta else {
        throw ConversionFailure(
          .usage,
          "\(recipe.rawValue) is a layout of safetensors; --format pth can hold fp8-meta and int4-meta, --format gguf ggml's types, --format compact all but those"
        )
      }
      return layout
    case .int4Meta:
      let layout = options.layout ?? (checkpoint.layout == .compact ? .compact : .meta)
      guard layout == .meta || layout == .compact else {
        throw ConversionFailure(
          .usage, "int4-meta is a layout of Meta checkpoints; use it with --format pth or compact")
      }
      return layout
    case .ggml(let type):
      guard options.layout ?? .gguf == .gguf else {
        throw ConversionFailure(.usage, "\(type) is a type of GGUF files; use it with --format gguf")
      }
      return .gguf
    case .integers(let bits):
      let layout = options.layout ?? (checkpoint.layout == .compact ? .compact : .huggingFace)
      guard layout == .huggingFace || layout == .compact else {
        throw ConversionFailure(
          .usage,
          "int\(bits) is a layout of safetensors; use it with --format safetensors or compact (for Meta's loader there is int4-meta, for llama.cpp q4_0 and its like)"
        )
      }
      return layout
    case .mixed:
      let layout = options.layout ?? (checkpoint.layout == .compact ? .compact : .huggingFace)
      guard layout == .huggingFace || layout == .compact else {
        throw ConversionFailure(
          .usage, "mixed types are a layout of safetensors; use them with --format safetensors or compact")
      }
      return layout
    case .unchanged, .element: return options.layout ?? checkpoint.layout
    }
  }

  var dialect: NamingDialect { layout.dialect }

  /// The type that a GGUF's mixture gives a tensor; nil in other layouts.
  func elementType(of tensor: LogicalTensor) -> ElementType? { mixture?.elementType(of: tensor) }

  /// Elements of a row that share a scale when a matrix is rounded to FP8 with a scale for each row: each shard of a Meta
  /// checkpoint has scales for what it holds of a row.
  func columnsOfOneScale(_ role: TensorRole, columns: Int) -> Int {
    layout == .meta && rules.split(of: role) == .columns ? columns / shards : columns
  }

  /// Under which name the scales of a weight are planned. In Meta's FP8 files they have another one for each rank.
  func scaleName(_ role: TensorRole, of codes: ElementType) -> String {
    switch layout {
    case .meta where codes == .i8: MetaQuantizedNames.integerScalesName(of: role)
    case .meta, .gguf: dialect.name(for: role) + "_scale"
    case .compact: CompactNames.scaleName(of: role)
    case .huggingFace: dialect.companionName(of: role, suffix: scaleSuffixes[role] ?? "weight_scale")
    }
  }

  /// Under which name the zero points of a weight are planned.
  func zeroPointName(_ role: TensorRole) -> String {
    layout == .compact
      ? CompactNames.zeroPointName(of: role)
      : dialect.companionName(of: role, suffix: PackedWeight.Part.zeroPoints.rawValue)
  }

  /// A stored tensor as this layout takes it over: where it stores zero points always, or scales in F16.
  func takenOver(_ tensor: LogicalTensor) -> LogicalTensor {
    guard layout == .huggingFace, let quantization = tensor.quantization, tensor.elementType == .i8,
      let integerLayout = integerForms.layout(of: tensor)
    else { return tensor }
    return tensor.inForm(of: integerLayout, quantization)
  }

  /// The words that integer codes are written in; nil where they are written as they are.
  func packing(of tensor: LogicalTensor, _ operation: PlannedStep.Operation) -> PackedWeight? {
    guard layout == .huggingFace else { return nil }
    switch operation {
    case .copy:
      guard let quantization = tensor.quantization, tensor.elementType == .i8,
        let integerLayout = integerForms.layout(of: tensor)
      else { return nil }
      let groups = quantization.scaleShape.dimensions.dropFirst().reduce(1, *)
      return PackedWeight(
        layout: integerLayout, bits: quantization.bits, rows: tensor.rowCount, columns: tensor.columnCount,
        groupCount: groups, hasZeroPoints: quantization.zeroPoints != nil,
        hasGroupIndex: quantization.columnGroups != nil)
    case .quantizeGroups(let quantizer), .calibrate(let quantizer):
      return quantizer.layout.map {
        PackedWeight(
          layout: $0, bits: quantizer.grid.bits, rows: tensor.rowCount, columns: tensor.columnCount,
          groupCount: quantizer.grid.groupCount(columns: tensor.columnCount),
          hasZeroPoints: !quantizer.grid.isSymmetric,
          hasGroupIndex: quantizer.groupsByActivation)
      }
    default: return nil
    }
  }

  /// The factors of a low-rank adapter.
  func adapterNames(of role: TensorRole) -> (a: String, b: String) {
    layout == .compact ? CompactNames.adapterNames(of: role) : MetaQuantizedNames.adapterNames(of: role)
  }

  /// The output can be one file whose name the user gives.
  var isOneFile: Bool { layout == .gguf || layout == .compact }

  /// Whether a file of the model is inside the output's own file: as it is, or what it says.
  func carriesInside(_ file: SidecarFile) -> Bool {
    switch layout {
    case .compact: CompactProfile.tensorName(ofFile: file.name) != nil
    case .gguf:
      [
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json",
        "added_tokens.json",
      ].contains(file.name)
    case .huggingFace, .meta: false
    }
  }

  /// Whether it is written beside the weights.
  func carriesBeside(_ file: SidecarFile, singleFile: Bool) -> Bool {
    switch layout {
    case .huggingFace, .meta: true
    case .gguf: file.isNotice && !singleFile
    case .compact: false
    }
  }

  /// The places of all tensors, and the files whose bytes are known now.
  func plan(
    _ steps: [PlannedStep], _ checkpoint: Checkpoint, _ options: ConversionOptions, _ selection: ModuleSelection,
    name: String
  ) throws -> (any PlannedOutput, [ConversionPlan.PlannedDocument]) {
    switch layout {
    case .huggingFace:
      let output = try SafetensorsOutput(steps, options)
      let quantization = try quantizationDocument(steps, checkpoint, selection)
      let configuration = OutputConfiguration.document(
        checkpoint, target: options.target, selection: selection, quantization: quantization)
      var documents = [Self.document("config.json", configuration)]
      // What AutoGPTQ and its followers read.
      if let quantization, quantization["quant_method"]?.string == "gptq" {
        documents.append(Self.document("quantize_config.json", quantization))
      }
      if let index = output.plan.index {
        documents.append(.init(name: SafetensorsIndex.fileName, bytes: Array(index.serialized().utf8)))
      }
      return (output, documents + tokenizerDocuments)
    case .meta:
      let output: MetaOutput
      do {
        try checkGroups(steps)
        output = try MetaOutput(steps, checkpoint.configuration, rules, shards: shards)
      } catch let failure as ParseFailure {
        throw ConversionFailure(.usage, "--tp \(shards): \(failure)")
      }
      let parameters = MetaParameters.document(
        for: checkpoint.configuration, shards: shards, integers: Self.integers(checkpoint, options.target))
      return (output, [Self.document("params.json", parameters)] + tokenizerDocuments)
    case .gguf:
      let hasBlocks = steps.contains { $0.weight.elementType.block != nil }
      // A copy of a GGUF is of the type that it was, whoever made it.
      let isCopy = checkpoint.layout == .gguf && mixture?.keepsBlocks == true
      let metadata = try checkpoint.ggufMetadata(
        fileType: isCopy ? nil : mixture?.fileType.id, hasBlocks: hasBlocks, importance: options.importance,
        card: card, recordsInput: options.sumsFiles)
      guard importance == nil || hasBlocks else {
        throw ConversionFailure(.usage, "--imatrix weighs the columns of blocks, and no tensor is made one")
      }
      if let difference = checkpoint.differenceThroughGGUF(metadata) {
        throw ConversionFailure(.usage, "\(checkpoint.path): a GGUF cannot hold this configuration: \(difference)")
      }
      let output = try GGUFOutput(
        steps, metadata, ropeFactors: checkpoint.ropeFactors, name: Checkpoint.stem(ofGGUF: name) ?? name,
        limits: .init(
          size: options.maximumShardSize.map { ByteSize($0) }, tensorCount: options.maximumShardTensors))
      return (output, [])
    case .compact:
      let configuration = OutputConfiguration.document(
        checkpoint, target: options.target, selection: selection,
        quantization: try quantizationDocument(steps, checkpoint, selection))
      let files =
        checkpoint.sidecars.map { CompactOutput.InsideFile(name: $0.name, content: .sidecar($0)) }
        + tokenizerDocuments.map { CompactOutput.InsideFile(name: $0.name, content: .bytes($0.bytes)) }
      let output = try CompactOutput(
        steps, configuration: configuration.serialized(.indented), files: files,
        name: Checkpoint.stem(ofGGUF: name) ?? name, isCompressed: options.compresses,
        recordsInput: options.sumsFiles)
      return (output, [])
    }
  }

  /// `quantization_config` where it is made anew for integers or mixed types; nil where it is not.
  private func quantizationDocument(
    _ steps: [PlannedStep], _ checkpoint: Checkpoint, _ selection: ModuleSelection
  ) throws -> JSONValue? {
    if let rounding { return rounding.document(steps, kept: selection.kept, isCompact: layout == .compact) }
    return try integerForms.document(checkpoint)
  }

  /// Groups of int4 codes lie within a shard.
  private func checkGroups(_ steps: [PlannedStep]) throws {
    for step in steps {
      guard case .quantizeIntegers(.int4Groups(let size)) = step.operation else { continue }
      let columns = columnsOfOneScale(step.input.role, columns: step.input.columnCount)
      guard columns % size == 0 else {
        throw ConversionFailure(
          .usage,
          "\(step.weight.name): the \(columns) columns of a shard are no whole number of groups of \(size); use fewer shards (--tp)"
        )
      }
    }
  }

  /// What `params.json` says of int4 codes, taken over or made now.
  private static func integers(
    _ checkpoint: Checkpoint, _ target: TargetType
  ) -> (MetaParameters.Quantization, MetaParameters.Adapters?)? {
    switch target {
    case .int4Meta: return (.init(groupSize: IntegerRecipe.metaGroupSize, usesSpinQuant: false), nil)
    case .unchanged:
      let codes = checkpoint.tensors.filter { $0.elementType == .i8 && $0.role.layer != nil }
      let linears = codes.compactMap(\.quantization)
      guard case .block(_, let size) = linears.first?.scheme else { return nil }
      return (
        .init(groupSize: size, usesSpinQuant: linears.contains(where: \.isRotated)),
        linears.lazy.compactMap(\.adapter).first.map { .init(rank: $0.rank, scale: $0.factor) }
      )
    default: return nil
    }
  }

  private static func document(_ name: String, _ value: JSONValue) -> ConversionPlan.PlannedDocument {
    .init(name: name, bytes: Array(value.serialized(.indented).utf8))
  }
}
