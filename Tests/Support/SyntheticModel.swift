public import Foundation

/// A Llama of random BF16 weights in the Hugging Face layout, of any size and without a tokenizer. Large tensors repeat one
/// random block, so that hundreds of megabytes are written quickly.
public struct SyntheticModel: Sendable {
  public var hidden = 64
  public var layers = 2
  public var heads = 4
  public var keyValueHeads = 2
  public var headDimension = 16
  public var feedForward = 160
  public var vocabulary = 96
  public var seed: UInt64 = 1

  public init() {}

  private var shapes: [(name: String, shape: [Int])] {
    var shapes = [
      ("model.embed_tokens.weight", [vocabulary, hidden]), ("lm_head.weight", [vocabulary, hidden]),
      ("model.norm.weight", [hidden]),
    ]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      shapes += [
        (prefix + "self_attn.q_proj.weight", [heads * headDimension, hidden]),
        (prefix + "self_attn.k_proj.weight", [keyValueHeads * headDimension, hidden]),
        (prefix + "self_attn.v_proj.weight", [keyValueHeads * headDimension, hidden]),
        (prefix + "self_attn.o_proj.weight", [hidden, heads * headDimension]),
        (prefix + "mlp.gate_proj.weight", [feedForward, hidden]),
        (prefix + "mlp.up_proj.weight", [feedForward, hidden]),
        (prefix + "mlp.down_proj.weight", [hidden, feedForward]), (prefix + "input_layernorm.weight", [hidden]),
        (prefix + "post_attention_layernorm.weight", [hidden]),
      ]
    }
    return shapes
  }

  private var configuration: String {
    """
    {
      "architectures": ["LlamaForCausalLM"],
      "model_type": "llama",
      "hidden_size": \(hidden),
      "num_hidden_layers": \(layers),
      "num_attention_heads": \(heads),
      "num_key_value_heads": \(keyValueHeads),
      "head_dim": \(headDimension),
      "intermediate_size": \(feedForward),
      "vocab_size": \(vocabulary),
      "rms_norm_eps": 1e-05,
      "rope_theta": 500000.0,
      "max_position_embeddings": 2048,
      "tie_word_embeddings": false,
      "bos_token_id": 1,
      "torch_dtype": "bfloat16"
    }

    """
  }

  /// Bytes of all tensors.
  public var byteCount: Int { shapes.reduce(0) { $0 + 2 * $1.shape.reduce(1, *) } }

  /// Creates the directory and writes `config.json` and `model.safetensors`.
  public func write(to folder: URL) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Data(configuration.utf8).write(to: folder.appending(path: "config.json"))
    var header: [String: Any] = [:]
    var end = 0
    for (name, shape) in shapes {
      let size = 2 * shape.reduce(1, *)
      header[name] = ["dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]]
      end += size
    }
    let json = [UInt8](try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys]))
    let path = folder.appending(path: "model.safetensors")
    guard FileManager.default.createFile(atPath: path.path, contents: Data(SafetensorsBytes.file(header: json))) else {
      throw CocoaError(.fileWriteUnknown)
    }
    let file = try FileHandle(forWritingTo: path)
    defer { try? file.close() }
    try file.seekToEnd()
    // A length that no row size divides, so that rows differ from their neighbours.
    let block = randomBlock(byteCount: min(end, (1 << 20) + 26))
    var left = end
    while left > 0 {
      let count = min(left, block.count)
      try file.write(contentsOf: block.prefix(count))
      left -= count
    }
  }

  /// Finite BF16 values of either sign between 2⁻¹⁰ and 2⁻².
  private func randomBlock(byteCount: Int) -> Data {
    var random = SeededRandom(seed: seed)
    var block = Data(capacity: byteCount + 8)
    while block.count < byteCount {
      var bits = random.next()
      for _ in 0..<4 {
        let exponent = 117 + UInt16(bits >> 7 & 7)
        let pattern = UInt16(bits & 0x807F) | exponent << 7
        block.append(UInt8(truncatingIfNeeded: pattern))
        block.append(UInt8(pattern >> 8))
        bits >>= 16
      }
    }
    return block.prefix(byteCount)
  }
}
