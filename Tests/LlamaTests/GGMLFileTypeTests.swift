import Foundation
import Llama
import Support
import Tensors
import Testing

/// Types of a file as llama-quantize of llama.cpp gave them to a model of 6 layers, hidden size 512.
struct QuantizedModel: Sendable, CustomTestStringConvertible {
  let fileType: String
  /// Tensor name and element type.
  let types: [String: String]

  var testDescription: String { fileType }

  static let configuration = LlamaConfiguration(
    hiddenSize: 512, layerCount: 6, headCount: 8, keyValueHeadCount: 4, headDimension: 64, feedForwardSize: 1536,
    vocabularySize: 4096, normEpsilon: 1e-5, rope: RoPEParameters(base: 5e5), maximumPositions: 2048,
    tiesEmbeddings: false)

  /// In the repository.
  static let bundled: [QuantizedModel] = {
    guard let root = json(Fixtures.bundled("gguf/mixtures.json")), let names = root["names"] as? [String],
      let types = root["types"] as? [String: [String]]
    else { return [] }
    return types.sorted { $0.key < $1.key }.map { fileType, types in
      QuantizedModel(fileType: fileType, types: Dictionary(uniqueKeysWithValues: zip(names, types)))
    }
  }()

  /// The file that the bundled one was cut from: with digests of the tensors.
  static func large(_ url: URL) -> [QuantizedModel] {
    guard let root = json(url) as? [String: [String: [String]]] else { return [] }
    return root.map { QuantizedModel(fileType: $0, types: $1.compactMapValues(\.first)) }
  }

  private static func json(_ url: URL) -> [String: Any]? {
    guard let data = try? Data(contentsOf: url) else { return nil }
    return (try? JSONSerialization.jsonObject(with: data)) as? [String: Any]
  }
}

@Suite("Mixtures of element types")
struct GGMLFileTypeTests {
  @Test func allFileTypesAreThere() {
    let found = Set(QuantizedModel.bundled.map(\.fileType))
    // An F32 file has no second type.
    #expect(found == Set(GGMLFileType.allCases.map(\.rawValue)).subtracting(["f32"]))
    #expect(QuantizedModel.bundled.allSatisfy { $0.types.count == QuantizedModel.configuration.roles.count })
  }

  @Test(arguments: QuantizedModel.bundled)
  func areThoseOfTheReference(_ model: QuantizedModel) throws { try check(model) }

  static let hashes = Fixtures.large("small3.gguf-hashes.json")

  @Test(.enabled(if: hashes != nil, "needs the larger fixtures"))
  func areThoseOfTheLargerFixture() throws {
    let models = QuantizedModel.large(try #require(Self.hashes))
    #expect(models.count == QuantizedModel.bundled.count)
    for model in models { try check(model) }
  }

  private func check(_ model: QuantizedModel) throws {
    let fileType = try #require(GGMLFileType(rawValue: model.fileType))
    for role in QuantizedModel.configuration.roles {
      let name = NamingDialect.gguf.name(for: role)
      #expect(fileType.elementType(of: role, in: QuantizedModel.configuration).rawValue == model.types[name], "\(name)")
    }
  }

  /// `general.file_type` as the format page has it; `Tests/Interop/test_gguf.py` holds the page against `gguf`.
  @Test func numbers() throws {
    let page = try String(contentsOf: Fixtures.root.appending(path: "formats/gguf.md"), encoding: .utf8)
    let lines = page.components(separatedBy: "\n").drop { $0 != "```filetypes" }.dropFirst().prefix { $0 != "```" }
    let numbers = lines.map { $0.split(separator: " ").map(String.init) }
    #expect(numbers.map { $0[0] } == GGMLFileType.allCases.map(\.rawValue))
    for row in numbers {
      let (type, id) = (try #require(GGMLFileType(rawValue: row[0])), try #require(UInt32(row[1])))
      #expect(type.id == id && GGMLFileType(id: id) == type)
    }
    for id: UInt32 in [4, 5, 6, 10, 33, 1024] { #expect(GGMLFileType(id: id) == nil) }
  }

  @Test func normsAreF32Always() {
    for fileType in GGMLFileType.allCases {
      for role in [TensorRole.outputNorm, .layer(0, .attentionNorm), .layer(5, .feedForwardNorm)] {
        #expect(fileType.elementType(of: role, in: QuantizedModel.configuration) == .f32)
      }
    }
  }
}

/// What llama.cpp does with the published sizes, written down by hand from its rules.
@Suite("Mixtures of published models")
struct PublishedMixtureTests {
  struct Mixture: Sendable, CustomTestStringConvertible {
    let model: String
    let fileType: GGMLFileType
    var hasImportanceMatrix = false
    let embedding: BlockType
    /// Nil for tied models.
    let head: BlockType?
    /// Of queries, keys, attention output, gate and up.
    let rest: BlockType
    /// Layers whose values have `more.0`, others have `more.1`; the same for down projections.
    let values: (layers: [Int], more: BlockType, else: BlockType)
    let downs: (layers: [Int], more: BlockType, else: BlockType)

    var testDescription: String { "\(model) as \(fileType)\(hasImportanceMatrix ? ", importance known" : "")" }
  }

  /// First and last eighth, and every third layer between, for 32, 16 and 28 layers.
  static let more32 = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
  static let more16 = [0, 1, 4, 7, 10, 13, 14, 15]
  static let more28 = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]
  static let more80 =
    Array(0...9) + [12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60, 63, 66, 69] + Array(70...79)

  static let all: [Mixture] = [
    Mixture(
      model: "Llama 3.1 8B", fileType: .q4_k_m, embedding: .q4_k, head: .q6_k, rest: .q4_k,
      values: (more32, .q6_k, .q4_k), downs: (more32, .q6_k, .q4_k)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q4_k_s, embedding: .q4_k, head: .q6_k, rest: .q4_k,
      values: ([0, 1, 2, 3], .q5_k, .q4_k), downs: ([0, 1, 2, 3], .q5_k, .q4_k)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q5_k_m, embedding: .q5_k, head: .q6_k, rest: .q5_k,
      values: (more32, .q6_k, .q5_k), downs: (more32, .q6_k, .q5_k)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q5_k_s, embedding: .q5_k, head: .q6_k, rest: .q5_k,
      values: ([], .q6_k, .q5_k), downs: ([], .q6_k, .q5_k)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q8_0, embedding: .q8_0, head: .q8_0, rest: .q8_0,
      values: ([], .q8_0, .q8_0), downs: ([], .q8_0, .q8_0)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q4_0, embedding: .q4_0, head: .q6_k, rest: .q4_0,
      values: ([], .q4_0, .q4_0), downs: ([], .q4_0, .q4_0)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q4_0, hasImportanceMatrix: true, embedding: .q4_0, head: .q6_k, rest: .q4_0,
      values: ([], .q4_0, .q4_0), downs: ([0, 1, 2, 3], .q4_1, .q4_0)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .q5_0, hasImportanceMatrix: true, embedding: .q5_0, head: .q6_k, rest: .q5_0,
      values: ([], .q5_0, .q5_0), downs: ([0, 1, 2, 3], .q5_1, .q5_0)),
    // Four query heads share a key/value head.
    Mixture(
      model: "Llama 3.1 8B", fileType: .iq4_nl, embedding: .iq4_nl, head: .q6_k, rest: .iq4_nl,
      values: (Array(0..<32), .q5_k, .iq4_nl), downs: ([0, 1, 2, 3], .q5_k, .iq4_nl)),
    Mixture(
      model: "Llama 3.1 8B", fileType: .iq4_nl, hasImportanceMatrix: true, embedding: .iq4_nl, head: .q6_k,
      rest: .iq4_nl, values: (Array(0..<32), .q5_k, .iq4_nl), downs: ([], .q5_k, .iq4_nl)),
    // One does not.
    Mixture(
      model: "Llama 2 7B", fileType: .iq4_nl, embedding: .iq4_nl, head: .q6_k, rest: .iq4_nl,
      values: ([], .q5_k, .iq4_nl), downs: ([0, 1, 2, 3], .q5_k, .iq4_nl)),
    Mixture(
      model: "Llama 3.1 70B", fileType: .q4_k_m, embedding: .q4_k, head: .q6_k, rest: .q4_k,
      values: (more80, .q6_k, .q5_k), downs: (more80, .q6_k, .q4_k)),
    Mixture(
      model: "Llama 3.1 70B", fileType: .q4_k_s, embedding: .q4_k, head: .q6_k, rest: .q4_k,
      values: (Array(0..<80), .q5_k, .q4_k), downs: (Array(0...9), .q5_k, .q4_k)),
    Mixture(
      model: "Llama 3.1 70B", fileType: .q5_k_m, embedding: .q5_k, head: .q6_k, rest: .q5_k,
      values: (more80, .q6_k, .q5_k), downs: (more80, .q6_k, .q5_k)),
    // 80 layers without groups.
    Mixture(
      model: "Llama 1 65B", fileType: .q4_k_m, embedding: .q4_k, head: .q6_k, rest: .q4_k,
      values: (more80, .q6_k, .q4_k), downs: (more80, .q6_k, .q4_k)),
    Mixture(
      model: "Llama 3.2 1B", fileType: .q4_k_m, embedding: .q6_k, head: nil, rest: .q4_k,
      values: (more16, .q6_k, .q4_k), downs: (more16, .q6_k, .q4_k)),
    Mixture(
      model: "Llama 3.2 1B", fileType: .q4_k_s, embedding: .q6_k, head: nil, rest: .q4_k,
      values: ([0, 1, 2, 3], .q5_k, .q4_k), downs: ([0, 1], .q5_k, .q4_k)),
    Mixture(
      model: "Llama 3.2 1B", fileType: .q8_0, embedding: .q8_0, head: nil, rest: .q8_0,
      values: ([], .q8_0, .q8_0), downs: ([], .q8_0, .q8_0)),
    Mixture(
      model: "Llama 3.2 3B", fileType: .q5_k_m, embedding: .q6_k, head: nil, rest: .q5_k,
      values: (more28, .q6_k, .q5_k), downs: (more28, .q6_k, .q5_k)),
  ]

  static let shapes: [String: LlamaConfiguration] = [
    "Llama 3.1 8B": shape(4096, 32, 32, 8, 14336), "Llama 2 7B": shape(4096, 32, 32, 32, 11008),
    "Llama 3.1 70B": shape(8192, 80, 64, 8, 28672), "Llama 1 65B": shape(8192, 80, 64, 64, 22016),
    "Llama 3.2 1B": shape(2048, 16, 32, 8, 8192, isTied: true),
    "Llama 3.2 3B": shape(3072, 28, 24, 8, 8192, isTied: true),
  ]

  static func shape(
    _ hidden: Int, _ layers: Int, _ heads: Int, _ keyValueHeads: Int, _ feedForward: Int, isTied: Bool = false
  ) -> LlamaConfiguration {
    LlamaConfiguration(
      hiddenSize: hidden, layerCount: layers, headCount: heads, keyValueHeadCount: keyValueHeads,
      headDimension: hidden / heads, feedForwardSize: feedForward, vocabularySize: 128_256, normEpsilon: 1e-5,
      rope: RoPEParameters(base: 5e5), maximumPositions: 8192, tiesEmbeddings: isTied)
  }

  @Test(arguments: all)
  func gives(_ mixture: Mixture) throws {
    let configuration = try #require(Self.shapes[mixture.model])
    func type(_ role: TensorRole) -> ElementType {
      mixture.fileType.elementType(
        of: role, in: configuration, hasImportanceMatrix: mixture.hasImportanceMatrix)
    }
    #expect(type(.tokenEmbedding) == .block(mixture.embedding))
    #expect(configuration.tiesEmbeddings == (mixture.head == nil))
    if let head = mixture.head { #expect(type(.outputHead) == .block(head)) }
    let layers = Array(0..<configuration.layerCount)
    for layer in layers {
      for part in [LayerRole.query, .key, .attentionOutput, .gate, .up] {
        #expect(type(.layer(layer, part)) == .block(mixture.rest))
      }
    }
    for (part, expected) in [(LayerRole.value, mixture.values), (.down, mixture.downs)] {
      let found = layers.map { type(.layer($0, part)) }
      #expect(found == layers.map { .block(expected.layers.contains($0) ? expected.more : expected.else) }, "\(part)")
    }
  }

  /// Columns of a width that is no whole number of blocks: 64-wide heads make `hidden` 320 and the like possible.
  @Test(arguments: [
    (GGMLFileType.q4_k_m, 320, ElementType.block(.q5_0), ElementType.block(.q8_0), ElementType.block(.q8_0)),
    (.q4_k_s, 320, .block(.q5_0), .block(.q8_0), .block(.q5_1)),
    (.q5_k_s, 320, .block(.q5_1), .block(.q8_0), .block(.q5_1)),
    (.q6_k, 320, .block(.q8_0), .block(.q8_0), .block(.q8_0)),
    (.q8_0, 320, .block(.q8_0), .block(.q8_0), .block(.q8_0)),
    // Whole blocks of 32, so the head is to be Q6_K, which does not fit.
    (.q4_0, 320, .block(.q4_0), .block(.q8_0), .block(.q4_0)),
    (.q4_k_m, 80, .f16, .f16, .f16), (.q6_k, 80, .f16, .f16, .f16), (.q4_0, 80, .f16, .f16, .f16),
    (.q8_0, 80, .f16, .f16, .f16), (.iq4_nl, 80, .f16, .f16, .f16), (.bf16, 80, .bf16, .bf16, .bf16),
    (.f32, 80, .f32, .f32, .f32),
  ])
  func fallsBack(_ type: GGMLFileType, _ columns: Int, _ query: ElementType, _ head: ElementType, _ value: ElementType)
  {
    let configuration = Self.shape(columns, 8, 4, 4, 2 * columns)
    #expect(type.elementType(of: .layer(3, .query), in: configuration) == query)
    #expect(type.elementType(of: .outputHead, in: configuration) == head)
    #expect(type.elementType(of: .layer(0, .value), in: configuration) == value)
    #expect(type.elementType(of: .tokenEmbedding, in: configuration) == query)
    // Whatever it is, it can be stored.
    for role in configuration.roles {
      #expect(throws: Never.self) {
        try configuration.shape(of: role).byteCount(of: type.elementType(of: role, in: configuration))
      }
    }
  }
}
