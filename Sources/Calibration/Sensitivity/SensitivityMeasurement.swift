internal import ByteIO
public import Checkpoints
internal import Inference
internal import Kernels
internal import Llama
public import Quantization
internal import Tensors

/// What is measured, and within which limits. Threads and memory change no digit.
public struct SensitivitySettings: Sendable {
  public var granularity: LinearUnit.Granularity
  /// Each once.
  public var types: [LinearType]
  /// The method is one that looks at weights alone.
  public var recipes: LinearRecipes
  public var threads: Int
  /// The process's resident memory must stay below so many bytes.
  public var maximumMemory: UInt64
  /// Asked at safe points; throws to stop.
  public var checkCancellation: @Sendable () throws -> Void

  /// As `llama-verify`.
  public static let defaultContext = 512
  /// Sixteen windows: enough to rank units, and for errors that are a fraction of what int4 causes.
  public static let defaultTokens = 8192

  public init(
    granularity: LinearUnit.Granularity = .group, types: [LinearType] = LinearType.allCases,
    recipes: LinearRecipes = LinearRecipes(), threads: Int, maximumMemory: UInt64 = .max,
    checkCancellation: @escaping @Sendable () throws -> Void = {}
  ) {
    self.granularity = granularity
    self.types = types
    self.recipes = recipes
    self.threads = threads
    self.maximumMemory = maximumMemory
    self.checkCancellation = checkCancellation
  }

  /// Products in binary32, which are the same to the bit on any processor: so are the types that are chosen by them.
  fileprivate func forward(tokensPerChunk: Int) -> ForwardSettings {
    let sets = InstructionSet.available.filter(\.multipliesInFloat32)
    return ForwardSettings(
      threads: threads, instructionSet: sets.max() ?? .scalar, tokensPerChunk: tokensPerChunk,
      checkCancellation: checkCancellation)
  }
}

/// What stands in the way of measuring or choosing.
public enum SensitivityFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The hidden states and a layer pass the budget.
  case memory(needed: UInt64, allowed: UInt64)
  /// A module of the model was rounded already.
  case quantizedAlready(String)
  /// The method fits weights to text, one layer after the other.
  case calibratedMethod(IntegerMethod)

  public var description: String {
    switch self {
    case .memory(let needed, let allowed):
      "about \(ByteSize(needed)) of memory are needed, --max-memory allows \(ByteSize(allowed)); raise it or use fewer --tokens or a shorter --context"
    case .quantizedAlready(let module):
      "\(module) is quantized already; what rounding does is measured on the original model"
    case .calibratedMethod(let method):
      "sensitivity is measured with methods that look at weights alone (rtn, mse, hqq); \(method.rawValue) fits them to text"
    }
  }
}

extension SensitivityTable {
  /// Told how many layers are done, of how many: of the model and all its variants.
  public typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

  /// Measures: for each unit and type the model runs once more with that unit rounded, from the unit's layer on.
  /// - Parameter digest: of the model, to be kept.
  /// - Throws: `SensitivityFailure`, `ParseFailure`, `FileFailure`, what `checkCancellation` throws.
  public init(
    measuring checkpoint: Checkpoint, on text: CalibrationText, settings: SensitivitySettings, digest: String? = nil,
    progress: @escaping Progress = { _, _ in }
  ) throws {
    var measurement = try SensitivityMeasurement(checkpoint, text, settings, progress)
    let units = try measurement.run()
    self.init(
      model: FileSystem.lastComponent(of: checkpoint.path), digest: digest,
      text: Text(
        name: text.name, sha256: text.sha256, context: text.context, windowSizes: text.scoredTokens),
      granularity: settings.granularity, types: settings.types, recipes: settings.recipes, units: units)
  }
}

/// The measuring itself.
private struct SensitivityMeasurement {
  /// One unit at one type.
  private struct Variant {
    let unit: LinearUnit
    let type: LinearType
  }

  private let tensors: [TensorRole: LogicalTensor]
  private let weights: CheckpointWeights
  private let settings: SensitivitySettings
  /// Variants that advance together.
  private let width: Int
  /// Tokens of each window that are scored.
  private let windowSizes: [Int]
  private var scorer: BranchScorer
  private var done: Work

  /// Counts layers that tokens went through; the head is counted as as many layers as it has weights for.
  private struct Work {
    let head: Double
    let total: Double
    let progress: SensitivityTable.Progress
    var layers = 0.0

    mutating func add(_ more: Double) {
      layers += more
      progress(UInt64(min(layers, total)), UInt64(total.rounded(.up)))
    }
  }

  init(
    _ checkpoint: Checkpoint, _ text: CalibrationText, _ settings: SensitivitySettings,
    _ progress: @escaping SensitivityTable.Progress
  ) throws {
    guard !settings.recipes.method.isCalibrated else {
      throw SensitivityFailure.calibratedMethod(settings.recipes.method)
    }
    if let tensor = checkpoint.tensors.first(where: { $0.role.isLinear && $0.isQuantized }) {
      throw SensitivityFailure.quantizedAlready(NamingDialect.huggingFace.moduleName(of: tensor.role))
    }
    self.settings = settings
    windowSizes = text.scoredTokens
    tensors = Dictionary(checkpoint.tensors.map { ($0.role, $0) }, uniquingKeysWith: { first, _ in first })
    weights = try CheckpointWeights(checkpoint, threads: settings.threads)
    let configuration = checkpoint.configuration
    let units = (0..<configuration.layerCount).map { LinearUnit.units(ofLayer: $0, by: settings.granularity) }
    let (width, chunk) = try Self.fit(weights, text, settings, units.first ?? [])
    self.width = width
    let layer = LayerRole.allCases.filter(\.isLinear).reduce(0.0) { sum, part in
      sum + Double(configuration.shape(of: .layer(0, part)).dimensions.reduce(1, *))
    }
    let head = Double(configuration.vocabularySize * configuration.hiddenSize) / layer
    let variants = units.joined().reduce(0.0) { sum, unit in
      let layers = Double(configuration.layerCount - unit.layer) - (unit.isInAttention ? 0 : 0.5)
      return sum + Double(settings.types.count) * (layers + head)
    }
    var done = Work(head: head, total: Double(2 * configuration.layerCount) + variants, progress: progress)
    scorer = try BranchScorer(
      weights, windows: text.windows, scored: text.windows.map { [1..<$0.count] },
      settings: settings.forward(tokensPerChunk: chunk)
    ) { done.add(1) }
    self.done = done
  }

  /// How many variants advance together, and how many tokens of them, within the memory.
  private static func fit(
    _ weights: CheckpointWeights, _ text: CalibrationText, _ settings: SensitivitySettings, _ units: [LinearUnit]
  ) throws(SensitivityFailure) -> (width: Int, chunk: Int) {
    // What is freed must not stay resident.
    ProcessMemory.returnsFreedBuffers()
    let held = ProcessFacts.residentBytes + headroom
    let attention = units.count(where: \.isInAttention)
    let most = max(1, settings.types.count * max(attention, units.count - attention))
    // Codes, a byte for each weight, and scales; what threads round at a time.
    let replaced =
      units.map { unit in
        unit.roles.reduce(0) { sum, role in
          let elements = weights.configuration.shape(of: role).dimensions.reduce(1, *)
          return sum + elements + elements / 8
        }
      }.max() ?? 0
    let sizes = text.windows.map(\.count)
    var least = UInt64.max
    for width in (1...most).reversed() {
      for chunk in [2048, 1024, 512] {
        let needed =
          held
          + MemoryEstimate(
            branchesOf: weights, variants: width, replaced: replaced + settings.threads * (6 << 20),
            settings: settings.forward(tokensPerChunk: chunk), tokens: sizes.reduce(0, +),
            longestWindow: sizes.max() ?? 0
          ).total
        if needed <= settings.maximumMemory { return (width, chunk) }
        least = min(least, needed)
      }
    }
    throw .memory(needed: least, allowed: settings.maximumMemory)
  }

  /// For what is not worth an estimate: threads' stacks, freed small blocks, pages of the program not needed before.
  private static let headroom: UInt64 = 20 << 20

  mutating func run() throws -> [SensitivityTable.Unit] {
    var units: [SensitivityTable.Unit] = []
    for layer in 0..<weights.configuration.layerCount {
      let own = LinearUnit.units(ofLayer: layer, by: settings.granularity)
      var drifts: [SensitivityTable.Drift] = []
      for half in [LayerHalf.attention, .feedForward] {
        let variants = own.filter { $0.isInAttention == (half == .attention) }.flatMap { unit in
          settings.types.map { Variant(unit: unit, type: $0) }
        }
        for first in stride(from: 0, to: variants.count, by: width) {
          drifts += try score(Array(variants[first..<min(first + width, variants.count)]), half, layer)
        }
        try scorer.advance(through: half, layer: layer)
        done.add(0.5)
      }
      for (index, unit) in own.enumerated() {
        let first = index * settings.types.count
        units.append(try describe(unit, Array(drifts[first..<first + settings.types.count])))
      }
    }
    return units
  }

  private mutating func score(
    _ variants: [Variant], _ half: LayerHalf, _ layer: Int
  ) throws -> [SensitivityTable.Drift] {
    let weights = weights
    var work = done
    let scores = try scorer.score(variants.count, from: half, layer: layer) { index in
      var own = SubstitutedWeights(weights)
      for role in variants[index].unit.roles {
        let tensor = try tensor(role)
        let recipe = settings.recipes.recipe(variants[index].type, columns: tensor.columnCount)
        own.replace(role, by: try recipe.rounded(tensor, threads: settings.threads))
      }
      return own
    } progress: {
      work.add(Double($0) / 2)
    }
    work.add(work.head * Double(variants.count))
    done = work
    return try zip(variants, scores).map { try drift($0, $1) }
  }

  private func tensor(_ role: TensorRole) throws(ParseFailure) -> LogicalTensor {
    guard let tensor = tensors[role] else { throw ParseFailure("the tensor is missing", item: role.canonicalText) }
    return tensor
  }

  private func drift(_ variant: Variant, _ scoring: TokenScoring) throws -> SensitivityTable.Drift {
    var sizes: [Int?] = []
    var bits = 0.0
    var weights = 0
    for role in variant.unit.roles {
      let tensor = try tensor(role)
      let recipe = settings.recipes.recipe(variant.type, columns: tensor.columnCount)
      let elements = tensor.rowCount * tensor.columnCount
      weights += elements
      bits += Double(elements) * recipe.bitsPerWeight(columns: tensor.columnCount, weightType: tensor.elementType)
      if variant.type == .int4, case .integers(let quantizer) = recipe, !sizes.contains(quantizer.grid.groupSize) {
        sizes.append(quantizer.grid.groupSize)
      }
    }
    let sums = WindowedMean.sums(
      scoring.baseNLL.indices.map { scoring.candidateNLL[$0] - scoring.baseNLL[$0] }, windows: scoring.window,
      count: windowSizes.count)
    let estimate = WindowedMean(sums: sums, sizes: windowSizes)
    return SensitivityTable.Drift(
      type: variant.type, groupSizes: sizes, bitsPerWeight: bits / Double(weights),
      divergence: scoring.divergence.reduce(0, +) / Double(max(1, scoring.count)), lnRatio: estimate.mean,
      lnRatioError: estimate.standardError, windowSums: sums)
  }

  private func describe(_ unit: LinearUnit, _ drifts: [SensitivityTable.Drift]) throws -> SensitivityTable.Unit {
    let own = try unit.roles.map { try tensor($0) }
    let weights = own.reduce(0) { $0 + $1.rowCount * $1.columnCount }
    let bits = own.reduce(0) { $0 + $1.rowCount * $1.columnCount * $1.elementType.bits }
    return SensitivityTable.Unit(
      name: unit.name, layer: unit.layer, modules: unit.modules, weights: weights,
      bitsPerWeight: Double(bits) / Double(weights), drifts: drifts)
  }
}

extension CalibrationText {
  /// Of each window: all tokens but the first.
  fileprivate var scoredTokens: [Int] { windows.map { $0.count - 1 } }
}
