import Checkpoints
import Foundation
import Support
import Testing

/// Queries and keys in the wrong order of rows, in a model that was trained.
@Suite struct LintRowOrderTests {
  /// Heads of 32 rows: 8 of queries and 4 of keys in each of 4 layers.
  private func model(_ parts: [String], _ reorder: ([UInt8]) -> [UInt8]) throws -> TinyCheckpoint {
    var model = try TinyCheckpoint(reading: Fixtures.bundled("tiny"))
    for part in parts {
      for layer in 0..<4 {
        model.change("model.layers.\(layer).self_attn.\(part).weight") { $0.bytes = reorder($0.bytes) }
      }
    }
    return model
  }

  private static let rowByteCount = 512

  private static func interleavedOnce(_ bytes: [UInt8], headRows: Int = 32) -> [UInt8] {
    interleaved(bytes, headRows: headRows, columns: rowByteCount)
  }

  /// The other way round: what undoes `interleavedOnce`.
  private static func halved(_ bytes: [UInt8], headRows: Int = 32) -> [UInt8] {
    var result = bytes
    for row in 0..<bytes.count / rowByteCount {
      let (head, within) = (row / headRows * headRows, row % headRows)
      let source = head + 2 * (within % (headRows / 2)) + within / (headRows / 2)
      result.replaceSubrange(
        row * rowByteCount..<(row + 1) * rowByteCount, with: bytes[source * rowByteCount..<(source + 1) * rowByteCount])
    }
    return result
  }

  private func findings(_ model: TinyCheckpoint) throws -> [LintFinding] {
    let report = try model.linted()
    #expect(report.distinctCodes == [.rowOrder] || report.codes.isEmpty, "\(report.summary)")
    return report.findings.filter { $0.code == .rowOrder }
  }

  @Test("rows that were never reordered")
  func unpermuted() throws {
    let found = try findings(try model(["q_proj", "k_proj"]) { Self.interleavedOnce($0) })
    #expect(found.map(\.found) == ["an order that was not permuted", "an order that was not permuted"])
    #expect(
      found.map(\.tensor) == ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"])
  }

  @Test("rows that were reordered twice")
  func twice() throws {
    let found = try findings(try model(["q_proj"]) { Self.halved($0) })
    #expect(found.map(\.found) == ["an order that was permuted twice"])
  }

  @Test("keys cut into as many heads as there are queries")
  func wrongHeads() throws {
    // From Meta's order by a writer that takes heads of 16 rows for those of 32.
    let found = try findings(try model(["k_proj"]) { Self.halved(Self.interleavedOnce($0), headRows: 16) })
    #expect(found.map(\.found) == ["an order that was permuted with num_attention_heads"])
  }

  @Test("both tools undo each other, and the right order says nothing")
  func right() throws {
    let same = try model(["q_proj", "k_proj"]) { Self.halved(Self.interleavedOnce($0)) }
    #expect(try findings(same).isEmpty)
    #expect(
      try same.tensors["model.layers.0.self_attn.q_proj.weight"].bytes
        == TinyCheckpoint(reading: Fixtures.bundled("tiny")).tensors["model.layers.0.self_attn.q_proj.weight"].bytes)
  }

  @Test("random weights say nothing in any order")
  func random() throws {
    for seed in UInt64(1)...20 {
      var model = TinyCheckpoint(.init { ($0.headDimension, $0.layers) = (16, 8) }, seed: seed)
      #expect(try model.linted().codes.isEmpty, "seed \(seed)")
      for layer in 0..<8 {
        model.change("model.layers.\(layer).self_attn.k_proj.weight") {
          $0.bytes = interleaved($0.bytes, headRows: 16, columns: 64)
        }
      }
      #expect(try model.linted().codes.isEmpty, "seed \(seed)")
    }
  }
}
