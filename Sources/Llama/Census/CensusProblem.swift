public import Tensors

/// One disagreement between a checkpoint's tensors and its configuration.
public enum CensusProblem: Sendable, Equatable {
  /// A tensor that the configuration demands is not there.
  case missing(name: String, role: TensorRole)
  /// A quantized weight has no scales.
  case missingScale(name: String, weight: String)
  /// A tensor that no role explains.
  case extra(name: String)
  /// A tensor of a layer that the configuration does not have.
  case layerBeyondCount(name: String, layerCount: Int)
  case wrongShape(name: String, found: Shape, expected: Shape, hint: String?)
  /// The configuration ties the head to the embedding, and yet a head is stored. It is compared with the embedding when
  /// the checkpoint is opened.
  case headThoughTied(name: String)
  /// RoPE frequencies that old writers stored; they are computed anew and dropped.
  case leftover(name: String)

  public enum Severity: String, Sendable { case error, warning }

  public var severity: Severity {
    switch self {
    case .missing, .missingScale, .extra, .layerBeyondCount, .wrongShape: .error
    case .headThoughTied, .leftover: .warning
    }
  }

  /// A stable short name for scripts.
  public var code: String {
    switch self {
    case .missing: "missing-tensor"
    case .missingScale: "missing-scale"
    case .extra: "extra-tensor"
    case .layerBeyondCount: "layer-beyond-count"
    case .wrongShape: "wrong-shape"
    case .headThoughTied: "head-though-tied"
    case .leftover: "leftover-tensor"
    }
  }

  /// The tensor that the problem is about.
  public var tensor: String {
    switch self {
    case .missing(let name, _), .missingScale(let name, _), .extra(let name), .layerBeyondCount(let name, _),
      .wrongShape(let name, _, _, _), .headThoughTied(let name), .leftover(let name):
      name
    }
  }

  /// What was found, what was expected and what to do.
  public var message: String {
    switch self {
    case .missing(let name, .outputHead):
      "\(name) is missing and tie_word_embeddings is false; if the model ties its head, set tie_word_embeddings to true"
    case .missing(let name, _): "\(name) is missing; the download may be incomplete"
    case .missingScale(let name, let weight):
      "\(weight) is quantized, but its scales \(name) are missing; without them the codes mean nothing"
    case .extra(let name) where name.hasSuffix(".weight_scale") || name.hasSuffix(".weight_scale_inv"):
      "\(name) scales a quantized weight, but quantization_config is missing or does not quantize this module so"
    case .extra(let name):
      "\(name) is not explained by the configuration; it would be lost silently: remove it or correct the configuration"
    case .layerBeyondCount(let name, let count):
      "\(name) belongs to a layer beyond the configuration's \(count) layers; correct the configuration or remove the tensor"
    case .wrongShape(let name, let found, let expected, let hint):
      "\(name) has shape \(found), the configuration demands \(expected)" + (hint.map { "; \($0)" } ?? "")
    case .headThoughTied(let name): "\(name) is stored though tie_word_embeddings is true"
    case .leftover(let name): "\(name) holds RoPE frequencies, which are computed anew; it is dropped"
    }
  }
}
