public import ByteIO
public import Checkpoints
internal import Inference
internal import Kernels
public import Llama
public import Quantization
internal import Tensors

/// Fits a model's linears to text: what calibrated methods need before codes are written.
public final class Calibration {
  /// Tensors that calibration has made; empty for methods that only weigh columns.
  public private(set) var tensors: [TensorRole: CalibratedTensor] = [:]
  /// How much each column of a linear matters to a search for scales: the mean of its input's square.
  public private(set) var columnWeights: [TensorRole: [Float]] = [:]
  /// For FP8 with stored scales of activations: one for each linear, in BF16.
  public private(set) var activationScales: [TensorRole: [UInt8]] = [:]
  /// For the evidence.
  public let facts: JSONValue
  private let store: CalibrationStore?

  /// Told how many layers are done.
  public typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

  /// - Parameters:
  ///   - selected: the linears that are fitted.
  ///   - recipes: where linears are rounded each in its own way: for those selected, how, in place of the settings'
  ///     quantizer, which is of the same method; for others, how they are rounded by themselves, since what comes after them
  ///     is fitted to what they make of the text then.
  ///   - output: the path that the output will have; what is found lies beside it until `discard`.
  ///   - identity: of the plan: what was found under another one is not taken up.
  /// - Throws: `ParseFailure`, `FileFailure`, `CalibrationMemoryFailure`, and what `checkCancellation` throws. What is complete
  ///   stays, and the next run goes on behind it.
  public init(
    _ checkpoint: Checkpoint, selected: Set<TensorRole>, recipes: [TensorRole: LinearRecipe] = [:],
    text: CalibrationText, settings: CalibrationSettings, output: String, identity: String,
    progress: @escaping Progress = { _, _ in }
  ) throws {
    facts = Self.facts(text, settings)
    guard settings.quantizer.isFitted else {
      store = nil
      columnWeights = try Self.weights(checkpoint, selected, text, settings, progress)
      return
    }
    let tensors = Dictionary(checkpoint.tensors.map { ($0.role, $0) }, uniquingKeysWith: { first, _ in first })
    let base = try CheckpointWeights(checkpoint, threads: settings.threads)
    try Self.checkMemory(checkpoint, base, text, settings)
    let store = try CalibrationStore(
      for: output, identity: identity + "\n" + facts.serialized(.compact) + "\n")
    self.store = store
    var weights = SubstitutedWeights(base)
    let linears = FittedLinears(selected: selected, recipes: recipes, common: settings.quantizer)
    var stream = try CalibrationStream(base, windows: text.windows, settings: settings.forward)
    let count = checkpoint.configuration.layerCount
    for layer in 0..<count {
      try settings.checkCancellation()
      let own = checkpoint.tensors.filter { $0.role.layer == layer }
      if store.has(layer) {
        // Later layers see what this one, as it was left, makes of the text. Of the last nothing follows.
        if layer + 1 < count {
          weights = try Self.restored(store, layer, own, base, linears, threads: settings.threads)
          try stream.pass(through: .attention, layer: layer, weights: weights)
          try stream.pass(through: .feedForward, layer: layer, weights: weights)
        }
      } else {
        let calibration = LayerCalibration(
          layer: layer, tensors: tensors, linears: linears, settings: settings,
          configuration: checkpoint.configuration)
        try store.write(layer, try calibration.run(&stream, &weights))
      }
      weights.removeAll()
      for found in try store.tensors(layer, of: own, linears) {
        self.tensors[found.tensor.role] = found
      }
      progress(UInt64(layer + 1), UInt64(count))
    }
  }

  /// What the program and opened files take, and what is not worth an estimate.
  private static let headroom: UInt64 = 64 << 20

  private static func checkMemory(
    _ checkpoint: Checkpoint, _ base: CheckpointWeights, _ text: CalibrationText, _ settings: CalibrationSettings
  ) throws {
    // The budget is on resident memory, and what is freed must not stay resident.
    ProcessMemory.returnsFreedBuffers()
    let memory = CalibrationMemory(checkpoint.configuration, base, text: text, settings: settings)
    let needed = ProcessFacts.residentBytes + headroom + memory.total
    guard needed <= settings.maximumMemory else {
      throw CalibrationMemoryFailure(needed: needed, allowed: settings.maximumMemory)
    }
  }

  /// Removes what was kept to go on with.
  public func discard() throws { try store?.remove() }

  private static func restored(
    _ store: CalibrationStore, _ layer: Int, _ own: [LogicalTensor], _ base: CheckpointWeights,
    _ linears: FittedLinears, threads: Int
  ) throws -> SubstitutedWeights {
    var weights = SubstitutedWeights(base)
    for tensor in own {
      guard let recipe = linears.recipeOfOther(tensor.role) else { continue }
      weights.replace(tensor.role, by: try recipe.rounded(tensor, threads: threads))
    }
    for found in try store.tensors(layer, of: own, linears) {
      let tensor = found.tensor
      if tensor.quantization == nil {
        weights.replace(tensor.role, by: try tensor.values(rows: 0..<tensor.rowCount))
      } else {
        weights.replace(tensor.role, by: try WeightMatrix(reading: tensor))
      }
    }
    return weights
  }

  /// Finds the scales that activations of FP8 linears are stored with: the largest magnitude that text gives, over 448.
  /// - Parameter linears: those that are quantized.
  /// - Throws: as the other initializer.
  public init(
    activationScalesOf checkpoint: Checkpoint, linears: Set<TensorRole>, text: CalibrationText, threads: Int,
    checkCancellation: @escaping @Sendable () throws -> Void = {}, progress: @escaping Progress = { _, _ in }
  ) throws {
    store = nil
    var facts = Self.textFacts(text)
    facts["method"] = "largest magnitude"
    self.facts = .object(facts)
    let settings = CalibrationSettings.forward(threads: threads, checkCancellation: checkCancellation)
    var moments = ActivationMoments()
    try moments.add(
      text.windows, through: try CheckpointWeights(checkpoint, threads: threads), settings: settings
    ) { progress(UInt64($0), UInt64($1)) }
    for (role, largest) in moments.largest where linears.contains(role) {
      guard largest.isFinite else {
        throw ParseFailure(
          "its activations are not finite on this text", file: checkpoint.path, item: role.canonicalText,
          advice: "the weights are unsound")
      }
      // Not below BF16's range, and 1 for a linear that nothing drives.
      let scale = largest == 0 ? 1 : max(largest / 448, 0x1p-126)
      var bytes: [UInt8] = [0, 0]
      var span = bytes.mutableSpan
      let values = [scale]
      _ = NumberFormat.narrow(values.span, to: .bf16, into: &span)
      activationScales[role] = bytes
    }
  }

  private static func weights(
    _ checkpoint: Checkpoint, _ selected: Set<TensorRole>, _ text: CalibrationText, _ settings: CalibrationSettings,
    _ progress: Progress
  ) throws -> [TensorRole: [Float]] {
    var moments = ActivationMoments()
    try moments.add(
      text.windows, through: try CheckpointWeights(checkpoint, threads: settings.threads), settings: settings.forward
    ) { progress(UInt64($0), UInt64($1)) }
    return moments.sums.filter { selected.contains($0.key) }.mapValues { sums in
      sums.map { Float($0 / Double(max(1, moments.tokens))) }
    }
  }

  private static func textFacts(_ text: CalibrationText) -> JSONObject {
    var facts = JSONObject()
    facts["text"] = .string(text.name)
    facts["sha256"] = .string(text.sha256)
    facts["tokens"] = .number(JSONNumber(text.tokens))
    facts["windows"] = .number(JSONNumber(text.windows.count))
    facts["context"] = .number(JSONNumber(text.context))
    return facts
  }

  private static func facts(_ text: CalibrationText, _ settings: CalibrationSettings) -> JSONValue {
    var facts = textFacts(text)
    facts["method"] = .string(settings.quantizer.method.rawValue)
    if settings.quantizer.method.feedsErrorsForward {
      facts["damping"] = .number(JSONNumber(settings.damping))
      facts["activation_order"] = settings.order == .natural ? "none" : "static"
    }
    if let alpha = settings.quantizer.smoothing { facts["smoothing_alpha"] = .number(JSONNumber(Double(alpha))) }
    return .object(facts)
  }
}
