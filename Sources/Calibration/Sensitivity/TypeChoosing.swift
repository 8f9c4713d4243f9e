internal import ByteIO
public import Checkpoints
internal import Foundation
internal import Llama
public import Quantization

/// Why types cannot be chosen.
public enum TypeChoiceFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The table is of another model.
  case otherModel(table: String, found: String)
  /// The table says nothing about a type, of some unit.
  case missingType(LinearType, unit: String)
  /// Some of a unit's modules are left out and some not.
  case partlyLeftOut(unit: String, module: String)
  /// Bits out of reach.
  case bits(Double, reachable: ClosedRange<Double>)
  /// ln of a ratio out of reach: what types that round least, and most, are bounded by.
  case drift(lnRatio: Double, reachable: ClosedRange<Double>)
  /// The table has one window: how far it can be trusted is not known.
  case noBound

  public var description: String {
    switch self {
    case .otherModel(let table, let found):
      "the sensitivity table was measured on another model, \(table): \(found); measure this one with llama-convert sensitivity"
    case .missingType(let type, let unit):
      "the sensitivity table has no \(type.rawValue) for \(unit); measure again with --types, or choose among others"
    case .partlyLeftOut(let unit, let module):
      "\(module) is left out and others of \(unit) are not, which get one type together (servers fuse them); leave out all or none"
    case .bits(let bits, let reachable):
      "--target-bits \(Decimals.text(bits, 3)) cannot be reached: the types give \(Decimals.text(reachable.lowerBound, 3)) to \(Decimals.text(reachable.upperBound, 3)) bits per weight"
    case .drift(let lnRatio, let reachable):
      "--target-drift \(String(format: "%.6g", 100 * expm1(lnRatio)))% cannot be reached: with all linears at the type that rounds least the drift is bounded by \(Decimals.percent(ofLnRatio: reachable.lowerBound)) at 95 %, with the one that rounds most by \(Decimals.percent(ofLnRatio: reachable.upperBound)); more text narrows the bound, other --types may help"
    case .noBound:
      "the sensitivity table was measured on one window, which bounds no drift; measure on more text, or choose by --target-bits"
    }
  }
}

extension TypeChoice {
  /// Chooses by greedy exchange what each fused group gets (q/k/v; o; gate/up; down; or a whole layer where the table has
  /// only those): the exchange with the most bits saved for the KLD that it adds goes first, until the goal is met. Drifts of
  /// single units are taken to add up. That is an assumption: what roundings do together was not measured.
  /// - Parameters:
  ///   - goal: `.bits` with the least KLD; `.drift` with the fewest bits, the bound on the sum of ln ratios within it.
  ///   - types: to choose among.
  ///   - modules: full names, in Hugging Face's dialect, of the linears that get a type.
  /// - Throws: `TypeChoiceFailure`.
  public init(_ goal: Goal, from table: SensitivityTable, among types: [LinearType], modules: Set<String>) throws {
    let units = try table.fused().compactMap { try $0.restricted(to: modules) }
    let drifts = try units.map { unit in
      try types.map { type in
        guard let drift = unit.drifts.first(where: { $0.type == type }) else {
          throw TypeChoiceFailure.missingType(type, unit: unit.name)
        }
        return drift
      }
    }
    func sum(_ picks: [Int]) -> SensitivityTable.Drift {
      table.sum(zip(drifts, picks).map { $0[$1] }, type: types[0], bitsPerWeight: 1)
    }
    func bound(_ picks: [Int]) throws -> Double {
      guard let bound = table.upperLnRatio(zip(drifts, picks).map { $0[$1] }) else { throw TypeChoiceFailure.noBound }
      return bound
    }
    var exchange = GreedyExchange(
      zip(units, drifts).map { unit, drifts in
        drifts.map { .init(bits: Double(unit.weights) * $0.bitsPerWeight, cost: $0.divergence) }
      })
    let weights = Double(max(1, units.reduce(0) { $0 + $1.weights }))
    switch goal {
    case .bits(let target):
      let reachable = exchange.fewestBits / weights...exchange.bits / weights
      guard reachable.contains(target), exchange.lower(toBits: target * weights) else {
        throw TypeChoiceFailure.bits(target, reachable: reachable)
      }
    case .drift(let target):
      let least = try bound(exchange.picks)
      guard least <= target else {
        var coarsest = exchange
        coarsest.lower { _ in true }
        let most = try bound(coarsest.picks)
        throw TypeChoiceFailure.drift(lnRatio: target, reachable: least...max(least, most))
      }
      exchange.lower { ((try? bound($0)) ?? .infinity) <= target }
    }
    let picks = exchange.picks
    let chosen = zip(units, zip(drifts, picks)).map { unit, drift in
      let found = drift.0[drift.1]
      return Unit(
        name: unit.name, modules: unit.modules, type: found.type, weights: unit.weights,
        bitsPerWeight: found.bitsPerWeight, predicted: table.predicted([found]))
    }
    self.init(
      goal: goal, types: types, units: chosen, predicted: table.predicted(zip(drifts, picks).map { $0[$1] }),
      source: table.provenance)
  }

  /// Every linear of the layers at one type, nothing predicted: to find out what else would stand in the way of a
  /// conversion before anything is measured.
  public static func draft(_ type: LinearType, for checkpoint: Checkpoint) -> TypeChoice {
    let nothing = Drift(divergence: 0, lnRatio: 0, upperLnRatio: nil)
    let units = (0..<checkpoint.configuration.layerCount).flatMap { layer in
      LinearUnit.units(ofLayer: layer, by: .group).map {
        Unit(name: $0.name, modules: $0.modules, type: type, weights: 1, bitsPerWeight: 8, predicted: nothing)
      }
    }
    return TypeChoice(goal: .bits(8), types: [type], units: units, predicted: nothing, source: .null)
  }
}

extension SensitivityTable {
  fileprivate func predicted(_ drifts: [Drift]) -> TypeChoice.Drift {
    let total = sum(drifts, type: .fp8, bitsPerWeight: 1)
    return TypeChoice.Drift(
      divergence: total.divergence, lnRatio: total.lnRatio, upperLnRatio: upperLnRatio(drifts))
  }

  /// Units of single linears put together to what servers fuse; others as they are.
  func fused() throws(TypeChoiceFailure) -> [Unit] {
    guard granularity == .tensor else { return units }
    var fused: [Unit] = []
    for layer in Set(units.map(\.layer)).sorted() {
      for group in LinearUnit.units(ofLayer: layer, by: .group) {
        let parts = units.filter { $0.layer == layer && Set($0.modules).isSubset(of: group.modules) }
        if parts.isEmpty { continue }
        let weights = parts.reduce(0) { $0 + $1.weights }
        let drifts = types.compactMap { type -> Drift? in
          let own = parts.compactMap { part in part.drifts.first { $0.type == type } }
          guard own.count == parts.count else { return nil }
          return sum(
            own, type: type,
            bitsPerWeight: zip(parts, own).reduce(0) { $0 + Double($1.0.weights) * $1.1.bitsPerWeight }
              / Double(weights))
        }
        fused.append(
          Unit(
            name: group.name, layer: layer, modules: parts.flatMap(\.modules), weights: weights,
            bitsPerWeight: parts.reduce(0) { $0 + Double($1.weights) * $1.bitsPerWeight } / Double(weights),
            drifts: drifts))
      }
    }
    return fused
  }

  /// Refuses a table of another model.
  /// - Parameter digest: of the checkpoint, computed where the table has one.
  /// - Throws: `TypeChoiceFailure.otherModel`, and what the digest throws.
  public func check(_ checkpoint: Checkpoint, digest found: () throws -> String) throws {
    var sizes: [String: Int] = [:]
    for tensor in checkpoint.tensors where tensor.role.isLinear && tensor.role.layer != nil {
      sizes[NamingDialect.huggingFace.moduleName(of: tensor.role)] = tensor.rowCount * tensor.columnCount
    }
    let named = units.flatMap(\.modules)
    if let stray = named.first(where: { sizes[$0] == nil }) {
      throw TypeChoiceFailure.otherModel(table: model, found: "\(stray) is no module of this one")
    }
    guard Set(named) == Set(sizes.keys), named.count == sizes.count else {
      throw TypeChoiceFailure.otherModel(
        table: model, found: "it has \(named.count) linears, this one has \(sizes.count)")
    }
    for unit in units where unit.weights != unit.modules.reduce(0, { $0 + (sizes[$1] ?? 0) }) {
      throw TypeChoiceFailure.otherModel(table: model, found: "\(unit.name) has another size")
    }
    guard let digest else { return }
    let own = try found()
    guard own == digest else {
      throw TypeChoiceFailure.otherModel(table: model, found: "its digest is \(digest), this one's \(own)")
    }
  }

  /// What it is, for the evidence of what was chosen by it.
  var provenance: JSONValue {
    [
      "model": .string(model), "digest": digest.map { .string($0) } ?? .null,
      "text": .string(text.name), "sha256": .string(text.sha256),
      "tokens": .number(JSONNumber(text.tokens)), "windows": .number(JSONNumber(text.windows)),
      "by": .string(granularity.rawValue), "method": .string(recipes.method.rawValue),
      "group_size": recipes.groupSize.map { .number(JSONNumber($0)) } ?? .null,
    ]
  }
}

extension SensitivityTable.Unit {
  /// The unit if it is among the modules, nil if it is not.
  fileprivate func restricted(to wanted: Set<String>) throws(TypeChoiceFailure) -> SensitivityTable.Unit? {
    guard modules.contains(where: wanted.contains) else { return nil }
    if let module = modules.first(where: { !wanted.contains($0) }) {
      throw .partlyLeftOut(unit: name, module: module)
    }
    return self
  }
}
