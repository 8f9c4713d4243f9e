import Checkpoints
import Foundation
import Inference
import Kernels
import Llama
import Support
import Testing
import Tokenizers

/// A model that was scored by transformers 5.23 in float32 on eval.txt: `Tests/Fixtures/README.md`.
struct ScoredModel: Sendable, CustomTestStringConvertible {
  let name: String
  let directory: URL
  let reference: URL
  let scores: URL
  var testDescription: String { name }

  static let all: [ScoredModel] = {
    let tiny = ScoredModel(
      name: "tiny", directory: Fixtures.bundled("tiny"), reference: Fixtures.bundled("tiny.ref.json"),
      scores: Fixtures.bundled("tiny.ref.eval.txt.nll.npy"))
    return [tiny, large("small3"), large("tiny2")].compactMap { $0 }
  }()

  /// Of 46 MB, and of 11 MB with a SentencePiece tokenizer: not in the repository, scored where they are at hand.
  private static func large(_ name: String) -> ScoredModel? {
    guard let directory = Fixtures.large(name), let reference = Fixtures.large(name + ".ref.json"),
      let scores = Fixtures.large(name + ".ref.eval.txt.nll.npy")
    else { return nil }
    return ScoredModel(name: name, directory: directory, reference: reference, scores: scores)
  }
}

private struct Reference: Decodable {
  let tokens: Int
  let context: Int
  let meanNLL: Double
  let perplexity: Double
  let idsSHA256: String

  enum CodingKeys: String, CodingKey {
    case tokens, context, perplexity
    case meanNLL = "mean_nll"
    case idsSHA256 = "ids_sha256"
  }
}

@Suite("Reference scores")
struct ReferenceTests {
  /// All kernels of float32 give the same bits, so that one of them stands for all. Besides it, the tiles of AMX where
  /// there are any, and for the smallest model what they compute, written out in C.
  static let runs = ScoredModel.all.flatMap { model in
    (InstructionSet.available.filter(\.multipliesInFloat32).suffix(1) + InstructionSet.available.filter { $0 == .amx })
      .map { (model, ProductKernel($0)) }
      + (model.name == "tiny" ? [(model, .tileModel(compute: .exact))] : [])
  }

  @Test("Every token's score equals transformers' in float32", arguments: runs)
  func equalsTransformers(_ model: ScoredModel, _ kernel: ProductKernel) throws {
    let document = try JSONDecoder().decode([String: Reference].self, from: Data(contentsOf: model.reference))
    let reference = try #require(document["eval.txt"])
    let expected = try NumpyFloats(model.scores).values
    let checkpoint = try Checkpoint(path: model.directory.path)
    let tokenizer = try #require(try checkpoint.tokenizer())
    let ids = tokenizer.encode(try Fixtures.bytes(Fixtures.bundled("eval.txt")))
    let littleEndian = ids.flatMap { id in (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) } }
    #expect(SHA256Sum.hexadecimal(of: littleEndian) == reference.idsSHA256)
    #expect(ids.count == reference.tokens && expected.count == ids.count)

    let windows = TokenWindows(ids: ids, context: reference.context, beginOfText: try #require(tokenizer.beginOfText))
    var scoring = TokenScoring()
    var settings = ForwardSettings(threads: 2)
    settings.kernel = kernel
    try LockstepScorer(base: try CheckpointWeights(checkpoint), candidate: nil, settings: settings).score(
      windows.windows, into: &scoring)
    #expect(scoring.count == expected.count)
    let differences = zip(scoring.baseNLL, expected).map { $0 - Double($1) }
    // Both sides are float32 with other orders of summation. Seen: 1.1e-5 and 4.9e-8; on tiles' two terms 8.4e-5.
    #expect((differences.map(abs).max() ?? .nan) < 1e-4)
    #expect(abs(differences.reduce(0, +) / Double(differences.count)) < 1e-5)
    let mean = scoring.baseNLL.reduce(0, +) / Double(scoring.count)
    #expect(abs(mean - reference.meanNLL) < 1e-5)
    #expect(abs(exp(mean) - reference.perplexity) < reference.perplexity * 2e-5)
  }

  @Test("Logits of trained models on tiles' two terms equal float32's to 1e-5", arguments: ScoredModel.all)
  func exactOnTiles(_ model: ScoredModel) throws {
    let checkpoint = try Checkpoint(path: model.directory.path)
    let tokenizer = try #require(try checkpoint.tokenizer())
    let text = try Fixtures.bytes(Fixtures.bundled("eval.txt")).prefix(600)
    let ids = [try #require(tokenizer.beginOfText)] + tokenizer.encode(Array(text))
    let weights = try CheckpointWeights(checkpoint)
    var settings = ForwardSettings(threads: 2)
    settings.kernel = ProductKernel(InstructionSet.available.last { $0.multipliesInFloat32 } ?? .scalar)
    let float32 = try FullLogits.compute(ids, weights: weights, settings: settings)
    settings.kernel = .tileModel(compute: .exact)
    let tiles = try FullLogits.compute(ids, weights: weights, settings: settings)
    // The promise of `Compute.exact`. Seen: 2.2e-6, 1.1e-6 and 0.7e-6 of the logits' root mean square; 7e-6, 2.5e-6 and
    // 5.6e-6 of the largest.
    let error = zip(tiles, float32).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }.squareRoot()
    let size = float32.reduce(0.0) { $0 + pow(Double($1), 2) }.squareRoot()
    let worst = zip(tiles, float32).map { abs($0 - $1) }.max() ?? .nan
    #expect(error <= size * 1e-5 && worst <= (float32.map(abs).max() ?? .nan) * 1e-5)
  }

  /// Origin: golden/model/logits.safetensors, transformers on the CPU in float32; quantized weights were dequantized
  /// by compressed-tensors, which rounds code · scale to BF16. Our forward pass does not round there, so the test does.
  @Test(
    "Logits of the golden model equal transformers'",
    arguments: ["bf16", "fp8_dynamic", "w4a16_g32", "w4a16_asym_g32", "w8a8"])
  func goldenLogits(_ variant: String) throws {
    let golden = try GoldenLogits(variant)
    let checkpoint = try Checkpoint(path: Fixtures.golden("model/\(variant)").path)
    let logits = try FullLogits.compute(
      golden.ids, weights: RoundedWeights(exact: try CheckpointWeights(checkpoint)),
      settings: ForwardSettings(threads: 1))
    #expect(logits.count == golden.logits.count)
    let worst = zip(logits, golden.logits).map { abs($0 - $1) }.max() ?? .nan
    // Float32 on both sides, logits of order 1: about 1e-5 is left of other orders of summation.
    #expect(worst < 1e-4)
  }
}

/// Ids and logits `[48, 96]` of one variant of the golden model.
private struct GoldenLogits {
  let ids: [Int32]
  let logits: [Float]

  init(_ variant: String) throws {
    let file = try GoldenFile("model/logits.safetensors")
    let bytes = try file.bytes("input_ids")
    ids = stride(from: 0, to: bytes.count, by: 8).map { Int32(bytes[$0]) | Int32(bytes[$0 + 1]) << 8 }
    logits = try file.floats("\(variant).logits_f32")
  }
}

/// Quantized weights dequantized and rounded to BF16.
private struct RoundedWeights: ModelWeights {
  let exact: CheckpointWeights
  var configuration: LlamaConfiguration { exact.configuration }

  func vector(_ role: TensorRole) throws -> [Float] { try exact.vector(role) }

  func matrix(_ role: TensorRole, rows: Range<Int>?) throws -> WeightMatrix {
    let stored = try exact.matrix(role, rows: rows)
    // Codes with scales, or values in binary32 that were codes with zero points.
    if case .none = stored.scales, stored.format != .f32 { return stored }
    let values = stored.values
    var bytes = [UInt8](repeating: 0, count: 2 * values.count)
    var target = bytes.mutableSpan
    _ = NumberFormat.narrow(values.span, to: .bf16, into: &target)
    return WeightMatrix(rows: stored.rows, columns: stored.columns, format: .bf16, bytes: bytes)
  }
}
