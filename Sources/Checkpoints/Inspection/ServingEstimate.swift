internal import ByteIO
internal import Llama
internal import Quantization
internal import Tensors

/// The memory that serving a model takes on each of N devices that share it by tensor parallelism, as vLLM cuts it.
///
/// On one of N devices, with V rows of the vocabulary, L layers, K key/value heads of D rows, H query heads, width d and
/// feed-forward width f:
///
/// - weights: every matrix of a layer is cut in N; with N > K each device holds one key/value head whole. Embedding and
///   head are cut along the vocabulary, which is padded to a multiple of 64 first; norms are on every device. Scales are
///   cut with the rows; of matrices that are cut along their inputs (attention output, down) scales of rows are on every
///   device.
/// - cache of a token: 2 · L · max(K/N, 1) · D · bytes of an element; a sequence takes whole blocks of 16 tokens.
/// - activations, an estimate of the peak while 8,192 tokens are computed at once and logits of 256 sequences in binary32
///   exist: 2 · 8192 · (2d + (2f + H·D) / N + 2 · max(K/N, 1) · D) + 4 · 256 · V bytes.
/// - what is left for the cache: utilization · memory − weights − activations.
///
/// Source: vLLM's `gpu_memory_utilization` (0.9 for long, 0.92 in later releases), block size, `VocabParallelEmbedding`.
public struct ServingEstimate: Sendable {
  public enum CachePrecision: String, Sendable, CaseIterable {
    /// BF16 or F16.
    case bf16
    case fp8

    var byteCount: Int { self == .bf16 ? 2 : 1 }
  }

  /// What is asked.
  public struct Request: Sendable {
    /// Of one device, in bytes; nil to be told sizes only.
    public var gpuMemory: UInt64?
    /// Devices; nil for all sizes.
    public var tensorParallel: Int?
    public var cachePrecision: CachePrecision
    /// Tokens of a sequence; empty for the usual ones.
    public var contexts: [Int]
    /// Share of the memory that the server takes.
    public var utilization: Double

    public init(
      gpuMemory: UInt64? = nil, tensorParallel: Int? = nil, cachePrecision: CachePrecision = .bf16,
      contexts: [Int] = [], utilization: Double = 0.9
    ) {
      self.gpuMemory = gpuMemory
      self.tensorParallel = tensorParallel
      self.cachePrecision = cachePrecision
      self.contexts = contexts
      self.utilization = utilization
    }
  }

  /// One number of devices.
  public struct Size: Sendable {
    public let tensorParallel: Int
    /// What keeps the model from being cut so; nil where it can be.
    public let obstacle: String?
    /// Of one device, in bytes.
    public let weightBytes: Int
    public let activationBytes: Int
    /// Elements of the cache of one token on one device.
    public let cachedElements: Int
    /// What is left for the cache; nil where no memory was given, negative where weights and activations do not fit.
    public let cacheBudget: Int?

    /// Bytes of the cache of one sequence on one device.
    public func cacheBytes(context: Int, _ precision: CachePrecision) -> Int {
      let blocks = (context + ServingEstimate.blockTokens - 1) / ServingEstimate.blockTokens
      let (bytes, overflow) = (blocks * ServingEstimate.blockTokens).multipliedReportingOverflow(
        by: cachedElements * precision.byteCount)
      return overflow ? .max : bytes
    }

    /// How many sequences of so many tokens fit at the same time; nil where no memory was given.
    public func sequences(context: Int, _ precision: CachePrecision) -> Int? {
      cacheBudget.map { max(0, $0) / max(1, cacheBytes(context: context, precision)) }
    }
  }

  public let request: Request
  public let path: String
  /// Tokens of a sequence that the table shows.
  public let contexts: [Int]
  /// Of these the largest is what must fit.
  public let requiredContext: Int
  public let sizes: [Size]

  public static let blockTokens = 16
  private static let vocabularyPadding = 64
  private static let batchedTokens = 8192
  private static let batchedSequences = 256
  private static let usualContexts = [8192, 16384, 32768, 65536, 131_072]
  private static let usualSizes = [1, 2, 4, 8]

  public init(of checkpoint: Checkpoint, _ request: Request) {
    self.request = request
    path = checkpoint.path
    let claimed = checkpoint.configuration.maximumPositions
    let usual = Self.usualContexts.filter { $0 <= claimed }
    contexts = request.contexts.isEmpty ? (usual.isEmpty ? [claimed] : usual) : request.contexts.sorted()
    requiredContext = request.contexts.max() ?? claimed
    let budget = request.gpuMemory.map { Double($0) * request.utilization }
    sizes = (request.tensorParallel.map { [$0] } ?? Self.usualSizes).map { devices in
      Self.size(checkpoint, devices, budget: budget)
    }
  }

  /// The sizes at which one sequence of the required context fits; nil where no memory was given.
  public var fittingSizes: [Int]? {
    guard request.gpuMemory != nil else { return nil }
    return sizes.filter {
      $0.obstacle == nil && ($0.sequences(context: requiredContext, request.cachePrecision) ?? 0) > 0
    }.map(\.tensorParallel)
  }

  /// False when memory was given and the model does not fit.
  public var fits: Bool { fittingSizes?.isEmpty != true }

  // MARK: One size

  private static func size(_ checkpoint: Checkpoint, _ devices: Int, budget: Double?) -> Size {
    let c = checkpoint.configuration
    let obstacle = obstacle(checkpoint, devices)
    let heads = max(c.keyValueHeadCount / devices, 1)
    let weights = checkpoint.tensors.reduce(0) { $0 + weightBytes($1, c, devices) }
    let width =
      2 * c.hiddenSize + (2 * c.feedForwardSize + c.headCount * c.headDimension) / devices
      + 2 * heads * c.headDimension
    let activations = 2 * batchedTokens * width + 4 * batchedSequences * c.vocabularySize
    return Size(
      tensorParallel: devices, obstacle: obstacle, weightBytes: weights, activationBytes: activations,
      cachedElements: 2 * c.layerCount * heads * c.headDimension,
      cacheBudget: budget.map { Int(min($0, 0x1p62)) - weights - activations })
  }

  /// Bytes of one tensor with its scales on one device.
  private static func weightBytes(_ tensor: LogicalTensor, _ c: LlamaConfiguration, _ devices: Int) -> Int {
    let stored = tensor.rows.rowCount * tensor.rows.rowByteCount
    let weight = tensor.quantization?.bits == 4 ? stored / 2 : stored
    let beside = tensor.quantization == nil ? 0 : max(0, tensor.storedByteCount - stored)
    func share(_ bytes: Int) -> Int { (bytes + devices - 1) / devices }
    switch tensor.role {
    case .outputNorm, .layer(_, .attentionNorm), .layer(_, .feedForwardNorm): return weight
    case .tokenEmbedding, .outputHead:
      let padded = (c.vocabularySize + vocabularyPadding - 1) / vocabularyPadding * vocabularyPadding
      return (padded + devices - 1) / devices * ((weight + beside) / max(1, c.vocabularySize))
    case .layer(_, .key), .layer(_, .value):
      return (weight + beside) / c.keyValueHeadCount * max(c.keyValueHeadCount / devices, 1)
    case .layer(_, .attentionOutput), .layer(_, .down):
      let scheme = tensor.quantization?.scheme
      return share(weight) + (scheme == .rowWise || scheme == .perTensor ? beside : share(beside))
    default: return share(weight + beside)
    }
  }

  /// What keeps the model from being cut for so many devices, in words.
  private static func obstacle(_ checkpoint: Checkpoint, _ devices: Int) -> String? {
    let c = checkpoint.configuration
    guard c.headCount % devices == 0 else { return "\(c.headCount) heads are not divisible by \(devices)" }
    guard c.keyValueHeadCount % devices == 0 || devices % c.keyValueHeadCount == 0 else {
      return "of \(c.keyValueHeadCount) key/value heads and \(devices) neither is a multiple of the other"
    }
    guard c.feedForwardSize % devices == 0 else {
      return "\(c.feedForwardSize) inner features are not divisible by \(devices)"
    }
    for tensor in checkpoint.tensors {
      guard devices > 1, let layer = tensor.role.layer, layer == 0, let quantization = tensor.quantization,
        case .block(let rows, let columns) = quantization.scheme
      else { continue }
      let name = NamingDialect.huggingFace.moduleName(of: tensor.role)
      switch tensor.role {
      case .layer(_, .attentionOutput), .layer(_, .down):
        let inputs = tensor.columnCount / devices
        if inputs % columns != 0, quantization.columnGroups == nil {
          return "\(name) has \(inputs) inputs on each of \(devices), no whole groups of \(columns)"
        }
      default:
        let outputs = tensor.rowCount / devices
        if rows > 1, outputs % rows != 0 {
          return "\(name) has \(outputs) outputs on each of \(devices), no whole blocks of \(rows)"
        }
      }
    }
    return nil
  }
}
