import ByteIO
import Checkpoints
import Foundation
import Llama
import Support
import Tensors
import Testing
import Tokenizers

@Suite struct OpeningTests {
  private func tiny() throws -> Checkpoint { try Checkpoint(path: Fixtures.bundled("tiny").path) }

  @Test func opensTheBundledModel() throws {
    let checkpoint = try tiny()
    #expect(checkpoint.layout == .huggingFace)
    #expect(checkpoint.tensors.map(\.role) == checkpoint.configuration.roles)
    // Embedding, four layers of nine, norm; the head is tied.
    #expect(checkpoint.tensors.count == 38 && checkpoint.tensor(.outputHead) == nil)
    #expect(checkpoint.tensors.allSatisfy { $0.elementType == .bf16 && $0.quantization == nil })
    #expect(checkpoint.tensors.allSatisfy { $0.shape == checkpoint.configuration.shape(of: $0.role) })
    #expect(checkpoint.census.problems.isEmpty && checkpoint.notes.isEmpty && checkpoint.leftBehind.isEmpty)
    #expect(checkpoint.inputFiles == ["config.json", "model.safetensors"])
    #expect(
      checkpoint.sidecars.map(\.name)
        == ["generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
    #expect(checkpoint.configuration.beginOfTextID == 1792)
    let tokenizer = try checkpoint.tokenizer()
    #expect(tokenizer?.vocabularySize == 2048)
  }

  @Test func theBundledModelHasTheBytesOfItsFile() throws {
    let checkpoint = try tiny()
    let stored = try TinyCheckpoint.tensors(ofFile: Fixtures.bundled("tiny/model.safetensors"))
    #expect(stored.count == checkpoint.tensors.count)
    for tensor in checkpoint.tensors {
      let file = stored[NamingDialect.huggingFace.name(for: tensor.role)]
      var expected = file.bytes
      if tensor.isReordered { expected = interleaved(expected, headRows: 32, columns: 2 * file.shape[1]) }
      #expect(try tensor.allBytes() == expected, "\(tensor.role.canonicalText)")
    }
  }

  /// SHA-256 over `llama-tensor/1`, role, `BF16`, shape, and the bytes of Meta's layout of the same model: both
  /// consolidated shards of `tiny-mp2` (written by torch.save) read by torch 2.13 and concatenated along the rows.
  static let metaDigests: [(role: TensorRole, digest: String)] = [
    (.layer(0, .query), "9d5a0d2f960b41c61b5df53163bfd319037fd21bbba255d85f2f0045c856b4b3"),
    (.layer(0, .key), "4c564d7cc9df1412598566a9174fd1f3846ae3d4cd3f897bbac8d284051035bb"),
    (.layer(1, .query), "39572b3ecf11589ec691deb947258a8f2c88d0a9426dbdbdec3d158ca77a9723"),
    (.layer(1, .key), "ba75f88f589b19c3851b30d846cfab0060f0ac036925830bc2ce6d2e36c1d81f"),
    (.layer(2, .query), "7d13f90cb388e36bff1cb2d76a662e90c8d7bb77ff513400b8835a7c9860e223"),
    (.layer(2, .key), "958afe184fd0794737e72e3ad160fd305f5c9620197a336fe388660ee68f76f5"),
    (.layer(3, .query), "a596105114ec01283cc407452b2ade94cd58190b716bd94126be786a657338ba"),
    (.layer(3, .key), "992d5fb658009a0e3a22fa76fc87dd15d5168a8681a4431819540bfb42ab0c1c"),
  ]

  @Test("queries and keys have the bytes of Meta's checkpoint of the same model", arguments: metaDigests.indices)
  func hasMetasRowOrder(_ index: Int) throws {
    let (role, digest) = Self.metaDigests[index]
    let tensor = try #require(try tiny().tensor(role))
    #expect(try tensor.digest() == digest)
  }

  @Test("a checkpoint cut into shards has the same tensors", arguments: [2, 3, 7])
  func opensShards(_ shards: Int) throws {
    let model = TinyCheckpoint()
    let whole = try model.opened { try $0.tensors.map { try $0.allBytes() } }
    try model.opened(shards: shards) { checkpoint in
      let found = try checkpoint.tensors.map { try $0.allBytes() }
      #expect(found == whole)
      #expect(checkpoint.inputFiles.count == shards + 2)
      #expect(checkpoint.leftBehind.isEmpty && checkpoint.notes.isEmpty)
    }
  }

  @Test func theOrderOfTheFileDoesNotMatter() throws {
    var model = TinyCheckpoint()
    model.tensors.reverse()
    try model.opened { #expect($0.tensors.map(\.role) == $0.configuration.roles) }
  }

  // MARK: Tied heads

  private func tied(head: (TinyCheckpoint) -> [UInt8]) -> TinyCheckpoint {
    var model = TinyCheckpoint(.init { $0.isTied = true })
    model["lm_head.weight"] = .init("lm_head.weight", .bf16, [40, 32], bytes: head(model))
    return model
  }

  @Test func aStoredCopyOfTheEmbeddingIsDroppedWithANote() throws {
    let model = tied { $0.tensors["model.embed_tokens.weight"].bytes }
    try model.opened { checkpoint in
      #expect(checkpoint.tensor(.outputHead) == nil)
      #expect(checkpoint.notes.count == 1 && checkpoint.notes[0].contains("lm_head.weight"))
    }
  }

  @Test("a stored head that differs from the tied embedding is refused", arguments: [0, 1279, 2559])
  func refusesADifferentHead(_ position: Int) throws {
    let model = tied { model in
      var bytes = model.tensors["model.embed_tokens.weight"].bytes
      bytes[position] ^= 1
      return bytes
    }
    let failure = try #require(try model.failure())
    #expect(failure.item == "lm_head.weight" && failure.description.contains("tie_word_embeddings"))
  }

  // MARK: Refusals

  @Test func aCensusErrorIsRefusedWithTheNumberOfTheOthers() throws {
    var model = TinyCheckpoint()
    model["model.norm.weight"] = nil
    var failure = try #require(try model.failure())
    #expect(failure.message.contains("model.norm.weight") && !failure.message.contains("more"))
    model["stranger"] = .init("stranger", .f32, [1], bytes: [0, 0, 0, 0])
    model["model.layers.0.mlp.up_proj.weight"] = nil
    failure = try #require(try model.failure())
    #expect(failure.message.contains("and 2 more") && failure.message.contains("lint"))
  }

  @Test("a weight of a type that is not computed with is refused", arguments: [ElementType.i8, .f64, .u8, .f8e5m2])
  func refusesTypes(_ type: ElementType) throws {
    var model = TinyCheckpoint()
    model.change("model.layers.1.mlp.down_proj.weight") {
      $0.elementType = type
      $0.bytes = [UInt8](repeating: 0, count: 32 * 48 * type.bits / 8)
    }
    let failure = try #require(try model.failure())
    #expect(failure.item == "model.layers.1.mlp.down_proj.weight" && failure.message.contains(type.rawValue))
  }

  @Test("weights are taken in every type that is computed with", arguments: [ElementType.bf16, .f16, .f32])
  func takesTypes(_ type: ElementType) throws {
    try TinyCheckpoint(elementType: type).opened { checkpoint in
      #expect(checkpoint.tensors.allSatisfy { $0.elementType == type })
      #expect(checkpoint.configuration.claimedElementType == type)
    }
  }
}

extension LogicalTensor {
  /// Queries and keys, whose rows Hugging Face orders otherwise.
  var isReordered: Bool {
    guard case .layer(_, let part) = role else { return false }
    return part == .query || part == .key
  }
}
