import ByteIO
import Checkpoints
import Tensors

enum CheckpointTarget {
  /// Data that a header may claim; more is not made.
  private static let dataLimit = 1 << 20

  static func run(_ input: [UInt8]) throws {
    let (configuration, header) = parts(input)
    let start = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header
    try withFolder { folder in
      try write(configuration, to: folder + "/config.json")
      try write(start, to: folder + "/model.safetensors", byteCount: start.count + dataByteCount(header))
      let lint = try reading { try LintReport(ofCheckpointAt: folder, readsValues: true, threads: 1) }
      guard let checkpoint = try reading({ try Checkpoint(path: folder) }) else { return }
      try require(lint != nil, "what opens is linted")
      let inspection = Inspection(of: checkpoint)
      _ = (inspection.summary, inspection.document)
      for tensor in checkpoint.tensors.prefix(32) where tensor.rowCount > 0 {
        // Scales and codes may be refused when they are read.
        _ = try reading { try tensor.values(rows: 0..<1) }
        _ = try reading { try tensor.values(rows: tensor.rowCount - 1..<tensor.rowCount) }
        _ = try reading { try tensor.digest() }
      }
    }
  }

  /// The end of the last tensor, if that is not far away.
  private static func dataByteCount(_ header: [UInt8]) -> Int {
    let bytes = header.span.rawBytes
    guard let document = try? JSONValue(parsing: bytes), let members = document.object?.members else { return 0 }
    let ends = members.compactMap { $0.value["data_offsets"]?.array?.last?.integer }
    return ends.filter { (0...dataLimit).contains($0) }.max() ?? 0
  }
}
