internal import ByteIO

/// `config_groups` of compressed-tensors, as far as FP8 and integer weights go.
enum CompressedTensors {
  /// Most groups that are taken.
  static let maximumGroups = 1000

  static func rules(_ document: JSONValue) throws(ParseFailure) -> [QuantizationConfiguration.Rule] {
    try checkStatus(document)
    guard let groups = document["config_groups"]?.object, !groups.members.isEmpty else {
      throw ParseFailure(
        "config_groups of compressed-tensors is missing or empty; nothing says how weights are stored")
    }
    guard groups.members.count <= maximumGroups else {
      throw ParseFailure("config_groups has \(groups.members.count) groups, more than the limit of \(maximumGroups)")
    }
    var rules: [QuantizationConfiguration.Rule] = []
    for (name, group) in groups.members {
      rules.append(try rule(group, name: name, globalFormat: document["format"]))
    }
    return rules
  }

  private static func checkStatus(_ document: JSONValue) throws(ParseFailure) {
    guard document["quantization_status"]?.string == "compressed" else {
      let found = document["quantization_status"]?.brief ?? "absent"
      throw ParseFailure(
        "quantization_status of compressed-tensors is \(found), expected \"compressed\": the weights are in no final form",
        advice: "save the model again with its quantizer (save_compressed)")
    }
    for key in ["kv_cache_scheme", "sparsity_config", "transform_config"] {
      guard let value = document[key], !value.isNull, value.object?.members.isEmpty != true else { continue }
      throw ParseFailure(
        "\(key) is set in quantization_config; models with it are not read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
  }

  private static func rule(
    _ group: JSONValue, name: String, globalFormat: JSONValue?
  ) throws(ParseFailure) -> QuantizationConfiguration.Rule {
    let place = "config_groups.\(name)"
    let own = group["format"].flatMap { $0.isNull ? nil : $0 }
    guard let format = (own ?? globalFormat)?.string else {
      throw ParseFailure("neither \(place) nor quantization_config says a format")
    }
    guard let kind = Kind(rawValue: format) else {
      throw ParseFailure(
        "the format of \(place) is \"\(format)\"; of compressed-tensors, \(Kind.allCases.map(\.rawValue).joined(separator: ", ")) are read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    if let outputs = group["output_activations"], !outputs.isNull {
      throw ParseFailure("\(place) quantizes output activations, which is not read")
    }
    guard let weights = group["weights"], weights.object != nil else {
      throw ParseFailure("\(place) says nothing about weights")
    }
    let targets = try group.names("targets")
    guard !targets.isEmpty else { throw ParseFailure("\(place) has no targets") }
    let activations = try activations(group["input_activations"], kind, place: place + ".input_activations")
    return QuantizationConfiguration.Rule(
      targets: try ModulePatterns(targets.filter { !IgnoredModules.isLinearClass($0) }),
      coversLinear: targets.contains { IgnoredModules.isLinearClass($0) },
      module: QuantizationConfiguration.Module(
        scheme: try scheme(weights, kind, place: place + ".weights"), scaleSuffix: "weight_scale",
        optionalSuffixes: activations == .staticPerTensor ? ["input_scale"] : [], activations: activations,
        storage: try storage(weights, kind, place: place + ".weights")))
  }

  /// The formats that are read.
  private enum Kind: String, CaseIterable {
    case float = "float-quantized"
    case integer = "int-quantized"
    case packed = "pack-quantized"

    var type: String { self == .float ? "float" : "int" }
    var bits: [Int] { self == .packed ? [4, 8] : [8] }
  }

  private static func checkNumbers(_ arguments: JSONValue, _ kind: Kind, place: String) throws(ParseFailure) {
    guard let bits = arguments["num_bits"]?.integer, kind.bits.contains(bits),
      arguments["type"]?.string == kind.type
    else {
      let bits = arguments["num_bits"]?.brief ?? "absent"
      let type = arguments["type"]?.brief ?? "absent"
      throw ParseFailure(
        "\(place) has num_bits \(bits) and type \(type); \(kind.rawValue) with \(kind.bits.map(String.init).joined(separator: " or ")) bits and type \"\(kind.type)\" is read",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    guard arguments["symmetric"]?.bool ?? true || kind == .packed else {
      throw ParseFailure("\(place) is not symmetric; \(kind.rawValue) codes have no zero points here")
    }
  }

  private static func storage(
    _ weights: JSONValue, _ kind: Kind, place: String
  ) throws(ParseFailure) -> QuantizationConfiguration.Storage {
    switch kind {
    case .float: return .fp8
    case .integer: return .int8
    case .packed:
      let order = weights["actorder"].flatMap { $0.isNull ? nil : $0 }
      // A flag in older files: true means groups.
      let isGrouped = order?.string == "group" || order?.bool == true
      guard order == nil || isGrouped || order?.bool == false || ["static", "weight"].contains(order?.string) else {
        throw ParseFailure(
          "actorder of \(place) is \(order?.brief ?? ""); read are \"static\", \"weight\" and \"group\"")
      }
      return .packed(
        .init(
          layout: .compressedTensors, bits: weights["num_bits"]?.integer ?? 4,
          isSymmetric: weights["symmetric"]?.bool ?? true, hasGroupIndex: isGrouped))
    }
  }

  private static func scheme(_ weights: JSONValue, _ kind: Kind, place: String) throws(ParseFailure) -> WeightScheme {
    try checkNumbers(weights, kind, place: place)
    guard !(weights["dynamic"]?.bool ?? false) else {
      throw ParseFailure("\(place) is dynamic; stored weights have stored scales")
    }
    switch (weights["strategy"]?.string, kind) {
    case ("channel", _): return .rowWise
    case ("tensor", .float), ("tensor", .integer): return .perTensor
    case ("block", .float):
      guard let size = weights["block_structure"] else {
        throw ParseFailure("\(place) has strategy \"block\" without block_structure")
      }
      let (rows, columns) = try size.blockSize(place + ".block_structure")
      return .block(rows: rows, columns: columns)
    case ("group", .packed):
      guard let size = weights["group_size"]?.integer, size > 0 else {
        throw ParseFailure("\(place) has strategy \"group\" without a positive group_size")
      }
      return .block(rows: 1, columns: size)
    default:
      let found = weights["strategy"]?.brief ?? "absent"
      let read =
        switch kind {
        case .float: "\"channel\", \"tensor\" and \"block\""
        case .integer: "\"channel\" and \"tensor\""
        case .packed: "\"group\" and \"channel\""
        }
      throw ParseFailure("the strategy of \(place) is \(found); read are \(read)")
    }
  }

  private static func activations(
    _ value: JSONValue?, _ kind: Kind, place: String
  ) throws(ParseFailure) -> ActivationScheme {
    guard let value, !value.isNull else { return .none }
    guard value.object != nil else { throw ParseFailure("\(place) is no JSON object") }
    guard kind != .packed else {
      throw ParseFailure(
        "\(place) is set, and packed weights are read with activations as they are",
        advice: QuantizationConfiguration.adviceOriginal)
    }
    try checkNumbers(value, kind, place: place)
    if kind == .integer {
      guard value["strategy"]?.string == "token", value["dynamic"]?.bool == true else {
        throw ParseFailure("\(place) is not dynamic per token, the only kind of int8 activations that is read")
      }
      return .dynamicSymmetricInt8PerToken
    }
    let strategy = value["strategy"]?.string
    let dynamic = value["dynamic"]?.bool
    switch (strategy, dynamic ?? false) {
    case ("token", true): return .dynamicPerToken(upperBound: nil)
    case ("tensor", false) where dynamic != nil || value["dynamic"] == nil: return .staticPerTensor
    case ("group", true):
      guard let size = value["group_size"]?.integer, size > 0 else {
        throw ParseFailure("\(place) has strategy \"group\" without a positive group_size")
      }
      return .dynamicPerGroup(size)
    default:
      let found = value["strategy"]?.brief ?? "absent"
      throw ParseFailure(
        "\(place) has strategy \(found) and dynamic \(value["dynamic"]?.brief ?? "absent"); "
          + "read are dynamic \"token\", dynamic \"group\" and static \"tensor\"")
    }
  }
}

// MARK: - Reading JSON

extension JSONValue {
  /// The value in a few words, for messages.
  var brief: String {
    let text = serialized(.compact)
    return text.unicodeScalars.count <= 60 ? text : String(text.unicodeScalars.prefix(60)) + "…"
  }

  /// The list of names under `key`; empty when absent or null.
  func names(_ key: String) throws(ParseFailure) -> [String] {
    guard let value = self[key], !value.isNull else { return [] }
    guard let list = value.array else {
      throw ParseFailure("\(key) of quantization_config is \(value.brief), expected a list of names")
    }
    guard list.count <= ModulePatterns.maximumCount else {
      throw ParseFailure("\(key) has \(list.count) entries, more than the limit of \(ModulePatterns.maximumCount)")
    }
    var names: [String] = []
    for element in list {
      guard let name = element.string, !name.isEmpty else {
        throw ParseFailure("\(key) of quantization_config holds \(element.brief), expected a name")
      }
      names.append(name)
    }
    return names
  }

  func expect(_ key: String, is expected: String, orAbsent: Bool) throws(ParseFailure) {
    guard let value = self[key], !value.isNull else {
      if orAbsent { return }
      throw ParseFailure("\(key) is absent from quantization_config, expected \"\(expected)\"")
    }
    guard value.string == expected else {
      throw ParseFailure("\(key) of quantization_config is \(value.brief), expected \"\(expected)\"")
    }
  }

  func blockSize(_ key: String) throws(ParseFailure) -> (rows: Int, columns: Int) {
    guard let list = array, list.count == 2, let rows = list[0].integer, let columns = list[1].integer, rows > 0,
      columns > 0
    else {
      throw ParseFailure("\(key) is \(brief), expected two positive integers")
    }
    return (rows, columns)
  }
}
