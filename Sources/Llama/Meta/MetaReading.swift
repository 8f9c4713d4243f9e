internal import ByteIO
internal import Tensors

/// The steps from parameters and shapes to a configuration.
struct MetaReading {
  let parameters: MetaParameters
  let shards: [MetaShard]
  let contents: MetaModel.Contents
  private(set) var configuration: LlamaConfiguration
  private(set) var embeddingSplit = TensorParallelRules.EmbeddingSplit.columns
  private(set) var inferences: [String] = []
  private(set) var warnings: [String] = []

  init(_ parameters: MetaParameters, shards: [MetaShard], contents: MetaModel.Contents) throws(ParseFailure) {
    self.parameters = parameters
    self.shards = shards
    self.contents = contents
    configuration = LlamaConfiguration(
      hiddenSize: parameters.hiddenSize, layerCount: parameters.layerCount, headCount: parameters.headCount,
      keyValueHeadCount: parameters.keyValueHeadCount ?? parameters.headCount,
      headDimension: parameters.resolvedHeadDimension, feedForwardSize: parameters.resolvedFeedForwardSize,
      vocabularySize: parameters.vocabularySize ?? 0, normEpsilon: parameters.normEpsilon ?? 1e-5,
      rope: RoPEParameters(base: 10_000), maximumPositions: 1, tiesEmbeddings: false)
    if parameters.normEpsilon == nil { inferences.append("norm_eps is absent: 1e-5, the default of Meta's code") }
    try checkShardCount()
    try inferKeyValueHeads()
    try inferFeedForwardSize()
    try inferEmbedding()
    try TensorParallelRules(embeddingSplit: embeddingSplit).checkDivisible(configuration, shards: shards.count)
    inferArchitecture()
    inferBase()
    try inferScaling()
    inferGenerationDefaults()
    configuration.claimedElementType = shards[0][.outputNorm]?.elementType
    addWarnings()
  }

  // MARK: Shapes

  private func shape(_ role: TensorRole, _ rank: Int = 0) throws(ParseFailure) -> (rows: Int, columns: Int) {
    let name = NamingDialect.meta.name(for: role)
    guard let entry = shards[rank][role] else {
      throw ParseFailure(
        "the tensor is missing", file: shards[rank].fileName, item: name, advice: "the download may be incomplete")
    }
    guard entry.shape.rank == 2,
      entry.shape.dimensions.allSatisfy({ (1...ConfigurationReader.largestDimension).contains($0) })
    else {
      throw ParseFailure(
        "the shape is \(entry.shape), expected a matrix of at most \(ConfigurationReader.largestDimension) rows and "
          + "columns", file: shards[rank].fileName, item: name)
    }
    return (entry.shape.dimensions[0], entry.shape.dimensions[1])
  }

  /// Rows of a tensor over all shards.
  private func totalRows(_ role: TensorRole) throws(ParseFailure) -> Int {
    var sum = 0
    for rank in shards.indices { sum += try shape(role, rank).rows }
    return sum
  }

  /// Shards are missing or too many when the heads of one, times their number, are not all.
  private func checkShardCount() throws(ParseFailure) {
    guard (1...TensorParallelRules.largestShardCount).contains(shards.count) else {
      throw ParseFailure("there are \(shards.count) shards, expected 1 to \(TensorParallelRules.largestShardCount)")
    }
    let name = NamingDialect.meta.name(for: .layer(0, .query))
    let rows = try shape(.layer(0, .query)).rows
    let total = configuration.headCount * configuration.headDimension
    guard total % rows == 0 else {
      throw ParseFailure(
        "the shape has \(rows) rows; those of \(configuration.headCount) heads of \(configuration.headDimension) rows "
          + "do not divide by it", file: shards[0].fileName, item: name,
        advice: "params.json belongs to another model")
    }
    guard total / rows == shards.count else {
      throw ParseFailure(
        "the shape has \(rows) rows of \(total): the model has \(total / rows) shards, there are \(shards.count)",
        file: shards[0].fileName, item: name,
        advice: shards.count < total / rows
          ? "the download may be incomplete" : "there may be shards of two models, or params.json of another one")
    }
  }

  private mutating func inferKeyValueHeads() throws(ParseFailure) {
    let role = TensorRole.layer(0, .key)
    let (rows, dimension) = (try totalRows(role), configuration.headDimension)
    let stated = configuration.keyValueHeadCount
    func mismatch(_ message: String) -> ParseFailure {
      ParseFailure(message, file: shards[0].fileName, item: NamingDialect.meta.name(for: role))
    }
    guard rows % dimension == 0, rows > 0 else {
      throw mismatch("all shards together have \(rows) rows, no multiple of the head's \(dimension)")
    }
    let stored = rows / dimension
    let copies = contents.keyValueCopies
    if stored == stated {
      guard copies > 1, stored == shards.count, stored % copies == 0 else { return }
      configuration.keyValueHeadCount = stored / copies
      inferences.append(
        "n_kv_heads is \(stated), but every key/value head is stored \(copies) times: the model has \(stored / copies)")
    } else if stored == shards.count, stored % stated == 0 {
      guard copies % (stored / stated) == 0 else {
        throw mismatch(
          "n_kv_heads is \(stated) and \(stored) heads are stored, but the copies of a head differ between shards")
      }
      inferences.append("every one of \(stated) key/value heads is stored \(stored / stated) times")
    } else {
      let says = parameters.keyValueHeadCount == nil ? "is absent, which means \(stated)" : "says \(stated)"
      throw mismatch("the rows are those of \(stored) key/value heads, n_kv_heads \(says)")
    }
  }

  private mutating func inferFeedForwardSize() throws(ParseFailure) {
    let found = try totalRows(.layer(0, .gate))
    let expected = configuration.feedForwardSize
    configuration.feedForwardSize = found
    guard found != expected else { return }
    let source =
      parameters.feedForwardSize != nil
      ? "hidden_dim says \(expected)"
      : "dim, multiple_of and ffn_dim_multiplier give \(expected)"
    warnings.append("the feed-forward block has \(found) rows, as its tensors say; \(source)")
  }

  private mutating func inferEmbedding() throws(ParseFailure) {
    let name = NamingDialect.meta.name(for: .tokenEmbedding)
    let columns = try shape(.tokenEmbedding).columns
    let hidden = configuration.hiddenSize
    let rows: Int
    if columns == hidden {
      embeddingSplit = .rows
      rows = try totalRows(.tokenEmbedding)
    } else if columns * shards.count == hidden {
      embeddingSplit = .columns
      rows = try shape(.tokenEmbedding).rows
    } else {
      throw ParseFailure(
        "the shape has \(columns) columns, expected \(hidden), or \(hidden) divided by \(shards.count) shards",
        file: shards[0].fileName, item: name)
    }
    if shards.count > 1 { inferences.append("the embedding is cut by \(embeddingSplit), as its shape says") }
    try inferVocabulary(embeddingRows: rows)
    try inferTie()
  }

  private mutating func inferVocabulary(embeddingRows: Int) throws(ParseFailure) {
    guard shards[0][.outputHead] != nil else {
      return settleVocabulary(embeddingRows, from: NamingDialect.meta.name(for: .tokenEmbedding))
    }
    let name = NamingDialect.meta.name(for: .outputHead)
    let rows = try totalRows(.outputHead)
    guard rows == embeddingRows else {
      throw ParseFailure(
        "all shards together have \(rows) rows, the embedding has \(embeddingRows)", file: shards[0].fileName,
        item: name)
    }
    settleVocabulary(rows, from: name)
  }

  private mutating func settleVocabulary(_ rows: Int, from name: String) {
    configuration.vocabularySize = rows
    if let stated = parameters.vocabularySize {
      if stated != rows { warnings.append("the vocabulary has \(rows) rows, as \(name) says; vocab_size is \(stated)") }
    } else {
      inferences.append("vocab_size is not stated: \(rows), the rows of \(name)")
    }
    if let known = contents.tokenizerSize, known != rows {
      warnings.append("the vocabulary has \(rows) rows, the tokenizer has \(known) tokens")
    }
  }

  private mutating func inferTie() throws(ParseFailure) {
    let isAbsent = shards[0][.outputHead] == nil
    let name = NamingDialect.meta.name(for: .outputHead)
    switch parameters.tiesEmbeddings {
    case false?:
      guard !isAbsent else {
        throw ParseFailure(
          "the tensor is missing, and tied_embeddings is false", file: shards[0].fileName, item: name)
      }
    case true?:
      guard isAbsent || contents.headIsEmbedding else {
        throw ParseFailure(
          "the head differs from the embedding, though tied_embeddings is true", file: shards[0].fileName, item: name)
      }
      configuration.tiesEmbeddings = true
    case nil:
      guard isAbsent || contents.headIsEmbedding else { return }
      configuration.tiesEmbeddings = true
      inferences.append("the head is the embedding: \(name) is \(isAbsent ? "absent" : "the same tensor")")
    }
  }
}

// MARK: - Beyond the shapes

extension MetaReading {
  private mutating func inferArchitecture() {
    configuration.slidingWindow = parameters.slidingWindow
    if let architecture = parameters.architecture {
      configuration.architecture = architecture
    } else if parameters.slidingWindow != nil || parameters.feedForwardSize != nil && parameters.multipleOf == nil {
      configuration.architecture = .mistral
      let key = parameters.slidingWindow != nil ? "sliding_window" : "hidden_dim"
      inferences.append("the model is a Mistral: params.json has \(key)")
    }
    if configuration.architecture == .llama { configuration.slidingWindow = nil }
  }

  private mutating func inferBase() {
    if let base = parameters.ropeBase {
      configuration.rope.base = base
      return
    }
    // Llama 3's loader has another default than those before it.
    let isLlama3 = configuration.vocabularySize == 128_256 || parameters.usesScaledRoPE == true
    configuration.rope.base = isLlama3 && configuration.architecture == .llama ? 500_000 : 10_000
    let reason = configuration.rope.base == 10_000 ? "the base of Llama 1 and 2" : "the default of Llama 3's loader"
    inferences.append("rope_theta is absent: \(Int(configuration.rope.base)), \(reason)")
  }

  private mutating func inferScaling() throws(ParseFailure) {
    let keys = parameters.ropeScaling
    guard parameters.usesScaledRoPE == true else {
      configuration.rope.scaling = try unscaled(keys)
      return
    }
    guard !keys.isLinear else {
      throw ParseFailure("use_scaled_rope is true, but rope_scaling_type is linear")
    }
    let (hidden, layers) = (configuration.hiddenSize, configuration.layerCount)
    guard
      case .llama3(let factor, let low, let high, let original) =
        RoPEParameters.metaScaling(hidden: hidden, layers: layers)
    else { return }
    let (lowest, highest) = (keys.lowFrequencyFactor ?? low, keys.highFrequencyFactor ?? high)
    guard highest > lowest else {
      throw ParseFailure("rope_high_freq_factor \(highest) is not above rope_low_freq_factor \(lowest)")
    }
    configuration.rope.scaling = .llama3(
      factor: keys.factor ?? factor, lowFrequencyFactor: lowest, highFrequencyFactor: highest,
      originalPositions: keys.originalPositions ?? original)
    guard keys.factor == nil else { return }
    if RoPEParameters.isLlama32Size(hidden: hidden, layers: layers) {
      warnings.append(
        "use_scaled_rope is true and the sizes are those of Llama 3.2 1B or 3B: the factor is 32, though Meta's own code "
          + "takes 8; rope_scaling_factor in params.json overrides it")
    } else {
      inferences.append("use_scaled_rope is true: the factor is 8, as in Meta's code, since the file does not state it")
    }
  }

  private func unscaled(_ keys: MetaParameters.ScalingKeys) throws(ParseFailure) -> RoPEParameters.Scaling {
    if keys.isLinear {
      guard let factor = keys.factor else {
        throw ParseFailure("rope_scaling_type is linear, but rope_scaling_factor is absent")
      }
      return .linear(factor: factor)
    }
    guard keys == MetaParameters.ScalingKeys() else {
      throw ParseFailure(
        "params.json has factors for the scaling of RoPE, but use_scaled_rope is not true",
        advice: "set use_scaled_rope to true, or remove the factors")
    }
    return .none
  }

  private mutating func inferGenerationDefaults() {
    let vocabulary = configuration.vocabularySize
    let generation = MetaGeneration(of: configuration, leftovers: leftovers)
    configuration.maximumPositions = parameters.maximumPositions ?? generation.maximumPositions
    configuration.beginOfTextID =
      parameters.beginOfTextIDs.map(\.first) ?? generation.beginOfTextID(vocabulary: vocabulary)
    configuration.endOfTextIDs = parameters.endOfTextIDs ?? generation.endOfTextIDs(vocabulary: vocabulary)
    if parameters.maximumPositions == nil {
      inferences.append("the context length is \(configuration.maximumPositions), that of \(generation.rawValue)")
    }
    guard parameters.endOfTextIDs == nil else { return }
    guard let end = configuration.endOfTextIDs.first else {
      inferences.append("the tokens that begin and end a text are not known: params.json does not have them")
      return
    }
    let caveat = end == 2 ? "" : "; Instruct models end a turn with further ones, which params.json does not tell"
    inferences.append("the token that ends a text is \(end), as in the base models of \(generation.rawValue)\(caveat)")
  }

  /// Stored RoPE frequencies.
  private var leftovers: [String] { shards[0].entries.map(\.name).filter(NamingDialect.meta.isLeftover) }

  private mutating func addWarnings() {
    let leftovers = leftovers
    if let first = leftovers.first {
      warnings.append(
        "\(first)\(leftovers.count > 1 ? " and \(leftovers.count - 1) more" : "") "
          + "holds RoPE frequencies, which are computed anew; it is dropped")
    }
    let (hidden, layers) = (configuration.hiddenSize, configuration.layerCount)
    let isLlama2Size = [(4096, 32, 32), (5120, 40, 40), (8192, 80, 8)].contains {
      $0 == (hidden, layers, configuration.keyValueHeadCount)
    }
    if configuration.normEpsilon == 1e-6, isLlama2Size, configuration.vocabularySize == 32000 {
      warnings.append(
        "norm_eps is 1e-6: right for Llama 1 7B and 13B, but Llama 2 has 1e-5 (7B-chat was first published with the "
          + "wrong value)")
    }
    if parameters.ropeBase == nil, configuration.vocabularySize == 32016 {
      warnings.append(
        "the vocabulary of 32016 is Code Llama's, and rope_theta is absent: 10000 is right for 70B Python and Instruct "
          + "only, all others have 1000000")
    }
    if parameters.ropeBase == nil, configuration.architecture == .mistral {
      warnings.append("rope_theta is absent: 10000 is right for Mistral 7B v0.1, later ones have 1000000")
    }
    if parameters.usesScaledRoPE != true, parameters.ropeScaling == MetaParameters.ScalingKeys(),
      RoPEParameters.isLlama32Size(hidden: hidden, layers: layers), configuration.vocabularySize == 128_256
    {
      warnings.append("the sizes are those of Llama 3.2, whose RoPE is scaled, but use_scaled_rope is not true")
    }
    if parameters.usesScaledRoPE == false, configuration.vocabularySize == 128_256 {
      inferences.append("use_scaled_rope is false: RoPE is taken as unscaled, though models since Llama 3.1 scale it")
    }
  }
}
