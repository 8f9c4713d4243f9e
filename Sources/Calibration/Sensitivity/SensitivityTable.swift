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
    /// Σ over each window's tokens of NLL(rounded) − NLL(model): what the error of sums of drifts is found from.
    public let windowSums: [Double]

    public init(
      type: LinearType, groupSizes: [Int?] = [], bitsPerWeight: Double, divergence: Double, lnRatio: Double,
      lnRatioError: Double?, windowSums: [Double] = []
    ) {
      self.windowSums = windowSums
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
    /// Tokens of each window that are scored: all but its first.
    public let windowSizes: [Int]

    public var windows: Int { windowSizes.count }
    public var tokens: Int { windowSizes.reduce(0, +) }

    public init(name: String, sha256: String, context: Int, windowSizes: [Int]) {
      self.name = name
      self.sha256 = sha256
      self.context = context
      self.windowSizes = windowSizes
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
    let weights = all.reduce(0) { $0 + $1.0 }
    return sum(
      all.map(\.1), type: type,
      bitsPerWeight: all.reduce(0) { $0 + Double($1.0) * $1.1.bitsPerWeight } / Double(weights))
  }

  /// Drifts added up. All units are scored on the same tokens, so that the error of the sum is that of the windows' sums,
  /// however the drifts are correlated.
  func sum(_ drifts: [Drift], type: LinearType, bitsPerWeight: Double) -> Drift {
    let windows = windowSums(drifts)
    let estimate = WindowedMean(sums: windows, sizes: text.windowSizes)
    return Drift(
      type: type, bitsPerWeight: bitsPerWeight, divergence: drifts.reduce(0) { $0 + $1.divergence },
      lnRatio: drifts.reduce(0) { $0 + $1.lnRatio }, lnRatioError: estimate.standardError, windowSums: windows)
  }

  private func windowSums(_ drifts: [Drift]) -> [Double] {
    var sums = [Double](repeating: 0, count: text.windows)
    for drift in drifts { for (index, sum) in drift.windowSums.enumerated() { sums[index] += sum } }
    return sums
  }

  /// One-sided 95 % upper bound of the ln ratio of drifts added up; nil where there is one window.
  func upperLnRatio(_ drifts: [Drift]) -> Double? {
    WindowedMean(sums: windowSums(drifts), sizes: text.windowSizes).upperBound
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
