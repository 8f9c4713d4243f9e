import ByteIO
import Foundation
import Llama
import Support
import Tensors
import Testing

/// `formats/tensor-parallel.md` against the code.
@Suite struct TensorParallelPageTests {
  private static let page: String? = try? String(
    contentsOf: Fixtures.root.appending(path: "formats/tensor-parallel.md"), encoding: .utf8)

  /// The rows of the table whose first heading is `heading`, cells without backquotes.
  private static func table(_ heading: String) -> [[String]] {
    let lines = (page ?? "").components(separatedBy: "\n")
    guard let start = lines.firstIndex(where: { $0.hasPrefix("| \(heading) |") }) else { return [] }
    return lines[(start + 2)...].prefix { $0.hasPrefix("|") }.map { line in
      line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast().map {
        $0.trimmingCharacters(in: CharacterSet(charactersIn: " `"))
      }
    }
  }

  /// Twelve heads of six rows, four key/value heads, four shards: no two extents are equal.
  private static let model = LlamaConfiguration(
    hiddenSize: 96, layerCount: 1, headCount: 12, keyValueHeadCount: 4, headDimension: 6, feedForwardSize: 240,
    vocabularySize: 480, normEpsilon: 1e-5, rope: RoPEParameters(base: 10_000), maximumPositions: 64,
    tiesEmbeddings: false)

  /// `[H·D/P, dim]` in numbers.
  private static func shape(_ text: String) throws -> Shape {
    let values = ["V": 480, "F": 240, "H": 12, "K": 4, "D": 6, "dim": 96]
    let extents = text.trimmingCharacters(in: CharacterSet(charactersIn: "[]")).components(separatedBy: ", ")
    return Shape(
      try extents.map { extent in
        let parts = extent.components(separatedBy: "/")
        let product = try parts[0].components(separatedBy: "·").reduce(1) { $0 * (try #require(values[$1])) }
        return parts.count == 1 ? product : product / 4
      })
  }

  @Test func theTableIsThatOfTheCodeRowByRow() throws {
    let rows = Self.table("tensor")
    #expect(rows.count == TensorParallelRules.table.count && rows.count == 13)
    for (row, rule) in zip(rows, TensorParallelRules.table) {
      #expect(row[0] == NamingDialect.meta.name(for: rule.role))
      #expect(row[3] == rule.split.rawValue)
      // Only the embedding is cut in two ways.
      #expect((row[4] == "all") == (rule.embeddingSplit == nil))
      if let split = rule.embeddingSplit { #expect(split.rawValue == row[3]) }

      #expect(Self.model.shape(of: rule.role) == (try Self.shape(row[1])))
      for split in TensorParallelRules.EmbeddingSplit.allCases {
        guard rule.embeddingSplit == nil || rule.embeddingSplit == split else { continue }
        let rules = TensorParallelRules(embeddingSplit: split)
        #expect(rules.split(of: rule.role) == rule.split)
        #expect(try rules.shardShape(of: rule.role, Self.model, shards: 4) == Self.shape(row[2]), "\(row[0])")
      }
    }
  }

  @Test func everyTensorOfAModelIsInTheTable() {
    let names = Set(Self.table("tensor").map { $0[0] })
    #expect(names == Set(Self.model.roles.map { NamingDialect.meta.name(for: $0) }))
  }

  @Test func headsAreWhereTheTableSays() throws {
    let rows = Self.table("K")
    #expect(rows.count == 5)
    for row in rows {
      var configuration = Self.model
      configuration.keyValueHeadCount = try #require(Int(row[0]))
      configuration.headCount = 16
      let shards = try #require(Int(row[1]))
      let rules = TensorParallelRules(embeddingSplit: .rows)
      let held = (0..<shards).map { shard in
        let range = rules.rowRange(of: .layer(0, .value), configuration, shard: shard, of: shards)
        let (first, last) = (range.lowerBound / 6, range.upperBound / 6 - 1)
        return first == last ? "\(first)" : "\(first)–\(last)"
      }
      #expect(held.joined(separator: " ") == row[2])
    }
  }

  @Test func problemsHaveTheNamesOfThePage() {
    let problems: [MetaShardProblem] = [
      .unnumbered(shard: ""), .missingShard(expected: "", last: ""), .missing(tensor: "", shard: "", other: ""),
      .differentShape(tensor: "", shard: "", found: [], other: "", expected: []),
      .differentType(tensor: "", shard: "", found: .bf16, other: "", expected: .bf16),
      .wrongShape(tensor: "", shard: "", found: [], expected: []), .sameContents(tensor: "", shard: "", other: ""),
    ]
    #expect(Self.table("problem").map { $0[0] } == problems.map(\.code))
  }

  /// A base model of each generation: what tells it, in numbers, without positions and tokens.
  @Test func generationsHaveTheContextAndTokensOfThePage() throws {
    let names = [
      "Mistral 7B v0.3", "Llama 3.1 70B", "Llama 3 8B", "Code Llama 34B", "Code Llama 70B Instruct", "Llama 1 30B",
      "Llama 2 70B",
    ]
    let rows = Self.table("generation")
    #expect(rows.count == names.count)
    for (row, name) in zip(rows, names) {
      let published = try #require(PublishedParameters.all.first { $0.name == name })
      let configuration = try #require(published.expected)
      let model = try MetaModel(
        MetaParameters(parsing: JSONValue(parsing: published.json)),
        shards: MetaShardFolder.shards(configuration, published.split, published.shards)
      )
      #expect(model.inferences.contains { $0.contains("that of \(row[0])") }, "\(model.inferences)")
      #expect("\(model.configuration.maximumPositions)" == row[2])
      let ids = [model.configuration.beginOfTextID].compactMap { $0 } + model.configuration.endOfTextIDs
      #expect(ids.map(String.init).joined(separator: ", ") == row[3])
    }
  }

  @Test func keysOfOurOwnAreRead() throws {
    let rows = Self.table("key")
    #expect(rows.count == 11)
    for row in rows {
      var object = try #require(JSONValue(parsing: #"{"dim": 512, "n_layers": 1, "n_heads": 8}"#).object)
      let plain = try MetaParameters(parsing: .object(object))
      object[row[0]] = try JSONValue(parsing: row[1])
      let parameters = try MetaParameters(parsing: .object(object))
      #expect(parameters.ignoredKeys.isEmpty, "\(row[0])")
      // `llama3` is what an absent type means.
      #expect((parameters != plain) == (row[0] != "rope_scaling_type"), "\(row[0])")
    }
  }
}
