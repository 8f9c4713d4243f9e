import ByteIO
import Checkpoints
import GGUFFormat
import Tensors

enum GGUFTargets {
  static func file(_ input: [UInt8]) throws {
    let read = try reading {
      let header = try GGUFHeader(parsing: input, fileByteCount: UInt64(input.count))
      _ = try GGUFTokens(header.metadata)
      return header
    }
    guard let header = read else { return }
    for entry in header.entries {
      let range = header.fileRange(of: entry)
      try require(range.upperBound - range.lowerBound == UInt64(entry.info.byteCount), "a tensor has its size")
      try require(header.entry(entry.info.name) == entry, "a tensor is found by its name")
    }
    let second = try again("what was read can be written and read") {
      let layout = try GGUFLayout(
        header.entries.map(\.info), metadata: header.metadata, alignment: header.alignment)
      return try GGUFHeader(parsing: layout.headerBytes, fileByteCount: layout.fileByteCount)
    }
    try require(second.entries == header.entries, "the tensors are those that were written")
    try require(second.metadata == header.metadata, "the metadata are those that were written")
  }

  static func compact(_ input: [UInt8]) throws {
    try withFolder { folder in
      let path = folder + "/x.gguf"
      try write(input, to: path)
      _ = try reading {
        let file = try CompactFile(path: path)
        for tensor in file.tensors + file.files.map(\.tensor) {
          // What an input of this size can hold; more is only claimed.
          guard tensor.byteCount <= 1 << 24 else { continue }
          try require(try file.bytes(of: tensor.name).count == tensor.byteCount, "a tensor has its size")
        }
      }
    }
  }

  static func importance(_ input: [UInt8]) throws {
    try withFolder { folder in
      let path = folder + "/x.imatrix"
      try write(input, to: path)
      guard let matrix = try reading({ try ImportanceMatrix(path: path) }) else { return }
      for name in matrix.entries.keys {
        for weight in matrix.weights(of: name) ?? [] {
          try require(weight >= 0, "weights are numbers and not negative")
        }
      }
      // Names and sizes of the old form may be such as no GGUF can have.
      let copy = folder + "/y.imatrix"
      guard matrix.entries.count <= 100, try reading({ try matrix.write(to: copy) }) != nil else { return }
      let second = try again("what was written is read") { try ImportanceMatrix(path: copy) }
      try require(second.entries == matrix.entries, "the matrix is the one that was written")
    }
  }
}
