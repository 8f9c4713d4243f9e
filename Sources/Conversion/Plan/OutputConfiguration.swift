internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// `config.json` of the output: the input's with the members changed that the conversion changes, order and number
/// spelling kept.
enum OutputConfiguration {
  private static let quantizationKey = "quantization_config"

  /// - Parameter quantization: `quantization_config` where it is made anew for integers or mixed types.
  static func document(
    _ checkpoint: Checkpoint, target: TargetType, selection: ModuleSelection, quantization: JSONValue?
  ) -> JSONValue {
    guard var document = checkpoint.huggingFaceDocument.object else { return checkpoint.huggingFaceDocument }
    switch target {
    case .unchanged where quantization != nil: document[quantizationKey] = quantization
    case .integers, .mixed: document[quantizationKey] = quantization
    case .unchanged:
      guard checkpoint.layout == .meta else { break }
      let linears = checkpoint.tensors.filter { $0.role.isLinear }
      let quantized = linears.filter { $0.quantization != nil }
      guard !quantized.isEmpty,
        quantized.allSatisfy({ $0.elementType == .f8e4m3 && $0.quantization?.scheme.isRowWise == true })
      else { break }
      // Meta's codes and scales, in the layout that every server reads.
      document[quantizationKey] = QuantizationConfiguration.document(
        for: .fp8Meta,
        kept: linears.filter { $0.quantization == nil }.map { NamingDialect.huggingFace.moduleName(of: $0.role) })
    case .ggml: break  // never in this layout
    case .int4Meta: document[quantizationKey] = nil  // in a compact file, which describes it by keys of its own
    case .element(let type):
      document[quantizationKey] = nil
      setElementType(type, in: &document)
    case .fp8(let recipe):
      document[quantizationKey] = QuantizationConfiguration.document(for: recipe, kept: selection.kept)
    }
    return .object(document)
  }

  /// In the spelling that the document uses: `dtype` (transformers 5) or `torch_dtype`.
  private static func setElementType(_ type: ElementType, in document: inout JSONObject) {
    let name: JSONValue =
      switch type {
      case .f16: "float16"
      case .f32: "float32"
      default: "bfloat16"
      }
    let keys = ["dtype", "torch_dtype"].filter { document[$0] != nil }
    for key in keys.isEmpty ? ["torch_dtype"] : keys { document[key] = name }
  }
}
