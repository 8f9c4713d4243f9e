internal import ByteIO
internal import Llama

/// Weights that are read together, just before they are computed with.
struct WeightStep: Sendable {
  let weights: any ModelWeights
  /// Roles, with the rows of them or nil for all.
  let parts: [(role: TensorRole, rows: Range<Int>?)]

  static func attention(_ weights: any ModelWeights, layer: Int) -> WeightStep {
    WeightStep(weights: weights, parts: LayerWeights.Attention.roles.map { (.layer(layer, $0), nil) })
  }

  static func feedForward(_ weights: any ModelWeights, layer: Int) -> WeightStep {
    WeightStep(weights: weights, parts: LayerWeights.FeedForward.roles.map { (.layer(layer, $0), nil) })
  }

  static func head(_ weights: any ModelWeights, rows: Range<Int>) -> WeightStep {
    WeightStep(weights: weights, parts: [(.outputHead, rows)])
  }
}

/// Has the weights of the next step brought into the system's page cache while the current one computes. They wait there
/// and not in this process's memory, and the system takes their place back when it needs it.
struct ReadAhead: Sendable {
  private let queue = BackgroundQueue(name: "read-ahead")

  /// Returns at once.
  func begin(_ steps: [WeightStep]) {
    if steps.isEmpty { return }
    queue.add {
      for step in steps {
        for part in step.parts { step.weights.advise(.soon, part.role, rows: part.rows) }
      }
    }
  }
}
