internal import ByteIO
internal import Foundation
public import Quantization

/// How much drift rounding each unit of a model alone causes, at each type.
public struct SensitivityTable: Sendable, Equatable {
  public static let schema = "llama-sensitivity/1"

  /// What a unit causes at one type.
  public struct Drift: Sendable, Equatable {
    public let type: LinearType
    /// Of the int4 groups of the unit's linears, each once, in model order; nil for whole rows. Empty for other types.
    public let groupSizes: [Int?]
    /// Codes and scales.
    public let bitsPerWeight: Double
    /// Mean KLD(model‖rounded) per token, in nats.
    public let divergence: Double
    /// ln of the perplexities' ratio.
    public let lnRatio: Double
    /// Its standard error, clustered by windows; nil where there is one window.
    public let lnRatioError: Double?

    public init(
      type: LinearType, groupSizes: [Int?] = [], bitsPerWeight: Double, divergence: Double, lnRatio: Double,
      lnRatioError: Double?
    ) {
      self.type = type
      self.groupSizes = groupSizes
      self.bitsPerWeight = bitsPerWeight
      self.divergence = divergence
      self.lnRatio = lnRatio
      self.lnRatioError = lnRatioError
    }
  }

  public struct Unit: Sendable, Equatable {
    public let name: String
    public let layer: Int
    /// Full names, in Hugging Face's dialect.
    public let modules: [String]
    /// Elements of all of them.
    public let weights: Int
    /// Of a weight as it is.
    public let bitsPerWeight: Double
    public let drifts: [Drift]

    public init(
      name: String, layer: Int, modules: [String], weights: Int, bitsPerWeight: Double, drifts: [Drift]
    ) {
      self.name = name
      self.layer = layer
      self.modules = modules
      self.weights = weights
      self.bitsPerWeight = bitsPerWeight
      self.drifts = drifts
    }
  }

  /// What was measured on.
  public struct Text: Sendable, Equatable {
    public let name: String
    public let sha256: String
    public let context: Int
    public let windows: Int
    /// Scored: all but the first of each window.
    public let tokens: Int

    public init(name: String, sha256: String, context: Int, windows: Int, tokens: Int) {
      self.name = name
      self.sha256 = sha256
      self.context = context
      self.windows = windows
      self.tokens = tokens
    }
  }

  /// The last component of the model's path.
  public let model: String
  /// As `llama-convert digest` prints it; nil where it was not taken.
  public let digest: String?
  public let text: Text
  public let granularity: LinearUnit.Granularity
  public let types: [LinearType]
  public let recipes: LinearRecipes
  /// In model order.
  public let units: [Unit]

  public init(
    model: String, digest: String?, text: Text, granularity: LinearUnit.Granularity, types: [LinearType],
    recipes: LinearRecipes, units: [Unit]
  ) {
    self.model = model
    self.digest = digest
    self.text = text
    self.granularity = granularity
    self.types = types
    self.recipes = recipes
    self.units = units
  }

  /// The sum of what all units cause at a type, and the average bits of a weight: a model of additive drifts.
  public func total(_ type: LinearType) -> Drift? {
    let all = units.compactMap { unit in unit.drifts.first { $0.type == type }.map { (unit.weights, $0) } }
    guard all.count == units.count, !all.isEmpty else { return nil }
    let errors = all.compactMap(\.1.lnRatioError)
    let weights = all.reduce(0) { $0 + $1.0 }
    return Drift(
      type: type, bitsPerWeight: all.reduce(0) { $0 + Double($1.0) * $1.1.bitsPerWeight } / Double(weights),
      divergence: all.reduce(0) { $0 + $1.1.divergence }, lnRatio: all.reduce(0) { $0 + $1.1.lnRatio },
      // Units share the tokens, and their errors may be alike: they are not taken for independent.
      lnRatioError: errors.count == all.count ? errors.reduce(0, +) : nil)
  }
}

extension SensitivityTable {
  /// For a person: the units, worst first, and totals.
  public var summary: String {
    let cheapest = types.min { (total($0)?.bitsPerWeight ?? 0) < (total($1)?.bitsPerWeight ?? 0) }
    func worst(_ unit: Unit) -> Double { unit.drifts.first { $0.type == cheapest }?.divergence ?? 0 }
    let order = units.indices.sorted { (worst(units[$0]), $1) > (worst(units[$1]), $0) }
    let width = max(24, units.reduce(0) { max($0, $1.name.count) })
    var lines = [
      "drift that each \(granularity.noun) of \(model) causes alone: \(text.tokens) tokens of \(text.name) "
        + "in \(text.windows) windows of \(text.context)"
    ]
    var header = Self.padded("", width) + Self.right("weights", 13)
    var names = Self.padded("", width + 13)
    for type in types {
      names += Self.right(type.rawValue, 22)
      header += Self.right("KLD", 11) + Self.right("perplexity", 17)
    }
    lines += [names, header]
    for index in order {
      let unit = units[index]
      var line = Self.padded(unit.name, width) + Self.right(String(unit.weights), 13)
      for type in types { line += unit.drifts.first { $0.type == type }.map(Self.cell) ?? Self.right("-", 28) }
      lines.append(line)
    }
    var totals = Self.padded("all, added up", width) + Self.right(String(units.reduce(0) { $0 + $1.weights }), 13)
    for type in types { totals += total(type).map(Self.cell) ?? Self.right("-", 28) }
    lines.append(totals)
    var bits = Self.padded("bits per weight", width + 13)
    for type in types {
      bits += Self.right(total(type).map { Self.fixed($0.bitsPerWeight, 3) } ?? "-", 11) + Self.padded("", 17)
    }
    lines.append(bits)
    return lines.joined(separator: "\n") + "\n" + groupRemarks
  }

  /// Which units have other int4 groups than were wished.
  private var groupRemarks: String {
    var found: [(name: String, count: Int)] = []
    for drift in units.flatMap(\.drifts) where drift.type == .int4 {
      for size in drift.groupSizes where size != recipes.groupSize {
        let name = size.map { "groups of \($0)" } ?? "whole rows"
        if let index = found.firstIndex(where: { $0.name == name }) {
          found[index].count += 1
        } else {
          found.append((name, 1))
        }
      }
    }
    let wish = recipes.groupSize.map(String.init) ?? "channel"
    return found.map { "int4: \($0.count) units have \($0.name), since groups of \(wish) do not divide their rows\n" }
      .joined()
  }

  private static func cell(_ drift: Drift) -> String {
    let percent = (exp(drift.lnRatio) - 1) * 100
    let error = drift.lnRatioError.map { "±" + fixed($0 * exp(drift.lnRatio) * 100, 3) } ?? ""
    return right(scientific(drift.divergence), 11)
      + right((percent < 0 ? "" : "+") + fixed(percent, 3) + error + "%", 17)
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  private static func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }
  private static func scientific(_ value: Double) -> String { String(format: "%.2e", value) }
}

extension LinearUnit.Granularity {
  fileprivate var noun: String {
    switch self {
    case .layer: "layer"
    case .group: "group of linears"
    case .tensor: "linear"
    }
  }
}
