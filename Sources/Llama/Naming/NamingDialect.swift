/// How a layout names its tensors. Roles become names and names become roles here and nowhere else.
public enum NamingDialect: Sendable, Hashable, CaseIterable {
  /// `model.layers.3.self_attn.q_proj.weight`
  case huggingFace
  /// `layers.3.attention.wq.weight`
  case meta
  /// `blk.3.attn_q.weight`
  case gguf

  /// The name of the tensor with this role.
  public func name(for role: TensorRole) -> String {
    switch role {
    case .tokenEmbedding: globals.embedding
    case .outputNorm: globals.norm
    case .outputHead: globals.head
    case .layer(let layer, let role): "\(layerPrefix)\(layer).\(Self.stem(role, in: self)).weight"
    }
  }

  /// The name without `.weight`: what quantization configurations and patterns call a module.
  public func moduleName(of role: TensorRole) -> String { String(name(for: role).dropLast(".weight".count)) }

  /// The role of a tensor name; nil when the name is not one of this dialect's.
  public func role(for name: String) -> TensorRole? {
    if name == globals.embedding { return .tokenEmbedding }
    if name == globals.norm { return .outputNorm }
    if name == globals.head { return .outputHead }
    guard name.hasPrefix(layerPrefix), name.hasSuffix(".weight") else { return nil }
    let rest = name.dropFirst(layerPrefix.count).dropLast(".weight".count)
    guard let dot = rest.firstIndex(of: "."), let layer = Self.layerNumber(rest[..<dot]) else { return nil }
    let stem = rest[rest.index(after: dot)...]
    return LayerRole.allCases.first { Self.stem($0, in: self) == stem }.map { .layer(layer, $0) }
  }

  /// The layer that any tensor's name begins with, and what follows it, whether a role has that name or not; nil for names
  /// outside the layers.
  public func layerAndRest(of name: String) -> (layer: Int, rest: String)? {
    guard name.hasPrefix(layerPrefix) else { return nil }
    let behind = name.dropFirst(layerPrefix.count)
    guard let dot = behind.firstIndex(of: "."), let layer = Self.layerNumber(behind[..<dot]) else { return nil }
    return (layer, String(behind[behind.index(after: dot)...]))
  }

  /// Tensors that old writers stored and that are computed anew: RoPE frequencies.
  public func isLeftover(_ name: String) -> Bool {
    switch self {
    case .huggingFace: name.hasPrefix(layerPrefix) && name.hasSuffix(".rotary_emb.inv_freq")
    case .meta: name == "rope.freqs" || name.hasPrefix(layerPrefix) && name.hasSuffix(".rope.freqs")
    case .gguf: false
    }
  }

  /// The permutation from this dialect's row order to the canonical one, for queries and keys; nil for all other roles
  /// and for dialects whose order is canonical.
  public func rowOrder(of role: TensorRole, headDimension: Int) -> RowPermutation? {
    guard self == .huggingFace, case .layer(_, let part) = role, part == .query || part == .key else { return nil }
    return .halvesToPairs(headDimension: headDimension)
  }

  private var layerPrefix: String {
    switch self {
    case .huggingFace: "model.layers."
    case .meta: "layers."
    case .gguf: "blk."
    }
  }

  private var globals: (embedding: String, norm: String, head: String) {
    switch self {
    case .huggingFace: ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    case .meta: ("tok_embeddings.weight", "norm.weight", "output.weight")
    case .gguf: ("token_embd.weight", "output_norm.weight", "output.weight")
    }
  }

  /// Decimal digits without sign or leading zero, at most four: no model has ten thousand layers.
  private static func layerNumber(_ text: Substring) -> Int? {
    guard (1...4).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    guard text == "0" || text.utf8.first != 0x30 else { return nil }
    return Int(text)
  }

  private static func stem(_ role: LayerRole, in dialect: NamingDialect) -> String {
    let names: (huggingFace: String, meta: String, gguf: String) =
      switch role {
      case .attentionNorm: ("input_layernorm", "attention_norm", "attn_norm")
      case .query: ("self_attn.q_proj", "attention.wq", "attn_q")
      case .key: ("self_attn.k_proj", "attention.wk", "attn_k")
      case .value: ("self_attn.v_proj", "attention.wv", "attn_v")
      case .attentionOutput: ("self_attn.o_proj", "attention.wo", "attn_output")
      case .feedForwardNorm: ("post_attention_layernorm", "ffn_norm", "ffn_norm")
      case .gate: ("mlp.gate_proj", "feed_forward.w1", "ffn_gate")
      case .up: ("mlp.up_proj", "feed_forward.w3", "ffn_up")
      case .down: ("mlp.down_proj", "feed_forward.w2", "ffn_down")
      }
    return switch dialect {
    case .huggingFace: names.huggingFace
    case .meta: names.meta
    case .gguf: names.gguf
    }
  }
}
