public import ByteIO
internal import Checkpoints

/// What a candidate must hold to. Each limit that is set becomes a gate; a candidate passes when it passes all gates, and
/// fails when it fails one. `DecisionLevels` says how both errors are held at 5 %.
public struct Policy: Sendable, Equatable {
  public var name: String
  /// The candidate must be the base: every score equal, every KL divergence exactly zero.
  public var exact = false
  /// The perplexity ratio's upper bound must not exceed it.
  public var maximumRatio: Double?
  /// Nats per token.
  public var maximumKLDMean: Double?
  /// Nats: 99 % of the tokens must lie below it.
  public var maximumKLDP99: Double?
  /// Share of tokens, 0…1, whose most likely next token is the same.
  public var minimumTop1Agreement: Double?
  /// Mean share, 0…1, of the five most likely next tokens that both models have.
  public var minimumTop5Overlap: Double?
  /// The perplexity ratio's upper bound at any stretch of positions in the window must not exceed it.
  public var maximumPositionRatio: Double?
  /// ‖candidate − base‖ / ‖base‖ of the residual stream behind any layer.
  public var maximumLayerError: Double?
  /// Decibels: signal to quantization noise of any tensor.
  public var minimumTensorSQNR: Double?
  /// Fewer scored tokens never decide: the verdict is inconclusive at best.
  public var minimumTokens: Int?

  public init(
    name: String, exact: Bool = false, maximumRatio: Double? = nil, maximumKLDMean: Double? = nil,
    maximumKLDP99: Double? = nil, minimumTop1Agreement: Double? = nil, minimumTop5Overlap: Double? = nil,
    maximumPositionRatio: Double? = nil, maximumLayerError: Double? = nil, minimumTensorSQNR: Double? = nil,
    minimumTokens: Int? = nil
  ) {
    self.name = name
    self.exact = exact
    self.maximumRatio = maximumRatio
    self.maximumKLDMean = maximumKLDMean
    self.maximumKLDP99 = maximumKLDP99
    self.minimumTop1Agreement = minimumTop1Agreement
    self.minimumTop5Overlap = minimumTop5Overlap
    self.maximumPositionRatio = maximumPositionRatio
    self.maximumLayerError = maximumLayerError
    self.minimumTensorSQNR = minimumTensorSQNR
    self.minimumTokens = minimumTokens
  }

  /// Lossy work at 8 bits: perplexity may rise by one per cent, by three at any stretch of positions.
  ///
  /// The limits on distributions are about ten times what conversions do that are known to be good: of the project's
  /// trained models `tiny` and `small3`, `--to fp8` has mean KLD 5.4e-4 and 7.1e-5, p99 2.2e-3 and 2.8e-4, top-1 agreement
  /// 97.2 % and 98.8 % (8,176 and 8,176 tokens of the evaluation text), the residual stream behind the worst layer is off by
  /// 2.5 % and 1.2 %; with serving's FP8 activations emulated 1.8e-3, 7.6e-3, 95.1 % and 4.0 % at worst (4,088 tokens).
  public static let fp8 = Policy(
    name: "fp8", maximumRatio: 1.01, maximumKLDMean: 0.005, maximumKLDP99: 0.05, minimumTop1Agreement: 0.94,
    maximumPositionRatio: 1.03, maximumLayerError: 0.2)
  /// Lossy work at 4 bits: perplexity may rise by five per cent, by ten at any stretch of positions.
  ///
  /// The limits on distributions are those of `fp8` times ten, and agreement as far below as 4 bits are: `--to int4` has mean
  /// KLD 8.1e-3 and 1.1e-3, p99 3.3e-2 and 4.3e-3, top-1 agreement 90.3 % and 96.1 % on the same models; the residual stream is off by 11 %
  /// at worst.
  public static let int4 = Policy(
    name: "int4", maximumRatio: 1.05, maximumKLDMean: 0.05, maximumKLDP99: 0.5, minimumTop1Agreement: 0.8,
    maximumPositionRatio: 1.1, maximumLayerError: 0.5)
  /// A first look with few tokens: is it the same model at all?
  public static let smoke = Policy(name: "smoke", maximumRatio: 1.1, maximumKLDMean: 0.2)
  /// Lossless work: no score may differ at all.
  public static let lossless = Policy(name: "lossless", exact: true)

  public static let builtIn: [Policy] = [.fp8, .int4, .smoke, .lossless]

  /// The built-in policy `name`, if there is one.
  public static func named(_ name: String) -> Policy? { builtIn.first { $0.name.utf8.elementsEqual(name.utf8) } }

  /// Limits with a sampling error: they share the error of failing by chance.
  package var sampledLimitCount: Int {
    [maximumRatio, maximumKLDMean, maximumKLDP99, minimumTop1Agreement, minimumTop5Overlap, maximumPositionRatio].count
    {
      $0 != nil
    }
  }

  /// The limits under their keys in a policy file, in the order of the documentation.
  package var limits: [(key: PolicyKey, value: JSONValue)] {
    var limits: [(key: PolicyKey, value: JSONValue)] = []
    if exact { limits.append((.exact, true)) }
    let numbers: [(PolicyKey, Double?)] = [
      (.maximumRatio, maximumRatio), (.maximumKLDMean, maximumKLDMean), (.maximumKLDP99, maximumKLDP99),
      (.minimumTop1Agreement, minimumTop1Agreement), (.minimumTop5Overlap, minimumTop5Overlap),
      (.maximumPositionRatio, maximumPositionRatio), (.maximumLayerError, maximumLayerError),
      (.minimumTensorSQNR, minimumTensorSQNR),
    ]
    for case (let key, let value?) in numbers { limits.append((key, .number(JSONNumber(value)))) }
    if let minimumTokens { limits.append((.minimumTokens, .number(JSONNumber(minimumTokens)))) }
    return limits
  }

  /// The policy as one JSON object.
  public var json: JSONValue {
    .object(JSONObject([("name", .string(name))] + limits.map { ($0.key.rawValue, $0.value) }))
  }

  /// One spelling for equal policies, whatever file they came from, without white space: what a digest of the policy
  /// covers.
  public var canonicalText: String { json.serialized(.compact) }

  /// SHA-256 of the canonical text, hexadecimal.
  public var digest: String { SHA256Sum.hexadecimal(of: Array(canonicalText.utf8)) }
}

/// The keys of a policy file.
package enum PolicyKey: String, CaseIterable, Sendable {
  case name
  case exact
  case maximumRatio = "maximum_ratio"
  case maximumKLDMean = "maximum_kld_mean"
  case maximumKLDP99 = "maximum_kld_p99"
  case minimumTop1Agreement = "minimum_top1_agreement"
  case minimumTop5Overlap = "minimum_top5_overlap"
  case maximumPositionRatio = "maximum_position_ratio"
  case maximumLayerError = "maximum_layer_error"
  case minimumTensorSQNR = "minimum_tensor_sqnr_db"
  case minimumTokens = "minimum_tokens"

  /// Values must be at least the limit, not at most.
  package var isMinimum: Bool { rawValue.hasPrefix("minimum") }

  /// The gate that tests the limit.
  package var gate: String {
    switch self {
    case .name: "policy"
    case .exact: "exact_scores"
    case .maximumRatio: "perplexity_ratio"
    case .maximumKLDMean: "kld_mean"
    case .maximumKLDP99: "kld_p99"
    case .minimumTop1Agreement: "top1_agreement"
    case .minimumTop5Overlap: "top5_overlap"
    case .maximumPositionRatio: "position_ratio"
    case .maximumLayerError: "layer_error"
    case .minimumTensorSQNR: "tensor_sqnr"
    case .minimumTokens: "tokens"
    }
  }
}
