import ByteIO
import Llama
import Testing

/// RoPE, context and special tokens, which `params.json` states in part or not at all.
@Suite struct MetaRoPETests {
  /// What is changed of a published model's parameters, and what must be said.
  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let changes: [(key: String, json: String?)]
    let rope: RoPEParameters
    let positions: Int
    /// Words of a warning; nil for no warning at all.
    var warning: String?
    var inference: String?
    var leftovers: [String] = []
    var testDescription: String { "\(model), \(changes.map { "\($0.key): \($0.json ?? "absent")" })" }
  }

  private static func scaled(
    _ factor: Double, low: Double = 1, high: Double = 4, original: Int = 8192, base: Double = 500_000
  ) -> RoPEParameters {
    RoPEParameters(
      base: base,
      scaling: .llama3(
        factor: factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions: original))
  }

  static let scaling = [
    Case(
      model: "Llama 3.1 70B", changes: [], rope: scaled(8), positions: 131_072,
      inference: "the factor is 8, as in Meta's code"),
    // llama-models issues 166 and 241: these were trained with 32.
    Case(model: "Llama 3.2 1B", changes: [], rope: scaled(32), positions: 131_072, warning: "the factor is 32"),
    Case(
      model: "Llama 3.2 1B", changes: [("rope_scaling_factor", "8")], rope: scaled(8), positions: 131_072),
    Case(
      model: "Llama 3.1 70B",
      changes: [
        ("rope_scaling_factor", "16.5"), ("rope_low_freq_factor", "2"), ("rope_high_freq_factor", "3"),
        ("rope_original_max_positions", "4096"),
      ], rope: scaled(16.5, low: 2, high: 3, original: 4096), positions: 131_072),
    Case(
      model: "Llama 3.1 70B", changes: [("rope_high_freq_factor", "8")], rope: scaled(8, high: 8), positions: 131_072,
      inference: "the factor is 8"),
    Case(
      model: "Llama 3.2 1B", changes: [("use_scaled_rope", nil)], rope: RoPEParameters(base: 500_000),
      positions: 8192, warning: "sizes are those of Llama 3.2"),
    // Llama Guard 3 8B is listed so, though it was made from Llama 3.1: the file is believed, and it is said.
    Case(
      model: "Llama 3 8B", changes: [("use_scaled_rope", "false")], rope: RoPEParameters(base: 500_000),
      positions: 8192, inference: "RoPE is taken as unscaled"),
    Case(
      model: "Llama 2 7B", changes: [("rope_scaling_type", "\"linear\""), ("rope_scaling_factor", "4")],
      rope: RoPEParameters(base: 10_000, scaling: .linear(factor: 4)), positions: 4096),
    Case(
      model: "Llama 3 8B", changes: [("max_position_embeddings", "1048576")], rope: RoPEParameters(base: 500_000),
      positions: 1_048_576),
  ]

  static let bases = [
    Case(
      model: "Llama 3 8B", changes: [("rope_theta", nil)], rope: RoPEParameters(base: 500_000), positions: 8192,
      inference: "rope_theta is absent: 500000"),
    Case(
      model: "Llama 2 7B", changes: [], rope: RoPEParameters(base: 10_000), positions: 4096,
      inference: "rope_theta is absent: 10000"),
    Case(
      model: "Code Llama 7B", changes: [("rope_theta", nil)], rope: RoPEParameters(base: 10_000), positions: 4096,
      warning: "the vocabulary of 32016 is Code Llama's"),
    Case(
      model: "Mistral 7B v0.1", changes: [], rope: RoPEParameters(base: 10_000), positions: 32768,
      warning: "right for Mistral 7B v0.1, later ones have 1000000"),
    Case(
      model: "Mistral 7B v0.3", changes: [("rope_theta", nil)], rope: RoPEParameters(base: 10_000), positions: 32768,
      warning: "later ones have 1000000"),
    Case(
      model: "Llama 2 7B", changes: [("norm_eps", "1e-06")], rope: RoPEParameters(base: 10_000), positions: 2048,
      warning: "norm_eps is 1e-6"),
    // A stored rope.freqs is Llama 2's: its 7B-chat, as first published.
    Case(
      model: "Llama 2 7B", changes: [("norm_eps", "1e-06")], rope: RoPEParameters(base: 10_000), positions: 4096,
      warning: "norm_eps is 1e-6", leftovers: ["rope.freqs"]),
    Case(
      model: "Llama 2 70B", changes: [("norm_eps", "1e-06")], rope: RoPEParameters(base: 10_000), positions: 4096,
      warning: "norm_eps is 1e-6", leftovers: ["rope.freqs"]),
    Case(
      model: "Llama 1 30B", changes: [], rope: RoPEParameters(base: 10_000), positions: 2048,
      warning: "layers.0.attention.inner_attention.rope.freqs and 1 more",
      leftovers: (0..<2).map { "layers.\($0).attention.inner_attention.rope.freqs" }),
  ]

  private func read(_ testCase: Case) throws -> MetaModel {
    let published = try #require(PublishedParameters.all.first { $0.name == testCase.model })
    let configuration = try #require(published.expected)
    var object = try #require(JSONValue(parsing: published.json).object)
    for (key, json) in testCase.changes { object[key] = try json.map { try JSONValue(parsing: $0) } }
    let shards = try MetaShardFolder.shards(
      configuration, published.split, published.shards, extra: testCase.leftovers)
    return try MetaModel(
      MetaParameters(parsing: .object(object)), shards: shards,
      contents: MetaModel.Contents(headIsEmbedding: configuration.tiesEmbeddings))
  }

  @Test("what the file leaves out of RoPE is inferred and said, and doubts are warnings", arguments: scaling + bases)
  func infers(_ testCase: Case) throws {
    let model = try read(testCase)
    #expect(model.configuration.rope == testCase.rope)
    #expect(model.configuration.maximumPositions == testCase.positions)
    if let warning = testCase.warning {
      #expect(model.warnings.contains { $0.contains(warning) }, "\(model.warnings)")
    } else {
      #expect(model.warnings.isEmpty, "\(model.warnings)")
    }
    if let inference = testCase.inference {
      #expect(model.inferences.contains { $0.contains(inference) }, "\(model.inferences)")
    }
  }

  static let contradictions: [Case] = [
    Case(
      model: "Llama 3.1 70B", changes: [("rope_scaling_type", "\"linear\"")], rope: scaled(8), positions: 1,
      warning: "use_scaled_rope is true, but rope_scaling_type is linear"),
    Case(
      model: "Llama 3 8B", changes: [("rope_scaling_factor", "8")], rope: scaled(8), positions: 1,
      warning: "use_scaled_rope is not true"),
    Case(
      model: "Llama 3 8B", changes: [("rope_scaling_type", "\"linear\"")], rope: scaled(8), positions: 1,
      warning: "rope_scaling_factor is absent"),
    Case(
      model: "Llama 3.1 70B", changes: [("rope_low_freq_factor", "4")], rope: scaled(8), positions: 1,
      warning: "rope_high_freq_factor 4.0 is not above rope_low_freq_factor 4.0"),
  ]

  @Test("keys about scaling that contradict each other are refused", arguments: contradictions)
  func refuses(_ testCase: Case) {
    let failure = #expect(throws: ParseFailure.self) { try read(testCase) }
    #expect(failure?.message.contains(testCase.warning ?? "") == true, "\(failure?.description ?? "")")
  }

  @Test func tokenIdsAreStatedOrTheGenerationsOrNone() throws {
    let plain = try read(Case(model: "Llama 3 8B", changes: [], rope: Self.scaled(8), positions: 1)).configuration
    #expect(plain.beginOfTextID == 128_000 && plain.endOfTextIDs == [128_001])
    let changes: [(key: String, json: String?)] = [("bos_token_id", "-1"), ("eos_token_id", "[128001, 128009]")]
    let stated = try read(Case(model: "Llama 3 8B", changes: changes, rope: Self.scaled(8), positions: 1))
    #expect(stated.configuration.beginOfTextID == nil && stated.configuration.endOfTextIDs == [128_001, 128_009])
    #expect(!stated.inferences.contains { $0.contains("ends a text") })
  }
}
