import ByteIO
import Llama
import Tensors

/// A Meta checkpoint as its headers show it.
enum MetaShardFolder {
  /// The shards of a configuration, cut by the rules.
  static func shards(
    _ configuration: LlamaConfiguration, _ split: TensorParallelRules.EmbeddingSplit, _ count: Int,
    storesHead: Bool = true, extra: [String] = []
  ) throws -> [MetaShard] {
    let rules = TensorParallelRules(embeddingSplit: split)
    let roles = configuration.roles + (configuration.tiesEmbeddings && storesHead ? [.outputHead] : [])
    let entries = try roles.map {
      Census.Entry(
        name: NamingDialect.meta.name(for: $0), elementType: configuration.claimedElementType ?? .bf16,
        shape: try rules.shardShape(of: $0, configuration, shards: count))
    }
    let others = extra.map { Census.Entry(name: $0, elementType: .f32, shape: [configuration.headDimension / 2]) }
    return (0..<count).map { MetaShard(fileName: MetaShard.fileName(rank: $0), entries: entries + others) }
  }
}

/// The `params.json` of a published model, and what its shards are. Values and numbers of shards are those of the table
/// of released models, the keys those that each generation's loader knows: Llama 1 and 2 leave the vocabulary to the
/// tokenizer (−1) and have no `rope_theta`, Code Llama has no `vocab_size` at all.
struct PublishedParameters: Sendable, CustomStringConvertible {
  /// The name in `PublishedModel`.
  let name: String
  let json: String
  let shards: Int
  var split = TensorParallelRules.EmbeddingSplit.rows
  /// Number of times that every key/value head is stored.
  var copies = 1
  var leftovers: [String] = []

  var description: String { "\(name), \(shards) shards" }

  private static let frequencies = ["rope.freqs"]
  private static let layerFrequencies = (0..<2).map { "layers.\($0).attention.inner_attention.rope.freqs" }

  static let llama1And2 = [
    PublishedParameters(
      name: "Llama 1 13B",
      json: #"{"dim": 5120, "multiple_of": 256, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-06, "vocab_size": -1}"#,
      shards: 2, split: .columns, leftovers: layerFrequencies),
    PublishedParameters(
      name: "Llama 1 30B",
      json: #"{"dim": 6656, "multiple_of": 256, "n_heads": 52, "n_layers": 60, "norm_eps": 1e-06, "vocab_size": -1}"#,
      shards: 4, split: .columns, leftovers: layerFrequencies),
    PublishedParameters(
      name: "Llama 1 65B",
      json: #"{"dim": 8192, "multiple_of": 256, "n_heads": 64, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1}"#,
      shards: 8, split: .columns),
    PublishedParameters(
      name: "Llama 2 7B",
      json: #"{"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-05, "vocab_size": -1}"#,
      shards: 1, split: .columns, leftovers: frequencies),
    PublishedParameters(
      name: "Llama 2 13B",
      json: #"{"dim": 5120, "multiple_of": 256, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-05, "vocab_size": -1}"#,
      shards: 2, split: .columns, leftovers: frequencies),
    PublishedParameters(
      name: "Llama 2 70B",
      json: """
        {"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80,
         "norm_eps": 1e-05, "vocab_size": -1}
        """, shards: 8, split: .columns, leftovers: frequencies),
  ]

  static let codeLlama = [
    PublishedParameters(
      name: "Code Llama 7B",
      json: """
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 256, "ffn_dim_multiplier": 1.0, "norm_eps": 1e-5,
         "rope_theta": 1000000}
        """, shards: 1, split: .columns, leftovers: frequencies),
    PublishedParameters(
      name: "Code Llama 34B",
      json: """
        {"dim": 8192, "n_layers": 48, "n_heads": 64, "n_kv_heads": 8, "multiple_of": 256, "ffn_dim_multiplier": 1.0,
         "norm_eps": 1e-5, "rope_theta": 1000000}
        """, shards: 4, split: .columns, leftovers: frequencies),
    PublishedParameters(
      name: "Code Llama 70B Instruct",
      json: """
        {"dim": 8192, "n_layers": 80, "n_heads": 64, "n_kv_heads": 8, "multiple_of": 4096, "ffn_dim_multiplier": 1.3,
         "norm_eps": 1e-5, "rope_theta": 10000}
        """, shards: 8, split: .columns),
  ]

  static let llama3 = [
    PublishedParameters(
      name: "Llama 3 8B",
      json: """
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
         "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}
        """, shards: 1),
    PublishedParameters(
      name: "Llama 3 70B",
      json: """
        {"dim": 8192, "ffn_dim_multiplier": 1.3, "multiple_of": 4096, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80,
         "norm_eps": 1e-05, "vocab_size": 128256, "rope_theta": 500000.0}
        """, shards: 8),
    PublishedParameters(
      name: "Llama 3.1 70B",
      json: """
        {"dim": 8192, "ffn_dim_multiplier": 1.3, "multiple_of": 4096, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80,
         "norm_eps": 1e-05, "vocab_size": 128256, "rope_theta": 500000.0, "use_scaled_rope": true}
        """, shards: 8),
    PublishedParameters(
      name: "Llama 3.1 405B",
      json: """
        {"dim": 16384, "ffn_dim_multiplier": 1.2, "multiple_of": 4096, "n_heads": 128, "n_kv_heads": 8, "n_layers": 126,
         "norm_eps": 1e-05, "vocab_size": 128256, "rope_theta": 500000.0, "use_scaled_rope": true}
        """, shards: 8),
    PublishedParameters(
      name: "Llama 3.1 405B",
      json: """
        {"dim": 16384, "ffn_dim_multiplier": 1.2, "multiple_of": 4096, "n_heads": 128, "n_kv_heads": 16, "n_layers": 126,
         "norm_eps": 1e-05, "vocab_size": 128256, "rope_theta": 500000.0, "use_scaled_rope": true}
        """, shards: 16, copies: 2),
    PublishedParameters(
      name: "Llama 3.2 1B",
      json: """
        {"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "ffn_dim_multiplier": 1.5,
         "multiple_of": 256, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}
        """, shards: 1),
  ]

  static let mistral = [
    PublishedParameters(
      name: "Mistral 7B v0.1",
      json: """
        {"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
         "norm_eps": 1e-05, "sliding_window": 4096, "vocab_size": 32000}
        """, shards: 1, split: .columns),
    PublishedParameters(
      name: "Mistral 7B v0.3",
      json: """
        {"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
         "norm_eps": 1e-05, "vocab_size": 32768, "rope_theta": 1000000.0}
        """, shards: 1, split: .columns),
  ]

  static let all = llama1And2 + codeLlama + llama3 + mistral

  var expected: LlamaConfiguration? { PublishedModel.all.first { $0.name == name }?.expected }
}
