import ByteIO
import Calibration
import Checkpoints
import Foundation
import Quantization
import Support
import Testing

@Suite("Greedy exchange")
struct GreedyExchangeTests {
  private typealias Option = GreedyExchange.Option

  /// Three units at 8 or 4 bits: what each saved bit costs is 1, 0.25 and 0.5.
  private static let three: [[Option]] = [
    [.init(bits: 8, cost: 0), .init(bits: 4, cost: 4)],
    [.init(bits: 8, cost: 0), .init(bits: 4, cost: 1)],
    [.init(bits: 16, cost: 0), .init(bits: 8, cost: 4)],
  ]

  @Test(
    "What costs least for a bit goes first, and what still fits comes back",
    arguments: [
      (32.0, [0, 0, 0]), (28.0, [0, 1, 0]), (27.0, [0, 0, 1]), (24.0, [0, 0, 1]), (20.0, [0, 1, 1]), (16.0, [1, 1, 1]),
    ] as [(Double, [Int])])
  func bits(_ target: Double, _ expected: [Int]) {
    var exchange = GreedyExchange(Self.three)
    #expect(exchange.picks == [0, 0, 0] && exchange.bits == 32 && exchange.fewestBits == 16)
    let isReached = exchange.lower(toBits: target)
    #expect(isReached && exchange.picks == expected)
  }

  @Test("Fewer bits than there are cannot be reached")
  func unreachable() {
    var exchange = GreedyExchange(Self.three)
    let isReached = exchange.lower(toBits: 15.9)
    #expect(!isReached)
  }

  @Test("An exchange that is not allowed is left out, and cheaper ones after it are not")
  func refused() {
    var exchange = GreedyExchange(Self.three)
    var tried: [[Int]] = []
    exchange.lower { picks in
      tried.append(picks)
      return picks[2] == 0
    }
    #expect(exchange.picks == [1, 1, 0])
    #expect(tried == [[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]])
  }

  @Test("Of options that cost the same the one with fewest bits, and what costs nothing at all before anything else")
  func free() {
    var exchange = GreedyExchange([
      [Option(bits: 8, cost: 1), Option(bits: 6, cost: 1)], [Option(bits: 8, cost: 2), Option(bits: 2, cost: 2.001)],
    ])
    #expect(exchange.picks == [1, 0])
    exchange.lower { _ in true }
    #expect(exchange.picks == [1, 1])
  }

  /// With two options each, the cost before the last exchange bounds that of any choice that is as small (it is optimal for
  /// its own bits, as a linear programme's is): what is found costs at most the dearest exchange more than the best.
  @Test("Within one exchange of the best there is, found by trying all")
  func nearlyOptimal() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    for _ in 0..<200 {
      let units = (0..<8).map { _ in
        let size = Double.random(in: 1...20, using: &random)
        return [
          Option(bits: 8 * size, cost: Double.random(in: 0...0.1, using: &random)),
          Option(bits: 4 * size, cost: Double.random(in: 0.1...2, using: &random)),
        ]
      }
      var exchange = GreedyExchange(units)
      let target = Double.random(in: exchange.fewestBits...exchange.bits, using: &random)
      let isReached = exchange.lower(toBits: target)
      #expect(isReached && exchange.bits <= target, "seed \(seed)")
      func cost(_ picks: [Int]) -> Double { zip(units, picks).reduce(0) { $0 + $1.0[$1.1].cost } }
      let best = (0..<256).map { pattern in (0..<8).map { pattern >> $0 & 1 } }
        .filter { picks in zip(units, picks).reduce(0) { $0 + $1.0[$1.1].bits } <= target }.map(cost).min()
      let dearest = units.map { $0[1].cost - $0[0].cost }.max() ?? 0
      #expect(cost(exchange.picks) <= (try #require(best)) + dearest, "seed \(seed)")
    }
  }
}

@Suite("Choice of types")
struct TypeChoiceTests {
  /// 0.95 quantiles as printed in tables (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
  @Test(
    "Student's t", arguments: [(1, 6.314), (2, 2.920), (3, 2.353), (5, 2.015), (10, 1.812), (15, 1.753), (100, 1.660)])
  func quantile(_ degrees: Int, _ expected: Double) {
    // Half a unit of the last digit, and what the expansion is off at three.
    #expect(abs(WindowedMean.quantile95(degrees: degrees) - expected) < (degrees == 3 ? 0.0015 : 0.0006))
  }

  private static let sizes = [10, 10, 20]

  private static func drift(_ type: LinearType, _ bits: Double, kld: Double, _ windows: [Double])
    -> SensitivityTable.Drift
  {
    let estimate = WindowedMean(sums: windows, sizes: sizes)
    return .init(
      type: type, groupSizes: type == .int4 ? [128] : [], bitsPerWeight: bits, divergence: kld, lnRatio: estimate.mean,
      lnRatioError: estimate.standardError, windowSums: windows)
  }

  private static func unit(_ name: String, _ modules: [String], weights: Int, kld: Double, noise: Double)
    -> SensitivityTable.Unit
  {
    SensitivityTable.Unit(
      name: name, layer: 0, modules: modules, weights: weights, bitsPerWeight: 16,
      drifts: [
        drift(.fp8, 8, kld: kld / 100, [noise / 10, -noise / 10, 0.0]),
        drift(.int4, 4, kld: kld, [10 * kld + noise, 10 * kld - noise, 20 * kld]),
      ])
  }

  /// By single linears: what is fused has to be put together.
  private static func table(windows: [Int] = sizes, _ granularity: LinearUnit.Granularity = .tensor) -> SensitivityTable
  {
    let attention = "model.layers.0.self_attn."
    let feedForward = "model.layers.0.mlp."
    return SensitivityTable(
      model: "model", digest: nil, text: .init(name: "t", sha256: "0", context: 21, windowSizes: windows),
      granularity: granularity, types: [.fp8, .int4], recipes: LinearRecipes(),
      units: [
        unit(attention + "q_proj", [attention + "q_proj"], weights: 100, kld: 0.001, noise: 0.01),
        unit(attention + "k_proj", [attention + "k_proj"], weights: 50, kld: 0.001, noise: -0.01),
        unit(attention + "v_proj", [attention + "v_proj"], weights: 50, kld: 0.002, noise: 0.02),
        unit(attention + "o_proj", [attention + "o_proj"], weights: 100, kld: 0.0004, noise: 0),
        unit(feedForward + "gate_proj", [feedForward + "gate_proj"], weights: 200, kld: 0.001, noise: 0),
        unit(feedForward + "up_proj", [feedForward + "up_proj"], weights: 200, kld: 0.001, noise: 0),
        unit(feedForward + "down_proj", [feedForward + "down_proj"], weights: 200, kld: 0.01, noise: 0),
      ])
  }

  private static let modules = Set(table().units.flatMap(\.modules))

  /// For each bit saved KLD grows by 0.004/800 for q/k/v, 0.0004/400 for o, 0.002/1600 for gate/up, 0.01/800 for down.
  @Test("What is fused gets one type; what drifts least for the bits it saves gets few")
  func bits() throws {
    let choice = try TypeChoice(.bits(6), from: Self.table(), among: [.fp8, .int4], modules: Self.modules)
    #expect(choice.units.map(\.name.last) == ["j", "j", "j", "j"])
    #expect(choice.units.map(\.modules.count) == [3, 1, 2, 1])
    #expect(choice.units.map(\.type) == [.fp8, .int4, .int4, .fp8])
    // 400 weights at 8 bits and 500 at 4.
    #expect(abs(choice.bitsPerWeight - (400 * 8 + 500 * 4) / 900) < 1e-12)
    #expect(abs(choice.predicted.divergence - (0.00004 + 0.0004 + 0.002 + 0.0001)) < 1e-12)
    #expect(abs(choice.predicted.lnRatio - (0.0004 + 0.002)) < 1e-12)
    #expect(choice.typeOfModule.count == 7 && choice.typeOfModule["model.layers.0.mlp.up_proj"] == .int4)
  }

  /// The sums of q/k/v's windows, ±0.02 of 10, are what their bound is made of: errors of single linears cancel in part.
  @Test("The bound of a sum is that of the windows' sums")
  func bound() throws {
    let choice = try TypeChoice(.bits(4), from: Self.table(), among: [.fp8, .int4], modules: Self.modules)
    let mean = 0.004 + 0.0004 + 0.002 + 0.01
    let sums = [10 * mean + 0.02, 10 * mean - 0.02, 20 * mean]
    // m = Σs/Σn, variance 3/2 · Σ(s − m·n)²/40².
    let error = (1.5 * sums.indices.reduce(0) { $0 + pow2(sums[$1] - mean * Double(Self.sizes[$1])) }).squareRoot() / 40
    #expect(abs((choice.predicted.upperLnRatio ?? 0) - (mean + 2.91999 * error)) < 1e-7)
    let separately = choice.units.compactMap { unit in unit.predicted.upperLnRatio.map { $0 - unit.predicted.lnRatio } }
    #expect(separately.count == 4)
  }

  private func pow2(_ value: Double) -> Double { value * value }

  @Test("A drift is kept with its bound", arguments: [0.0004, 0.001, 0.003, 0.007, 0.1])
  func drift(_ target: Double) throws {
    let choice = try TypeChoice(
      .drift(lnRatio: target), from: Self.table(), among: [.fp8, .int4], modules: Self.modules)
    #expect(try #require(choice.predicted.upperLnRatio) <= target)
    if target == 0.1 { #expect(choice.units.allSatisfy { $0.type == .int4 }) }
    if target == 0.0004 { #expect(choice.units.allSatisfy { $0.type == .fp8 }) }
    if target == 0.001 { #expect(choice.units.map(\.type) == [.fp8, .int4, .fp8, .fp8]) }
  }

  @Test("Refusals")
  func refusals() throws {
    let all: [LinearType] = [.fp8, .int4]
    #expect(throws: TypeChoiceFailure.bits(3.9, reachable: 4...8)) {
      try TypeChoice(.bits(3.9), from: Self.table(), among: all, modules: Self.modules)
    }
    #expect(throws: TypeChoiceFailure.bits(8.1, reachable: 4...8)) {
      try TypeChoice(.bits(8.1), from: Self.table(), among: all, modules: Self.modules)
    }
    #expect(throws: TypeChoiceFailure.missingType(.int8, unit: "model.layers.0.self_attn.qkv_proj")) {
      try TypeChoice(.bits(5), from: Self.table(), among: [.int8, .int4], modules: Self.modules)
    }
    let some = Self.modules.subtracting(["model.layers.0.self_attn.k_proj"])
    #expect(
      throws: TypeChoiceFailure.partlyLeftOut(
        unit: "model.layers.0.self_attn.qkv_proj", module: "model.layers.0.self_attn.k_proj")
    ) {
      try TypeChoice(.bits(5), from: Self.table(), among: all, modules: some)
    }
    let failure = #expect(throws: TypeChoiceFailure.self) {
      try TypeChoice(.drift(lnRatio: 1e-6), from: Self.table(), among: all, modules: Self.modules)
    }
    guard case .drift(_, let reachable)? = failure else {
      Issue.record("\(String(describing: failure))")
      return
    }
    #expect(reachable.lowerBound > 1e-6 && reachable.upperBound > 0.0164)
  }

  @Test("Modules that are left out get no type")
  func leftOut() throws {
    let left = Self.modules.subtracting(["model.layers.0.mlp.down_proj"])
    let choice = try TypeChoice(.bits(4), from: Self.table(), among: [.fp8, .int4], modules: left)
    #expect(choice.units.count == 3 && choice.typeOfModule["model.layers.0.mlp.down_proj"] == nil)
  }

  @Test("A table comes back from its document as it was")
  func document() throws {
    let table = Self.table()
    let text = table.document.serialized()
    #expect(try SensitivityTable(document: try JSONValue(parsing: text)) == table)
  }

  @Test(
    "Documents that are no tables",
    arguments: [
      ("llama-sensitivity/1", "llama-sensitivity/2", "schema"), ("\"per_window\"", "\"pre_window\"", "per_window"),
      ("[10,10,20]", "[10,10]", "3 sums for 2 windows"), ("[10,10,20]", "[10,0,30]", "without tokens"),
      ("[10,10,20]", "[]", "per_window"), ("\"int4\"", "\"int3\"", "type"),
      ("\"weights\":100", "\"weights\":-1", "weights"), ("\"kld\":0.001", "\"kld\":\"x\"", "kld"),
      ("\"bits_per_weight\":4.0", "\"bits_per_weight\":0", "bits_per_weight"),
    ])
  func hostile(_ old: String, _ new: String, _ named: String) throws {
    let text = Self.table().document.serialized(.compact)
    let damaged = text.replacing(old, with: new)
    #expect(damaged != text)
    let document = try JSONValue(parsing: damaged)
    let failure = #expect(throws: ParseFailure.self) { try SensitivityTable(document: document) }
    #expect(failure.map { "\($0)".contains(named) } == true, "\(String(describing: failure))")
  }

  @Test("A table of another model is refused")
  func otherModel() throws {
    let checkpoint = try Checkpoint(path: Fixtures.golden("model/bf16").path)
    #expect(throws: TypeChoiceFailure.self) { try Self.table().check(checkpoint) { "" } }
  }
}
