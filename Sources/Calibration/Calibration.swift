public import ByteIO
public import Checkpoints
internal import Inference
internal import Kernels
public import Llama
internal import Quantization
internal import Tensors

/// Fits a model's linears to text: what calibrated methods need before codes are written.
public final class Calibration {
  /// Tensors that calibration has made; empty for methods that only weigh columns.
  public private(set) var tensors: [TensorRole: CalibratedTensor] = [:]
  /// How much each column of a linear matters to a search for scales: the mean of its input's square.
  public private(set) var columnWeights: [TensorRole: [Float]] = [:]
  /// For the evidence.
  public let facts: JSONValue
  private let store: CalibrationStore?

  /// Told how many layers are done.
  public typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

  /// - Parameters:
  ///   - selected: the linears that are quantized.
  ///   - output: the path that the output will have; what is found lies beside it until `discard`.
  ///   - identity: of the plan: what was found under another one is not taken up.
  /// - Throws: `ParseFailure`, `FileFailure`, `ErrorFeedback.Failure`, and what `checkCancellation` throws. What is complete
  ///   stays, and the next run goes on behind it.
  public init(
    _ checkpoint: Checkpoint, selected: Set<TensorRole>, text: CalibrationText, settings: CalibrationSettings,
    output: String, identity: String, progress: @escaping Progress = { _, _ in }
  ) throws {
    facts = Self.facts(text, settings)
    guard settings.quantizer.method != .imse else {
      store = nil
      columnWeights = try Self.weights(checkpoint, selected, text, settings, progress)
      return
    }
    let store = try CalibrationStore(
      for: output, identity: identity + "\n" + facts.serialized(.compact) + "\n")
    self.store = store
    let tensors = Dictionary(checkpoint.tensors.map { ($0.role, $0) }, uniquingKeysWith: { first, _ in first })
    let base = try CheckpointWeights(checkpoint, threads: settings.threads)
    var weights = SubstitutedWeights(base)
    var stream = try CalibrationStream(base, windows: text.windows, settings: settings.forward)
    let count = checkpoint.configuration.layerCount
    for layer in 0..<count {
      try settings.checkCancellation()
      let own = checkpoint.tensors.filter { $0.role.layer == layer }
      if store.has(layer) {
        // Later layers see what this one, as it was left, makes of the text. Of the last nothing follows.
        if layer + 1 < count {
          weights = try Self.restored(store, layer, own, base, settings)
          try stream.pass(through: .attention, layer: layer, weights: weights)
          try stream.pass(through: .feedForward, layer: layer, weights: weights)
        }
      } else {
        let calibration = LayerCalibration(
          layer: layer, tensors: tensors, selected: selected, settings: settings,
          configuration: checkpoint.configuration)
        try store.write(layer, try calibration.run(&stream, &weights))
      }
      weights.removeAll()
      for found in try store.tensors(layer, of: own, quantizer: settings.quantizer) {
        self.tensors[found.tensor.role] = found
      }
      progress(UInt64(layer + 1), UInt64(count))
    }
  }

  /// Removes what was kept to go on with.
  public func discard() throws { try store?.remove() }

  private static func restored(
    _ store: CalibrationStore, _ layer: Int, _ own: [LogicalTensor], _ base: CheckpointWeights,
    _ settings: CalibrationSettings
  ) throws -> SubstitutedWeights {
    var weights = SubstitutedWeights(base)
    for found in try store.tensors(layer, of: own, quantizer: settings.quantizer) {
      let tensor = found.tensor
      if tensor.quantization == nil {
        weights.replace(tensor.role, by: try tensor.values(rows: 0..<tensor.rowCount))
      } else {
        weights.replace(tensor.role, by: try WeightMatrix(reading: tensor))
      }
    }
    return weights
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

  private static func facts(_ text: CalibrationText, _ settings: CalibrationSettings) -> JSONValue {
    var facts = JSONObject()
    facts["text"] = .string(text.name)
    facts["sha256"] = .string(text.sha256)
    facts["tokens"] = .number(JSONNumber(text.tokens))
    facts["windows"] = .number(JSONNumber(text.windows.count))
    facts["context"] = .number(JSONNumber(text.context))
    facts["method"] = .string(settings.quantizer.method.rawValue)
    if settings.quantizer.method.feedsErrorsForward {
      facts["damping"] = .number(JSONNumber(settings.damping))
      facts["activation_order"] = settings.order == .natural ? "none" : "static"
    }
    return .object(facts)
  }
}
