import ByteIO
import Llama
import Tensors
import Testing

@Suite struct MetaShardCheckTests {
  private static let model = LlamaConfiguration(
    hiddenSize: 64, layerCount: 2, headCount: 8, keyValueHeadCount: 4, headDimension: 8, feedForwardSize: 224,
    vocabularySize: 512, normEpsilon: 1e-5, rope: RoPEParameters(base: 10_000), maximumPositions: 4096,
    tiesEmbeddings: false)

  /// Four shards; every tensor's checksum is its own in each, but replicated ones have the same in all.
  private static func shards(
    _ count: Int = 4, _ change: (_ rank: Int, _ entry: Census.Entry) -> Census.Entry? = { $1 }
  ) throws -> [MetaShard] {
    try MetaShardFolder.shards(model, .rows, count).enumerated().map { rank, shard in
      MetaShard(
        fileName: shard.fileName, entries: shard.entries.compactMap { change(rank, $0) },
        checksums: checksums(shard.entries, rank))
    }
  }

  private static func checksums(_ entries: [Census.Entry], _ rank: Int) -> [UTF8Key: UInt32] {
    let rules = TensorParallelRules(embeddingSplit: .rows)
    let pairs = entries.enumerated().map { number, entry in
      let isReplicated = NamingDialect.meta.role(for: entry.name).map { rules.split(of: $0) == .replicated } ?? false
      return (UTF8Key(entry.name), UInt32(number * 1000 + (isReplicated ? 0 : rank)))
    }
    return Dictionary(uniqueKeysWithValues: pairs)
  }

  private static let gate = "layers.1.feed_forward.w1.weight"

  private static func entry(_ name: String, _ type: ElementType, _ shape: Shape) -> Census.Entry {
    Census.Entry(name: name, elementType: type, shape: shape)
  }

  @Test("shards that belong together have no problems", arguments: [1, 2, 4, 8])
  func acceptsSoundShards(_ count: Int) throws {
    let check = try MetaShardCheck(Self.shards(count))
    #expect(check.problems.isEmpty)
    try check.refuse()
  }

  @Test func aTensorMissingInOneShardIsNamedWithTheShard() throws {
    let missing = try Self.shards { $0 == 2 && $1.name == Self.gate ? nil : $1 }
    let check = MetaShardCheck(missing)
    #expect(
      check.problems == [
        .missing(tensor: Self.gate, shard: "consolidated.02.pth", other: "consolidated.00.pth")
      ])
    let failure = #expect(throws: ParseFailure.self) { try check.refuse() }
    #expect(failure?.file == "consolidated.02.pth" && failure?.item == Self.gate)
  }

  @Test func aTensorMissingInTheFirstShardIsNamedWithTheFirstShard() throws {
    let check = try MetaShardCheck(Self.shards(2) { $0 == 0 && $1.name == Self.gate ? nil : $1 })
    #expect(
      check.problems == [
        .missing(tensor: Self.gate, shard: "consolidated.00.pth", other: "consolidated.01.pth")
      ])
  }

  @Test func anotherTypeOrShapeInOneShardIsNamed() throws {
    let check = try MetaShardCheck(
      Self.shards {
        guard $0 == 3, $1.name == Self.gate else { return $1 }
        return Self.entry(Self.gate, .f16, [57, 64])
      })
    #expect(
      check.problems == [
        .differentType(
          tensor: Self.gate, shard: "consolidated.03.pth", found: .f16, other: "consolidated.00.pth", expected: .bf16),
        .differentShape(
          tensor: Self.gate, shard: "consolidated.03.pth", found: [57, 64], other: "consolidated.00.pth",
          expected: [56, 64]),
      ])
    let failure = #expect(throws: ParseFailure.self) { try check.refuse() }
    #expect(failure?.message.contains("F16") == true && failure?.message.contains("1 more") == true)
  }

  @Test(
    "a gap in the numbers is told once, with the number that is missing",
    arguments: [
      (["01", "02"], "consolidated.00.pth"), (["00", "02", "03"], "consolidated.01.pth"),
      (["00", "01", "03"], "consolidated.02.pth"),
    ])
  func findsGaps(_ numbers: [String], _ missing: String) throws {
    let entries = try Self.shards()[0].entries
    let shards = numbers.map { MetaShard(fileName: "consolidated.\($0).pth", entries: entries) }
    let last = try #require(shards.last).fileName
    #expect(MetaShardCheck(shards).problems == [.missingShard(expected: missing, last: last)])
  }

  @Test(
    "a file that states no rank is named",
    arguments: ["consolidated.pth", "consolidated.1.pth", "consolidated.001.pth", "consolidated.-1.pth", "", "model"])
  func findsUnnumberedFiles(_ name: String) throws {
    let shard = try Self.shards(1)[0]
    let check = MetaShardCheck([MetaShard(fileName: name, entries: shard.entries)])
    #expect(check.problems == [.unnumbered(shard: name)])
  }

  @Test func fileNamesAndRanksAreEachOthersInverse() {
    for rank in 0..<100 { #expect(MetaShard.rank(ofFileNamed: MetaShard.fileName(rank: rank)) == rank) }
    #expect(MetaShard.fileName(rank: 7) == "consolidated.07.pth")
    #expect(MetaShard.fileName(rank: 15) == "consolidated.15.pth")
  }

  @Test func oneFileCopiedOverAnotherIsFound() throws {
    var shards = try Self.shards()
    shards[3] = MetaShard(fileName: shards[3].fileName, entries: shards[3].entries, checksums: shards[1].checksums)
    #expect(
      MetaShardCheck(shards).problems == [
        .sameContents(
          tensor: "tok_embeddings.weight", shard: "consolidated.03.pth", other: "consolidated.01.pth")
      ])
  }

  @Test func equalNormsAndEqualKeysAreNoCopy() throws {
    // One tensor of zeros is equal in all shards, as are keys and values when a head is stored twice.
    let shards = try Self.shards().enumerated().map { rank, shard in
      var checksums = shard.checksums
      for name in ["layers.0.feed_forward.w2.weight", "layers.0.attention.wk.weight", "layers.0.attention.wv.weight"] {
        checksums[UTF8Key(name)] = 7
      }
      return MetaShard(fileName: shard.fileName, entries: shard.entries, checksums: checksums)
    }
    #expect(MetaShardCheck(shards).problems.isEmpty)
  }

  @Test func withoutChecksumsNothingIsSaidOfContents() throws {
    let shards = try Self.shards().map { MetaShard(fileName: $0.fileName, entries: $0.entries) }
    #expect(MetaShardCheck(shards).problems.isEmpty)
  }

  @Test func storedFrequenciesNeedNotBeInEveryShard() throws {
    var shards = try Self.shards(2)
    shards[1] = MetaShard(
      fileName: shards[1].fileName, entries: shards[1].entries + [Self.entry("rope.freqs", .f32, [4])],
      checksums: shards[1].checksums)
    #expect(MetaShardCheck(shards).problems.isEmpty)
  }

  // MARK: Against the model

  private func model(_ shards: [MetaShard]) throws -> MetaModel {
    let parameters = try JSONValue(
      parsing:
        #"{"dim": 64, "n_layers": 2, "n_heads": 8, "n_kv_heads": 4, "multiple_of": 32, "ffn_dim_multiplier": 1.3}"#)
    return try MetaModel(MetaParameters(parsing: parameters), shards: shards)
  }

  @Test func shapesThatAgreeWithEachOtherMustAgreeWithTheModel() throws {
    let sound = try Self.shards(2)
    #expect(try MetaShardCheck(sound, model: model(sound)).problems.isEmpty)
    // wo cut by rows instead of columns, in both shards.
    let name = "layers.1.attention.wo.weight"
    let shards = try Self.shards(2) { $1.name == name ? Self.entry(name, .bf16, [32, 64]) : $1 }
    let check = try MetaShardCheck(shards, model: model(shards))
    #expect(
      check.problems == [
        .wrongShape(tensor: name, shard: "consolidated.00.pth", found: [32, 64], expected: [64, 32])
      ])
    let failure = #expect(throws: ParseFailure.self) { try check.refuse() }
    #expect(failure?.item == name)
  }

  @Test("shards that are missing or too many are told from the heads", arguments: [(4, 3), (4, 1), (2, 4), (1, 2)])
  func countsShards(_ cut: Int, _ present: Int) throws {
    let shard = try Self.shards(cut)[0]
    let shards = (0..<present).map { MetaShard(fileName: MetaShard.fileName(rank: $0), entries: shard.entries) }
    let failure = #expect(throws: ParseFailure.self) { try model(shards) }
    #expect(failure?.item == "layers.0.attention.wq.weight")
    let text = failure?.description ?? ""
    #expect(text.contains("the model has \(cut) shards, there are \(present)"), "\(text)")
    #expect(text.contains("incomplete") == (present < cut))
  }
}
