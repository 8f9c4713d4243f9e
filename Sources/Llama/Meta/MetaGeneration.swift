/// What `params.json` does not say and every model of a generation has in common: context length and special tokens.
enum MetaGeneration: String, Sendable, CaseIterable {
  case llama1 = "Llama 1"
  case llama2 = "Llama 2"
  case codeLlama = "Code Llama"
  /// 70B-Python and 70B-Instruct: the vocabulary of Code Llama 70B, base and context of Llama 2.
  case shortCodeLlama = "Code Llama 70B Python or Instruct"
  case llama3 = "Llama 3"
  case llama31 = "Llama 3.1"
  case mistral = "Mistral"

  /// The generation, told from sizes and RoPE: the configuration's positions and token ids are not looked at.
  /// - Parameter leftovers: names of stored RoPE frequencies, which tell Llama 1 from Llama 2 where sizes do not.
  init(of configuration: LlamaConfiguration, leftovers: [String] = []) {
    if configuration.architecture == .mistral {
      self = .mistral
    } else if case .llama3 = configuration.rope.scaling {
      self = .llama31
    } else if configuration.rope.base == 500_000 || configuration.vocabularySize == 128_256 {
      self = .llama3
    } else if configuration.rope.base == 1_000_000 {
      self = .codeLlama
    } else if configuration.vocabularySize == 32016 {
      self = .shortCodeLlama
    } else if !leftovers.isEmpty {
      self = leftovers.contains { $0.hasPrefix("layers.") } ? .llama1 : .llama2
    } else {
      // 30B and 65B exist in Llama 1 only; 7B and 13B have Llama 1's epsilon or Llama 2's.
      let size = (configuration.hiddenSize, configuration.layerCount, configuration.keyValueHeadCount)
      self = size == (6656, 60, 52) || size == (8192, 80, 64) || configuration.normEpsilon == 1e-6 ? .llama1 : .llama2
    }
  }

  var maximumPositions: Int {
    switch self {
    case .llama1: 2048
    case .llama2, .shortCodeLlama: 4096
    case .codeLlama: 16384
    case .llama3: 8192
    case .llama31: 131_072
    case .mistral: 32768
    }
  }

  var embeddingSplit: TensorParallelRules.EmbeddingSplit {
    self == .llama3 || self == .llama31 ? .rows : .columns
  }

  private var usesLlama3Tokens: Bool { self == .llama3 || self == .llama31 }

  /// Nil when the vocabulary is too small to hold the generation's token.
  func beginOfTextID(vocabulary: Int) -> Int? {
    let id = usesLlama3Tokens ? 128_000 : 1
    return id < vocabulary ? id : nil
  }

  /// As in the base models; Instruct models have further ones, and nothing in the sizes tells them.
  func endOfTextIDs(vocabulary: Int) -> [Int] {
    let id = usesLlama3Tokens ? 128_001 : 2
    return id < vocabulary ? [id] : []
  }
}

extension RoPEParameters {
  /// The scaling that `use_scaled_rope` stands for. Meta's code has one factor, 8, for all models; Llama 3.2 1B and 3B
  /// were trained with 32.
  static func metaScaling(hidden: Int, layers: Int) -> Scaling {
    .llama3(
      factor: isLlama32Size(hidden: hidden, layers: layers) ? 32 : 8, lowFrequencyFactor: 1, highFrequencyFactor: 4,
      originalPositions: 8192)
  }

  /// The sizes of Llama 3.2 1B and 3B.
  static func isLlama32Size(hidden: Int, layers: Int) -> Bool {
    (hidden, layers) == (2048, 16) || (hidden, layers) == (3072, 28)
  }
}

extension LlamaConfiguration {
  /// The cut of the embedding that checkpoints of this generation have; for writing, since those that are read may differ.
  public var metaEmbeddingSplit: TensorParallelRules.EmbeddingSplit { MetaGeneration(of: self).embeddingSplit }
}
