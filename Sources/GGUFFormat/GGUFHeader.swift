public import ByteIO
public import Tensors

/// One tensor of a GGUF file.
public struct GGUFEntry: Sendable, Hashable {
  /// The shape is `[out, in]`: the file's extents, innermost first, reversed.
  public let info: TensorInfo
  /// First byte and byte behind the last one, counted from the start of the data. Padding is not in it.
  public let dataRange: Range<UInt64>
}

/// The validated header of a GGUF file: metadata, what tensors there are and where. The rules and their order are those of
/// `formats/gguf.md`.
public struct GGUFHeader: Sendable {
  /// 2 or 3, which differ in nothing that is read here.
  public let version: UInt32
  public private(set) var metadata: GGUFMetadata
  /// Of the data and of each tensor in it, in bytes.
  public let alignment: Int
  /// All tensors in the file's order.
  public let entries: [GGUFEntry]
  /// Offset of the data in the file.
  public let dataOffset: UInt64
  /// Bytes in the file behind the last tensor's padding. Readers ignore them.
  public let trailingByteCount: UInt64
  private let indexByName: [UTF8Key: Int]

  /// The tensor called `name`, compared by UTF-8 bytes.
  public func entry(_ name: String) -> GGUFEntry? { indexByName[UTF8Key(name)].map { entries[$0] } }

  /// Where the bytes of an entry are in the file.
  public func fileRange(of entry: GGUFEntry) -> Range<UInt64> {
    dataOffset + entry.dataRange.lowerBound..<dataOffset + entry.dataRange.upperBound
  }

  /// Reads and checks the header of an open file, a piece at a time.
  /// - Throws: `ParseFailure` for bytes that are no valid GGUF file, `FileFailure` when reading fails.
  public init(reading file: ReadableFile) throws {
    do {
      var input = HeaderInput(file)
      try self.init(&input)
      // Told by the magic number, which no padding begins with.
      if trailingByteCount >= 4 {
        let end = file.byteCount - trailingByteCount
        guard try file.bytes(at: end, count: 4) != Self.magic else {
          throw ParseFailure(
            "another GGUF file follows the last tensor", offset: end,
            advice: "pieces of a split model were put together with cat, which hides all but the first: "
              + "give the pieces themselves")
        }
      }
      metadata.file = file.path
    } catch let failure as ParseFailure {
      throw failure.in(file: file.path)
    }
  }

  /// Parses a header that is already in memory.
  /// - Parameters:
  ///   - bytes: the start of the file, at least up to the end of the tensor table.
  ///   - fileByteCount: size of the whole file.
  /// - Throws: `ParseFailure` for bytes that are no valid GGUF file.
  public init(parsing bytes: [UInt8], fileByteCount: UInt64) throws {
    var input = HeaderInput(bytes, fileByteCount: fileByteCount)
    try self.init(&input)
  }

  private init(_ input: inout HeaderInput) throws {
    let fixed = try FixedPart(&input)
    version = fixed.version
    metadata = try input.metadata(count: fixed.keyCount)
    alignment = try Self.alignment(metadata)
    let table = try TensorTable(&input, count: fixed.tensorCount)
    dataOffset = table.rows.isEmpty ? input.offset : Self.aligned(input.offset, to: alignment)
    let data = try table.validated(alignment: alignment)
    entries = data.entries
    let (end, overflow) = dataOffset.addingReportingOverflow(data.paddedByteCount)
    guard !overflow, end <= input.fileByteCount else {
      let last = data.entries.last
      throw ParseFailure(
        "the tensors take \(data.paddedByteCount) bytes from byte \(dataOffset) on, the file ends at byte "
          + "\(input.fileByteCount)",
        item: last?.info.name, offset: input.fileByteCount, advice: "the download may be incomplete")
    }
    // Without tensors there need not be padding, but writers leave it.
    trailingByteCount = input.fileByteCount - min(Self.aligned(end, to: alignment), input.fileByteCount)
    var indexByName = [UTF8Key: Int](minimumCapacity: entries.count)
    for (index, entry) in entries.enumerated() { indexByName[UTF8Key(entry.info.name)] = index }
    self.indexByName = indexByName
  }

  static let magic = Array("GGUF".utf8)
  static let alignmentKey = "general.alignment"

  private static func alignment(_ metadata: GGUFMetadata) throws(ParseFailure) -> Int {
    guard let stated = try metadata.scalar(alignmentKey, as: UInt32.self) else { return GGUFLimits.defaultAlignment }
    guard stated.nonzeroBitCount == 1, stated <= UInt32(GGUFLimits.alignment) else {
      throw ParseFailure(
        "the alignment is \(stated), expected is a power of two up to \(GGUFLimits.alignment)", item: alignmentKey,
        offset: metadata.entry(alignmentKey)?.offset)
    }
    return Int(stated)
  }

  /// Only for offsets in headers, which are far from overflow.
  static func aligned(_ offset: UInt64, to alignment: Int) -> UInt64 {
    let alignment = UInt64(alignment)
    return (offset + alignment - 1) / alignment * alignment
  }
}

/// Magic number, version and counts.
private struct FixedPart {
  let version: UInt32
  let tensorCount: UInt64
  let keyCount: UInt64

  init(_ input: inout HeaderInput) throws {
    guard input.fileByteCount >= GGUFLimits.fixedByteCount else {
      throw ParseFailure(
        "the file has \(input.fileByteCount) bytes, a GGUF file has at least \(GGUFLimits.fixedByteCount)", offset: 0,
        advice: "the download may be incomplete")
    }
    var magic: [UInt8] = []
    try input.take(4, into: &magic, "the magic number")
    guard magic == GGUFHeader.magic else {
      let digits = magic.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
      throw ParseFailure(
        "the file begins with the bytes \(digits), expected is GGUF (47 47 55 46)", offset: 0,
        advice: Self.advice(for: magic))
    }
    version = try input.integer("the version")
    try Self.check(version)
    tensorCount = try Self.count(
      &input, "tensors", limit: GGUFLimits.tensorCount, least: GGUFLimits.leastTensorByteCount)
    keyCount = try Self.count(&input, "keys", limit: GGUFLimits.keyCount, least: GGUFLimits.leastKeyByteCount)
    try input.require(
      tensorCount * GGUFLimits.leastTensorByteCount + keyCount * GGUFLimits.leastKeyByteCount,
      "a header of \(keyCount) keys and \(tensorCount) tensors")
  }

  private static func check(_ version: UInt32) throws(ParseFailure) {
    if version == 2 || version == 3 { return }
    if version != 0, version & 0xFFFF == 0 {
      throw ParseFailure(
        "the file is big-endian: its version reads \(version)", offset: 4,
        advice: "convert it to little-endian (gguf_convert_endian.py of llama.cpp's gguf package)")
    }
    let advice =
      version == 1
      ? "version 1 was in use for weeks of 2023: convert the original model again"
      : version > 3 ? "the file is from a later version of the format, or damaged" : "the file is damaged"
    throw ParseFailure("the version is \(version), expected is 2 or 3", offset: 4, advice: advice)
  }

  /// A number of things that take at least `least` bytes each.
  private static func count(
    _ input: inout HeaderInput, _ what: String, limit: Int, least: UInt64
  ) throws -> UInt64 {
    let start = input.offset
    let count: UInt64 = try input.integer("the number of \(what)")
    guard count <= UInt64(Int64.max) else {
      throw ParseFailure("the number of \(what) is negative: \(Int64(truncatingIfNeeded: count))", offset: start)
    }
    guard count <= input.remaining / least else {
      throw ParseFailure(
        "the file claims \(count) \(what), its \(input.remaining) remaining bytes hold at most "
          + "\(input.remaining / least)",
        offset: start, advice: "the file is damaged or the download incomplete")
    }
    guard count <= UInt64(limit) else {
      throw ParseFailure("the file claims \(count) \(what), at most \(limit) are allowed", offset: start)
    }
    return count
  }

  private static func advice(for magic: [UInt8]) -> String {
    switch magic {
    case Array("vers".utf8): "this is a Git LFS pointer: fetch the file itself (git lfs pull)"
    case [0x50, 0x4B, 0x03, 0x04]: "this is a zip archive, perhaps a PyTorch file"
    case Array("lmgg".utf8), Array("tjgg".utf8), Array("fmgg".utf8):
      "this is one of the formats before GGUF: convert the original model again"
    case Array("FUGG".utf8): "the magic number is reversed: the file is damaged"
    case _ where magic[0] == UInt8(ascii: "<"): "this looks like a web page: the download failed"
    default: "the file is damaged or no GGUF file"
    }
  }
}
