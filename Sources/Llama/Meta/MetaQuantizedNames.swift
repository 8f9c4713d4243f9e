/// Where Meta's quantized checkpoints keep what belongs to a weight.
public enum MetaQuantizedNames {
  /// The file of a rank's FP8 scales; its number has no padding.
  public static func fp8ScalesFileName(rank: Int) -> String { "fp8_scales_\(rank).pt" }

  /// The scales of an FP8 weight in a rank's file, `1_feed_forward.w2_0`; nil for tensors that are never FP8 there.
  public static func fp8ScalesName(of role: TensorRole, rank: Int) -> String? {
    guard case .layer(let layer, let part) = role else { return nil }
    let stem: String
    switch part {
    case .gate: stem = "w1"
    case .up: stem = "w3"
    case .down: stem = "w2"
    default: return nil
    }
    return "\(layer)_feed_forward.\(stem)_\(rank)"
  }

  /// Whether Meta's loader looks for FP8 in this tensor: the feed-forward blocks of all layers but the first and last.
  public static func mayBeFP8(_ role: TensorRole, layerCount: Int) -> Bool {
    guard let layer = role.layer else { return false }
    return role.isFeedForward && layer > 0 && layer < layerCount - 1
  }

  /// Scales of integer codes, beside them in the shard.
  public static func integerScalesName(of role: TensorRole) -> String { module(role) + ".scales" }
  /// Zero points of integer codes; published files have none.
  public static func integerZerosName(of role: TensorRole) -> String { module(role) + ".zeros" }

  /// The factors of a low-rank adapter: A `[rank, in]` and B `[out, rank]`.
  public static func adapterNames(of role: TensorRole) -> (a: String, b: String) {
    (module(role) + ".adaptor.A.weight", module(role) + ".adaptor.B.weight")
  }

  private static func module(_ role: TensorRole) -> String { NamingDialect.meta.moduleName(of: role) }
}
