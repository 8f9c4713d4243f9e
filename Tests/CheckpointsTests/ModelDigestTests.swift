import ByteIO
import Checkpoints
import Foundation
import Llama
import Support
import Tensors
import Testing

@Suite struct ModelDigestTests {
  private func digest(_ model: TinyCheckpoint, shards: Int = 1, threads: Int = 2) throws -> ModelDigest {
    try model.opened(shards: shards) { try $0.digest(threads: threads) }
  }

  private func tiny() throws -> TinyCheckpoint { try TinyCheckpoint(reading: Fixtures.bundled("tiny")) }

  @Test func sumsAreSHA256() {
    // FIPS 180-4's examples.
    #expect(
      SHA256Sum.hexadecimal(of: Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    #expect(SHA256Sum.hexadecimal(of: []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  }

  @Test func aTensorsDigestIsOverRoleTypeShapeAndBytes() throws {
    let model = TinyCheckpoint()
    let found = try digest(model)
    for tensor in found.tensors {
      let stored = model.tensors[NamingDialect.huggingFace.name(for: tensor.role)]
      var bytes = stored.bytes
      if [.layer(0, .query), .layer(1, .query), .layer(0, .key), .layer(1, .key)].contains(tensor.role) {
        bytes = interleaved(bytes, headRows: 8, columns: 64)
      }
      let extents = stored.shape.map(String.init).joined(separator: "x")
      let text = "llama-tensor/1\n\(tensor.role.canonicalText)\nBF16 \(extents)\n"
      #expect(tensor.digest == SHA256Sum.hexadecimal(of: Array(text.utf8) + bytes))
    }
  }

  @Test("neither shards nor threads nor the order in the file change it", arguments: [1, 2, 3, 8])
  func isTheSameForShards(_ count: Int) throws {
    for layout in [nil, FP8Layout.compressedChannel, .fineGrained] {
      var model = TinyCheckpoint()
      if let layout { model.storeAsFP8(layout) }
      let whole = try digest(model, threads: 1)
      #expect(try digest(model, shards: count, threads: count) == whole)
      model.tensors.reverse()
      #expect(try digest(model, shards: count) == whole)
    }
  }

  @Test func oneBitOfAnyTensorChangesItsDigestAndTheModelsAndNoOther() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    var model = TinyCheckpoint(.init { $0.layers = 1 })
    model.storeAsFP8(.compressedChannel)
    let before = try digest(model)
    var seen: Set = [before.model]
    for index in model.tensors.indices {
      var changed = model
      let byte = Int.random(in: 0..<changed.tensors[index].bytes.count, using: &random)
      changed.tensors[index].bytes[byte] ^= 1 << Int.random(in: 0..<8, using: &random)
      let after = try digest(changed)
      let differing = zip(before.tensors, after.tensors).filter { $0 != $1 }.count
      #expect(differing == 1 && seen.insert(after.model).inserted, "seed \(seed), \(model.tensors[index].name)")
      #expect(after.configuration == before.configuration && after.tokenizer == before.tokenizer)
    }
    // Twelve tensors, seven of them with scales: every one counts.
    #expect(model.tensors.count == 19 && before.tensors.count == 12 && seen.count == 20)
  }

  @Test func theStoredTypeCounts() throws {
    let (wide, narrow) = (TinyCheckpoint(elementType: .f32), TinyCheckpoint(elementType: .f16))
    let (first, second) = (try digest(wide), try digest(narrow))
    #expect(zip(first.tensors, second.tensors).allSatisfy { $0.digest != $1.digest })
    #expect(first.configuration == second.configuration, "the claimed type is a label")
  }

  @Test(
    "what decides the forward pass counts",
    arguments: [
      ("rms_norm_eps", "1e-6"), ("rope_theta", "500000.0"), ("rope_scaling", "{\"type\": \"linear\", \"factor\": 2}"),
      ("architectures", "[\"MistralForCausalLM\"]"),
    ])
  func configurationCounts(_ key: String, _ json: String) throws {
    var model = TinyCheckpoint()
    let before = try digest(model)
    model.configuration[key] = try JSONValue(parsing: json)
    let after = try digest(model)
    #expect(after.configuration != before.configuration && after.model != before.model)
    #expect(after.tensors == before.tensors)
  }

  @Test func spellingsAndLabelsDoNotCount() throws {
    var model = TinyCheckpoint()
    let before = try digest(model)
    model.configuration["torch_dtype"] = "torch.bfloat16"
    #expect(try digest(model) == before)
    model.configuration["torch_dtype"] = nil
    model.configuration["dtype"] = "float16"
    #expect(try digest(model) == before)
    model.configuration["rope_theta"] = nil
    model.configuration["rope_scaling"] = nil
    model.configuration["rope_parameters"] = ["rope_type": "default", "rope_theta": 10000]
    model.configuration["rms_norm_eps"] = .number(JSONNumber(0.00001))
    model.configuration["transformers_version"] = "9.9"
    #expect(try digest(model) == before)
    model.files = [("README.md", [1]), ("generation_config.json", Array("{}".utf8))]
    #expect(try digest(model) == before)
  }

  @Test func aStoredCopyOfTheTiedEmbeddingDoesNotCount() throws {
    var model = TinyCheckpoint(.init { $0.isTied = true })
    let before = try digest(model)
    var head = model.tensors["model.embed_tokens.weight"]
    head.name = "lm_head.weight"
    model.tensors.append(head)
    #expect(try digest(model) == before)
  }

  // MARK: Tokenizer

  @Test func bothFormsOfOneTokenizerAreTheSame() throws {
    let both = try digest(try tiny())
    #expect(both.tokenizer != nil)
    for name in ["tokenizer.json", "tokenizer.model"] {
      var model = try tiny()
      model.files.removeAll { $0.name == name }
      #expect(try digest(model) == both, "without \(name)")
    }
    var model = try tiny()
    model.files.removeAll { $0.name.hasPrefix("tokenizer.") }
    let none = try digest(model)
    #expect(none.tokenizer == nil && none.model != both.model && none.tensors == both.tensors)
  }

  @Test func anotherRankOfATokenCounts() throws {
    var model = try tiny()
    let before = try digest(model)
    model.files.removeAll { $0.name == "tokenizer.json" }
    let index = try #require(model.files.firstIndex { $0.name == "tokenizer.model" })
    // Swap the tokens of the last two ranks.
    var lines = String(decoding: model.files[index].bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    func token(_ line: String) -> Substring { line.prefix { $0 != " " } }
    func rank(_ line: String) -> Substring { line[line.index(after: token(line).endIndex)...] }
    let (last, previous) = (lines[lines.count - 1], lines[lines.count - 2])
    lines[lines.count - 2] = "\(token(last)) \(rank(previous))"
    lines[lines.count - 1] = "\(token(previous)) \(rank(last))"
    model.files[index].bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
    let after = try digest(model)
    #expect(after.tokenizer != before.tokenizer && after.model != before.model && after.tensors == before.tensors)
  }

  @Test func everyByteOfATokenizerOfAnUnknownKindCounts() throws {
    var model = TinyCheckpoint()
    model.files = [("tokenizer.json", Array("{\"model\": {\"type\": \"Unigram\"}}".utf8))]
    let before = try digest(model)
    #expect(before.tokenizer?.hasPrefix("file:") == true)
    model.files[0].bytes.append(UInt8(ascii: "\n"))
    #expect(try digest(model).tokenizer != before.tokenizer)
  }

  @Test func theModelsDigestIsOverTheOthersAndInTheDocument() throws {
    let found = try digest(TinyCheckpoint())
    var text = "llama-model/1\n"
    for tensor in found.tensors.sorted(by: { $0.role.canonicalText < $1.role.canonicalText }) {
      text += "\(tensor.role.canonicalText) \(tensor.digest)\n"
    }
    text += "configuration \(found.configuration)\ntokenizer none\n"
    #expect(found.model == SHA256Sum.hexadecimal(of: Array(text.utf8)))
    #expect(found.document["model"]?.string == found.model && found.document["tokenizer"]?.isNull == true)
    #expect(found.document["tensors"]?.array?.count == 21)
    #expect(found.summary(withTensors: true).split(separator: "\n").count == 24)
  }

  @Test func progressCountsEveryByteOnceAndMayStop() throws {
    struct Stop: Error {}
    let counter = Counter()
    let model = TinyCheckpoint()
    try model.opened { checkpoint in
      _ = try checkpoint.digest(threads: 2) { counter.add($0) }
      #expect(counter.value == model.tensors.reduce(0) { $0 + $1.bytes.count })
      #expect(throws: Stop.self) { try checkpoint.digest(threads: 2) { _ in throw Stop() } }
    }
  }
}
