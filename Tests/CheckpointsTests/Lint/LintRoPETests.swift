import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

/// RoPE of published shapes: headers of real sizes before a hole, since only they are read.
@Suite struct LintRoPETests {
  /// Llama 3.2 1B, or Llama 3 8B cut to what its shape says.
  private func codes(_ change: (inout JSONObject) -> Void) throws -> [LintCode] {
    let size = TinyCheckpoint.Dimensions {
      ($0.hidden, $0.layers, $0.heads, $0.keyValueHeads, $0.headDimension) = (2048, 16, 32, 8, 64)
      ($0.feedForward, $0.vocabulary, $0.isTied) = (8192, 128_256, true)
    }
    var model = TinyCheckpoint(.init { $0.isTied = true })
    for (key, value) in [
      ("hidden_size", size.hidden), ("num_hidden_layers", size.layers), ("num_attention_heads", size.heads),
      ("num_key_value_heads", size.keyValueHeads), ("head_dim", size.headDimension),
      ("intermediate_size", size.feedForward), ("vocab_size", size.vocabulary), ("max_position_embeddings", 131_072),
    ] {
      model.configuration[key] = .number(JSONNumber(value))
    }
    model.configuration["rope_theta"] = 500_000.0
    model.configuration["rope_scaling"] = [
      "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192,
    ]
    change(&model.configuration)
    let folder = try TemporaryFolder()
    try Data(JSONValue.object(model.configuration).serialized().utf8).write(to: folder.file("config.json"))
    try HollowFile.write(TinyCheckpoint.shapes(size), to: folder.file("model.safetensors"))
    return try LintReport(ofCheckpointAt: folder.url.path, readsValues: false, threads: 1).codes
  }

  @Test func publishedModelsAreSound() throws { #expect(try codes { _ in } == []) }

  @Test func aScalingThatWasDropped() throws {
    #expect(try codes { $0["rope_scaling"] = nil } == [.ropeScalingMissing])
  }

  @Test func aBaseThatWasDropped() throws {
    #expect(try codes { $0["rope_theta"] = nil } == [.ropeBaseLost])
    #expect(try codes { $0["rope_theta"] = 4_000_000.0 } == [.ropeBaseUnusual])
  }
}
