internal import ByteIO
internal import Inference
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Calibration would take more memory than it may.
public struct CalibrationMemoryFailure: Error, Sendable, CustomStringConvertible {
  public let needed: UInt64
  public let allowed: UInt64

  public var description: String {
    "calibration takes about \(ByteSize(needed)) of memory, --max-memory allows \(ByteSize(allowed)); raise it, or use fewer --calibrate-tokens"
  }
}

/// What calibration holds at its peak, in bytes: an upper estimate.
struct CalibrationMemory {
  /// Of the tokens' hidden states.
  let hiddenStates: UInt64
  /// What became of the layer's linears so far.
  let codes: UInt64
  /// Of the linear that takes most: values in binary32, codes, and what is found beside them; and its inputs' Gram matrix.
  let linear: UInt64
  /// Of a forward pass through a layer.
  let forward: UInt64

  var total: UInt64 { hiddenStates + codes + max(linear, forward) }

  init(
    _ configuration: LlamaConfiguration, _ base: any ModelWeights, text: CalibrationText, settings: CalibrationSettings
  ) {
    let c = configuration
    let method = settings.quantizer.method
    // The sample that factors are searched on goes through the layer by itself, and its inputs are kept.
    let sampled = settings.quantizer.scalesChannels ? 3 * ChannelFoldingSearch.sampleTokens * c.feedForwardSize : 0
    hiddenStates = UInt64(4 * (text.tokens * c.hiddenSize + sampled))
    let shapes = LayerRole.allCases.filter(\.isLinear).map { c.shape(of: .layer(0, $0)).dimensions }
    let perWeight = settings.quantizer.grid.isSymmetric ? 1 : 4
    codes = UInt64(shapes.reduce(0) { $0 + $1[0] * $1[1] * perWeight })
    let usesGram = method.feedsErrorsForward || method == .awq
    linear =
      shapes.map { shape -> UInt64 in
        let values = UInt64(shape[0] * shape[1])
        // Stored bytes while they are widened, values, codes, and values again where they are measured or scaled.
        let weight = values * (settings.quantizer.scalesChannels ? 19 : 11)
        return weight + (usesGram ? 4 * UInt64(shape[1] * shape[1]) : 0)
      }.max() ?? 0
    let estimate = MemoryEstimate(
      [base], settings: settings.forward, tokens: text.windows.map(\.count).max() ?? 0,
      longestWindow: text.windows.map(\.count).max() ?? 0)
    forward = estimate.weights + estimate.scratch
  }
}
