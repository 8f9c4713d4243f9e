import Foundation
import Kernels
import Support
import Testing

/// A model that is not in the repository, and the digests of the tensors that llama-quantize made of it.
private struct QuantizedModel: Sendable {
  let tensors: SafetensorsBytes
  /// Preset → tensor → type and SHA-256.
  let presets: [String: [String: [String]]]

  static let small3: QuantizedModel? = {
    guard let model = Fixtures.large("small3/model.safetensors"), let hashes = Fixtures.large("small3.gguf-hashes.json")
    else { return nil }
    guard let tensors = try? SafetensorsBytes(model), let data = try? Data(contentsOf: hashes),
      let presets = try? JSONSerialization.jsonObject(with: data) as? [String: [String: [String]]]
    else { preconditionFailure("\(model.path) and \(hashes.path) cannot be read") }
    return QuantizedModel(tensors: tensors, presets: presets)
  }()

  private static let names = [
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
  ]
  private static let headSize = 64

  /// Rows and columns of a GGUF tensor, those of queries and keys in interleaved pairs.
  func values(_ name: String) throws -> (values: [Float], columns: Int) {
    let parts = name.split(separator: ".").map(String.init)
    let layer = parts[0] == "blk" ? "model.layers.\(parts[1])." : ""
    let part = parts[parts.count - 2]
    let tensor = try tensors["\(layer)\(try #require(Self.names[part])).weight"]
    let columns = try #require(tensor.shape.last)
    guard part == "attn_q" || part == "attn_k" else { return (try tensor.floats, columns) }
    let rows = try tensor.floats
    let half = Self.headSize / 2
    return (
      (0..<tensor.shape[0]).flatMap { row in
        let head = row / Self.headSize * Self.headSize
        let source = head + row % Self.headSize / 2 + row % 2 * half
        return rows[source * columns..<(source + 1) * columns]
      }, columns
    )
  }
}

@Suite("Tensors of llama-quantize", .enabled(if: QuantizedModel.small3 != nil, "needs small3 in LLAMA_FIXTURES"))
struct LlamaQuantizeTests {
  /// Every tensor that llama-quantize made of a BF16 file of this model, under every preset.
  @Test(arguments: InstructionSet.available)
  func allTensorsAreEqual(_ level: InstructionSet) throws {
    let model = try #require(QuantizedModel.small3)
    var formats: Set<String> = []
    var expected: [String: [(type: String, digest: String, preset: String)]] = [:]
    for (preset, tensors) in model.presets {
      for (name, entry) in tensors { expected[name, default: []].append((entry[0], entry[1], preset)) }
    }
    for (name, entries) in expected {
      let (values, columns) = try model.values(name)
      var digests: [String: String] = [:]
      for entry in entries {
        if digests[entry.type] == nil {
          digests[entry.type] = sha256(try encoded(values, columns: columns, entry.type, level))
          formats.insert(entry.type)
        }
        #expect(digests[entry.type] == entry.digest, "\(name) as \(entry.type) in \(entry.preset)")
      }
    }
    let all = ["BF16", "F16", "F32", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"]
    #expect(formats.sorted() == all && expected.count == 57)
  }

  private func encoded(_ values: [Float], columns: Int, _ type: String, _ level: InstructionSet) throws -> [UInt8] {
    if let format = BlockFormat(rawValue: type) { return quantize(values, columns: columns, format, level) }
    let format = try #require(["F32": FloatFormat.f32, "F16": .f16, "BF16": .bf16][type])
    var bytes = [UInt8](repeating: 0, count: values.count * format.byteCount)
    var span = bytes.mutableSpan
    _ = NumberFormat.narrow(values.span, to: format, into: &span, instructionSet: level)
    return bytes
  }
}
