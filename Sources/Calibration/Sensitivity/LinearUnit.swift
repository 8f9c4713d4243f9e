internal import Checkpoints
public import Llama
internal import Tensors

/// Linears that get one type together.
public struct LinearUnit: Sendable, Hashable {
  /// How much of a layer is a unit.
  public enum Granularity: String, Sendable, Hashable, CaseIterable {
    /// All linears of a layer.
    case layer
    /// What servers fuse into one matrix, or what stands alone: q/k/v, o, gate/up, down.
    case group
    /// One linear.
    case tensor
  }

  /// As servers call the module: `model.layers.3.self_attn.qkv_proj`.
  public let name: String
  public let layer: Int
  /// In model order.
  public let roles: [TensorRole]

  /// Something of it is before the feed-forward half.
  var isInAttention: Bool { roles.contains { !$0.isFeedForward } }

  /// Full names, in Hugging Face's dialect.
  public var modules: [String] { roles.map { NamingDialect.huggingFace.moduleName(of: $0) } }

  /// The units of a layer, in model order.
  public static func units(ofLayer layer: Int, by granularity: Granularity) -> [LinearUnit] {
    let parent = NamingDialect.huggingFace.moduleName(of: .layer(layer, .query))
      .split(separator: ".").dropLast(2).joined(separator: ".")
    func unit(_ name: String, _ parts: [LayerRole]) -> LinearUnit {
      LinearUnit(name: name, layer: layer, roles: parts.map { .layer(layer, $0) })
    }
    let linears = LayerRole.allCases.filter(\.isLinear)
    switch granularity {
    case .layer: return [unit(parent, linears)]
    case .group:
      return [
        unit(parent + ".self_attn.qkv_proj", [.query, .key, .value]),
        unit(parent + ".self_attn.o_proj", [.attentionOutput]),
        unit(parent + ".mlp.gate_up_proj", [.gate, .up]),
        unit(parent + ".mlp.down_proj", [.down]),
      ]
    case .tensor:
      return linears.map { unit(NamingDialect.huggingFace.moduleName(of: .layer(layer, $0)), [$0]) }
    }
  }
}
