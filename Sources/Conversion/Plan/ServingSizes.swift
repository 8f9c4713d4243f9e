internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// On how many devices servers can run a Hugging Face output with tensor parallelism, and what readers of it refuse.
///
/// Queries, keys, values, gate and up are cut along their outputs, the output projection and down along their inputs: there
/// groups and words must not be cut.
struct ServingSizes {
  /// Sizes that servers are started with.
  static let candidates = [1, 2, 4, 8, 16, 32, 64]

  /// Of the candidates those that divide the model, ascending.
  let sizes: [Int]
  /// What stands in the way of the smallest size that does not; nil where all do.
  let limit: String?
  let warnings: [String]

  init(_ steps: [PlannedStep], _ configuration: LlamaConfiguration) {
    var sizes: [Int] = []
    var limit: String?
    for size in Self.candidates {
      if let obstacle = Self.obstacle(size, steps, configuration) {
        limit = limit ?? "\(size): \(obstacle)"
      } else {
        sizes.append(size)
      }
    }
    self.sizes = sizes
    self.limit = limit
    warnings = Self.warnings(steps)
  }

  private static func obstacle(_ size: Int, _ steps: [PlannedStep], _ c: LlamaConfiguration) -> String? {
    guard c.headCount % size == 0 else { return "\(c.headCount) heads" }
    // With more devices than key/value heads, several hold the same one.
    guard c.keyValueHeadCount % size == 0 || size % c.keyValueHeadCount == 0 else {
      return "\(c.keyValueHeadCount) key/value heads"
    }
    guard c.feedForwardSize % size == 0 else { return "\(c.feedForwardSize) inner features" }
    for step in steps where step.input.role.isLinear && step.input.role.layer != nil {
      let name = NamingDialect.huggingFace.moduleName(of: step.input.role)
      if let reason = IntegerForm(step)?.obstacle(size, step) ?? blockObstacle(size, step) {
        return "\(name) has \(reason)"
      }
    }
    return nil
  }

  /// FP8 in blocks of several rows.
  private static func blockObstacle(_ size: Int, _ step: PlannedStep) -> String? {
    guard case .copy = step.operation, case .block(let rows, let columns)? = step.input.quantization?.scheme, rows > 1
    else { return nil }
    let isCutAlongInputs = step.input.role.isCutAlongInputs
    let (extent, block) = isCutAlongInputs ? (step.input.columnCount, columns) : (step.input.rowCount, rows)
    return extent / size % block == 0
      ? nil : "\(extent / size) \(isCutAlongInputs ? "inputs" : "outputs"), no whole blocks of \(block)"
  }

  private static func warnings(_ steps: [PlannedStep]) -> [String] {
    let forms = steps.compactMap { IntegerForm($0) }
    guard let first = forms.first else { return [] }
    var warnings: [String] = []
    let layouts = Set(forms.compactMap(\.layout))
    if layouts.contains(.compressedTensors), forms.contains(where: \.hasZeroPoints) {
      warnings.append(
        "transformers 5 with compressed-tensors 0.19 or later does not load packed weights with zero points unless asked to dequantize them; vLLM does"
      )
    }
    if !layouts.isDisjoint(with: [.gptq, .gptqV2]), forms.contains(where: \.hasZeroPoints) {
      warnings.append("vLLM's GPTQ method takes symmetric codes only, these have zero points")
    }
    if layouts.contains(.compressedTensors), forms.contains(where: \.hasGroupIndex) {
      warnings.append(
        "groups are listed in weight_g_idx (actorder group): vLLM reads that, compressed-tensors 0.20 and later, and transformers with it, refuse the configuration"
      )
    }
    let sizes = Set(forms.compactMap(\.groupSize)).subtracting([32, 64, 128])
    if first.layout != nil, !sizes.isEmpty {
      warnings.append(
        "groups of \(sizes.sorted().map(String.init).joined(separator: ", ")): vLLM's kernels take 32, 64, 128 and whole rows"
      )
    }
    return warnings
  }
}

/// The integer codes of a step, as servers see them.
private struct IntegerForm {
  let layout: IntegerLayout?
  /// Nil for whole rows, and where groups are not runs of inputs.
  let groupSize: Int?
  let bits: Int
  let hasZeroPoints: Bool
  /// Groups are not runs of inputs.
  let hasGroupIndex: Bool

  init?(_ step: PlannedStep) {
    guard step.weight.elementType == .i8, let scale = step.scale else { return nil }
    layout = step.packing?.layout
    let groups = scale.shape.dimensions.dropFirst().reduce(1, *)
    groupSize = groups <= 1 ? nil : step.input.columnCount / groups
    bits = step.codeBits
    hasZeroPoints = step.zeroPoint != nil
    hasGroupIndex = step.packing?.hasGroupIndex ?? false
  }

  func obstacle(_ size: Int, _ step: PlannedStep) -> String? {
    let word = 32 / bits
    if step.input.role.isCutAlongInputs {
      let inputs = step.input.columnCount / size
      if let groupSize, inputs % groupSize != 0 { return "\(inputs) inputs, no whole groups of \(groupSize)" }
      return layout == nil || layout == .awq || inputs % word == 0 ? nil : "\(inputs) inputs, no whole words of \(word)"
    }
    let outputs = step.input.rowCount / size
    let packsOutputs = layout == .awq || layout?.isGPTQ == true || hasZeroPoints
    return !packsOutputs || outputs % word == 0 ? nil : "\(outputs) outputs, no whole words of \(word)"
  }
}

extension TensorRole {
  /// Tensor parallelism cuts its inputs; other linears of layers are cut along their outputs.
  fileprivate var isCutAlongInputs: Bool {
    switch self {
    case .layer(_, .attentionOutput), .layer(_, .down): true
    default: false
    }
  }
}
