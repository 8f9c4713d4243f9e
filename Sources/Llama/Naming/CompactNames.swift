/// What belongs to a weight in a compact file, named after it in GGUF's dialect.
public enum CompactNames {
  public static func scaleName(of role: TensorRole) -> String { NamingDialect.gguf.name(for: role) + "_scale" }

  public static func zeroPointName(of role: TensorRole) -> String {
    NamingDialect.gguf.name(for: role) + "_zero_point"
  }

  /// The group of each input, where groups are not runs of inputs.
  public static func groupIndexName(of role: TensorRole) -> String { NamingDialect.gguf.name(for: role) + "_g_idx" }

  /// The factors of a low-rank adapter: A `[rank, in]` and B `[out, rank]`.
  public static func adapterNames(of role: TensorRole) -> (a: String, b: String) {
    let module = NamingDialect.gguf.moduleName(of: role)
    return (module + ".adapter_a", module + ".adapter_b")
  }
}

extension NamingDialect {
  /// The name of a tensor that belongs to a weight and ends in `suffix`: `…down_proj.input_scale`.
  public func companionName(of role: TensorRole, suffix: String) -> String { moduleName(of: role) + "." + suffix }
}
