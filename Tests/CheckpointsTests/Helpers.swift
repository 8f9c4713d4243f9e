import ByteIO
import Checkpoints
import Foundation
import Llama
import Quantization
import Support
import Tensors

extension TinyCheckpoint {
  /// Writes the checkpoint into a new folder, which lives as long as the result.
  func written(shards: Int = 1) throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    try write(to: folder.url, shards: shards)
    return folder
  }

  /// What `work` makes of the opened checkpoint.
  func opened<Result>(shards: Int = 1, _ work: (Checkpoint) throws -> Result) throws -> Result {
    let folder = try written(shards: shards)
    defer { withExtendedLifetime(folder) {} }
    return try work(Checkpoint(path: folder.url.path))
  }

  /// The failure that opening gives; nil when it opens.
  func failure(shards: Int = 1) throws -> ParseFailure? {
    do {
      try opened(shards: shards) { _ in }
      return nil
    } catch let failure as ParseFailure {
      return failure
    }
  }
}

extension LogicalTensor {
  /// All stored bytes, in canonical row order.
  func allBytes() throws -> [UInt8] { try rows.bytes(rows: 0..<rows.rowCount) }

  /// All values as the toolkit computes with them.
  func values() throws -> [Float] { try values(rows: 0..<rowCount) }
}

/// The rows of queries or keys from Hugging Face's order to Meta's, by the rule `meta[2j + b] = hf[b·D/2 + j]` in every
/// head; shares no code with the toolkit's permutation.
func interleaved<Element>(_ elements: [Element], headRows: Int, columns: Int) -> [Element] {
  var result = elements
  let heads = elements.count / columns / headRows
  for head in 0..<heads {
    for pair in 0..<headRows / 2 {
      for part in 0..<2 {
        let from = (head * headRows + part * (headRows / 2) + pair) * columns
        let to = (head * headRows + 2 * pair + part) * columns
        result.replaceSubrange(to..<to + columns, with: elements[from..<from + columns])
      }
    }
  }
  return result
}

extension [TinyCheckpoint.Tensor] {
  subscript(_ name: String) -> TinyCheckpoint.Tensor {
    guard let tensor = first(where: { $0.name == name }) else { preconditionFailure("no tensor \(name)") }
    return tensor
  }
}
