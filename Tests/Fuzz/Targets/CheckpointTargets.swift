import ByteIO
import Checkpoints
import Tensors

enum CheckpointTargets {
  /// Data that a header may claim; more is not made.
  private static let dataLimit = 1 << 20

  static func safetensors(_ input: [UInt8]) throws {
    let (configuration, header) = parts(input)
    let start = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header
    try withFolder { folder in
      try write(configuration, to: folder + "/config.json")
      try write(start, to: folder + "/model.safetensors", byteCount: start.count + dataByteCount(header))
      try open(folder)
    }
  }

  static func file(_ input: [UInt8]) throws {
    try withFolder { folder in
      try write(input, to: folder + "/x.gguf")
      try open(folder + "/x.gguf")
    }
  }

  static func meta(_ input: [UInt8]) throws {
    let (parameters, pickle) = parts(input)
    try withFolder { folder in
      try write(parameters, to: folder + "/params.json")
      try write(TorchTarget.archive(pickle), to: folder + "/consolidated.00.pth")
      try open(folder)
    }
  }

  /// All that is done with a checkpoint before it is converted.
  private static func open(_ path: String) throws {
    let lint = try reading { try LintReport(ofCheckpointAt: path, readsValues: true, threads: 1) }
    guard let checkpoint = try reading({ try Checkpoint(path: path) }) else { return }
    try require(lint != nil, "what opens is linted")
    let inspection = Inspection(of: checkpoint)
    _ = (inspection.summary, inspection.document)
    _ = try reading { try checkpoint.tokenizer() }
    for tensor in checkpoint.tensors.prefix(32) where tensor.rowCount > 0 {
      // Scales and codes may be refused when they are read.
      _ = try reading { try tensor.values(rows: 0..<1) }
      _ = try reading { try tensor.values(rows: tensor.rowCount - 1..<tensor.rowCount) }
      _ = try reading { try tensor.digest() }
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
