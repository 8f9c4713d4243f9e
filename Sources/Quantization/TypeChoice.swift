public import ByteIO

/// Which type each linear of a model gets, and what that is predicted to cost.
public struct TypeChoice: Sendable, Equatable {
  /// What was asked for.
  public enum Goal: Sendable, Equatable {
    /// At most so many bits for each weight of the linears, scales included, with the least drift.
    case bits(Double)
    /// ln of the ratio of perplexities, whose bound must not pass it, with the fewest bits.
    case drift(lnRatio: Double)
  }

  /// A drift as it was measured or predicted.
  public struct Drift: Sendable, Equatable {
    /// Mean KLD(model‖rounded) per token, in nats.
    public let divergence: Double
    /// ln of the perplexities' ratio.
    public let lnRatio: Double
    /// One-sided 95 % upper bound of it; nil where its error is not known.
    public let upperLnRatio: Double?

    public init(divergence: Double, lnRatio: Double, upperLnRatio: Double?) {
      self.divergence = divergence
      self.lnRatio = lnRatio
      self.upperLnRatio = upperLnRatio
    }
  }

  /// Linears that got one type together.
  public struct Unit: Sendable, Equatable {
    /// As servers call the module.
    public let name: String
    /// Full names, in Hugging Face's dialect.
    public let modules: [String]
    public let type: LinearType
    /// Elements of all of them.
    public let weights: Int
    /// Codes and scales.
    public let bitsPerWeight: Double
    /// Of this unit alone.
    public let predicted: Drift

    public init(
      name: String, modules: [String], type: LinearType, weights: Int, bitsPerWeight: Double, predicted: Drift
    ) {
      self.name = name
      self.modules = modules
      self.type = type
      self.weights = weights
      self.bitsPerWeight = bitsPerWeight
      self.predicted = predicted
    }
  }

  public let goal: Goal
  /// The types that could be chosen.
  public let types: [LinearType]
  /// In model order.
  public let units: [Unit]
  /// Of all units: their drifts are taken to add up.
  public let predicted: Drift
  /// What the prediction is from: model, text and method, as one JSON object.
  public let source: JSONValue

  public init(goal: Goal, types: [LinearType], units: [Unit], predicted: Drift, source: JSONValue) {
    self.goal = goal
    self.types = types
    self.units = units
    self.predicted = predicted
    self.source = source
  }

  /// The type of each module, by its full name in Hugging Face's dialect.
  public var typeOfModule: [String: LinearType] {
    Dictionary(units.flatMap { unit in unit.modules.map { ($0, unit.type) } }, uniquingKeysWith: { first, _ in first })
  }

  /// Average over all weights, codes and scales.
  public var bitsPerWeight: Double {
    units.reduce(0) { $0 + Double($1.weights) * $1.bitsPerWeight }
      / Double(max(1, units.reduce(0) { $0 + $1.weights }))
  }
}
