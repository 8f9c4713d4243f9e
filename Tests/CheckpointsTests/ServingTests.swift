import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

/// Memory to serve a model, against what vLLM printed and against counts by hand.
@Suite struct ServingTests {
  /// Headers of a real size before a hole: nothing but headers is read.
  private func estimate(
    _ size: TinyCheckpoint.Dimensions, positions: Int, _ request: ServingEstimate.Request
  ) throws -> ServingEstimate {
    var model = TinyCheckpoint(.init { $0.isTied = size.isTied })
    for (key, value) in [
      ("hidden_size", size.hidden), ("num_hidden_layers", size.layers), ("num_attention_heads", size.heads),
      ("num_key_value_heads", size.keyValueHeads), ("head_dim", size.headDimension),
      ("intermediate_size", size.feedForward), ("vocab_size", size.vocabulary), ("max_position_embeddings", positions),
    ] {
      model.configuration[key] = .number(JSONNumber(value))
    }
    let folder = try TemporaryFolder()
    try Data(JSONValue.object(model.configuration).serialized().utf8).write(to: folder.file("config.json"))
    try HollowFile.write(TinyCheckpoint.shapes(size), to: folder.file("model.safetensors"))
    return ServingEstimate(of: try Checkpoint(path: folder.url.path), request)
  }

  private static let llama8B = TinyCheckpoint.Dimensions {
    ($0.hidden, $0.layers, $0.heads, $0.keyValueHeads, $0.headDimension) = (4096, 32, 32, 8, 128)
    ($0.feedForward, $0.vocabulary) = (14336, 128_256)
  }

  /// vllm-project/vllm#12330 quotes the log of Meta-Llama-3-8B on one GPU: weights 14.96 GiB, 11.12 GiB of cache are 5691
  /// blocks of 16 tokens, 11.12 sequences of 8192.
  @Test func whatVLLMPrintsForLlama3() throws {
    let estimate = try estimate(Self.llama8B, positions: 8192, .init())
    let size = try #require(estimate.sizes.first)
    #expect((Double(size.weightBytes) / 0x1p30 * 100).rounded() / 100 == 14.96)
    let blocks = 11.12 * 0x1p30 / Double(size.cacheBytes(context: 16, .bf16))
    #expect(abs(blocks - 5691) < 5691 * 0.0005)  // 11.12 has four digits
    #expect(size.cacheBytes(context: 8192, .bf16) == 1 << 30 && size.cacheBytes(context: 8192, .fp8) == 1 << 29)
    #expect(size.cacheBytes(context: 8191, .bf16) == 1 << 30 && size.sequences(context: 1, .bf16) == nil)
  }

  @Test func tensorParallelSizes() throws {
    let estimate = try estimate(Self.llama8B, positions: 131_072, .init(gpuMemory: 24_000_000_000))
    #expect(estimate.contexts == [8192, 16384, 32768, 65536, 131_072] && estimate.requiredContext == 131_072)
    #expect(estimate.sizes.map(\.tensorParallel) == [1, 2, 4, 8] && estimate.sizes.allSatisfy { $0.obstacle == nil })
    // Matrices are cut, norms are not: 65 of 4096 weights of 2 bytes.
    let norms = 65 * 4096 * 2
    let whole = estimate.sizes[0].weightBytes - norms
    #expect(estimate.sizes.map(\.weightBytes) == [1, 2, 4, 8].map { whole / $0 + norms })
    #expect(estimate.sizes.map(\.cachedElements) == [65536, 32768, 16384, 8192])
    // 24 GB · 0.9 − 16.06 GB − activations leaves less than the 17.2 GB of one long sequence on one GPU.
    #expect(estimate.sizes[0].sequences(context: 131_072, .bf16) == 0 && estimate.fittingSizes == [2, 4, 8])
    #expect(estimate.fits && estimate.summary.contains("yes: 2 GPUs hold"))
    #expect(
      try !self.estimate(Self.llama8B, positions: 131_072, .init(gpuMemory: 8_000_000_000, tensorParallel: 1)).fits)
  }

  @Test func headsAreReplicatedAndVocabulariesPadded() throws {
    let size = TinyCheckpoint.Dimensions {
      ($0.hidden, $0.layers, $0.heads, $0.keyValueHeads, $0.headDimension) = (64, 1, 8, 2, 8)
      ($0.feedForward, $0.vocabulary, $0.isTied) = (96, 100, true)
    }
    let estimate = try estimate(size, positions: 2048, .init())
    // Bytes by hand: embedding 128/N rows of 64; query, output and three of 96 × 64 by N; 2 of keys and values of
    // max(2/N, 1) heads of 8 rows; 3 norms.
    let expected = [1, 2, 4, 8].map { n in
      2 * (128 / n * 64 + (2 * 64 * 64 + 3 * 96 * 64) / n + 2 * max(2 / n, 1) * 8 * 64 + 3 * 64)
    }
    #expect(estimate.sizes.map(\.weightBytes) == expected)
    #expect(estimate.sizes.map(\.cachedElements) == [32, 16, 16, 16])
    #expect(estimate.contexts == [2048])
    let odd = try self.estimate(size, positions: 2048, .init(tensorParallel: 3))
    #expect(odd.sizes[0].obstacle?.contains("8 heads") == true)
  }

  @Test func scalesAndGroupsAreCut() throws {
    var model = TinyCheckpoint()
    let plain = try model.opened { ServingEstimate(of: $0, .init(tensorParallel: 2)).sizes[0].weightBytes }
    model.storeAsFP8(.compressedChannel)
    let coded = try model.opened { ServingEstimate(of: $0, .init(tensorParallel: 2)).sizes[0].weightBytes }
    // Half of the matrices' bytes are saved: rows 32 + 16 + 16 + 48 + 48 with halved scales, 2 · 32 with whole ones.
    let weights = 2 * (32 * 32 * 2 + 16 * 32 * 2 + 3 * 48 * 32)
    let scales = 2 * 2 * ((32 + 16 + 16 + 48 + 48) / 2 + 32 + 32)
    #expect(coded == plain - weights / 2 + scales)
    model = TinyCheckpoint()
    model.storeAsFP8(.compressedBlock, block: 32)
    let obstacle = try model.opened { ServingEstimate(of: $0, .init(tensorParallel: 2)).sizes[0].obstacle }
    #expect(
      obstacle?.contains("blocks of 32") == true || obstacle?.contains("groups of 32") == true, "\(obstacle ?? "")")
  }
}
