import Llama
import Tensors
import Testing

@Suite struct CensusTests {
  /// Heads and key/value heads, feed-forward and hidden size all differ.
  private static func model(tied: Bool = false) -> LlamaConfiguration {
    LlamaConfiguration(
      hiddenSize: 48, layerCount: 2, headCount: 6, keyValueHeadCount: 2, headDimension: 8, feedForwardSize: 80,
      vocabularySize: 100, normEpsilon: 1e-5, rope: RoPEParameters(base: 10_000), maximumPositions: 64,
      tiesEmbeddings: tied)
  }

  private static func entries(_ configuration: LlamaConfiguration) -> [Census.Entry] {
    configuration.roles.map {
      Census.Entry(
        name: NamingDialect.huggingFace.name(for: $0), elementType: .bf16, shape: configuration.shape(of: $0))
    }
  }

  private func census(
    tied: Bool = false, withScales: Bool = false, _ change: (inout [Census.Entry]) -> Void = { _ in }
  ) -> Census {
    let configuration = Self.model(tied: tied)
    var entries = Self.entries(configuration)
    change(&entries)
    return Census(configuration, entries: entries, dialect: .huggingFace) { withScales ? scales($0) : [] }
  }

  private func entry(_ name: String, _ shape: Shape) -> Census.Entry {
    Census.Entry(name: name, elementType: .bf16, shape: shape)
  }

  @Test("a sound model has no problems, in any order of its tensors", arguments: [false, true])
  func acceptsSoundModels(tied: Bool) {
    let census = census(tied: tied) { $0.reverse() }
    #expect(census.problems.isEmpty)
    let roles = Self.model(tied: tied).roles
    #expect(census.found.map(\.role) == roles)
    #expect(census.found.map(\.name) == roles.map { NamingDialect.huggingFace.name(for: $0) })
    // Embedding, nine of each of two layers, norm, and the head unless tied.
    #expect(roles.count == (tied ? 20 : 21))
  }

  @Test("every tensor is missed when it is missing")
  func findsEveryMissingTensor() {
    for role in Self.model().roles {
      let name = NamingDialect.huggingFace.name(for: role)
      let problems = census { $0.removeAll { $0.name == name } }.problems
      #expect(problems == [.missing(name: name, role: role)])
      #expect(problems.first?.severity == .error && problems.first?.code == "missing-tensor")
    }
  }

  @Test func aMissingHeadHintsAtTheTie() {
    let problems = census { $0.removeAll { $0.name == "lm_head.weight" } }.problems
    #expect(problems.first?.message.contains("tie_word_embeddings") == true)
    let other = census { $0.removeAll { $0.name == "model.norm.weight" } }.problems
    #expect(other.first?.message.contains("tie_word_embeddings") == false)
  }

  @Test(
    "a tensor that nothing explains is an error",
    arguments: [
      "model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.up_proj.lora_A.weight", "model.vision.weight",
      "model.layers.0.mlp.up_proj.weight_scale", "visual.proj", "",
    ])
  func findsExtraTensors(_ name: String) {
    let problems = census { $0.append(entry(name, [4])) }.problems
    #expect(problems == [.extra(name: name)])
    #expect(problems.first?.severity == .error && problems.first?.tensor == name)
  }

  @Test func aLayerBeyondTheCountIsNamedAsSuch() {
    let name = "model.layers.2.mlp.up_proj.weight"
    let problems = census { $0.append(entry(name, [80, 48])) }.problems
    #expect(problems == [.layerBeyondCount(name: name, layerCount: 2)])
    #expect(problems.first?.message.contains("2 layers") == true)
  }

  @Test func aHeadStoredThoughTiedIsAWarning() {
    let problems = census(tied: true) { $0.append(entry("lm_head.weight", [100, 48])) }.problems
    #expect(problems == [.headThoughTied(name: "lm_head.weight")])
    #expect(problems.first?.severity == .warning)
  }

  @Test func storedRotaryFrequenciesAreAWarning() {
    let name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    let problems = census { $0.append(entry(name, [4])) }.problems
    #expect(problems == [.leftover(name: name)])
    #expect(problems.first?.severity == .warning)
  }

  /// Name, shape found, and what the hint must say.
  static let shapes: [(name: String, shape: Shape, hint: String?)] = [
    ("model.layers.0.self_attn.k_proj.weight", [48, 48], "6 key/value heads"),
    ("model.layers.1.self_attn.v_proj.weight", [8, 48], "1 key/value heads"),
    ("model.layers.0.self_attn.k_proj.weight", [20, 48], nil),
    ("model.layers.0.self_attn.q_proj.weight", [64, 48], "8 heads"),
    ("model.layers.0.self_attn.q_proj.weight", [44, 48], nil),
    ("model.layers.0.self_attn.q_proj.weight", [48, 96], nil),
    ("model.embed_tokens.weight", [108, 48], "vocab_size should be 108"),
    ("lm_head.weight", [99, 48], "vocab_size should be 99"),
    ("lm_head.weight", [48, 100], nil),
    ("model.layers.0.mlp.gate_proj.weight", [96, 48], "intermediate_size should be 96"),
    ("model.layers.0.mlp.up_proj.weight", [64, 48], "intermediate_size should be 64"),
    ("model.layers.1.mlp.down_proj.weight", [48, 96], "intermediate_size should be 96"),
    ("model.layers.1.mlp.down_proj.weight", [80, 48], nil),
    ("model.layers.1.self_attn.o_proj.weight", [48, 40], nil),
    ("model.norm.weight", [47], nil),
    ("model.norm.weight", [48, 1], nil),
    ("model.layers.0.input_layernorm.weight", [], nil),
    ("model.embed_tokens.weight", [0, 48], "vocab_size should be 0"),
  ]

  @Test("a wrong shape is named with what it probably means", arguments: shapes.indices)
  func explainsWrongShapes(_ index: Int) throws {
    let (name, shape, hint) = Self.shapes[index]
    let problems = census { entries in
      entries = entries.map { $0.name == name ? entry(name, shape) : $0 }
    }.problems
    let problem = try #require(problems.first)
    #expect(problems.count == 1 && problem.code == "wrong-shape" && problem.severity == .error)
    #expect(problem.message.contains(name) && problem.message.contains("\(shape)"))
    guard case .wrongShape(_, _, _, let found) = problem else { return }
    #expect((found != nil) == (hint != nil))
    if let hint { #expect(problem.message.contains(hint), "\(problem.message)") }
  }

  @Test func errorsComeBeforeWarnings() {
    let problems = census {
      $0.append(entry("model.layers.0.self_attn.rotary_emb.inv_freq", [4]))
      $0.append(entry("stranger", [4]))
      $0.removeAll { $0.name == "model.norm.weight" }
    }.problems
    #expect(problems.map(\.code) == ["missing-tensor", "extra-tensor", "leftover-tensor"])
  }

  // MARK: Companions

  private func scales(_ role: TensorRole) -> [Census.Companion] {
    guard role == .layer(0, .up) else { return [] }
    return [
      Census.Companion(name: "model.layers.0.mlp.up_proj.weight_scale", shapes: [[80, 1], [80]], isRequired: true),
      Census.Companion(name: "model.layers.0.mlp.up_proj.input_scale", shapes: [[1], []], isRequired: false),
    ]
  }

  @Test("scales in an accepted shape are explained", arguments: [[80, 1] as Shape, [80]])
  func explainsScales(_ shape: Shape) {
    let scale = entry("model.layers.0.mlp.up_proj.weight_scale", shape)
    #expect(census(withScales: true) { $0.append(scale) }.problems.isEmpty)
    #expect(
      census(withScales: true) { $0 += [scale, entry("model.layers.0.mlp.up_proj.input_scale", [])] }.problems
        .isEmpty)
  }

  @Test func missingScalesAreAnErrorThatNamesBoth() throws {
    let problem = try #require(census(withScales: true).problems.first)
    #expect(
      problem
        == .missingScale(
          name: "model.layers.0.mlp.up_proj.weight_scale", weight: "model.layers.0.mlp.up_proj.weight"))
    #expect(problem.severity == .error)
  }

  @Test("scales of a wrong shape are an error", arguments: [[1] as Shape, [80, 2], [1, 80], [48, 1]])
  func refusesScales(_ shape: Shape) throws {
    let name = "model.layers.0.mlp.up_proj.weight_scale"
    let problems = census(withScales: true) { $0.append(entry(name, shape)) }.problems
    #expect(problems == [.wrongShape(name: name, found: shape, expected: [80, 1], hint: nil)])
  }

  @Test func scalesOfAWeightThatIsNotQuantizedAreExtra() {
    let name = "model.layers.1.mlp.up_proj.weight_scale"
    let scale = entry("model.layers.0.mlp.up_proj.weight_scale", [80, 1])
    #expect(
      census(withScales: true) { $0 += [scale, entry(name, [80, 1])] }.problems == [.extra(name: name)])
  }
}
