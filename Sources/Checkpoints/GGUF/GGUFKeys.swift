internal import ByteIO
internal import GGUFFormat
internal import Llama
internal import Tensors

/// The keys of `formats/gguf.md` that describe a Llama, and what they make of a configuration, both ways.
enum GGUFKeys {
  static let architecture = "general.architecture"
  static let fileType = "general.file_type"
  static let quantizationVersion = "general.quantization_version"
  /// Divisors of the RoPE frequencies, `[headDimension / 2]`: how llama.cpp is told of Llama 3.1's scaling.
  static let ropeFactors = "rope_freqs.weight"
  static let llama = "llama"

  /// Keys of our own, which llama.cpp does not look at: what it has no key for.
  static let ownPrefix = "llama-convert."
  /// Which program wrote the file.
  static let ownVersion = ownPrefix + "written_by"
  /// What it was made from: `Checkpoint.inputDigestKey`.
  static let ownInput = ownPrefix + "input_sha256"
  static let ownArchitecture = ownPrefix + "architecture"
  static let ownSlidingWindow = ownPrefix + "sliding_window"
  static let ownEndOfText = ownPrefix + "eos_token_ids"
  /// FLOAT64, where FLOAT32 does not hold the number; and the four numbers behind `rope_freqs.weight`.
  static let ownNormEpsilon = ownPrefix + "rms_norm_eps"
  static let ownRoPEBase = ownPrefix + "rope_theta"
  static let ownRoPEFactor = ownPrefix + "rope_scaling_factor"
  static let ownRoPEScaling = ownPrefix + "rope_scaling_llama3"
  /// `F32` where norms of a 16-bit model are wider than its matrices.
  static let ownNormType = ownPrefix + "norm_type"

  static let beginOfText = "tokenizer.ggml.bos_token_id"
  static let endOfText = "tokenizer.ggml.eos_token_id"

  // MARK: Reading

  /// - Parameters:
  ///   - tensors: names and shapes: the vocabulary's size and whether the head is tied are seen there.
  ///   - factors: the values of `rope_freqs.weight`, if the file has it.
  /// - Throws: `ParseFailure` with the key for what is missing, of another type, out of bounds, or another model's.
  static func configuration(
    _ metadata: GGUFMetadata, tensors: any TensorSource, factors: [Float]?
  ) throws(ParseFailure) -> LlamaConfiguration {
    guard let embedding = tensors.info(NamingDialect.gguf.name(for: .tokenEmbedding)), embedding.shape.rank == 2,
      embedding.shape.rows > 0
    else {
      throw ParseFailure(
        "the tensor is missing, empty or no matrix", file: metadata.file,
        item: NamingDialect.gguf.name(for: .tokenEmbedding))
    }
    return try configuration(
      metadata, vocabulary: embedding.shape.rows,
      isTied: tensors.info(NamingDialect.gguf.name(for: .outputHead)) == nil, factors: factors)
  }

  /// As a reader of the keys will find it beside the tensors of this model.
  static func configuration(
    _ metadata: GGUFMetadata, shapeOf checkpoint: Checkpoint, factors: [Float]?
  ) throws(ParseFailure) -> LlamaConfiguration {
    try configuration(
      metadata, vocabulary: checkpoint.configuration.vocabularySize, isTied: checkpoint.configuration.tiesEmbeddings,
      factors: factors)
  }

  private static func configuration(
    _ metadata: GGUFMetadata, vocabulary: Int, isTied: Bool, factors: [Float]?
  ) throws(ParseFailure) -> LlamaConfiguration {
    let name = try metadata.requiredString(architecture)
    guard name == llama else {
      throw ParseFailure(
        "the architecture is \(name.prefix(80)), expected llama", file: metadata.file, item: architecture,
        advice: "only models of the Llama family are supported")
    }
    try refuseOtherModels(metadata)
    let hidden = try size(metadata, "embedding_length", in: 2...1 << 21)
    let heads = try size(metadata, "attention.head_count", in: 1...4096)
    let keyValueHeads = try size(metadata, "attention.head_count_kv", in: 1...4096, default: heads)
    let dimension = try size(
      metadata, "attention.key_length", in: 2...4096,
      default: try size(metadata, "rope.dimension_count", in: 2...4096, default: max(2, hidden / heads)))
    for key in ["attention.value_length", "rope.dimension_count"] {
      let other = try size(metadata, key, in: 2...4096, default: dimension)
      guard other == dimension else {
        throw failure(
          metadata, key, "is \(other), but keys have \(dimension) rows; they differ in no model of the family")
      }
    }
    guard dimension % 2 == 0 else {
      throw failure(metadata, "attention.key_length", "is \(dimension), which is odd; RoPE turns pairs")
    }
    guard heads % keyValueHeads == 0 else {
      throw failure(metadata, "attention.head_count_kv", "is \(keyValueHeads), which does not divide \(heads) heads")
    }
    var configuration = LlamaConfiguration(
      hiddenSize: hidden, layerCount: try size(metadata, "block_count", in: 1...1024), headCount: heads,
      keyValueHeadCount: keyValueHeads, headDimension: dimension,
      feedForwardSize: try size(metadata, "feed_forward_length", in: 1...1 << 21),
      vocabularySize: vocabulary,
      normEpsilon: try number(metadata, "attention.layer_norm_rms_epsilon", default: nil),
      rope: RoPEParameters(base: try number(metadata, "rope.freq_base", default: 10_000)),
      maximumPositions: try size(metadata, "context_length", in: 1...1 << 30),
      tiesEmbeddings: isTied)
    configuration.rope.scaling = try scaling(metadata, configuration, factors)
    configuration.beginOfTextID = try metadata.scalar(beginOfText, as: UInt32.self).map(Int.init)
    configuration.endOfTextIDs = try metadata.scalar(endOfText, as: UInt32.self).map { [Int($0)] } ?? []
    if let all = try metadata.integers(ownEndOfText) { configuration.endOfTextIDs = all }
    if try metadata.string(ownArchitecture) == "mistral" {
      configuration.architecture = .mistral
      configuration.slidingWindow = try metadata.scalar(ownSlidingWindow, as: UInt32.self).map(Int.init)
      guard configuration.slidingWindow.map({ (1...1 << 30).contains($0) }) ?? true else {
        throw ParseFailure(
          "the window is \(configuration.slidingWindow ?? 0)", file: metadata.file, item: ownSlidingWindow)
      }
    }
    configuration.normEpsilon = try own(metadata, ownNormEpsilon, instead: configuration.normEpsilon)
    configuration.rope.base = try own(metadata, ownRoPEBase, instead: configuration.rope.base)
    return configuration
  }

  private static func refuseOtherModels(_ metadata: GGUFMetadata) throws(ParseFailure) {
    if let experts = try metadata.scalar("llama.expert_count", as: UInt32.self), experts > 0 {
      throw failure(
        metadata, "expert_count", "is \(experts): this is a mixture of experts; only dense models are supported")
    }
    if let type = try metadata.string("general.type"), type != "model" {
      throw ParseFailure("the file is of type \(type.prefix(80)), no model", file: metadata.file, item: "general.type")
    }
  }

  private static func scaling(
    _ metadata: GGUFMetadata, _ configuration: LlamaConfiguration, _ factors: [Float]?
  ) throws(ParseFailure) -> RoPEParameters.Scaling {
    let type = try metadata.string("llama.rope.scaling.type")
    let old = try metadata.scalar("llama.rope.scale_linear", as: Float.self)
    let factor = try metadata.scalar("llama.rope.scaling.factor", as: Float.self) ?? old ?? 0
    guard factor.isFinite, factor >= 0 else {
      throw failure(metadata, "rope.scaling.factor", "is \(factor), expected a positive number")
    }
    guard let factors else {
      let exact = try own(metadata, ownRoPEFactor, instead: shortest(factor))
      switch type {
      case nil, "none": return factor == 0 || factor == 1 || type == "none" ? .none : .linear(factor: exact)
      case "linear": return factor == 0 || factor == 1 ? .none : .linear(factor: exact)
      default:
        throw failure(
          metadata, "rope.scaling.type", "is \(type?.prefix(80) ?? ""); supported are none, linear and \(ropeFactors)")
      }
    }
    guard type == nil || type == "none" || factor == 0 || factor == 1 else {
      throw failure(metadata, "rope.scaling.type", "is \(type ?? "") beside \(ropeFactors); only one of them can hold")
    }
    return try RoPEFactors.scaling(of: factors, configuration, metadata)
  }

  /// A number that was also written in full, where both are of the same number; the file's own where somebody has changed it.
  private static func own(_ metadata: GGUFMetadata, _ key: String, instead value: Double) throws(ParseFailure) -> Double
  {
    guard let exact = try metadata.scalar(key, as: Double.self), Float(exact) == Float(value) else { return value }
    return exact
  }

  /// A FLOAT32 as the number with the fewest digits that rounds to it: what was written as 1e-05 is 1e-05 again.
  static func shortest(_ value: Float) -> Double { Double(value.description) ?? Double(value) }

  private static func number(
    _ metadata: GGUFMetadata, _ key: String, default fallback: Double?
  ) throws(ParseFailure) -> Double {
    guard let value = try metadata.scalar(llama + "." + key, as: Float.self) else {
      if let fallback { return fallback }
      return shortest(try metadata.requiredScalar(llama + "." + key, as: Float.self))
    }
    guard value.isFinite, value > 0 else { throw failure(metadata, key, "is \(value), expected a positive number") }
    return shortest(value)
  }

  /// A UINT32; or an array of one for each layer, all the same, as llama.cpp allows.
  private static func size(
    _ metadata: GGUFMetadata, _ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil
  ) throws(ParseFailure) -> Int {
    let name = llama + "." + key
    let value: Int
    if case .array = metadata[name], let values = try metadata.integers(name) {
      guard let first = values.first, values.allSatisfy({ $0 == first }) else {
        throw failure(metadata, key, "differs between layers, which is not supported")
      }
      value = first
    } else if let fallback, metadata[name] == nil {
      return fallback
    } else {
      value = Int(try metadata.requiredScalar(name, as: UInt32.self))
    }
    guard range.contains(value) else {
      throw failure(metadata, key, "is \(value), expected \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  private static func failure(_ metadata: GGUFMetadata, _ key: String, _ message: String) -> ParseFailure {
    let name = llama + "." + key
    return ParseFailure("the value " + message, file: metadata.file, item: name, offset: metadata.entry(name)?.offset)
  }
}
