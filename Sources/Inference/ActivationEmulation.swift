internal import ByteIO
public import Checkpoints
internal import Llama
internal import Quantization
internal import Tensors

/// Which rounding of activations a forward pass emulates. Models whose activations nobody rounds are not touched.
public enum ActivationEmulation: String, Sendable, CaseIterable {
  /// Whatever a model says.
  case model
  /// What a model says, which is FP8.
  case fp8
  /// What a model says, which is int8.
  case int8

  /// As command lines and reports have it.
  public var canonicalText: String { "activations=\(rawValue)" }

  /// - Parameter canonicalText: as the property of that name, or `activations` alone for `model`; nil when it is neither.
  public init?(canonicalText: String) {
    let found = Self.allCases.first { $0.canonicalText.utf8.elementsEqual(canonicalText.utf8) }
    guard let found = canonicalText == "activations" ? .model : found else { return nil }
    self = found
  }

  /// A sentence that says how the model contradicts the emulation; nil when it does not.
  public func contradiction(of checkpoint: Checkpoint) -> String? {
    guard self != .model else { return nil }
    for tensor in checkpoint.tensors {
      guard let scheme = tensor.quantization?.activations, let family = scheme.family, family != self else { continue }
      return "\(checkpoint.path) says of the activations of \(tensor.role.canonicalText) \"\(scheme.canonicalText)\", "
        + "which \(canonicalText) contradicts; \(family.canonicalText) or activations emulates what it says"
    }
    return nil
  }
}

extension Checkpoint {
  /// What the model says of its activations, in words of `ActivationScheme`, sorted; empty where nobody rounds them.
  public var activationTexts: [String] {
    let schemes = Set(tensors.compactMap { $0.quantization?.activations }).subtracting([.none])
    return schemes.map(\.canonicalText).sorted()
  }

  /// What becomes of the activations of each matrix where it is not left as it is.
  /// - Throws: `ParseFailure` for a treatment that is not emulated, and for a stored scale that is missing or no positive
  ///   number; what reading it throws.
  func activationPrecisions() throws -> [TensorRole: ActivationPrecision] {
    var precisions: [TensorRole: ActivationPrecision] = [:]
    for tensor in tensors {
      guard let quantization = tensor.quantization else { continue }
      precisions[tensor.role] =
        switch quantization.activations {
        case .none: nil
        case .dynamicPerToken(let bound): .fp8PerToken(upperBound: bound)
        case .dynamicPerGroup(let size): .fp8PerGroup(size)
        case .staticPerTensor: .fp8Static(scale: try staticScale(tensor, quantization))
        case .dynamicSymmetricInt8PerToken: .int8PerToken
        case .dynamicInt8PerToken:
          // Meta says that they are 8-bit integers for each token, not how they are rounded.
          throw ParseFailure(
            "the model's activations are quantized to integers with zero points, which is not emulated",
            file: path, item: tensor.role.canonicalText, advice: "leave --emulate out")
        }
    }
    return precisions
  }

  private func staticScale(_ tensor: LogicalTensor, _ quantization: StoredQuantization) throws -> Float {
    guard let stored = quantization.companions.first(where: { $0.tensor.name.hasSuffix(".input_scale") }) else {
      throw ParseFailure(
        "the activations' stored scale, input_scale, is missing", file: path, item: tensor.role.canonicalText,
        advice: "leave --emulate out")
    }
    let bytes = try RowExpression.stored(stored).bytes(rows: 0..<stored.rowCount)
    let scales: [Float]
    do {
      scales = try WeightScheme.scales(from: bytes, type: stored.tensor.elementType)
    } catch {
      throw ParseFailure(error.message, file: path, item: stored.tensor.name, advice: error.advice)
    }
    guard scales.count == 1 else {
      throw ParseFailure("one scale is expected, found \(scales.count)", file: path, item: stored.tensor.name)
    }
    return scales[0]
  }
}

extension ActivationScheme {
  fileprivate var family: ActivationEmulation? {
    switch self {
    case .none: nil
    case .dynamicPerToken, .dynamicPerGroup, .staticPerTensor: .fp8
    case .dynamicSymmetricInt8PerToken, .dynamicInt8PerToken: .int8
    }
  }
}
