public import ByteIO

extension QuantizationConfiguration {
  /// Upper bound of the row maximum of activations that Meta published with its FP8 models.
  public static let metaActivationBound = 1200.0

  /// The `quantization_config` of a model quantized by a recipe, keys in the order in which the libraries write them.
  ///
  /// The document names no `version`: that field says which release of the compressed-tensors library wrote a file, none
  /// did, and no reader asks for it.
  /// - Parameters:
  ///   - kept: full names of the linear modules that stay unquantized, in model order. Full names because vLLM compares
  ///     whole names, while transformers also takes parts.
  ///   - head: full name of the output head. It stands first in the list even when the model has no tensor of its own for
  ///     it (tied embeddings): readers create the module all the same.
  public static func document(for recipe: FP8Recipe, kept: [String], head: String = "lm_head") -> JSONValue {
    let others = kept.filter { !$0.utf8.elementsEqual(head.utf8) }
    let ignored: JSONValue = .array(([head] + others).map { .string($0) })
    switch recipe {
    case .fp8FBGEMM:
      return [
        "quant_method": "fbgemm_fp8",
        "activation_scale_ub": .number(JSONNumber(metaActivationBound)),
        "modules_to_not_convert": ignored,
      ]
    case .fp8, .fp8Compat, .fp8Meta, .fp8Static:
      return [
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ignored,
        "config_groups": ["group_0": fp8Group(recipe, targets: ["Linear"])],
        "kv_cache_scheme": nil,
        "global_compression_ratio": nil,
      ]
    }
  }

  static func fp8Group(_ recipe: FP8Recipe, targets: [String]) -> JSONValue {
    [
      "targets": .array(targets.map { .string($0) }),
      "format": "float-quantized",
      "weights": arguments(strategy: "channel", dynamic: false),
      "input_activations": recipe == .fp8Static
        ? arguments(strategy: "tensor", dynamic: false) : arguments(strategy: "token", dynamic: true),
      "output_activations": nil,
    ]
  }

  /// The six basic fields and no other: readers refuse unknown keys here.
  private static func arguments(strategy: String, dynamic: Bool) -> JSONValue {
    [
      "num_bits": 8, "type": "float", "symmetric": true, "strategy": .string(strategy), "group_size": nil,
      "dynamic": .bool(dynamic),
    ]
  }
}
