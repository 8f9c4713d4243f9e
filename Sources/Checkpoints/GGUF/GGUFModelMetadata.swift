public import GGUFFormat
internal import Llama
internal import Tensors

extension Checkpoint {
  /// The keys of a GGUF file that llama.cpp loads as this model: the ones that its own file had, if it was one, those that
  /// describe the model written anew; without the tokenizer's where it was none.
  /// - Parameters:
  ///   - fileType: `general.file_type`, which informs only; nil to keep what the file had.
  ///   - hasBlocks: some tensor is quantized: `general.quantization_version` says which definition of the blocks holds.
  ///   - importance: the matrix that blocks were made with.
  ///   - card: what the README says, for a file that is made anew.
  ///   - recordsInput: leave room for the digest of the input's files.
  /// - Throws: `ParseFailure` for a tokenizer that a GGUF cannot hold.
  public func ggufMetadata(
    fileType: UInt32?, hasBlocks: Bool, importance: NamedImportanceMatrix? = nil, card: ModelCard? = nil,
    recordsInput: Bool = false
  ) throws -> GGUFMetadata {
    var metadata = ownMetadata ?? GGUFMetadata()
    let c = configuration
    func text(_ key: String, _ value: String) { metadata.set(key, to: GGUFValue(value)) }
    func size(_ key: String, _ value: Int) { metadata.set("llama." + key, to: .uint32(UInt32(value))) }
    text(GGUFKeys.architecture, GGUFKeys.llama)
    text("general.type", "model")
    if metadata["general.name"] == nil { text("general.name", name == "." || name == ".." ? "model" : name) }
    if ownMetadata == nil, let card { for (key, value) in card.metadata { metadata.set(key, to: value) } }
    if recordsInput {
      text(GGUFKeys.ownInput, String(repeating: "0", count: 64))
    } else {
      metadata.remove(GGUFKeys.ownInput)
    }
    text(GGUFKeys.ownVersion, "\(Toolkit.name) \(Toolkit.version)")
    if !hasBlocks {
      for key in [GGUFKeys.quantizationVersion, "general.quantized_by"] { metadata.remove(key) }
    }
    if fileType != nil || !hasBlocks {
      for key in ["file", "dataset", "entries_count", "chunks_count"] { metadata.remove("quantize.imatrix." + key) }
    }
    if let fileType {
      metadata.set(GGUFKeys.fileType, to: .uint32(fileType))
      if hasBlocks {
        metadata.set(GGUFKeys.quantizationVersion, to: .uint32(2))
        text("general.quantized_by", "\(Toolkit.name) \(Toolkit.version)")
      }
    }
    size("block_count", c.layerCount)
    size("context_length", c.maximumPositions)
    size("embedding_length", c.hiddenSize)
    size("feed_forward_length", c.feedForwardSize)
    size("attention.head_count", c.headCount)
    size("attention.head_count_kv", c.keyValueHeadCount)
    size("attention.key_length", c.headDimension)
    size("attention.value_length", c.headDimension)
    metadata.set("llama.attention.layer_norm_rms_epsilon", to: .float32(Float(c.normEpsilon)))
    metadata.set("llama.rope.freq_base", to: .float32(Float(c.rope.base)))
    size("rope.dimension_count", c.headDimension)
    size("vocab_size", c.vocabularySize)
    for key in ["type", "factor"] { metadata.remove("llama.rope.scaling." + key) }
    metadata.remove("llama.rope.scale_linear")
    if case .linear(let factor) = c.rope.scaling {
      text("llama.rope.scaling.type", "linear")
      metadata.set("llama.rope.scaling.factor", to: .float32(Float(factor)))
    }
    if c.architecture == .mistral {
      text(GGUFKeys.ownArchitecture, "mistral")
      if let window = c.slidingWindow { metadata.set(GGUFKeys.ownSlidingWindow, to: .uint32(UInt32(window))) }
    }
    if c.endOfTextIDs.count > 1 {
      metadata.set(GGUFKeys.ownEndOfText, to: .array(GGUFArray(c.endOfTextIDs.map { Int32($0) })))
    }
    setOwnKeys(&metadata, hasBlocks: hasBlocks)
    if let importance, hasBlocks {
      // llama.cpp's own keys, texts cut as it cuts them.
      text("quantize.imatrix.file", String(importance.name.prefix(127)))
      if let dataset = importance.matrix.datasets.first {
        text("quantize.imatrix.dataset", String(dataset.prefix(127)))
      }
      metadata.set("quantize.imatrix.entries_count", to: .uint32(UInt32(importance.matrix.entries.count)))
      metadata.set("quantize.imatrix.chunks_count", to: .uint32(UInt32(clamping: importance.matrix.chunkCount)))
    }
    for (key, value) in try tokenizerKeyEntries() { metadata.set(key, to: value) }
    return metadata
  }

  /// What the file's own types cannot hold.
  private func setOwnKeys(_ metadata: inout GGUFMetadata, hasBlocks: Bool) {
    let c = configuration
    var numbers = [(GGUFKeys.ownNormEpsilon, c.normEpsilon), (GGUFKeys.ownRoPEBase, c.rope.base)]
    if case .linear(let factor) = c.rope.scaling { numbers.append((GGUFKeys.ownRoPEFactor, factor)) }
    for (key, value) in numbers {
      if GGUFKeys.shortest(Float(value)) == value {
        metadata.remove(key)
      } else {
        metadata.set(key, to: .float64(value))
      }
    }
    metadata.remove(GGUFKeys.ownRoPEScaling)
    if case .llama3(let factor, let low, let high, let original) = c.rope.scaling,
      (low, high, original) != (1, 4, 8192) || GGUFKeys.shortest(Float(factor)) != factor
        || ropeFactors?.max().map({ Double($0) }) != factor
    {
      metadata.set(GGUFKeys.ownRoPEScaling, to: .array(GGUFArray([factor, low, high, Double(original)])))
    }
    // Beside blocks norms are F32 anyway.
    if !hasBlocks && tensors.contains(where: { $0.shape.rank < 2 && $0.elementType == .f32 }) {
      metadata.set(GGUFKeys.ownNormType, to: GGUFValue("F32"))
    } else {
      metadata.remove(GGUFKeys.ownNormType)
    }
  }

  /// How the configuration that a reader finds in `metadata` differs from this one, in words; nil when it does not.
  public func differenceThroughGGUF(_ metadata: GGUFMetadata) -> String? {
    do {
      let found = try GGUFKeys.configuration(metadata, shapeOf: self, factors: ropeFactors)
      let pairs = zip(configuration.canonicalText.split(separator: "\n"), found.canonicalText.split(separator: "\n"))
      return pairs.first { $0 != $1 }.map { "\($0) would be read as \($1)" }
    } catch {
      return "\(error)"
    }
  }

  /// Whether a tokenizer travels with the model as a file.
  public var hasTokenizerFile: Bool { sidecars.contains { Self.tokenizerNames.contains($0.name) } }

  /// Divisors of the RoPE frequencies for `rope_freqs.weight`, `[headDimension / 2]` in F32; nil where there is no such
  /// scaling.
  public var ropeFactors: [Float]? {
    guard case .llama3 = configuration.rope.scaling else { return nil }
    return RoPEFactors.factors(configuration.rope, headDimension: configuration.headDimension)
  }

  /// Key of SHA-256 over lines `SHA256  NAME` of all input files in the order of their names, as `sha256sum` prints them.
  public static var inputDigestKey: String { GGUFKeys.ownInput }

  /// Name of the tensor that holds `ropeFactors`.
  public static var ropeFactorsName: String { GGUFKeys.ropeFactors }
}
