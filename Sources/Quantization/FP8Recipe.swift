public import ByteIO
internal import Kernels
public import Tensors

/// The named ways to quantize to row-wise FP8 e4m3. The arithmetic is exact to the bit: `formats/quantization.md`.
public enum FP8Recipe: String, CaseIterable, Sendable, CustomStringConvertible {
  /// compressed-tensors `float-quantized`; BF16 scales, codes rounded once against the stored scale.
  case fp8
  /// The same layout with the bytes that compressed-tensors itself computes: every step rounded to the weights' type.
  case fp8Compat = "fp8-compat"
  /// As `fp8`, activations with one stored scale for each linear, found on calibration text.
  case fp8Static = "fp8-static"
  /// Hugging Face's `fbgemm_fp8` layout of Meta's published choice.
  case fp8FBGEMM = "fp8-fbgemm"
  /// Meta's published choice, in the compressed-tensors layout.
  case fp8Meta = "fp8-meta"

  /// The scales of activations are stored, and text is needed to find them.
  public var storesActivationScales: Bool { self == .fp8Static }

  /// Which linear modules a recipe quantizes.
  public enum LayerSelection: Sendable, Hashable {
    /// Every linear of the transformer layers, not the output head.
    case allButHead
    /// Only the feed-forward matrices of layers 1 … n−2 (the first and last layer and all attention stay): what Meta
    /// did for Llama 3.1 405B FP8.
    case innerFeedForward
  }

  public var layerSelection: LayerSelection {
    switch self {
    case .fp8, .fp8Compat, .fp8Static: .allButHead
    case .fp8FBGEMM, .fp8Meta: .innerFeedForward
    }
  }

  /// True when only the feed-forward matrices of layers 1 … n−2 are quantized.
  public var quantizesOnlyFeedForward: Bool { layerSelection == .innerFeedForward }

  /// Whether the recipe quantizes a linear module.
  /// - Parameters:
  ///   - layer: its layer, counted from 0; nil for the output head.
  ///   - isFeedForward: whether it is a matrix of the feed-forward block.
  ///   - layerCount: layers of the model.
  public func selectsLinear(inLayer layer: Int?, isFeedForward: Bool, layerCount: Int) -> Bool {
    guard let layer else { return false }
    switch layerSelection {
    case .allButHead: return true
    case .innerFeedForward: return isFeedForward && layer > 0 && layer < layerCount - 1
    }
  }

  /// One sentence for help texts.
  public var summary: String {
    switch self {
    case .fp8: "row-wise FP8 of all linears but the head, compressed-tensors layout, BF16 scales, lowest error"
    case .fp8Compat: "the same layers and layout with the exact bytes of llm-compressor"
    case .fp8Static: "as fp8, activations against one scale per linear from --calibrate (no scales at serving time)"
    case .fp8FBGEMM: "feed-forward of the inner layers, fbgemm_fp8 layout (vLLM refuses it by default)"
    case .fp8Meta: "feed-forward of the inner layers as Meta published, compressed-tensors layout, F32 scales"
    }
  }

  public var description: String { rawValue }

  /// What serving does with activations, as the documents that we write for the recipe say it.
  public var activations: ActivationScheme {
    if self == .fp8Static { return .staticPerTensor }
    let bound = self == .fp8FBGEMM ? Float(QuantizationConfiguration.metaActivationBound) : nil
    return .dynamicPerToken(upperBound: bound)
  }

  /// The element type in which scales are stored for weights of a type.
  public func scaleType(forWeight type: ElementType) -> ElementType {
    switch self {
    case .fp8, .fp8Static: .bf16
    case .fp8Compat: type
    case .fp8FBGEMM, .fp8Meta: .f32
    }
  }

  private func arithmetic(for format: FloatFormat) -> FP8Rows.Arithmetic {
    switch self {
    case .fp8, .fp8Static: .bf16Scale
    case .fp8Compat: .stepsRounded(to: format)
    case .fp8FBGEMM, .fp8Meta: .flooredScale
    }
  }

  /// Quantizes whole rows of a weight `[out, in]`.
  /// - Parameters:
  ///   - rows: the elements, little-endian, row by row.
  ///   - type: F32, F16 or BF16.
  ///   - firstRow: the tensor's row that `rows` starts with; errors count elements from the tensor's start.
  ///   - columns: elements of a row.
  ///   - scaleColumns: elements of a row that share a scale; a divisor of `columns`, all of them when nil.
  ///   - codes: takes one byte per element.
  ///   - scales: takes one scale per row, or part of a row, in `scaleType(forWeight:)`, little-endian.
  /// - Throws: `ParseFailure` for another element type, and for a NaN or infinity, with its flat index in the tensor.
  ///   The caller adds tensor and file. `codes` and `scales` are then unspecified.
  public func quantize(
    _ rows: RawSpan, type: ElementType, firstRow: Int, columns: Int, scaleColumns: Int? = nil,
    codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<UInt8>
  ) throws(ParseFailure) -> QuantizationStatistics {
    guard let format = type.floatFormatIfComputable, !format.isCode else {
      throw ParseFailure(
        "the weights are \(type), but \(rawValue) quantizes F32, F16 and BF16",
        advice: "convert the model to bf16 first")
    }
    guard columns > 0 else { throw ParseFailure("the rows of the weight are empty") }
    let width = scaleColumns ?? columns
    precondition(columns % width == 0, "scales belong to equal parts of a row")
    let count = codes.count / width
    var values = [Float](repeating: 0, count: count)
    var span = values.mutableSpan
    var measures = FP8Rows.Measures()
    let fault = FP8Rows.quantize(
      rows, format: format, columns: width, arithmetic: arithmetic(for: format), codes: &codes, scales: &span,
      measures: &measures)
    if let fault {
      throw ParseFailure(
        "element \(firstRow * columns + fault) (row \(firstRow + fault / columns), column \(fault % columns)) is "
          + "NaN or infinite; a quantized row would be lost",
        advice: "repair the checkpoint, or leave this module out with --ignore")
    }
    // Exact: each recipe has rounded its scales to this type already.
    let overflow = NumberFormat.narrow(
      values.span, to: scaleType(forWeight: type).floatFormat, into: &scales)
    precondition(overflow == nil, "scales fit their type")
    return QuantizationStatistics(
      rows: codes.count / columns, zeroRows: measures.zeroRows, saturated: measures.saturated,
      signalEnergy: measures.signalEnergy, errorEnergy: measures.errorEnergy, elements: codes.count,
      largestError: measures.largestError)
  }
}
