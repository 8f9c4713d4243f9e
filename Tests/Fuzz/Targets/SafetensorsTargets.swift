import ByteIO
import SafetensorsFormat
import Tensors

enum SafetensorsTargets {
  static func file(_ input: [UInt8]) throws {
    let bytes = input.span.rawBytes
    let read: SafetensorsHeader
    do throws(ParseFailure) {
      read = try SafetensorsHeader(parsing: bytes, fileByteCount: UInt64(input.count))
    } catch {
      return
    }
    try check(read, fileByteCount: UInt64(input.count))
    let layout = try again("what was read can be written") {
      try SafetensorsLayout(read.entries.map(\.info), metadata: read.metadata)
    }
    let written = layout.headerBytes
    let span = written.span.rawBytes
    let second: SafetensorsHeader
    do throws(ParseFailure) {
      second = try SafetensorsHeader(parsing: span, fileByteCount: layout.fileByteCount)
    } catch {
      throw FuzzFinding(description: "what was written is not read: \(error)")
    }
    try require(second.entries == layout.entries, "the tensors are those that were written")
    try require(second.entries.count == read.entries.count, "all tensors were written")
    for entry in read.entries {
      try require(second.entry(entry.info.name)?.info == entry.info, "a tensor is the same")
    }
    try require(Set(second.metadata.entries.map(\.key)) == Set(read.metadata.entries.map(\.key)), "metadata are kept")
  }

  private static func check(_ header: SafetensorsHeader, fileByteCount: UInt64) throws {
    var end = header.dataOffset
    for entry in header.entries {
      let range = header.fileRange(of: entry)
      try require(range.lowerBound == end, "tensors follow each other")
      try require(range.upperBound - range.lowerBound == UInt64(entry.info.byteCount), "a tensor has its size")
      try require(header.entry(entry.info.name) == entry, "a tensor is found by its name")
      end = range.upperBound
    }
    try require(end == fileByteCount, "tensors fill the file")
  }

  static func shards(_ input: [UInt8]) throws {
    let (text, shard) = parts(input)
    let bytes = text.span.rawBytes
    let index: SafetensorsIndex
    do throws(ParseFailure) { index = try SafetensorsIndex(parsing: bytes) } catch { return }
    let written = Array(index.serialized().utf8)
    let span = written.span.rawBytes
    let second: SafetensorsIndex
    do throws(ParseFailure) { second = try SafetensorsIndex(parsing: span) } catch {
      throw FuzzFinding(description: "the index that was written is not read: \(error)")
    }
    try require(Set(second.locations) == Set(index.locations), "the index is the same")
    try require(
      second.totalSize == index.totalSize && second.totalParameters == index.totalParameters, "sizes are the same")
    try withFolder { folder in
      try write(text, to: folder + "/" + SafetensorsIndex.fileName)
      try write(shard, to: folder + "/a.safetensors")
      do {
        let model = try ShardedSafetensors(directory: folder, indexFileName: SafetensorsIndex.fileName)
        for tensor in model.tensors.prefix(16) {
          var first = [UInt8](repeating: 0, count: min(tensor.byteCount, 100))
          var span = first.mutableSpan
          try model.read(tensor.name, at: 0, into: &span)
        }
      } catch is ParseFailure {
      } catch let failure as FileFailure {
        // The index may name any shard, under any name.
        try require(failure.kind == .missing || failure.kind == .cannotCreate, "\(failure)")
      }
    }
  }
}
