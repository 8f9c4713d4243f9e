/// The published models, told apart by their configuration. Fine-tunes that change neither shape nor RoPE belong to the
/// family of their base; a resized vocabulary belongs to none.
public struct LlamaFamily: Sendable, Hashable, CustomStringConvertible {
  /// `Llama 3.1`
  public let generation: String
  /// `8B`
  public let size: String

  public var description: String { "\(generation) \(size)" }

  init(_ generation: String, _ size: String) {
    self.generation = generation
    self.size = size
  }

  /// What the published models of these sizes have for RoPE, whatever this configuration says; empty when there are none.
  public static func publishedRoPE(forShapeOf configuration: LlamaConfiguration) -> [(
    family: LlamaFamily, rope: RoPEParameters
  )] {
    table.filter {
      $0.shape == ModelShape(of: configuration) && $0.isTied == configuration.tiesEmbeddings
        && $0.architecture == configuration.architecture
    }.map { ($0.family, $0.rope) }
  }

  /// The family of a configuration; nil when it is none of the published ones.
  public init?(of configuration: LlamaConfiguration) {
    guard let entry = Self.table.first(where: { $0.matches(configuration) }) else { return nil }
    self = entry.family
  }
}

extension LlamaFamily {
  /// What tells a published model from the others.
  struct Entry: Sendable {
    let family: LlamaFamily
    let shape: ModelShape
    let rope: RoPEParameters
    /// Only where nothing else differs: Llama 1 and 2.
    var positions: Int?
    var isTied = false
    var architecture = LlamaConfiguration.Architecture.llama
    var window: Int?

    func matches(_ configuration: LlamaConfiguration) -> Bool {
      shape == ModelShape(of: configuration) && rope == configuration.rope
        && (positions == nil || positions == configuration.maximumPositions) && isTied == configuration.tiesEmbeddings
        && architecture == configuration.architecture && window == configuration.slidingWindow
    }
  }

  /// The sizes that decide the shapes of all tensors.
  struct ModelShape: Sendable, Equatable {
    let hidden, layers, heads, keyValueHeads, headDimension, feedForward, vocabulary: Int

    init(_ hidden: Int, _ layers: Int, _ heads: Int, _ keyValueHeads: Int, _ feedForward: Int, _ vocabulary: Int) {
      self.hidden = hidden
      self.layers = layers
      self.heads = heads
      self.keyValueHeads = keyValueHeads
      self.headDimension = hidden / heads
      self.feedForward = feedForward
      self.vocabulary = vocabulary
    }

    init(of configuration: LlamaConfiguration) {
      hidden = configuration.hiddenSize
      layers = configuration.layerCount
      heads = configuration.headCount
      keyValueHeads = configuration.keyValueHeadCount
      headDimension = configuration.headDimension
      feedForward = configuration.feedForwardSize
      vocabulary = configuration.vocabularySize
    }
  }

  private static func entry(
    _ generation: String, _ size: String, _ shape: ModelShape, base: Double, factor: Double? = nil,
    positions: Int? = nil, isTied: Bool = false
  ) -> Entry {
    let scaling =
      factor.map {
        RoPEParameters.Scaling.llama3(
          factor: $0, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)
      } ?? .none
    return Entry(
      family: LlamaFamily(generation, size), shape: shape, rope: RoPEParameters(base: base, scaling: scaling),
      positions: positions, isTied: isTied)
  }

  private static func mistral(_ version: String, vocabulary: Int, base: Double, window: Int?) -> Entry {
    Entry(
      family: LlamaFamily("Mistral", "7B \(version)"), shape: ModelShape(4096, 32, 32, 8, 14336, vocabulary),
      rope: RoPEParameters(base: base), architecture: .mistral, window: window)
  }

  /// Hidden size, layers, heads, key/value heads, feed-forward size, vocabulary.
  private static let (size7B, size13B, size8B, size70B) = (
    ModelShape(4096, 32, 32, 32, 11008, 32000), ModelShape(5120, 40, 40, 40, 13824, 32000),
    ModelShape(4096, 32, 32, 8, 14336, 128_256), ModelShape(8192, 80, 64, 8, 28672, 128_256)
  )

  static let table: [Entry] = [
    entry("Llama 1", "7B", size7B, base: 1e4, positions: 2048),
    entry("Llama 1", "13B", size13B, base: 1e4, positions: 2048),
    entry("Llama 1", "30B", ModelShape(6656, 60, 52, 52, 17920, 32000), base: 1e4, positions: 2048),
    entry("Llama 1", "65B", ModelShape(8192, 80, 64, 64, 22016, 32000), base: 1e4, positions: 2048),

    entry("Llama 2", "7B", size7B, base: 1e4, positions: 4096),
    entry("Llama 2", "13B", size13B, base: 1e4, positions: 4096),
    entry("Llama 2", "70B", ModelShape(8192, 80, 64, 8, 28672, 32000), base: 1e4, positions: 4096),

    // The Python variants of 7B and 13B have no infill tokens; 70B-Python and 70B-Instruct kept Llama 2's base.
    entry("Code Llama", "7B", ModelShape(4096, 32, 32, 32, 11008, 32016), base: 1e6),
    entry("Code Llama", "7B Python", size7B, base: 1e6),
    entry("Code Llama", "13B", ModelShape(5120, 40, 40, 40, 13824, 32016), base: 1e6),
    entry("Code Llama", "13B Python", size13B, base: 1e6),
    entry("Code Llama", "34B", ModelShape(8192, 48, 64, 8, 22016, 32000), base: 1e6),
    entry("Code Llama", "70B", ModelShape(8192, 80, 64, 8, 28672, 32016), base: 1e6),
    entry("Code Llama", "70B Python or Instruct", ModelShape(8192, 80, 64, 8, 28672, 32016), base: 1e4),

    entry("Llama 3", "8B", size8B, base: 5e5),
    entry("Llama 3", "70B", size70B, base: 5e5),
    entry("Llama 3.1", "8B", size8B, base: 5e5, factor: 8),
    // Nothing in the configuration tells 3.3 from 3.1.
    entry("Llama 3.1 or 3.3", "70B", size70B, base: 5e5, factor: 8),
    entry("Llama 3.1", "405B", ModelShape(16384, 126, 128, 8, 53248, 128_256), base: 5e5, factor: 8),
    // The first upload for sixteen ranks: every key/value head is there twice.
    entry(
      "Llama 3.1", "405B with doubled key/value heads", ModelShape(16384, 126, 128, 16, 53248, 128_256), base: 5e5,
      factor: 8),
    entry("Llama 3.2", "1B", ModelShape(2048, 16, 32, 8, 8192, 128_256), base: 5e5, factor: 32, isTied: true),
    entry("Llama 3.2", "3B", ModelShape(3072, 28, 24, 8, 8192, 128_256), base: 5e5, factor: 32, isTied: true),

    mistral("v0.1", vocabulary: 32000, base: 1e4, window: 4096),
    mistral("v0.2", vocabulary: 32000, base: 1e6, window: nil),
    mistral("v0.3", vocabulary: 32768, base: 1e6, window: nil),
  ]
}
