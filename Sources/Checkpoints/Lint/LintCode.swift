/// What lint can find, by stable names for scripts. `formats/lint.md` has for each its cause, its evidence and the thread
/// that reported it; a test holds the page and this list equal.
public enum LintCode: String, Sendable, CaseIterable {
  // Files.
  case unrecognisedLayout = "unrecognised-layout"
  case missingFile = "missing-file"
  case unreadableFile = "unreadable-file"
  case truncatedFile = "truncated-file"
  case trailingBytes = "trailing-bytes"
  case formatMetadata = "format-metadata"
  case missingIndex = "missing-index"
  case indexMetadata = "index-metadata"
  case indexTotal = "index-total"
  case indexWrongShard = "index-wrong-shard"
  case unindexedTensor = "unindexed-tensor"
  case duplicatedTensor = "duplicated-tensor"
  case shardCount = "shard-count"
  case strayWeights = "stray-weights"
  case strayFile = "stray-file"

  case wrongChecksum = "wrong-checksum"
  case missingListedFile = "missing-listed-file"
  case unreadableChecksums = "unreadable-checksums"

  // Shards of a Meta checkpoint.
  case unnumberedShard = "unnumbered-shard"
  case missingShard = "missing-shard"
  case missingInShard = "missing-in-shard"
  case differentShape = "different-shape"
  case differentType = "different-type"
  case wrongShardShape = "wrong-shard-shape"
  case sameContents = "same-contents"
  case replicasDiffer = "replicas-differ"

  // Configuration and tensors.
  case configurationUnreadable = "configuration-unreadable"
  case unsupportedModel = "unsupported-model"
  case parametersDisagree = "parameters-disagree"
  case parametersOdd = "parameters-odd"
  case missingTensor = "missing-tensor"
  case extraTensor = "extra-tensor"
  case layerBeyondCount = "layer-beyond-count"
  case wrongShape = "wrong-shape"
  case leftoverTensor = "leftover-tensor"
  case missingHead = "missing-head"
  case headThoughTied = "head-though-tied"
  case tiedHeadDiffers = "tied-head-differs"
  case headEqualsEmbedding = "head-equals-embedding"
  case elementType = "element-type"
  case contradiction = "contradiction"
  case unreadType = "unread-type"

  // Quantization.
  case missingQuantization = "missing-quantization-config"
  case quantizationUnread = "quantization-unread"
  case ignoreMatchesNothing = "ignore-matches-nothing"
  case excludedButQuantized = "excluded-but-quantized"
  case quantizedButPlain = "quantized-but-plain"
  case missingScale = "missing-scale"
  case scaleRenamed = "scale-renamed"
  case zeroPointConvention = "zero-point-convention"

  // RoPE.
  case ropeUnreadable = "rope-unreadable"
  case ropeDisagreement = "rope-disagreement"
  case ropeScalingMissing = "rope-scaling-missing"
  case ropeBaseLost = "rope-base-lost"
  case ropeBaseUnusual = "rope-base-unusual"

  // Tokenizer.
  case noTokenizer = "no-tokenizer"
  case tokenizerUnread = "tokenizer"
  case tokenizersDiffer = "tokenizers-differ"
  case vocabularySize = "vocabulary-size"
  case mergesMissing = "merges-missing"
  case specialIDs = "special-ids"
  case beginOfText = "begin-of-text"
  case endOfText = "end-of-text"
  case generationConfiguration = "generation-config"
  case preTokenizerMissing = "pre-tokenizer-missing"
  case preTokenizerWrong = "pre-tokenizer-wrong"
  case chatTemplatesDiffer = "chat-templates-differ"
  case chatTemplateTokens = "chat-template-tokens"

  // Values.
  case unreadableTensor = "unreadable"
  case nonFinite = "non-finite"
  case nanCode = "nan-code"
  case badScale = "bad-scale"
  case saturation = "saturation"
  case zeroTensor = "zero-tensor"
  case zeroRows = "zero-rows"
  case zeroEmbeddingRows = "zero-embedding-rows"
  case equalRows = "equal-rows"
  case float16Overflow = "f16-overflow"
  case oddNorm = "odd-norm"
  case swappedNorms = "swapped-norms"
  case duplicatedLayer = "duplicated-layer"
  case rowOrder = "row-order"

  /// How bad a finding is.
  public enum Severity: String, Sendable, CaseIterable, Comparable {
    /// Readers refuse the checkpoint, read it differently, or compute with something else than was meant.
    case error
    /// Probably a fault; there are sound models that have it.
    case warning
    /// True, harmless, and good to know.
    case note

    public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }
    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
  }

  /// Whether files, tensors or quantization are not what they claim to be, whatever the model means: all but RoPE,
  /// tokenizer and special tokens.
  public var concernsIntegrity: Bool {
    switch self {
    case .ropeUnreadable, .ropeDisagreement, .ropeScalingMissing, .ropeBaseLost, .ropeBaseUnusual, .noTokenizer,
      .tokenizerUnread, .tokenizersDiffer, .vocabularySize, .mergesMissing, .specialIDs, .beginOfText, .endOfText,
      .generationConfiguration, .preTokenizerMissing, .preTokenizerWrong, .chatTemplatesDiffer, .chatTemplateTokens:
      false
    default: true
    }
  }

  public var severity: Severity {
    switch self {
    case .formatMetadata, .indexMetadata, .unindexedTensor, .strayWeights, .parametersOdd, .headThoughTied,
      .elementType,
      .quantizationUnread, .ignoreMatchesNothing, .zeroPointConvention, .ropeBaseUnusual, .tokenizerUnread,
      .tokenizersDiffer, .beginOfText, .endOfText, .generationConfiguration, .preTokenizerWrong, .chatTemplatesDiffer,
      .chatTemplateTokens, .saturation, .zeroTensor, .zeroRows, .equalRows, .float16Overflow, .oddNorm, .swappedNorms,
      .duplicatedLayer, .rowOrder, .strayFile, .unreadType:
      .warning
    case .leftoverTensor, .headEqualsEmbedding, .noTokenizer, .zeroEmbeddingRows: .note
    default: .error
    }
  }

  /// What to do, as one sentence without a final stop.
  public var remedy: String {
    switch self {
    case .unrecognisedLayout:
      "give a directory with config.json and safetensors, one with params.json and .pth shards, or a GGUF file"
    case .missingFile, .missingShard, .missingInShard, .truncatedFile: "download the missing part again"
    case .unreadableFile, .unreadableTensor: "the file is damaged or of another kind: fetch it again"
    case .trailingBytes: "fetch the file again; readers that check refuse it"
    case .formatMetadata:
      "write the file again with the metadata entry format: pt; several releases of transformers refuse it without"
    case .missingIndex: "download model.safetensors.index.json too"
    case .indexMetadata: "write the index again with metadata.total_size"
    case .indexTotal: "index and shards are of different downloads: fetch both again"
    case .indexWrongShard, .shardCount: "index and shards are of different downloads: fetch both again"
    case .unindexedTensor: "transformers does not load it, vLLM does: write the index again"
    case .duplicatedTensor: "remove the shard that is left over from another upload"
    case .strayWeights: "remove the file if it is left over; some readers load every safetensors file that they find"
    case .strayFile: "an interrupted download or a link to nothing: fetch it again or remove it"
    case .wrongChecksum: "the file is damaged, or it is another one: fetch it again"
    case .missingListedFile: "download the missing file, or take it off the list"
    case .unreadableChecksums: "fetch the list again or remove it"
    case .unnumberedShard: "remove the file from the directory, or give it its name back"
    case .differentShape, .differentType, .replicasDiffer:
      "the shards are of two models, or were cut wrongly: fetch them again"
    case .wrongShardShape: "params.json may belong to another model, or the tensors were cut by a wrong rule"
    case .sameContents: "one file was copied over the other: fetch it again"
    case .configurationUnreadable: "correct the configuration by the model's original one"
    case .unsupportedModel: "lint knows the Llama family only"
    case .parametersDisagree: "keep the file of the model that the weights are"
    case .parametersOdd: "compare params.json with the published one"
    case .missingTensor: "the download may be incomplete, or the configuration is another model's"
    case .extraTensor: "remove it or correct the configuration; it is lost silently when the model is loaded"
    case .layerBeyondCount: "correct num_hidden_layers or remove the layers"
    case .wrongShape: "the configuration is another model's, or the tensor was cut or padded"
    case .leftoverTensor: "nothing: it is computed anew"
    case .missingHead: "set tie_word_embeddings to true if the model ties its head, else fetch the head"
    case .headThoughTied: "remove the copy, or set tie_word_embeddings to false"
    case .tiedHeadDiffers: "set tie_word_embeddings to false if the stored head is meant"
    case .headEqualsEmbedding: "set tie_word_embeddings to true and leave the copy out, if the model ties its head"
    case .elementType: "set torch_dtype to the stored type; loaders cast to what it says"
    case .contradiction: "correct the configuration or fetch the files again"
    case .unreadType: "nothing is said here about its values: this version does not read the type"
    case .missingQuantization:
      "put the quantizer's quantization_config back into config.json; without it codes are read as weights"
    case .quantizationUnread: "nothing is said here about the quantized tensors: use the tool that made them"
    case .ignoreMatchesNothing: "correct the entry's name; a module that it was meant for is read as quantized"
    case .excludedButQuantized: "take the module off the ignore list, or store its weight unquantized"
    case .quantizedButPlain: "add the module to the ignore list, or quantize its weight"
    case .missingScale: "copy the scales with the codes; without them the codes mean nothing"
    case .scaleRenamed: "rename the tensor to what the configuration's format calls it"
    case .zeroPointConvention: "nothing, if it is converted by this toolkit: it is read by its content"
    case .ropeUnreadable: "write rope_scaling and rope_theta as the original configuration has them"
    case .ropeDisagreement: "keep the values of the model that the weights are; short texts do not show the difference"
    case .ropeScalingMissing:
      "put the published rope_scaling (GGUF: rope_freqs.weight) back; convert again from the original"
    case .ropeBaseLost: "set rope_theta to the published value"
    case .ropeBaseUnusual: "right for models trained on longer contexts; else set rope_theta to the published value"
    case .noTokenizer: "nothing, if the tokenizer is kept elsewhere"
    case .tokenizerUnread: "compare the file with the original; it may be of a kind that this version does not read"
    case .tokenizersDiffer: "keep the tokenizer that the model was trained with"
    case .vocabularySize: "resize the embedding, or use the tokenizer that belongs to the model"
    case .mergesMissing:
      "take the merge rules from the model's original tokenizer; without them words are cut otherwise"
    case .specialIDs: "correct the ids by the model's original configuration"
    case .beginOfText, .endOfText, .generationConfiguration:
      "make the files agree; readers differ in which they believe"
    case .preTokenizerMissing: "convert again with a converter that writes tokenizer.ggml.pre"
    case .preTokenizerWrong: "convert again, or correct tokenizer.ggml.pre"
    case .chatTemplatesDiffer: "keep one template; readers differ in which they take"
    case .chatTemplateTokens: "use the template of this model's own release"
    case .nonFinite: "the weights are damaged, or a value overflowed its type: start again from the original"
    case .nanCode: "quantize again from the original with a tool that gives zero rows a scale"
    case .badScale: "quantize again from the original with a tool that gives zero rows a scale"
    case .saturation: "the scale is too small for the weights: quantize again from the original"
    case .zeroTensor, .zeroRows: "a shard or a rank may not have been written: compare with the original"
    case .zeroEmbeddingRows: "nothing, for tokens that are not in use"
    case .equalRows: "the tensor was filled or broadcast, not converted: compare with the original"
    case .float16Overflow: "serve and convert it as BF16 or F32"
    case .oddNorm: "compare with the original"
    case .swappedNorms: "the norms of attention and feed-forward block may be exchanged: compare with the original"
    case .duplicatedLayer: "right for models made deeper by copying layers; else convert again"
    case .rowOrder:
      "the rows of queries or keys may be in another layout's order: convert again with a tool that knows the number of heads"
    }
  }
}
