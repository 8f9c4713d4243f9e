public import ByteIO
public import Tensors

/// What a GGUF file will be before a byte of its tensors exists: its header, and the place of every tensor. Equal input
/// gives an equal layout; the order of keys and tensors is the caller's.
public struct GGUFLayout: Sendable, Equatable {
  /// All tensors in the file's order.
  public let entries: [GGUFEntry]
  public let alignment: Int
  /// The metadata as written: with `general.alignment` when the alignment is not the default.
  public let metadata: GGUFMetadata
  /// The file's first bytes, up to the first tensor.
  public let headerBytes: [UInt8]
  /// Size of the whole file, the padding behind the last tensor included.
  public let fileByteCount: UInt64
  private let indexByName: [UTF8Key: Int]

  /// The version that is written.
  public static let version: UInt32 = 3

  /// Lays out `tensors` one behind the other, each at a multiple of the alignment.
  /// - Parameter alignment: decides alone; a `general.alignment` in the metadata is made to agree with it. Metadata that was
  ///   read from a file with another alignment must not make a file that no reader opens.
  /// - Throws: `ParseFailure` when a name is given twice or is none that readers take, when ggml has no such type, when a
  ///   size is wrong, when the alignment is no power of two, and when a limit of `GGUFLimits` is passed.
  public init(
    _ tensors: [TensorInfo], metadata: GGUFMetadata, alignment: Int = GGUFLimits.defaultAlignment
  ) throws(ParseFailure) {
    guard alignment.nonzeroBitCount == 1, (1...GGUFLimits.alignment).contains(alignment) else {
      throw ParseFailure(
        "the alignment is \(alignment), expected is a power of two up to \(GGUFLimits.alignment)",
        item: GGUFHeader.alignmentKey)
    }
    guard tensors.count <= GGUFLimits.tensorCount else {
      throw ParseFailure("\(tensors.count) tensors, a file can have \(GGUFLimits.tensorCount)")
    }
    self.alignment = alignment
    self.metadata = Self.stating(alignment, in: metadata)
    var places: [UTF8Key: Int] = [:]
    var entries: [GGUFEntry] = []
    entries.reserveCapacity(tensors.count)
    var next: UInt64 = 0
    for tensor in tensors {
      try Self.check(tensor)
      guard places.updateValue(entries.count, forKey: UTF8Key(tensor.name)) == nil else {
        throw ParseFailure("two tensors have this name", item: tensor.name)
      }
      let end = next + UInt64(tensor.byteCount)
      entries.append(GGUFEntry(info: tensor, dataRange: next..<end))
      guard end <= UInt64(Int64.max) / 2 else {
        throw ParseFailure("the file would pass \(Int64.max / 2) bytes", item: tensor.name)
      }
      next = GGUFHeader.aligned(end, to: alignment)
    }
    self.entries = entries
    indexByName = places
    headerBytes = try Self.header(entries, self.metadata, alignment)
    fileByteCount = UInt64(headerBytes.count) + next
  }

  /// Offset of the data in the file.
  public var dataOffset: UInt64 { UInt64(headerBytes.count) }

  /// Size of all tensors together, without padding.
  public var tensorByteCount: UInt64 { entries.reduce(0) { $0 + UInt64($1.info.byteCount) } }

  /// The tensor called `name`, compared by UTF-8 bytes.
  public func entry(_ name: String) -> GGUFEntry? { indexByName[UTF8Key(name)].map { entries[$0] } }

  /// Offset in the file of a tensor's first byte.
  public func fileOffset(of name: String) -> UInt64? { entry(name).map { dataOffset + $0.dataRange.lowerBound } }

  /// Writers state the alignment only when it is not the default; a default that was stated stays.
  private static func stating(_ alignment: Int, in metadata: GGUFMetadata) -> GGUFMetadata {
    let value = GGUFValue.uint32(UInt32(alignment))
    guard metadata[GGUFHeader.alignmentKey] != value else { return metadata }
    var changed = metadata
    if alignment == GGUFLimits.defaultAlignment {
      changed.remove(GGUFHeader.alignmentKey)
    } else {
      changed.set(GGUFHeader.alignmentKey, to: value)
    }
    return changed
  }

  private static func check(_ tensor: TensorInfo) throws(ParseFailure) {
    try checkName(tensor.name, "the tensor's name", limit: GGUFLimits.tensorNameByteCount)
    guard GGMLType.id(of: tensor.elementType) != nil else {
      throw ParseFailure(
        "GGUF has no element type \(tensor.elementType)", item: tensor.name,
        advice: "choose BF16, F16, F32 or one of ggml's block types")
    }
    guard tensor.shape.rank <= GGUFLimits.rank else {
      throw ParseFailure(
        "the tensor has \(tensor.shape.rank) dimensions, at most \(GGUFLimits.rank) are allowed", item: tensor.name)
    }
    let expected = try TensorInfo(name: tensor.name, elementType: tensor.elementType, shape: tensor.shape).byteCount
    guard tensor.byteCount == expected else {
      throw ParseFailure(
        "shape \(tensor.shape) in \(tensor.elementType) takes \(expected) bytes, not \(tensor.byteCount)",
        item: tensor.name)
    }
  }

  private static func checkName(_ name: String, _ what: String, limit: Int) throws(ParseFailure) {
    guard (1...limit).contains(name.utf8.count) else {
      throw ParseFailure("\(what) has \(name.utf8.count) bytes, expected are 1 to \(limit)", item: name)
    }
    guard !name.utf8.contains(0) else { throw ParseFailure("\(what) has a NUL in it", item: name) }
  }

  private static func header(
    _ entries: [GGUFEntry], _ metadata: GGUFMetadata, _ alignment: Int
  ) throws(ParseFailure) -> [UInt8] {
    guard metadata.entries.count <= GGUFLimits.keyCount else {
      throw ParseFailure("\(metadata.entries.count) keys, a file can have \(GGUFLimits.keyCount)")
    }
    var bytes = GGUFHeader.magic
    bytes.append(littleEndian: UInt64(version), byteCount: 4)
    bytes.append(littleEndian: UInt64(entries.count), byteCount: 8)
    bytes.append(littleEndian: UInt64(metadata.entries.count), byteCount: 8)
    for entry in metadata.entries {
      try checkName(entry.key, "the key", limit: GGUFLimits.keyByteCount)
      append(entry.key, to: &bytes)
      bytes.append(littleEndian: UInt64(entry.value.type.rawValue), byteCount: 4)
      entry.value.append(to: &bytes)
    }
    for entry in entries {
      append(entry.info.name, to: &bytes)
      bytes.append(littleEndian: UInt64(entry.info.shape.rank), byteCount: 4)
      for extent in entry.info.shape.dimensions.reversed() { bytes.append(littleEndian: UInt64(extent), byteCount: 8) }
      guard let id = GGMLType.id(of: entry.info.elementType) else { preconditionFailure("the types are checked") }
      bytes.append(littleEndian: UInt64(id), byteCount: 4)
      bytes.append(littleEndian: entry.dataRange.lowerBound, byteCount: 8)
    }
    guard bytes.count <= GGUFLimits.headerByteCount else {
      throw ParseFailure(
        "metadata and tensor table would take \(bytes.count) bytes, at most \(GGUFLimits.headerByteCount) are allowed")
    }
    let end = Int(GGUFHeader.aligned(UInt64(bytes.count), to: alignment))
    bytes.append(contentsOf: repeatElement(0, count: end - bytes.count))
    return bytes
  }

  private static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes.append(littleEndian: UInt64(text.utf8.count), byteCount: 8)
    bytes += text.utf8
  }
}
