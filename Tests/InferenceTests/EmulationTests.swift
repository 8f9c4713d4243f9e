import ByteIO
import Checkpoints
import Foundation
import Inference
import Kernels
import Llama
import Support
import Tensors
import Testing

private let levels = InstructionSet.available

extension ActivationPrecision {
  /// What serving multiplies, `[tokens][columns]`: scales and quotients in binary32, as formats/quantization.md says.
  func rounded(_ x: [[Double]]) -> [[Double]] {
    x.map { row in
      let row = row.map { Float($0) }
      switch self {
      case .float32: return row.map(Double.init)
      case .fp8PerToken(let bound):
        return Self.fp8(row[...], scale: max(min(Self.largest(row[...]), bound ?? .infinity) / 448, 1 / (448 * 512)))
      case .fp8Static(let scale): return Self.fp8(row[...], scale: scale)
      case .fp8PerGroup(let size):
        return stride(from: 0, to: row.count, by: size).flatMap { start in
          let group = row[start..<min(start + size, row.count)]
          return Self.fp8(group, scale: Self.largest(group) / 448)
        }
      case .int8PerToken:
        let scale = Self.largest(row[...]) / 127.5
        return row.map { Double(min(max(($0 / scale).rounded(.toNearestOrEven), -128), 127)) * Double(scale) }
      }
    }
  }

  private static func largest(_ values: ArraySlice<Float>) -> Float { values.map(\.magnitude).max() ?? 0 }

  private static func fp8(_ values: ArraySlice<Float>, scale: Float) -> [Double] {
    let quotients = values.map { $0 / scale }
    var bytes = [UInt8](repeating: 0, count: quotients.count)
    var span = bytes.mutableSpan
    _ = NumberFormat.narrow(quotients.span, to: .e4m3, into: &span, instructionSet: .scalar)
    let codes = bytes
    return NumberFormat.widened(codes.span.bytes, from: .e4m3).map { Double($0) * Double(scale) }
  }
}

@Suite("Emulation of serving")
struct EmulationTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  /// Ways to round what the last feed-forward block multiplies; stored scales differ between gate and up, and saturate.
  static let precisions: [[ActivationPrecision]] = [
    [.int8PerToken, .int8PerToken, .int8PerToken],
    [.fp8Static(scale: 0.004), .fp8Static(scale: 0.006), .fp8Static(scale: 0.002)],
    [.fp8PerGroup(32), .fp8PerGroup(32), .fp8PerGroup(32)],
    [.fp8PerToken(upperBound: 2), .fp8PerToken(upperBound: nil), .fp8PerToken(upperBound: nil)],
    [.int8PerToken, .float32, .fp8PerGroup(16)],
  ]

  private func model(_ parts: [ActivationPrecision], seed: UInt64) -> RandomModel {
    let roles = [LayerRole.gate, .up, .down].map { TensorRole.layer(1, $0) }
    return RandomModel(
      ModelCase("small").configuration, activations: Dictionary(uniqueKeysWithValues: zip(roles, parts)), seed: seed)
  }

  /// Where the forward pass's rounding noise carries a value over a boundary between codes, its token differs by a code, so
  /// a share of the tokens is held to the forward pass's bound. A boundary lies within 10⁻⁶ of a value, relative, once in
  /// about 10⁴ values for int8 and less for FP8; a token has 176. On tiles noise is ten times that.
  @Test("The definition in binary64 with rounded activations", arguments: precisions)
  func definition(_ parts: [ActivationPrecision]) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let weights = model(parts, seed: seed)
    let vocabulary = weights.configuration.vocabularySize
    let ids = (0..<60).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &random) }
    let expected = try weights.definition(ids, emulates: true)
    let plain = try weights.definition(ids)
    let size = expected.joined().map(abs).max() ?? 0
    func share(_ logits: [Float], of expected: [[Double]], within limit: Double) -> Double {
      let close = expected.indices.filter { token in
        expected[token].indices.allSatisfy {
          abs(Double(logits[token * vocabulary + $0]) - expected[token][$0]) <= size * limit
        }
      }
      return Double(close.count) / Double(expected.count)
    }
    var settings = ForwardSettings(threads: 2, instructionSet: .scalar, emulatesActivations: true)
    let logits = try FullLogits.compute(ids, weights: weights, settings: settings)
    #expect(share(logits, of: expected, within: 2e-5) > 0.8, "seed \(seed)")
    #expect(share(logits, of: plain, within: 2e-5) < 0.1, "or the comparison could not fail, seed \(seed)")
    settings.kernel = .tileModel(compute: .exact)
    let tiles = try FullLogits.compute(ids, weights: weights, settings: settings)
    #expect(share(tiles, of: expected, within: 2e-4) > 0.6, "seed \(seed)")
    for level in levels where level.multipliesInFloat32 {
      let other = ForwardSettings(threads: 3, instructionSet: level, emulatesActivations: true, tokensPerChunk: 1)
      let found = try FullLogits.compute(ids, weights: weights, settings: other)
      #expect(found.map(\.bitPattern) == logits.map(\.bitPattern), "\(level), seed \(seed)")
    }
  }

  @Test("Models whose activations nobody rounds are not touched")
  func unquantized() throws {
    let weights = RandomModel(ModelCase("small").configuration, seed: 7)
    let logits = try [false, true].map { emulates in
      try FullLogits.compute(
        [1, 2, 3, 4], weights: weights, settings: ForwardSettings(threads: 1, emulatesActivations: emulates))
    }
    #expect(logits[0] == logits[1])
  }

  // MARK: What checkpoints say

  private func weights(_ model: TinyCheckpoint, emulating: Bool = true) throws -> CheckpointWeights {
    let place = folder.file(emulating ? "emulated" : "plain")
    try model.write(to: place)
    return try CheckpointWeights(Checkpoint(path: place.path), emulatingActivations: emulating)
  }

  @Test("Matrices say what becomes of their activations, and only when it is emulated", arguments: FP8Layout.allCases)
  func readsSchemes(_ layout: FP8Layout) throws {
    let expected: ActivationPrecision? =
      switch layout {
      case .compressedChannel, .perTensor: .fp8PerToken(upperBound: nil)
      case .fbgemm: .fp8PerToken(upperBound: 1200)
      case .compressedBlock, .fineGrained: .fp8PerGroup(16)
      case .compressedTensor: nil  // Its scales are stored: below.
      }
    guard let expected else { return }
    var model = TinyCheckpoint()
    model.storeAsFP8(layout)
    for (emulating, activations) in [(true, expected), (false, .float32)] {
      let weights = try weights(model, emulating: emulating)
      #expect(try weights.matrix(.layer(1, .down), rows: nil).activations == activations)
      #expect(try weights.matrix(.tokenEmbedding, rows: 0..<1).activations == .float32)
    }
  }

  @Test("Each matrix has its own stored scale", arguments: [ElementType.bf16, .f32], [[1], []])
  func readsStoredScales(_ type: ElementType, _ shape: [Int]) throws {
    let model = stored(type, shape)
    let weights = try weights(model)
    #expect(try weights.matrix(.layer(0, .query), rows: nil).activations == .fp8Static(scale: 0.25))
    #expect(try weights.matrix(.layer(1, .down), rows: nil).activations == .fp8Static(scale: 0.25 + 13 * 0x1p-7))
  }

  @Test("A stored scale that is missing or no positive number is named, unless nothing is emulated")
  func refusesStoredScales() throws {
    let name = "model.layers.1.mlp.up_proj.input_scale"
    var missing = stored(.bf16, [1])
    missing[name] = nil
    var damaged = stored(.f32, [1])
    damaged[name] = .init(name, .f32, [1], bytes: ElementType.f32.bytes(of: [-.infinity]))
    for (model, words) in [(missing, ["input_scale", "missing"]), (damaged, [name, "inf"])] {
      let failure = #expect(throws: ParseFailure.self) { try weights(model) }
      for word in words { #expect(failure?.description.contains(word) == true, "\(word)") }
      _ = try weights(model, emulating: false)
    }
  }

  /// Matrices with a scale each, 0.25 and up in steps that BF16 holds.
  private func stored(_ type: ElementType, _ shape: [Int]) -> TinyCheckpoint {
    var model = TinyCheckpoint()
    model.storeAsFP8(.compressedTensor)
    let modules = model.tensors.map(\.name).filter { $0.hasSuffix(".weight_scale") }
    for (index, module) in modules.enumerated() {
      let name = module.dropLast("weight_scale".count) + "input_scale"
      model[String(name)] = .init(
        String(name), type, shape, bytes: type.bytes(of: [0.25 + Float(index) * 0x1p-7]))
    }
    return model
  }

  @Test("Emulations have texts; one that a model contradicts is told what the model says")
  func contradictions() throws {
    for emulation in ActivationEmulation.allCases {
      #expect(ActivationEmulation(canonicalText: emulation.canonicalText) == emulation)
    }
    #expect(ActivationEmulation(canonicalText: "activations") == .model)
    for text in ["", "model", "activations=", "activations=int4", "ACTIVATIONS"] {
      #expect(ActivationEmulation(canonicalText: text) == nil)
    }
    let fp8 = try Checkpoint(path: Fixtures.golden("model/fp8_dynamic").path)
    let plain = try Checkpoint(path: Fixtures.golden("model/bf16").path)
    #expect(fp8.activationTexts == ["fp8 token"] && plain.activationTexts == [])
    for emulation in ActivationEmulation.allCases { #expect(emulation.contradiction(of: plain) == nil) }
    for emulation in [ActivationEmulation.model, .fp8] { #expect(emulation.contradiction(of: fp8) == nil) }
    let sentence = try #require(ActivationEmulation.int8.contradiction(of: fp8))
    for word in [fp8.path, "fp8 token", "activations=int8", "activations=fp8"] { #expect(sentence.contains(word)) }
    let meta = try Checkpoint(path: Fixtures.bundled("tiny_meta/int4_qlora_mp1").path)
    #expect(ActivationEmulation.fp8.contradiction(of: meta)?.contains("int8 token") == true)
  }
}
