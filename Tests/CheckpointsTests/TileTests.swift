import Checkpoints
import Foundation
import Llama
import Support
import Tensors
import Testing

/// Tensors are read about a mebibyte at a time. These have more: 512 rows of the first tile end within a head of 48.
@Suite struct TileTests {
  static let dimensions = TinyCheckpoint.Dimensions {
    ($0.hidden, $0.layers, $0.heads, $0.keyValueHeads, $0.headDimension) = (1024, 1, 16, 2, 48)
    ($0.feedForward, $0.vocabulary, $0.isTied) = (16, 600, true)
  }
  static let model = TinyCheckpoint(dimensions)

  @Test func digestsOfSeveralTilesAreThoseOfTheWhole() throws {
    let found = try Self.model.opened { try $0.digest(threads: 2) }
    for role in [TensorRole.tokenEmbedding, .layer(0, .query), .layer(0, .key), .layer(0, .attentionOutput)] {
      let stored = Self.model.tensors[NamingDialect.huggingFace.name(for: role)]
      let isReordered = role == .layer(0, .query) || role == .layer(0, .key)
      let bytes = isReordered ? interleaved(stored.bytes, headRows: 48, columns: 2048) : stored.bytes
      let text = "llama-tensor/1\n\(role.canonicalText)\nBF16 \(stored.shape[0])x\(stored.shape[1])\n"
      let digest = found.tensors.first { $0.role == role }?.digest
      #expect(digest == SHA256Sum.hexadecimal(of: Array(text.utf8) + bytes), "\(role.canonicalText)")
    }
  }

  @Test(
    "a bad value in a later tile is found where it is",
    arguments: [
      ("model.embed_tokens.weight", 599 * 1024 + 1023), ("model.layers.0.self_attn.q_proj.weight", 513 * 1024),
    ])
  func findsValuesInLaterTiles(_ name: String, _ element: Int) throws {
    var model = Self.model
    model.change(name) { $0.bytes.replaceSubrange(2 * element..<2 * element + 2, with: [0x80, 0x7F]) }
    let folder = try model.written()
    let report = try LintReport(ofCheckpointAt: folder.url.path, readsValues: true, threads: 2)
    let errors = report.findings.filter { $0.severity == .error }
    #expect(errors.count == 1 && errors[0].message.contains("element \(element) "))
  }
}
