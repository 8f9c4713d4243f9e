import ByteIO
import Llama
import Support
import Tensors
import Testing

@Suite struct MetaModelTests {
  private func read(
    _ json: String, _ shards: [MetaShard], _ contents: MetaModel.Contents = MetaModel.Contents()
  ) throws -> MetaModel {
    try MetaModel(MetaParameters(parsing: JSONValue(parsing: json)), shards: shards, contents: contents)
  }

  @Test("published parameters with their shards are read as the published model", arguments: PublishedParameters.all)
  func readsPublishedModels(_ published: PublishedParameters) throws {
    let expected = try #require(published.expected)
    let shards = try MetaShardFolder.shards(
      expected, published.split, published.shards, extra: published.leftovers)
    let model = try read(
      published.json, shards,
      MetaModel.Contents(headIsEmbedding: expected.tiesEmbeddings, keyValueCopies: published.copies))
    #expect(model.configuration == expected)
    #expect(model.shardCount == published.shards)
    if published.shards > 1 { #expect(model.rules.embeddingSplit == published.split) }
  }
}
