internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// How the linears of the layers are rounded where `--to` says no more than bits or goals: one way for all, or for each its
/// own.
struct LinearRounding {
  private let common: IntegerQuantizer?
  private let recipes: [TensorRole: LinearRecipe]
  /// What was chosen, where each has its own.
  let choice: TypeChoice?

  /// Nil for other targets.
  /// - Throws: `ConversionFailure` of kind `.usage` for options that contradict each other or the model.
  init?(_ checkpoint: Checkpoint, _ options: ConversionOptions, _ layout: Checkpoint.Layout) throws {
    guard options.target == .mixed else {
      guard let common = try IntegerTarget.quantizer(checkpoint, options, layout) else { return nil }
      (self.common, recipes, choice) = (common, [:], nil)
      return
    }
    guard let choice = options.types else {
      throw ConversionFailure(.usage, "mixed types have not been chosen; give --target-bits or --target-drift")
    }
    guard layout == .huggingFace || options.integers.layout == nil else {
      throw ConversionFailure(.usage, "--layout says how codes lie in safetensors; a compact file has one way")
    }
    let ways = try Self.recipes(options)
    let types = choice.typeOfModule
    recipes = Dictionary(
      checkpoint.tensors.compactMap { tensor -> (TensorRole, LinearRecipe)? in
        guard tensor.role.isLinear, let type = types[NamingDialect.huggingFace.moduleName(of: tensor.role)] else {
          return nil
        }
        return (tensor.role, ways.recipe(type, columns: tensor.columnCount))
      }, uniquingKeysWith: { first, _ in first })
    common = nil
    self.choice = choice
  }

  /// How a linear is rounded; nil for one of which nothing is said.
  func recipe(of role: TensorRole) -> LinearRecipe? { common.map { .integers($0) } ?? recipes[role] }

  /// Norms may take over factors of channels.
  var scalesChannels: Bool {
    common?.scalesChannels
      ?? recipes.values.contains { if case .integers(let quantizer) = $0 { quantizer.scalesChannels } else { false } }
  }

  /// What each type comes to.
  private static func recipes(_ options: ConversionOptions) throws -> LinearRecipes {
    let wishes = options.integers
    guard !wishes.isAsymmetric, wishes.smoothing == nil, !wishes.groupsByActivation else {
      throw ConversionFailure(
        .usage, "--asymmetric, --smooth and --act-order group are for --to int4 and int8, not for mixed types")
    }
    guard wishes.layout == nil || wishes.layout == .compressedTensors else {
      throw ConversionFailure(
        .usage, "mixed types are a layout of compressed-tensors; GPTQ's and AWQ's have one type for all linears")
    }
    let method = wishes.method ?? (wishes.isCalibrated ? .gptq : .mse)
    guard wishes.isCalibrated || !method.isCalibrated else {
      throw ConversionFailure(.usage, "--method \(method.rawValue) fits weights to text; add --calibrate")
    }
    switch wishes.groupSize {
    case nil: return LinearRecipes(method: method)
    case .channel: return LinearRecipes(method: method, groupSize: nil)
    case .elements(let size): return LinearRecipes(method: method, groupSize: size)
    }
  }

  /// `quantization_config`.
  /// - Parameters:
  ///   - steps: all of the plan.
  ///   - kept: full names of the linears that stay as they are.
  func document(_ steps: [PlannedStep], kept: [String], isCompact: Bool) -> JSONValue {
    if let common {
      return QuantizationConfiguration.document(
        for: .init(
          grid: common.grid, layout: isCompact ? common.documentLayout : common.layout,
          hasGroupIndex: common.groupsByActivation), kept: kept)
    }
    let linears = steps.compactMap { step in
      step.linearRecipe.map { (module: NamingDialect.huggingFace.moduleName(of: step.input.role), recipe: $0) }
    }
    return QuantizationConfiguration.document(mixing: linears, kept: kept)
  }
}

extension PlannedStep {
  /// How the step rounds a linear; nil where it does something else.
  var linearRecipe: LinearRecipe? {
    switch operation {
    case .quantizeFP8(let recipe, _): .fp8(recipe)
    case .quantizeGroups(let quantizer), .calibrate(let quantizer): .integers(quantizer)
    default: nil
    }
  }
}
