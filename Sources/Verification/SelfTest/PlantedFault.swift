internal import Checkpoints
internal import Llama

/// A known fault of converters, planted in a candidate that exists only while it is computed.
struct PlantedFault: Sendable {
  /// What happens to a weight on its way to the candidate.
  enum Edit: Sendable {
    /// Row `i` is the row that stands there when whole heads of query or key are taken for Hugging Face's order.
    case halvesForPairs(headDimension: Int)
    /// Both halves of the rows in each other's place: two tensor-parallel shards merged in the wrong order.
    case exchangedHalves
    /// The bytes of the transposed matrix, read in the shape of the matrix.
    case transposed
    /// Row-wise FP8 codes, the row's scale 0.
    case zeroScale(row: Int)
    /// The rows of another weight.
    case rows(of: TensorRole)
    /// Small random numbers, as a loader leaves a weight that it does not find (standard deviation 0.02, transformers'
    /// `initializer_range`).
    case uninitialized
  }

  /// What happens to the begin-of-text token of each window.
  enum BeginOfText: Sendable { case once, twice, missing }

  /// A stable short name.
  let name: String
  /// What was planted where, in words.
  let detail: String
  /// As the faulty candidate has it.
  var configuration: LlamaConfiguration
  var edits: [TensorRole: Edit] = [:]
  var beginOfText = BeginOfText.once

  /// Every fault, for a model: where one cannot be planted, its sibling stands in.
  static func all(in model: Checkpoint) -> [PlantedFault] {
    let configuration = model.configuration
    let middle = configuration.layerCount / 2
    var faults: [PlantedFault] = []
    func add(
      _ name: String, _ detail: String, beginOfText: BeginOfText = .once, edits: [TensorRole: Edit] = [:],
      _ change: (inout LlamaConfiguration) -> Void = { _ in }
    ) {
      var changed = configuration
      change(&changed)
      faults.append(
        PlantedFault(name: name, detail: detail, configuration: changed, edits: edits, beginOfText: beginOfText))
    }
    func everywhere(_ part: LayerRole, _ edit: Edit) -> [TensorRole: Edit] {
      Dictionary(uniqueKeysWithValues: (0..<configuration.layerCount).map { (.layer($0, part), edit) })
    }
    // Two rows of a head are in the same order either way.
    if configuration.headDimension > 2 {
      add(
        "unpermuted-k", "key rows of all layers in the other layout's order",
        edits: everywhere(.key, .halvesForPairs(headDimension: configuration.headDimension)))
    }
    addRoPE(configuration, add)
    add(
      "swapped-shards", "two shards of layer \(middle)'s up projection in each other's place",
      edits: [.layer(middle, .up): .exchangedHalves])
    add(
      "zeroed-scale", "layer \(middle)'s gate projection in FP8, the scale of one row 0",
      edits: [.layer(middle, .gate): .zeroScale(row: configuration.feedForwardSize / 2)])
    add("doubled-bos", "the begin-of-text token twice", beginOfText: .twice)
    add("missing-bos", "no begin-of-text token", beginOfText: .missing)
    add("transposed-w2", "the bytes of all down projections transposed", edits: everywhere(.down, .transposed))
    let epsilon = configuration.normEpsilon == 1e-6 ? 1e-5 : 1e-6
    add("norm-epsilon", "RMSNorm with \(epsilon) instead of \(configuration.normEpsilon)") { $0.normEpsilon = epsilon }
    if configuration.tiesEmbeddings {
      add("untied-head", "a head of its own, never initialized", edits: [.outputHead: .uninitialized]) {
        $0.tiesEmbeddings = false
      }
    } else {
      add("tied-head", "the embedding for the head", edits: [.outputHead: .rows(of: .tokenEmbedding)]) {
        $0.tiesEmbeddings = true
      }
    }
    return faults
  }

  private typealias Adding = (
    String, String, BeginOfText, [TensorRole: Edit], (inout LlamaConfiguration) -> Void
  ) -> Void

  /// Scaling factors that got lost, or a base that did, where there are no factors.
  private static func addRoPE(_ configuration: LlamaConfiguration, _ add: Adding) {
    if configuration.rope.scaling != .none {
      add("dropped-rope-factors", "RoPE without its scaling", .once, [:]) { $0.rope.scaling = .none }
    } else {
      let base = configuration.rope.base == 10_000 ? 500_000.0 : 10_000
      add("wrong-rope-base", "RoPE with base \(base) instead of \(configuration.rope.base)", .once, [:]) {
        $0.rope.base = base
      }
    }
  }
}
