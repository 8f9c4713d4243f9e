internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// Which modules a recipe quantizes, after `--ignore` and `--only`.
struct ModuleSelection {
  /// Full module names, in model order, that are linear and stay unquantized.
  let kept: [String]
  let warnings: [String]
  private let quantized: Set<TensorRole>

  /// - Throws: `ConversionFailure` when a pattern matches nothing or the model is quantized already.
  init(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws {
    let selects: (_ role: TensorRole, _ layerCount: Int) -> Bool
    var takesOver = false
    switch options.target {
    case .fp8(let recipe):
      selects = {
        recipe.selectsLinear(inLayer: $0.layer, isFeedForward: $0.isFeedForward, layerCount: $1)
      }
      takesOver = Self.isLaidOutAnew(checkpoint, recipe) && options.ignore.isEmpty && options.only.isEmpty
    case .integers, .mixed: selects = { role, _ in role.layer != nil }
    default:
      guard options.ignore.isEmpty && options.only.isEmpty else {
        let reason =
          options.target == .int4Meta
          ? "Meta's loader takes every module for int4"
          : "they need --to with a quantized type"
        throw ConversionFailure(.usage, "--ignore and --only choose what is quantized; \(reason)")
      }
      kept = []
      warnings = []
      quantized = options.target == .int4Meta ? try Self.allMatrices(of: checkpoint) : []
      return
    }
    if !takesOver { try Self.refuseQuantized(checkpoint) }
    let modules = checkpoint.tensors.filter { $0.role.isLinear }.map {
      ($0.role, NamingDialect.huggingFace.moduleName(of: $0.role))
    }
    // A tied head has no tensor, but it is a module, and many name it in --ignore by habit.
    let names = modules.map(\.1) + [NamingDialect.huggingFace.moduleName(of: .outputHead)]
    let ignore = try Self.patterns(options.ignore, "--ignore", names)
    let only = try Self.patterns(options.only, "--only", names)
    let layerCount = checkpoint.configuration.layerCount
    var kept: [String] = []
    var quantized: Set<TensorRole> = []
    for (role, module) in modules {
      if selects(role, layerCount) && !ignore.matches(module) && (options.only.isEmpty || only.matches(module)) {
        quantized.insert(role)
      } else {
        kept.append(module)
      }
    }
    guard !quantized.isEmpty else {
      throw ConversionFailure(
        .usage, "no module is left to quantize to \(options.target); change --ignore or --only")
    }
    self.kept = kept
    self.quantized = quantized
    let keptNames = Set(kept.map { Array($0.utf8) })
    warnings = FusedModules.split(among: modules.map(\.1), groups: Self.fusedGroups) {
      !keptNames.contains(Array($0.utf8))
    }.map { "\($0); vLLM fuses these projections and refuses a model that treats them differently" }
  }

  /// Embedding, head and all linears of the layers.
  private static func allMatrices(of checkpoint: Checkpoint) throws -> Set<TensorRole> {
    try refuseQuantized(checkpoint)
    return Set(checkpoint.tensors.map(\.role).filter { $0.isLinear || $0 == .tokenEmbedding })
  }

  private static func refuseQuantized(_ checkpoint: Checkpoint) throws {
    guard let tensor = checkpoint.tensors.first(where: \.isQuantized) else { return }
    throw ConversionFailure(
      .usage,
      "\(checkpoint.path): the model is quantized already (\(checkpoint.layout.dialect.name(for: tensor.role)) is \(tensor.elementType)); rounding it twice would hurt: convert it with --to bf16 first, or start from the original"
    )
  }

  /// The model has just the codes and scales that the recipe gives, perhaps in another layout: they are taken over.
  private static func isLaidOutAnew(_ checkpoint: Checkpoint, _ recipe: FP8Recipe) -> Bool {
    guard recipe.layerSelection == .innerFeedForward else { return false }
    let layerCount = checkpoint.configuration.layerCount
    return checkpoint.tensors.contains { $0.quantization != nil }
      && checkpoint.tensors.allSatisfy { tensor in
        let isChosen =
          tensor.role.isLinear
          && recipe.selectsLinear(
            inLayer: tensor.role.layer, isFeedForward: tensor.role.isFeedForward, layerCount: layerCount)
        guard let quantization = tensor.quantization else { return !isChosen }
        return isChosen && tensor.elementType == .f8e4m3 && quantization.scaleType == .f32
          && (quantization.scheme.isRowWise || checkpoint.layout == .meta)
          && quantization.companions.isEmpty
      }
  }

  /// Projections that vLLM concatenates into one matrix.
  private static let fusedGroups = [
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["mlp.gate_proj", "mlp.up_proj"],
  ]

  func isQuantized(_ role: TensorRole) -> Bool { quantized.contains(role) }

  private static func patterns(_ texts: [String], _ option: String, _ modules: [String]) throws -> ModulePatterns {
    let patterns: ModulePatterns
    do {
      patterns = try ModulePatterns(texts)
    } catch {
      throw ConversionFailure(.usage, "\(option): \(error)")
    }
    if let stray = patterns.unmatched(among: modules).first {
      throw ConversionFailure(
        .usage, "\(option) \(stray) matches no module of this model; modules are called like \(modules.first ?? "")")
    }
    return patterns
  }
}
