internal import Foundation

/// A layer or tensor that stands out among its neighbours: where to look first.
public struct Suspect: Sendable, Equatable {
  public enum Kind: String, Sendable { case layer, tensor }

  public let kind: Kind
  /// A tensor's name, or `layer 3`.
  public let name: String
  public let layer: Int?
  /// SQNR of a tensor in decibels; of a layer the factor by which the relative error of the residual stream grows in it.
  public let value: Double
  /// Median of the neighbours; nil where they have nothing to compare with.
  public let typical: Double?
  /// Robust z-score, (value − median)/(1.4826 · MAD) in the direction that is worse; nil where it has no scale.
  public let z: Double?
  public let explanation: String
}

/// Finds suspects. The scale of neighbours is 1.4826 times their median absolute deviation, which equals the standard
/// deviation for normal values and is not moved by the suspect itself; a modified z-score of 3.5 is an outlier (Iglewicz and
/// Hoaglin 1993, How to Detect and Handle Outliers).
enum Suspects {
  static let outlier = 3.5
  /// Layers compared with on each side.
  private static let reach = 4
  /// Scales are at least this: growth by a fifth more than the neighbours' is nothing.
  private static let smallestGrowthScale = 0.2
  private static let smallestDecibelScale = 1.0
  /// Tensors outside the layers have no siblings: this much noise, a third of the signal, is a fault wherever it is.
  private static let loudDecibels = 10.0
  /// So few tensors that differ, all others being equal, are all suspects.
  private static let few = 3
  static let most = 8

  /// Tensors first, worst first.
  static func find(layers: [LayerError], tensors: [TensorError]) -> [Suspect] {
    func worse(_ left: Suspect, _ right: Suspect) -> Bool { (left.z ?? .infinity) > (right.z ?? .infinity) }
    // `sorted` keeps the order of equal ones: a model's.
    return Array((self.tensors(tensors).sorted(by: worse) + self.layers(layers).sorted(by: worse)).prefix(most))
  }

  private static func median(_ values: [Double]) -> Double? {
    values.isEmpty ? nil : Quantile.linear(sorted: values.sorted(), 0.5)
  }

  private static func deviation(_ values: [Double], from median: Double) -> Double {
    1.4826 * (self.median(values.map { abs($0 - median) }) ?? 0)
  }

  // MARK: Layers

  /// Errors pass from layer to layer and are amplified on the way, so what tells is where the error grows by far more than
  /// it does in the layers around. The first layer has none before it: its tensors tell.
  private static func layers(_ layers: [LayerError]) -> [Suspect] {
    let errors = layers.sorted { $0.layer < $1.layer }
    guard errors.allSatisfy({ $0.relativeError.isFinite }), errors.contains(where: { $0.relativeError > 0 }) else {
      return []
    }
    var growth: [(layer: Int, log: Double)] = []
    var suspects: [Suspect] = []
    for (previous, layer) in zip(errors, errors.dropFirst()) where layer.relativeError > 0 {
      if previous.relativeError > 0 {
        growth.append((layer.layer, log(layer.relativeError / previous.relativeError)))
      } else {
        suspects.append(
          Suspect(
            kind: .layer, name: "layer \(layer.layer)", layer: layer.layer, value: .infinity, typical: nil, z: nil,
            explanation: "the first layer behind which the residual stream differs at all: by "
              + "\(Figure.significant(layer.relativeError, 3)) of its norm"))
      }
    }
    for (index, step) in growth.enumerated() {
      let near = growth.indices.filter { $0 != index }.sorted { abs($0 - index) < abs($1 - index) }.prefix(2 * reach)
      let others = near.map { growth[$0].log }
      let typical = median(others) ?? 0
      let z = (step.log - typical) / max(deviation(others, from: typical), smallestGrowthScale)
      guard z >= outlier else { continue }
      suspects.append(
        Suspect(
          kind: .layer, name: "layer \(step.layer)", layer: step.layer, value: exp(step.log), typical: exp(typical),
          z: z,
          explanation:
            "the relative error of the residual stream grows \(Figure.significant(exp(step.log), 3))-fold in "
            + "it, \(Figure.significant(exp(typical), 3))-fold in the layers around (z \(Figure.significant(z, 3)))"))
    }
    return suspects
  }

  // MARK: Tensors

  /// The name with the layer's number taken out: what the tensor is in every layer. Nil for tensors outside the layers.
  static func sibling(_ name: String) -> (key: String, layer: Int)? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard let at = parts.firstIndex(of: "layers"), at + 1 < parts.count, let layer = Int(parts[at + 1]) else {
      return nil
    }
    return (parts[(at + 2)...].joined(separator: "."), layer)
  }

  private static func tensors(_ tensors: [TensorError]) -> [Suspect] {
    let differing = tensors.filter { $0.sqnrDecibels < .infinity || $0.sqnrDecibels.isNaN }
    if differing.count <= few && differing.count < tensors.count {
      return differing.map { tensor in
        suspect(
          tensor, typical: nil, z: nil,
          "one of \(differing.count) of \(tensors.count) tensors that differ at all (SQNR \(decibels(tensor)))")
      }
    }
    // In a model of several types each tensor has the noise of its own: only those of one type are alike.
    func group(_ tensor: TensorError) -> String? { sibling(tensor.name).map { "\($0.key) \(tensor.storage ?? "")" } }
    var groups: [String: [TensorError]] = [:]
    for tensor in tensors {
      if let key = group(tensor) { groups[key, default: []].append(tensor) }
    }
    let isMixed = Set(differing.map(\.storage)).count > 1
    return differing.compactMap { tensor in
      guard !tensor.sqnrDecibels.isNaN else { return suspect(tensor, typical: nil, z: nil, "it is not finite") }
      guard let key = group(tensor), let group = groups[key], group.count > 1 else {
        return tensor.sqnrDecibels < loudDecibels
          ? suspect(tensor, typical: nil, z: nil, "SQNR \(decibels(tensor))") : nil
      }
      let all = group.filter { $0.name != tensor.name }.map(\.sqnrDecibels).filter { !$0.isNaN }
      let others = all.filter(\.isFinite)
      guard 2 * others.count > all.count, let typical = median(others) else {
        // Most of its siblings are as they were.
        return suspect(
          tensor, typical: nil, z: nil,
          "SQNR \(decibels(tensor)), where most layers' are equal to the base's")
      }
      let z = (typical - tensor.sqnrDecibels) / max(deviation(others, from: typical), smallestDecibelScale)
      guard z >= outlier else { return nil }
      let own = isMixed ? tensor.storage.map { " stored as \($0)" } ?? "" : ""
      return suspect(
        tensor, typical: typical, z: z,
        "SQNR \(decibels(tensor)), \(Figure.fixed(typical, 1)) dB in other layers\(own) (z \(Figure.significant(z, 3)))"
      )
    }
  }

  private static func decibels(_ tensor: TensorError) -> String { Figure.fixed(tensor.sqnrDecibels, 1) + " dB" }

  private static func suspect(
    _ tensor: TensorError, typical: Double?, z: Double?, _ explanation: String
  ) -> Suspect {
    Suspect(
      kind: .tensor, name: tensor.name, layer: sibling(tensor.name)?.layer, value: tensor.sqnrDecibels,
      typical: typical, z: z, explanation: explanation)
  }
}
