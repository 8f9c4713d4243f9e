import ByteIO
import Checkpoints
import Foundation
import Support
import Synchronization
import Tensors
import Testing

/// A number that several threads add to.
final class Counter: Sendable {
  private let total = Mutex(0)
  var value: Int { total.withLock { $0 } }
  func add(_ count: Int) { total.withLock { $0 += count } }
}

@Suite struct InspectionTests {
  @Test func theBundledModelIsDescribed() throws {
    let inspection = Inspection(of: try Checkpoint(path: Fixtures.bundled("tiny").path))
    let document = inspection.document
    #expect(document["schema"] == "llama-inspect/1" && document["family"]?.isNull == true)
    // Two bytes for each of the 2,885,888 weights: the file without its header.
    let stored = try TinyCheckpoint.tensors(ofFile: Fixtures.bundled("tiny/model.safetensors"))
    let bytes = stored.reduce(0) { $0 + $1.bytes.count }
    #expect(document["parameters"]?.integer == bytes / 2 && document["weight_bytes"]?.integer == bytes)
    #expect(document["element_types"] == [["type": "BF16", "tensors": 38, "bytes": .number(JSONNumber(bytes))]])
    // 2,048 tokens × 4 layers × (keys and values) × 4 heads of 32 × 2 bytes.
    #expect(document["kv_cache"] == [["context": 2048, "bytes": 4_194_304]])
    #expect(document["quantization"]?.isNull == true && inspection.summary.contains("none of the published"))
  }

  @Test(arguments: [("tiny_meta/int4_qlora_mp1", "Meta int4"), ("tiny_meta/fp8_mp2", "Meta FP8")])
  func whatNoConfigurationNamesHasAName(_ model: String, _ name: String) throws {
    let inspection = Inspection(of: try Checkpoint(path: Fixtures.bundled(model).path))
    #expect(inspection.document["quantization"] == .string(name) && inspection.summary.contains(name))
  }

  @Test func codesAndScalesAreCounted() throws {
    var model = TinyCheckpoint()
    model.storeAsFP8(.compressedChannel, scaleType: .f32)
    let document = try model.opened { Inspection(of: $0).document }
    let bytes = model.tensors.reduce(0) { $0 + $1.bytes.count }
    #expect(document["weight_bytes"]?.integer == bytes && document["quantization"] == "compressed-tensors")
    let types = try #require(document["element_types"]?.array)
    #expect(types.reduce(0) { $0 + ($1["bytes"]?.integer ?? 0) } == bytes)
    #expect(Set(types.compactMap { $0["type"]?.string }) == ["F8_E4M3", "BF16", "F32"])
  }

  @Test func whatIsNotCarriedOverIsNamed() throws {
    var model = TinyCheckpoint()
    model.files = [("LICENSE", [1]), ("README.md", [2])]
    let document = try model.opened { Inspection(of: $0).document }
    #expect(document["sidecars"] == ["LICENSE"] && document["not_carried_over"] == ["README.md"])
  }
}
