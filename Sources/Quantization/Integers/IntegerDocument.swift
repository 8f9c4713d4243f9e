public import ByteIO

extension QuantizationConfiguration {
  /// How a group of linear modules is stored: what a document that we write says of them.
  public struct WrittenGroup: Sendable, Hashable {
    /// Full names of modules; empty for all linears.
    public let modules: [String]
    public let grid: IntegerGrid
    /// Nil: one int8 in a byte, with dynamic int8 activations (W8A8).
    public let layout: IntegerLayout?
    /// A list gives each input its group.
    public let hasGroupIndex: Bool

    public init(modules: [String] = [], grid: IntegerGrid, layout: IntegerLayout?, hasGroupIndex: Bool = false) {
      self.modules = modules
      self.grid = grid
      self.layout = layout
      self.hasGroupIndex = hasGroupIndex
    }
  }

  /// The `quantization_config` of a model whose linears are integers.
  /// - Parameters:
  ///   - kept: full names of the linear modules that stay unquantized, in model order.
  ///   - head: full name of the output head, in the list whether the model has a tensor for it or not.
  public static func document(for group: WrittenGroup, kept: [String], head: String = "lm_head") -> JSONValue {
    let others = kept.filter { !$0.utf8.elementsEqual(head.utf8) }
    let size: JSONValue = group.grid.groupSize.map { .number(JSONNumber($0)) } ?? -1
    switch group.layout {
    case .gptq?, .gptqV2?:
      return [
        "quant_method": "gptq",
        "bits": .number(JSONNumber(group.grid.bits)),
        "group_size": size,
        "desc_act": .bool(group.hasGroupIndex),
        "sym": .bool(group.grid.isSymmetric),
        "lm_head": false,
        "checkpoint_format": group.layout == .gptq ? "gptq" : "gptq_v2",
      ]
    case .awq?:
      return [
        "quant_method": "awq",
        "bits": .number(JSONNumber(group.grid.bits)),
        "group_size": size,
        "zero_point": true,
        "version": "gemm",
        "modules_to_not_convert": others.isEmpty ? nil : .array(others.map { .string($0) }),
      ]
    case .compressedTensors?, nil:
      return compressedTensors(
        ["group_0": configGroup(group)], format: format(of: group), ignored: [head] + others)
    }
  }

  private static func format(of group: WrittenGroup) -> String {
    group.layout == nil ? "int-quantized" : "pack-quantized"
  }

  static func configGroup(_ group: WrittenGroup) -> JSONValue {
    let grid = group.grid
    var weights = JSONObject()
    weights["num_bits"] = .number(JSONNumber(grid.bits))
    weights["type"] = "int"
    weights["symmetric"] = .bool(grid.isSymmetric)
    weights["strategy"] = grid.groupSize == nil ? "channel" : "group"
    weights["group_size"] = grid.groupSize.map { .number(JSONNumber($0)) } ?? .null
    weights["dynamic"] = false
    if group.hasGroupIndex { weights["actorder"] = "group" }
    let activations: JSONValue = [
      "num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "group_size": nil, "dynamic": true,
    ]
    let targets: JSONValue = group.modules.isEmpty ? ["Linear"] : .array(group.modules.map { .string($0) })
    return [
      "targets": targets,
      "format": .string(format(of: group)),
      "weights": .object(weights),
      "input_activations": group.layout == nil ? activations : .null,
      "output_activations": nil,
    ]
  }

  static func compressedTensors(_ groups: JSONValue, format: String, ignored: [String]) -> JSONValue {
    [
      "quant_method": "compressed-tensors",
      "format": .string(format),
      "quantization_status": "compressed",
      "ignore": .array(ignored.map { .string($0) }),
      "config_groups": groups,
      "kv_cache_scheme": nil,
      "global_compression_ratio": nil,
    ]
  }
}
