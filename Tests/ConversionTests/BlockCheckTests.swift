import ByteIO
import Checkpoints
import Conversion
import Foundation
import Kernels
import Llama
import Quantization
import Support
import Tensors
import Testing

private let targets: [GGMLFileType] = [.q8_0, .q4_0, .q5_1, .iq4_nl, .q4_k_m, .q6_k]

/// What the self-check finds in blocks, with the errors that it is there for.
@Suite("Self-check of blocks")
struct BlockCheckTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  /// A tile of blocks as it was written, and what it is checked against.
  private struct Tile {
    let step: PlannedStep
    let written: LogicalTensor
    let rows: Range<Int>
    let bytes: [UInt8]

    func check(_ bytes: [UInt8], sumOf quantized: [UInt8]) throws {
      let check = ValueCheck(step: step, written: written, checksums: [CRC32.checksum(quantized.span)])
      try check.check(bytes.span, rows: rows)
    }
  }

  private func tile(_ type: GGMLFileType, _ role: TensorRole) throws -> Tile {
    let options = ConversionOptions(target: .ggml(type), layout: .gguf, threads: 2)
    let run = try ConversionRun(
      try plan(Fixtures.bundled("tiny").path, options, output: folder.file("out.gguf").path))
    defer { try? run.staging.discard() }
    let step = try #require(run.plan.steps.first { $0.input.role == role })
    let written = try #require(try Checkpoint(path: run.staging.path).tensor(role))
    let check = ValueCheck(step: step, written: written, checksums: [])
    let rows = 0..<min(try #require(check.rowsPerVisit), written.rowCount)
    return Tile(step: step, written: written, rows: rows, bytes: try written.rows.bytes(rows: rows))
  }

  @Test("Every change of a byte after the quantizer is found", arguments: targets)
  func changedBytes(_ type: GGMLFileType) throws {
    let tile = try tile(type, .layer(1, .down))
    try tile.check(tile.bytes, sumOf: tile.bytes)
    for place in stride(from: 0, to: tile.bytes.count, by: 1 + tile.bytes.count / 97) {
      var damaged = tile.bytes
      damaged[place] ^= 1 << UInt8(place % 8)
      let failure = #expect(throws: ConversionFailure.self, "byte \(place)") {
        try tile.check(damaged, sumOf: tile.bytes)
      }
      #expect(failure?.kind == .selfCheck && failure?.message.contains("what the quantizer gave") == true)
    }
  }

  /// Blocks that are near the weights and reach the disk unharmed, but are not what the format's definition gives: those of
  /// weights that are off by a few thousandths, as from a kernel that rounds wrongly.
  @Test("Blocks of a wrong quantizer are found", arguments: targets)
  func wrongKernel(_ type: GGMLFileType) throws {
    let tile = try tile(type, .layer(1, .down))
    var values = try tile.step.input.values(rows: tile.rows)
    for index in values.indices { values[index] *= index % 2 == 0 ? 1.004 : 0.997 }
    let format = try #require(tile.written.elementType.block.map(BlockFormat.init))
    var wrong = tile.bytes
    var span = wrong.mutableSpan
    BlockRows.quantize(values.span, columns: tile.written.columnCount, format: format, into: &span)
    let failure = #expect(throws: ConversionFailure.self) { try tile.check(wrong, sumOf: wrong) }
    #expect(failure?.kind == .selfCheck && failure?.message.contains("the definition of \(format)") == true)
  }

  @Test(
    "Sixteen rows of a tensor at least are compared with the definition", arguments: [.q8_0, .q4_k_m] as [GGMLFileType])
  func sample(_ type: GGMLFileType) throws {
    let tile = try tile(type, .layer(0, .gate))
    let size = tile.bytes.count / tile.rows.count
    var found = 0
    for row in tile.rows {
      var wrong = tile.bytes
      wrong[row * size + size - 1] ^= 1
      do { try tile.check(wrong, sumOf: wrong) } catch { found += 1 }
    }
    #expect(found >= 16)
  }
}
