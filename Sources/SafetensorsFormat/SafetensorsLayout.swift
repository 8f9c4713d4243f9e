public import ByteIO
public import Tensors

/// What a safetensors file will be before a byte of it is written: its header, and the place of every tensor. Equal
/// tensors and metadata give an equal layout, in whatever order they are given.
public struct SafetensorsLayout: Sendable, Hashable {
  /// All tensors in the order of the file: widest element type first, then by name.
  public let entries: [SafetensorsEntry]
  /// The file's first bytes: the header's length, its JSON, padding.
  public let headerBytes: [UInt8]
  private let indexByName: [UTF8Key: Int]

  /// Lays out `tensors` as the reference writer does, except that the keys of `metadata` are sorted, where the reference
  /// has the order of a hash map.
  /// - Parameter metadata: `format` is `pt` by default: older versions of transformers refuse files without it.
  /// - Throws: `ParseFailure` when a name is given twice or is reserved, when a type is ggml's, when a size is wrong, and when the header would
  ///   pass `SafetensorsLimits.headerByteCount`.
  public init(_ tensors: [TensorInfo], metadata: SafetensorsMetadata = ["format": "pt"]) throws(ParseFailure) {
    var seen = Set<UTF8Key>(minimumCapacity: tensors.count)
    for tensor in tensors {
      guard seen.insert(UTF8Key(tensor.name)).inserted else {
        throw ParseFailure("two tensors have this name", item: tensor.name)
      }
      guard !tensor.name.utf8.elementsEqual("__metadata__".utf8) else {
        throw ParseFailure("safetensors reserves this name", item: tensor.name)
      }
      if let block = tensor.elementType.block {
        throw ParseFailure("safetensors has no type for blocks of \(block)", item: tensor.name)
      }
      let expected = try TensorInfo(name: tensor.name, elementType: tensor.elementType, shape: tensor.shape).byteCount
      guard tensor.byteCount == expected else {
        throw ParseFailure(
          "shape \(tensor.shape) in \(tensor.elementType) takes \(expected) bytes, not \(tensor.byteCount)",
          item: tensor.name)
      }
    }
    var entries: [SafetensorsEntry] = []
    entries.reserveCapacity(tensors.count)
    var end: UInt64 = 0
    for tensor in Self.inFileOrder(tensors) {
      let (next, overflow) = end.addingReportingOverflow(UInt64(tensor.byteCount))
      guard !overflow, next <= UInt64(Int64.max) - UInt64(SafetensorsLimits.headerByteCount) - 8 else {
        throw ParseFailure("the file would pass \(Int64.max) bytes", item: tensor.name)
      }
      entries.append(SafetensorsEntry(info: tensor, dataRange: end..<next))
      end = next
    }
    self.entries = entries
    headerBytes = try Self.header(entries, metadata)
    indexByName = Dictionary(uniqueKeysWithValues: entries.enumerated().map { (UTF8Key($1.info.name), $0) })
  }

  /// Offset of the data in the file.
  public var dataOffset: UInt64 { UInt64(headerBytes.count) }

  /// Size of the whole file.
  public var fileByteCount: UInt64 { dataOffset + tensorByteCount }

  /// Size of all tensors together.
  public var tensorByteCount: UInt64 { entries.last?.dataRange.upperBound ?? 0 }

  /// The tensor called `name`, compared by UTF-8 bytes.
  public func entry(_ name: String) -> SafetensorsEntry? { indexByName[UTF8Key(name)].map { entries[$0] } }

  /// Offset in the file of a tensor's first byte.
  public func fileOffset(of name: String) -> UInt64? { entry(name).map { dataOffset + $0.dataRange.lowerBound } }

  /// Widest element type first (the reference's order of types, which `ElementType` lists from narrow to wide), then by
  /// the bytes of the name. So every tensor starts at a multiple of its element's size, without padding.
  private static func inFileOrder(_ tensors: [TensorInfo]) -> [TensorInfo] {
    let rank = Dictionary(uniqueKeysWithValues: ElementType.allCases.enumerated().map { ($1, $0) })
    let keyed = tensors.map { (rank: rank[$0.elementType] ?? 0, name: UTF8Key($0.name), tensor: $0) }
    return keyed.sorted { $0.rank != $1.rank ? $0.rank > $1.rank : $0.name < $1.name }.map(\.tensor)
  }

  private static func header(
    _ entries: [SafetensorsEntry], _ metadata: SafetensorsMetadata
  ) throws(ParseFailure) -> [UInt8] {
    var members: [(key: String, value: JSONValue)] = []
    if !metadata.isEmpty {
      let sorted = metadata.entries.sorted { UTF8Key($0.key) < UTF8Key($1.key) }
      members.append(("__metadata__", .object(JSONObject(sorted.map { ($0.key, .string($0.value)) }))))
    }
    for entry in entries {
      let fields: [(key: String, value: JSONValue)] = [
        ("dtype", .string(entry.info.elementType.rawValue)),
        ("shape", .array(entry.info.shape.dimensions.map { .number(JSONNumber($0)) })),
        (
          "data_offsets",
          .array([.number(JSONNumber(entry.dataRange.lowerBound)), .number(JSONNumber(entry.dataRange.upperBound))])
        ),
      ]
      members.append((entry.info.name, .object(JSONObject(fields))))
    }
    var json = Array(JSONValue.object(JSONObject(members)).serialized(.compact).utf8)
    json.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - json.count % 8) % 8))
    guard json.count <= SafetensorsLimits.headerByteCount else {
      throw ParseFailure(
        "the header would take \(json.count) bytes, safetensors allows \(SafetensorsLimits.headerByteCount)",
        advice: "write smaller shards")
    }
    return (0..<8).map { UInt8(truncatingIfNeeded: UInt64(json.count) >> (8 * $0)) } + json
  }
}
