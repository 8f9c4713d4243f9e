import ByteIO
import Checkpoints
import Foundation
import Inference
import Support
import Testing

@Suite("Meta checkpoints")
struct MetaLogitsTests {
  /// Origin: `Tests/Fixtures/tiny_meta`, transformers in float32. 1e-4 is the bound; another order of summation is
  /// the whole difference (6e-6 between two float32 forward passes, as the fixture's makers saw).
  @Test(
    "Logits of every form of one model equal transformers'",
    arguments: ["hf", "mp2", "mp8_kvrep", "l1_views_mp2", "mp1_legacy"])
  func logits(_ form: String) throws {
    let ids = try integers(Fixtures.bundled("tiny_meta/tokens.npy"))
    let expected = try NumpyFloats(Fixtures.bundled("tiny_meta/logits.npy")).values
    let checkpoint = try Checkpoint(path: Fixtures.bundled("tiny_meta/\(form)").path)
    let logits = try FullLogits.compute(
      ids, weights: try CheckpointWeights(checkpoint), settings: ForwardSettings(threads: 1))
    #expect(ids.count == 40 && logits.count == expected.count)
    #expect((zip(logits, expected).map { abs($0 - $1) }.max() ?? .nan) < 1e-4)
  }

  /// Origin: `tiny_meta/fp8_mp2`: feed-forward blocks of the inner layers in FP8 with each shard's own scales, made by the
  /// rules of Meta's writer; logits of the dequantized weights in float32. The bound is that of the unquantized forms: codes
  /// and scales are exact in float32, and their products are rounded once on both sides.
  @Test("Logits of Meta's FP8 checkpoint equal those of its dequantized weights")
  func fp8() throws {
    let ids = try integers(Fixtures.bundled("tiny_meta/tokens.npy"))
    let expected = try NumpyFloats(Fixtures.bundled("tiny_meta/fp8_mp2/logits.npy")).values
    let checkpoint = try Checkpoint(path: Fixtures.bundled("tiny_meta/fp8_mp2").path)
    let logits = try FullLogits.compute(
      ids, weights: try CheckpointWeights(checkpoint), settings: ForwardSettings(threads: 1))
    #expect(logits.count == expected.count)
    #expect((zip(logits, expected).map { abs($0 - $1) }.max() ?? .nan) < 1e-4)
  }

  /// Origin: `tiny_meta/int4_qlora_mp1`: linears of the layers as int4 groups of 32 with adapters, embedding and head int8;
  /// logits of codes × scales + adapters in float32, activations as they are. The bound is that of the other forms.
  @Test("Logits of Meta's int4 checkpoint equal those of its codes, scales and adapters")
  func int4() throws {
    let ids = try integers(Fixtures.bundled("tiny_meta/tokens.npy"))
    let expected = try NumpyFloats(Fixtures.bundled("tiny_meta/int4_qlora_mp1/logits.npy")).values
    let checkpoint = try Checkpoint(path: Fixtures.bundled("tiny_meta/int4_qlora_mp1").path)
    let logits = try FullLogits.compute(
      ids, weights: try CheckpointWeights(checkpoint), settings: ForwardSettings(threads: 1))
    #expect(logits.count == expected.count)
    #expect((zip(logits, expected).map { abs($0 - $1) }.max() ?? .nan) < 1e-4)
    let failure = #expect(throws: ParseFailure.self) { try CheckpointWeights(checkpoint, emulatingActivations: true) }
    #expect(failure?.message.contains("integers") == true)
  }

  /// The values of a one-row array of int64 in NumPy's form, version 1.
  private func integers(_ url: URL) throws -> [Int32] {
    let bytes = try Fixtures.bytes(url)
    let start = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
    return stride(from: start, to: bytes.count, by: 8).map { Int32(bytes[$0]) | Int32(bytes[$0 + 1]) << 8 }
  }
}
