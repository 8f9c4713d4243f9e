import Llama
import Testing

@Suite struct NamingTests {
  private static let everyLayerRole = (0..<1200).flatMap { layer in
    LayerRole.allCases.map { TensorRole.layer(layer, $0) }
  }
  private static let everyRole = [TensorRole.tokenEmbedding, .outputNorm, .outputHead] + everyLayerRole

  @Test("names and roles are each other's inverse", arguments: NamingDialect.allCases)
  func isABijection(_ dialect: NamingDialect) {
    var names: Set<String> = []
    for role in Self.everyRole {
      let name = dialect.name(for: role)
      names.insert(name)
      #expect(dialect.role(for: name) == role)
    }
    #expect(names.count == Self.everyRole.count)
  }

  @Test("canonical texts tell all roles apart")
  func canonicalTextsAreUnique() {
    #expect(Set(Self.everyRole.map(\.canonicalText)).count == Self.everyRole.count)
  }

  /// The table of names that transformers' conversion script and Meta's reference code share, with llama.cpp's names.
  private static let table: [(role: TensorRole, huggingFace: String, meta: String, gguf: String)] = [
    (.tokenEmbedding, "model.embed_tokens.weight", "tok_embeddings.weight", "token_embd.weight"),
    (
      .layer(0, .query), "model.layers.0.self_attn.q_proj.weight", "layers.0.attention.wq.weight", "blk.0.attn_q.weight"
    ),
    (.layer(7, .key), "model.layers.7.self_attn.k_proj.weight", "layers.7.attention.wk.weight", "blk.7.attn_k.weight"),
    (
      .layer(10, .value), "model.layers.10.self_attn.v_proj.weight", "layers.10.attention.wv.weight",
      "blk.10.attn_v.weight"
    ),
    (
      .layer(125, .attentionOutput), "model.layers.125.self_attn.o_proj.weight", "layers.125.attention.wo.weight",
      "blk.125.attn_output.weight"
    ),
    (
      .layer(1, .gate), "model.layers.1.mlp.gate_proj.weight", "layers.1.feed_forward.w1.weight",
      "blk.1.ffn_gate.weight"
    ),
    (
      .layer(1, .down), "model.layers.1.mlp.down_proj.weight", "layers.1.feed_forward.w2.weight",
      "blk.1.ffn_down.weight"
    ),
    (.layer(1, .up), "model.layers.1.mlp.up_proj.weight", "layers.1.feed_forward.w3.weight", "blk.1.ffn_up.weight"),
    (
      .layer(2, .attentionNorm), "model.layers.2.input_layernorm.weight", "layers.2.attention_norm.weight",
      "blk.2.attn_norm.weight"
    ),
    (
      .layer(2, .feedForwardNorm), "model.layers.2.post_attention_layernorm.weight", "layers.2.ffn_norm.weight",
      "blk.2.ffn_norm.weight"
    ),
    (.outputNorm, "model.norm.weight", "norm.weight", "output_norm.weight"),
    (.outputHead, "lm_head.weight", "output.weight", "output.weight"),
  ]

  @Test func namesAreThoseOfTheThreeWorlds() {
    for row in Self.table {
      #expect(NamingDialect.huggingFace.name(for: row.role) == row.huggingFace)
      #expect(NamingDialect.meta.name(for: row.role) == row.meta)
      #expect(NamingDialect.gguf.name(for: row.role) == row.gguf)
    }
    #expect(NamingDialect.huggingFace.moduleName(of: .layer(3, .up)) == "model.layers.3.mlp.up_proj")
    #expect(NamingDialect.huggingFace.moduleName(of: .outputHead) == "lm_head")
  }

  @Test(
    "a name that is nearly one has no role",
    arguments: [
      "", ".weight", "model.layers.weight", "model.layers..weight", "model.layers.0.weight",
      "model.layers.00.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight", "model.layers.+1.mlp.up_proj.weight",
      "model.layers.-1.mlp.up_proj.weight", "model.layers. 1.mlp.up_proj.weight", "model.layers.1e0.mlp.up_proj.weight",
      "model.layers.99999999999999999999.mlp.up_proj.weight", "model.layers.٣.mlp.up_proj.weight",
      "model.layers.1.mlp.up_proj.bias", "model.layers.1.mlp.up_proj", "model.layers.1.mlp.up_proj.weight_scale",
      "model.layers.1.mlp.UP_proj.weight", "model.layers.1.mlp.up_proj.weight.weight", "model.layers.1.mlp.weight",
      "layers.1.feed_forward.w1.weight", "model.embed_tokens", "lm_head.bias", "MODEL.NORM.WEIGHT",
      "model.norm.weight ",
      "model.layers.1.mlp.up_proj.weight\u{301}", "text_model.model.norm.weight", "model.layers.1..mlp.up_proj.weight",
    ])
  func refusesOtherNames(_ name: String) {
    #expect(NamingDialect.huggingFace.role(for: name) == nil)
  }

  @Test func leftoversAreRecognisedAndNothingElse() {
    let face = NamingDialect.huggingFace
    #expect(face.isLeftover("model.layers.0.self_attn.rotary_emb.inv_freq"))
    #expect(!face.isLeftover("model.layers.0.self_attn.q_proj.weight"))
    #expect(!face.isLeftover("rope.freqs"))
    #expect(NamingDialect.meta.isLeftover("rope.freqs"))
    #expect(NamingDialect.meta.isLeftover("layers.3.attention.inner_attention.rope.freqs"))
    #expect(!NamingDialect.meta.isLeftover("norm.weight"))
  }

  @Test func onlyLinearModulesAreLinear() {
    #expect(!TensorRole.tokenEmbedding.isLinear && !TensorRole.outputNorm.isLinear && TensorRole.outputHead.isLinear)
    let linear = LayerRole.allCases.filter(\.isLinear)
    #expect(Set(linear) == [.query, .key, .value, .attentionOutput, .gate, .up, .down])
    #expect(LayerRole.allCases.filter { TensorRole.layer(0, $0).isFeedForward } == [.gate, .up, .down])
    #expect(TensorRole.layer(5, .key).layer == 5 && TensorRole.outputHead.layer == nil)
  }

  @Test func onlyQueriesAndKeysOfHuggingFaceAreReordered() {
    for dialect in NamingDialect.allCases {
      for role in Self.everyRole.prefix(3 + LayerRole.allCases.count) {
        let isReordered = dialect == .huggingFace && (role == .layer(0, .query) || role == .layer(0, .key))
        #expect((dialect.rowOrder(of: role, headDimension: 8) != nil) == isReordered)
      }
    }
  }
}
