public import ByteIO
internal import Checkpoints
internal import Quantization

/// The table as one JSON document, schema `llama-sensitivity/1`, and back.
extension SensitivityTable {
  public var document: JSONValue {
    [
      "schema": .string(Self.schema),
      "tool": ["name": .string(Toolkit.name), "version": .string(Toolkit.version)],
      "model": ["name": .string(model), "digest": digest.map { .string($0) } ?? .null],
      "text": ["name": .string(text.name), "sha256": .string(text.sha256)],
      "tokens": [
        "scored": .number(JSONNumber(text.tokens)), "windows": .number(JSONNumber(text.windows)),
        "context": .number(JSONNumber(text.context)),
        "per_window": .array(text.windowSizes.map { .number(JSONNumber($0)) }),
      ],
      "by": .string(granularity.rawValue),
      "types": .array(types.map { .string($0.rawValue) }),
      "method": .string(recipes.method.rawValue),
      "group_size": Self.size(recipes.groupSize),
      "units": .array(units.map(\.document)),
      "totals": .array(types.compactMap { total($0)?.document }),
    ]
  }

  /// - Throws: `ParseFailure` for another document, or one in which something is missing or out of range.
  public init(document: JSONValue) throws(ParseFailure) {
    guard document["schema"]?.string == Self.schema else {
      throw ParseFailure(
        "the document's schema is \(document["schema"]?.string ?? "absent"), expected \(Self.schema)",
        advice: "make one with llama-convert sensitivity --json")
    }
    let reader = Reader(document)
    let textReader = try reader.member("text")
    let tokens = try reader.member("tokens")
    let sizes = try tokens.integers("per_window")
    guard !sizes.isEmpty, sizes.allSatisfy({ (1...1 << 30).contains($0) }) else {
      throw ParseFailure("per_window holds no windows, or one without tokens")
    }
    var types: [LinearType] = []
    for name in try reader.list("types") {
      guard let type = LinearType(rawValue: try name.string("types")) else {
        throw ParseFailure("types holds what is no known type")
      }
      types.append(type)
    }
    var units: [Unit] = []
    for unit in try reader.list("units") { units.append(try Unit(unit, windows: sizes.count)) }
    guard (1...Self.largestUnitCount).contains(units.count) else {
      throw ParseFailure("the table has \(units.count) units, expected 1 to \(Self.largestUnitCount)")
    }
    self.init(
      model: try reader.member("model").text("name"), digest: document["model"]?["digest"]?.string,
      text: Text(
        name: try textReader.text("name"), sha256: try textReader.text("sha256"),
        context: try tokens.integer("context"), windowSizes: sizes),
      granularity: try reader.word("by", LinearUnit.Granularity.init(rawValue:)), types: types,
      recipes: LinearRecipes(
        method: try reader.word("method", IntegerMethod.init(rawValue:)),
        groupSize: document["group_size"]?.integer), units: units)
  }

  /// Linears of the deepest model.
  private static let largestUnitCount = 1 << 14
  /// Weights of a unit, far above the largest layer's: sums over all units fit an integer.
  fileprivate static let largestWeightCount = 1 << 48
  /// Of any figure: sums and products of figures stay finite.
  fileprivate static let largestFigure = 1e15

  fileprivate static func size(_ size: Int?) -> JSONValue { size.map { .number(JSONNumber($0)) } ?? .null }
}

extension SensitivityTable.Unit {
  fileprivate var document: JSONValue {
    [
      "name": .string(name),
      "layer": .number(JSONNumber(layer)),
      "modules": .array(modules.map { .string($0) }),
      "weights": .number(JSONNumber(weights)),
      "bits_per_weight": .number(JSONNumber(bitsPerWeight)),
      "drift": .array(drifts.map(\.document)),
    ]
  }

  fileprivate init(_ reader: Reader, windows: Int) throws(ParseFailure) {
    var modules: [String] = []
    for module in try reader.list("modules") { modules.append(try module.string("modules")) }
    var drifts: [SensitivityTable.Drift] = []
    for drift in try reader.list("drift") { drifts.append(try SensitivityTable.Drift(drift, windows: windows)) }
    self.init(
      name: try reader.text("name"), layer: try reader.integer("layer"), modules: modules,
      weights: try reader.integer("weights"), bitsPerWeight: try reader.positive("bits_per_weight"), drifts: drifts)
    guard (1...SensitivityTable.largestWeightCount).contains(weights), !modules.isEmpty, layer >= 0 else {
      throw ParseFailure(
        "a unit has \(weights) weights, \(modules.count) modules and layer \(layer); expected 1 to "
          + "\(SensitivityTable.largestWeightCount) weights, modules, and a layer from 0 on", item: name)
    }
  }
}

extension SensitivityTable.Drift {
  fileprivate var document: JSONValue {
    [
      "type": .string(type.rawValue),
      "group_sizes": .array(groupSizes.map(SensitivityTable.size)),
      "bits_per_weight": .number(JSONNumber(bitsPerWeight)),
      "kld": .number(JSONNumber(divergence)),
      "ln_ratio": .number(JSONNumber(lnRatio)),
      "ln_ratio_se": lnRatioError.map { .number(JSONNumber($0)) } ?? .null,
      "nll_per_window": .array(windowSums.map { .number(JSONNumber($0)) }),
    ]
  }

  fileprivate init(_ reader: Reader, windows: Int) throws(ParseFailure) {
    let sums = try reader.numbers("nll_per_window")
    guard sums.count == windows else {
      throw ParseFailure("nll_per_window has \(sums.count) sums for \(windows) windows")
    }
    let error = reader.value["ln_ratio_se"]?.double
    guard error.map({ (0...SensitivityTable.largestFigure).contains($0) }) ?? true else {
      throw ParseFailure("ln_ratio_se is negative or no number up to \(SensitivityTable.largestFigure)")
    }
    self.init(
      type: try reader.word("type", LinearType.init(rawValue:)),
      groupSizes: try reader.list("group_sizes").map { $0.value.integer },
      bitsPerWeight: try reader.positive("bits_per_weight"), divergence: try reader.number("kld"),
      lnRatio: try reader.number("ln_ratio"), lnRatioError: error, windowSums: sums)
  }
}

/// Members of a JSON object that must be there.
private struct Reader {
  let value: JSONValue

  init(_ value: JSONValue) { self.value = value }

  private func found<T>(_ key: String, _ read: (JSONValue) -> T?, _ expected: String) throws(ParseFailure) -> T {
    guard let member = value[key] else { throw ParseFailure("\(key) is missing") }
    guard let found = read(member) else { throw ParseFailure("\(key) is no \(expected)") }
    return found
  }

  func member(_ key: String) throws(ParseFailure) -> Reader { Reader(try found(key, { $0 }, "object")) }
  func text(_ key: String) throws(ParseFailure) -> String { try found(key, { $0.string }, "string") }
  func integer(_ key: String) throws(ParseFailure) -> Int { try found(key, { $0.integer }, "integer") }

  func number(_ key: String) throws(ParseFailure) -> Double {
    let limit = SensitivityTable.largestFigure
    return try found(key, { $0.double.flatMap { abs($0) <= limit ? $0 : nil } }, "number up to \(limit)")
  }

  func positive(_ key: String) throws(ParseFailure) -> Double {
    let limit = SensitivityTable.largestFigure
    return try found(key, { $0.double.flatMap { $0 > 0 && $0 <= limit ? $0 : nil } }, "positive number up to \(limit)")
  }

  func list(_ key: String) throws(ParseFailure) -> [Reader] { try found(key, { $0.array?.map(Reader.init) }, "list") }

  func integers(_ key: String) throws(ParseFailure) -> [Int] {
    let list = try list(key)
    let numbers = list.compactMap { $0.value.integer }
    guard numbers.count == list.count else { throw ParseFailure("\(key) holds what is no integer") }
    return numbers
  }

  func numbers(_ key: String) throws(ParseFailure) -> [Double] {
    let list = try list(key)
    let numbers = list.compactMap { $0.value.double }.filter(\.isFinite)
    guard numbers.count == list.count else { throw ParseFailure("\(key) holds what is no finite number") }
    return numbers
  }

  func word<T>(_ key: String, _ read: (String) -> T?) throws(ParseFailure) -> T {
    try found(key, { $0.string.flatMap(read) }, "known word")
  }

  /// The value itself, an element of the list `key`.
  func string(_ key: String) throws(ParseFailure) -> String {
    guard let text = value.string else { throw ParseFailure("\(key) holds what is no string") }
    return text
  }
}
