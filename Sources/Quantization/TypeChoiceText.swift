public import ByteIO
internal import Foundation

/// A choice of types for the evidence, and for a person.
extension TypeChoice {
  public var document: JSONValue {
    [
      "goal": goal.document,
      "among": .array(types.map { .string($0.rawValue) }),
      "bits_per_weight": .number(JSONNumber(bitsPerWeight)),
      "predicted": .object(predicted.members),
      "additive": true,
      "sensitivity": source,
      "units": .array(units.map(\.document)),
    ]
  }

  /// What was chosen on the whole, in one line.
  public var line: String {
    let counts = LinearType.allCases.compactMap { type -> String? in
      let count = units.count { $0.type == type }
      return count == 0 ? nil : "\(count) \(type.rawValue)"
    }
    return
      "\(Decimals.text(bitsPerWeight, 3)) bits per weight of the linears (groups: \(counts.joined(separator: ", "))), "
      + "predicted drift \(predicted.text)"
  }

  /// Each unit's modules, type, bits and predicted drift, a line each.
  public var lines: [String] {
    let width = units.reduce(0) { max($0, $1.name.count) }
    return units.map { unit in
      let name = unit.name + String(repeating: " ", count: width - unit.name.count)
      return "\(name)  \(unit.type.rawValue)  \(Decimals.text(unit.bitsPerWeight, 3)) bits  \(unit.predicted.text)"
    }
  }
}

extension TypeChoice.Goal {
  fileprivate var document: JSONValue {
    switch self {
    case .bits(let bits): ["bits_per_weight": .number(JSONNumber(bits))]
    case .drift(let lnRatio): ["ln_ratio": .number(JSONNumber(lnRatio))]
    }
  }
}

extension TypeChoice.Unit {
  fileprivate var document: JSONValue {
    var members = JSONObject()
    members["name"] = .string(name)
    members["modules"] = .array(modules.map { .string($0) })
    members["type"] = .string(type.rawValue)
    members["weights"] = .number(JSONNumber(weights))
    members["bits_per_weight"] = .number(JSONNumber(bitsPerWeight))
    for (key, value) in predicted.members.members { members[key] = value }
    return .object(members)
  }
}

extension TypeChoice.Drift {
  fileprivate var members: JSONObject {
    JSONObject([
      ("kld", .number(JSONNumber(divergence))), ("ln_ratio", .number(JSONNumber(lnRatio))),
      ("ln_ratio_upper", upperLnRatio.map { .number(JSONNumber($0)) } ?? .null),
    ])
  }

  /// Perplexity in per cent, its bound, and KLD.
  public var text: String {
    let bound = upperLnRatio.map { " (bound \(Decimals.percent(ofLnRatio: $0)))" } ?? ""
    return "\(Decimals.percent(ofLnRatio: lnRatio))\(bound), KLD \(Decimals.text(divergence, 6))"
  }
}

/// Numbers with so many digits behind the point.
public enum Decimals {
  public static func text(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

  /// exp(x) − 1 in per cent with a sign, to three digits: +0.434 %.
  public static func percent(ofLnRatio lnRatio: Double) -> String {
    let percent = 100 * expm1(lnRatio)
    return (percent < 0 ? "" : "+") + text(percent, 3) + " %"
  }
}
