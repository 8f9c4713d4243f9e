/// Projections that servers concatenate into one matrix (vLLM: q/k/v, and gate/up): all of a group must be quantized, or
/// none.
public struct FusedModules: Sendable, Hashable, CustomStringConvertible {
  /// What the modules of the group have in common, with its final dot: `model.layers.3.`.
  public let prefix: String
  public let quantized: [String]
  public let kept: [String]

  public var description: String {
    "\(quantized.joined(separator: ", ")) would be quantized but not \(kept.joined(separator: ", "))"
  }

  /// Finds the groups of which some modules are quantized and some are not, in the order of `modules`.
  /// - Parameters:
  ///   - modules: full names of all linear modules.
  ///   - groups: the module-name suffixes of each fused group, such as
  ///     `[["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["mlp.gate_proj", "mlp.up_proj"]]`.
  ///   - isQuantized: the decision for a module.
  public static func split(
    among modules: [String], groups: [[String]], isQuantized: (_ module: String) -> Bool
  ) -> [FusedModules] {
    struct Key: Hashable {
      let group: Int
      let prefix: [UInt8]
    }
    var order: [Key] = []
    var members: [Key: [String]] = [:]
    for module in modules {
      let name = Array(module.utf8)
      for (group, suffixes) in groups.enumerated() {
        guard let suffix = suffixes.map({ Array($0.utf8) }).first(where: { Self.ends(name, with: $0) }) else {
          continue
        }
        let key = Key(group: group, prefix: Array(name.dropLast(suffix.count)))
        if members[key] == nil { order.append(key) }
        members[key, default: []].append(module)
      }
    }
    return order.compactMap { key in
      let all = members[key] ?? []
      let quantized = all.filter(isQuantized)
      guard !quantized.isEmpty && quantized.count < all.count else { return nil }
      return FusedModules(
        prefix: String(decoding: key.prefix, as: UTF8.self), quantized: quantized,
        kept: all.filter { !isQuantized($0) })
    }
  }

  /// At a dot, or the whole name.
  private static func ends(_ name: [UInt8], with suffix: [UInt8]) -> Bool {
    guard name.count >= suffix.count, name.suffix(suffix.count) == suffix[...] else { return false }
    return name.count == suffix.count || name[name.count - suffix.count - 1] == UInt8(ascii: ".")
  }
}
