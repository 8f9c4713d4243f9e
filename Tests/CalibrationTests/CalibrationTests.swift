import ByteIO
import Calibration
import Checkpoints
import Foundation
import Inference
import Kernels
import Llama
import Quantization
import Support
import Synchronization
import Tensors
import Testing

/// The golden model: 2 layers, hidden 64, feed-forward 160, 4 heads on 2 key/value heads, random weights.
private func goldenModel() throws -> Checkpoint { try Checkpoint(path: Fixtures.golden("model/bf16").path) }

private func windows(_ count: Int, of length: Int, vocabulary: Int = 96, seed: UInt64) -> [[Int32]] {
  var random = SeededRandom(seed: seed)
  return (0..<count).map { _ in (0..<length).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &random) } }
}

private func linears(of checkpoint: Checkpoint) -> Set<TensorRole> {
  Set(checkpoint.tensors.map(\.role).filter { $0.isLinear && $0.layer != nil })
}

private func quantizer(
  _ method: IntegerMethod, groupSize: Int? = 32, isSymmetric: Bool = true, groupsByActivation: Bool = false
) -> IntegerQuantizer {
  IntegerQuantizer(
    grid: IntegerGrid(bits: 4, isSymmetric: isSymmetric, groupSize: groupSize), method: method,
    layout: .compressedTensors, groupsByActivation: groupsByActivation)
}

private func calibrated(
  _ checkpoint: Checkpoint, _ windows: [[Int32]], _ settings: CalibrationSettings, in folder: TemporaryFolder
) throws -> Calibration {
  try Calibration(
    checkpoint, selected: linears(of: checkpoint),
    text: CalibrationText(windows: windows, name: "windows", sha256: "of them"), settings: settings,
    output: folder.url.path + "/out", identity: "test")
}

/// Codes, scales and zero points of all roles, as bytes.
private func bytes(_ calibration: Calibration) throws -> [TensorRole: [UInt8]] {
  try calibration.tensors.mapValues { found in
    let tensor = found.tensor
    let scales = try tensor.quantization?.scales.bytes(rows: 0..<tensor.rowCount) ?? []
    let zeroPoints = try tensor.quantization?.zeroPoints?.bytes(rows: 0..<tensor.rowCount) ?? []
    return try tensor.rows.bytes(rows: 0..<tensor.rowCount) + scales + zeroPoints
  }
}

private func substituted(_ calibration: Calibration, in checkpoint: Checkpoint) throws -> SubstitutedWeights {
  var weights = SubstitutedWeights(try CheckpointWeights(checkpoint))
  for (role, found) in calibration.tensors {
    let values = try found.tensor.values(rows: 0..<found.tensor.rowCount)
    if role.isLinear {
      weights.replace(
        role, by: WeightMatrix(rows: found.tensor.rowCount, columns: found.tensor.columnCount, values: values))
    } else {
      weights.replace(role, by: values)
    }
  }
  return weights
}

private func divergence(_ candidate: any ModelWeights, from checkpoint: Checkpoint, _ windows: [[Int32]]) throws
  -> Double
{
  let scorer = try LockstepScorer(
    base: try CheckpointWeights(checkpoint), candidate: candidate, settings: ForwardSettings(threads: 2))
  var scoring = TokenScoring()
  try scorer.score(windows, into: &scoring)
  return scoring.divergence.reduce(0, +) / Double(scoring.count)
}

@Suite("Calibration")
struct CalibrationTests {
  static let methods: [(IntegerMethod, Bool)] = [
    (.gptq, true), (.gptq, false), (.awq, true), (.awqGPTQ, true), (.awqGPTQ, false),
  ]

  /// Random weights and random text: what is compared is only how far the outputs are from the model's own, on tokens that
  /// were not calibrated on.
  @Test("Fed-forward errors leave less drift than rounding alone")
  func feedbackHelps() throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let held = windows(8, of: 64, seed: 2)
    var drift: [IntegerMethod: Double] = [:]
    for method in [IntegerMethod.gptq, .awqGPTQ] {
      let found = try calibrated(
        checkpoint, windows(32, of: 64, seed: 1), CalibrationSettings(quantizer: quantizer(method), threads: 2),
        in: folder)
      drift[method] = try divergence(try substituted(found, in: checkpoint), from: checkpoint, held)
      try found.discard()
    }
    var rounded = SubstitutedWeights(try CheckpointWeights(checkpoint))
    let search = quantizer(.mse)
    for tensor in checkpoint.tensors where linears(of: checkpoint).contains(tensor.role) {
      var values = try tensor.values(rows: 0..<tensor.rowCount)
      let columns = tensor.columnCount
      for row in 0..<tensor.rowCount {
        let part = row * columns..<(row + 1) * columns
        let codes = try search.row(values.span.extracting(part), weightType: .bf16, weights: [])
        let scales = NumberFormat.widened(codes.scales.span.rawBytes, from: .bf16)
        for (column, index) in part.enumerated() {
          values[index] = Float(Int8(bitPattern: codes.codes[column])) * scales[column / 32]
        }
      }
      rounded.replace(tensor.role, by: WeightMatrix(rows: tensor.rowCount, columns: columns, values: values))
    }
    let alone = try divergence(rounded, from: checkpoint, held)
    #expect(try #require(drift[.gptq]) < alone && drift[.awqGPTQ] ?? .nan < alone, "\(drift) against \(alone)")
  }

  @Test("The same bytes on any number of threads", arguments: methods)
  func threads(_ method: IntegerMethod, _ isSymmetric: Bool) throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let text = windows(6, of: 50, seed: 3)
    var found: [[TensorRole: [UInt8]]] = []
    for threads in [1, 2, 3] {
      let calibration = try calibrated(
        checkpoint, text,
        CalibrationSettings(quantizer: quantizer(method, isSymmetric: isSymmetric), threads: threads), in: folder)
      found.append(try bytes(calibration))
      try calibration.discard()
    }
    #expect(found[0] == found[1] && found[0] == found[2])
    // And norms, but for inputs where no factors were better than none.
    let norms = found[0].keys.filter { !$0.isLinear }.count
    #expect(found[0].count - norms == linears(of: checkpoint).count && (method.scalesChannels ? 1...4 : 0...0) ~= norms)
  }

  private struct Stop: Error {}

  @Test("A calibration that was cut off goes on behind its last layer", arguments: [IntegerMethod.gptq, .awqGPTQ])
  func resumes(_ method: IntegerMethod) throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let text = windows(6, of: 50, seed: 4)
    let whole = try calibrated(
      checkpoint, text, CalibrationSettings(quantizer: quantizer(method), threads: 1), in: folder)
    let expected = try bytes(whole)
    try whole.discard()

    let store = folder.url.path + "/out.calibration"
    let first = store + "/layer-00000.safetensors"
    let interrupted = CalibrationSettings(quantizer: quantizer(method), threads: 1) {
      if FileSystem.nameIsTaken(first) { throw Stop() }
    }
    #expect(throws: Stop.self) { try calibrated(checkpoint, text, interrupted, in: folder) }
    #expect(FileSystem.nameIsTaken(first) && !FileSystem.nameIsTaken(store + "/layer-00001.safetensors"))
    let before = try Data(contentsOf: URL(fileURLWithPath: first))
    let again = try calibrated(
      checkpoint, text, CalibrationSettings(quantizer: quantizer(method), threads: 1), in: folder)
    #expect(try bytes(again) == expected)
    #expect(try Data(contentsOf: URL(fileURLWithPath: first)) == before)
    try again.discard()
    #expect(!FileSystem.nameIsTaken(store))
  }

  @Test(
    "A layer's file that holds something else is refused by name",
    arguments: [" codes", " scales", " groups"])
  func damaged(_ suffix: String) throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let text = windows(4, of: 40, seed: 5)
    let settings = CalibrationSettings(quantizer: quantizer(.gptq, groupsByActivation: true), threads: 1)
    // Let go at once: the store is of one process and one calibration at a time.
    _ = try calibrated(checkpoint, text, settings, in: folder)
    let file = folder.file("out.calibration/layer-00000.safetensors")
    var stored = try SafetensorsBytes(file)
    let name = "layers.0.gate" + suffix
    var tensor = try stored[name]
    if suffix == " groups" {
      tensor.bytes.replaceSubrange(0..<4, with: [0, 1, 0, 0])
    } else {
      tensor.shape = tensor.shape.reversed()
    }
    stored.tensors[name] = tensor
    try stored.write(to: file)
    let failure = #expect(throws: ParseFailure.self) {
      try bytes(try calibrated(checkpoint, text, settings, in: folder))
    }
    #expect(failure?.item == name && failure?.advice?.contains("run again") == true)
  }

  @Test("What another text has left is not taken up")
  func otherText() throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let settings = CalibrationSettings(quantizer: quantizer(.gptq), threads: 1)
    let one = try bytes(try calibrated(checkpoint, windows(4, of: 40, seed: 5), settings, in: folder))
    var other = CalibrationSettings(quantizer: quantizer(.gptq), threads: 1)
    other.damping = 0.1
    let two = try bytes(try calibrated(checkpoint, windows(4, of: 40, seed: 5), other, in: folder))
    #expect(one != two)
  }

  /// norm′ · W′ is norm · W but for the rounding of codes: columns of W′ were multiplied by norm / norm′, in which the
  /// rounding of norm′ is contained. Against plain rounding of W, whose error is about −19 dB.
  @Test("Scaled channels cancel", arguments: [IntegerMethod.awq, .awqGPTQ])
  func foldingIsExact(_ method: IntegerMethod) throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let found = try calibrated(
      checkpoint, windows(8, of: 64, seed: 6), CalibrationSettings(quantizer: quantizer(method), threads: 2),
      in: folder)
    for layer in 0..<2 {
      for (norm, roles) in [
        (LayerRole.attentionNorm, [LayerRole.query, .key]), (.feedForwardNorm, [.gate]),
      ] {
        let before = try values(checkpoint, .layer(layer, norm))
        let after =
          try found.tensors[.layer(layer, norm)].map { try $0.tensor.values(rows: 0..<$0.tensor.rowCount) } ?? before
        for role in roles {
          let weight = try values(checkpoint, .layer(layer, role))
          let coded = try #require(found.tensors[.layer(layer, role)])
          let scaled = try coded.tensor.values(rows: 0..<coded.tensor.rowCount)
          var (signal, error) = (0.0, 0.0)
          for index in weight.indices {
            let column = index % before.count
            let expected = Double(weight[index]) * Double(before[column])
            let off = expected - Double(scaled[index]) * Double(after[column])
            (signal, error) = (signal + expected * expected, error + off * off)
          }
          #expect(10 * log10(signal / error) > 14, "\(layer) \(role)")
        }
      }
    }
    try found.discard()
  }

  private func values(_ checkpoint: Checkpoint, _ role: TensorRole) throws -> [Float] {
    let tensor = try #require(checkpoint.tensor(role))
    return try tensor.values(rows: 0..<tensor.rowCount)
  }

  /// The first layer's inputs by their definition: the root-mean-square norm of the tokens' embeddings.
  @Test("A stored activation scale is the largest input over 448")
  func activationScales() throws {
    let checkpoint = try goldenModel()
    let text = windows(3, of: 40, seed: 7)
    let calibration = try Calibration(
      activationScalesOf: checkpoint, linears: linears(of: checkpoint),
      text: CalibrationText(windows: text, name: "windows", sha256: "of them"), threads: 2)
    let embedding = try values(checkpoint, .tokenEmbedding)
    let norm = try values(checkpoint, .layer(0, .attentionNorm))
    var largest = 0.0
    for id in text.joined() {
      let row = embedding[Int(id) * 64..<Int(id + 1) * 64].map(Double.init)
      let mean = row.reduce(0) { $0 + $1 * $1 } / 64 + checkpoint.configuration.normEpsilon
      for (value, weight) in zip(row, norm) { largest = max(largest, abs(value / mean.squareRoot() * Double(weight))) }
    }
    for role in [LayerRole.query, .key, .value] {
      let bytes = try #require(calibration.activationScales[.layer(0, role)])
      let scale = NumberFormat.widened(bytes.span.rawBytes, from: .bf16)[0]
      // BF16's rounding of the scale, 2⁻⁹, and binary32's of the norm.
      #expect(abs(Double(scale) * 448 / largest - 1) < 0x1p-8)
    }
    #expect(calibration.activationScales.count == 14)
  }

  @Test("Memory that is not allowed is refused before anything is computed")
  func memory() throws {
    let checkpoint = try goldenModel()
    let folder = try TemporaryFolder()
    let settings = CalibrationSettings(quantizer: quantizer(.gptq), threads: 1, maximumMemory: 1 << 20)
    #expect(throws: CalibrationMemoryFailure.self) {
      try calibrated(checkpoint, windows(2, of: 40, seed: 8), settings, in: folder)
    }
  }
}
