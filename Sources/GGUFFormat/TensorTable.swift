internal import ByteIO
internal import Tensors

/// The tensor table as a file has it: names, types and extents are checked, offsets are not yet.
struct TensorTable {
  struct Row {
    let info: TensorInfo
    let offset: UInt64
    /// Where the row is in the file.
    let place: UInt64
  }

  private(set) var rows: [Row] = []

  init(_ input: inout HeaderInput, count: UInt64) throws {
    var seen: Set<UTF8Key> = []
    for _ in 0..<count {
      let place = input.offset
      let name = try input.name("a tensor's name", limit: GGUFLimits.tensorNameByteCount)
      do {
        guard seen.insert(UTF8Key(name)).inserted else {
          throw ParseFailure("the tensor is listed twice, which leaves open which of the two is meant", offset: place)
        }
        rows.append(try Self.row(&input, name, place))
      } catch var failure as ParseFailure {
        failure.item = failure.item ?? name
        throw failure
      }
    }
  }

  private static func row(_ input: inout HeaderInput, _ name: String, _ place: UInt64) throws -> Row {
    let rankOffset = input.offset
    let rank: UInt32 = try input.integer("the number of dimensions")
    guard rank <= UInt32(GGUFLimits.rank) else {
      throw ParseFailure(
        "the tensor has \(rank) dimensions, at most \(GGUFLimits.rank) are allowed", offset: rankOffset)
    }
    var extents: [Int] = []
    for _ in 0..<rank {
      let start = input.offset
      let extent: Int64 = try input.integer("an extent")
      guard extent >= 0 else { throw ParseFailure("an extent is negative: \(extent)", offset: start) }
      extents.append(Int(extent))
    }
    let typeOffset = input.offset
    do {
      let type = try GGMLType.elementType(id: try input.integer("the element type"))
      let info = try TensorInfo(name: name, elementType: type, shape: Shape(extents.reversed()))
      let offset: UInt64 = try input.integer("the tensor's offset")
      return Row(info: info, offset: offset, place: place)
    } catch var failure as ParseFailure {
      failure.offset = failure.offset ?? typeOffset
      throw failure
    }
  }

  /// The tensors once each one's offset is where the padding of the one before it ended, as llama.cpp demands.
  /// - Returns: the tensors, and the bytes that they take with all padding.
  func validated(alignment: Int) throws(ParseFailure) -> (entries: [GGUFEntry], paddedByteCount: UInt64) {
    var entries: [GGUFEntry] = []
    entries.reserveCapacity(rows.count)
    var next: UInt64 = 0
    for row in rows {
      guard row.offset == next else {
        let fault =
          row.offset % UInt64(alignment) != 0
          ? "it is no multiple of the alignment \(alignment)"
          : row.offset < next ? "the tensor would overlap the one before it" : "bytes would belong to no tensor"
        throw ParseFailure(
          "the tensor's offset is \(row.offset), the tensors before end at \(next): \(fault)", item: row.info.name,
          offset: row.place, advice: "the file was laid out with another alignment than it states, or is damaged")
      }
      // Sizes are at most Int.max, and so is the sum so far: their sum fits 64 bits, but padding might not.
      let end = next + UInt64(row.info.byteCount)
      let padded = end <= UInt64(Int64.max) ? GGUFHeader.aligned(end, to: alignment) : end
      guard padded <= UInt64(Int64.max) else {
        throw ParseFailure(
          "the tensors up to this one would take more than \(Int64.max) bytes", item: row.info.name, offset: row.place)
      }
      entries.append(GGUFEntry(info: row.info, dataRange: next..<end))
      next = padded
    }
    return (entries, next)
  }
}
