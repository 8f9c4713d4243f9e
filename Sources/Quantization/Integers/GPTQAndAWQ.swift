internal import ByteIO

/// `quantization_config` of GPTQ and AWQ checkpoints: one rule for all linears of the layers.
enum GPTQAndAWQ {
  /// The output head, which stays as it is unless the document says otherwise.
  static func heads(_ document: JSONValue) -> [String] { document["lm_head"]?.bool == true ? [] : ["lm_head"] }

  static func gptqRule(_ document: JSONValue) throws(ParseFailure) -> QuantizationConfiguration.Rule {
    let bits = try bits(document, keys: ["bits"], allowed: [4, 8])
    if let dynamic = document["dynamic"], !dynamic.isNull, dynamic.object?.members.isEmpty != true {
      throw ParseFailure(
        "dynamic is set in quantization_config: modules differ in a way that is not read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    let format = document["checkpoint_format"].flatMap { $0.isNull ? nil : $0 }
    let layout: IntegerLayout
    switch format?.string ?? "gptq" {
    case "gptq": layout = .gptq
    case "gptq_v2": layout = .gptqV2
    default:
      throw ParseFailure(
        "checkpoint_format of gptq is \(format?.brief ?? "absent"); read are \"gptq\" and \"gptq_v2\"",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    return try rule(
      try groupSize(document, keys: ["group_size"]),
      .init(
        layout: layout, bits: bits, isSymmetric: document["sym"]?.bool ?? true,
        hasGroupIndex: true))
  }

  static func awqRule(_ document: JSONValue) throws(ParseFailure) -> QuantizationConfiguration.Rule {
    let bits = try bits(document, keys: ["bits", "w_bit"], allowed: [4])
    guard document["zero_point"]?.bool ?? true else {
      throw ParseFailure("zero_point of awq is false; read are checkpoints with zero points")
    }
    if let version = document["version"], !version.isNull, version.string?.lowercased() != "gemm" {
      throw ParseFailure(
        "version of awq is \(version.brief); the layout of \"gemm\" is read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    return try rule(
      try groupSize(document, keys: ["group_size", "q_group_size"]),
      .init(layout: .awq, bits: bits, isSymmetric: false, hasGroupIndex: false))
  }

  private static func rule(
    _ groupSize: Int?, _ form: QuantizationConfiguration.PackedForm
  ) throws(ParseFailure) -> QuantizationConfiguration.Rule {
    QuantizationConfiguration.Rule(
      targets: try ModulePatterns([]), coversLinear: true,
      module: .init(
        scheme: groupSize.map { .block(rows: 1, columns: $0) } ?? .rowWise, scaleSuffix: "weight_scale",
        optionalSuffixes: [], activations: .none, storage: .packed(form)))
  }

  private static func bits(_ document: JSONValue, keys: [String], allowed: [Int]) throws(ParseFailure) -> Int {
    let value = keys.lazy.compactMap { document[$0] }.first { !$0.isNull }
    guard let bits = value?.integer, allowed.contains(bits) else {
      throw ParseFailure(
        "\(keys[0]) is \(value?.brief ?? "absent"); codes of \(allowed.map(String.init).joined(separator: " or ")) bits are read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    return bits
  }

  /// Nil for −1: a whole row.
  private static func groupSize(_ document: JSONValue, keys: [String]) throws(ParseFailure) -> Int? {
    let value = keys.lazy.compactMap { document[$0] }.first { !$0.isNull }
    guard let size = value?.integer, size > 0 || size == -1 else {
      throw ParseFailure("\(keys[0]) is \(value?.brief ?? "absent"), expected a positive number, or -1 for a whole row")
    }
    return size == -1 ? nil : size
  }
}
