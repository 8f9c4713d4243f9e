public import ByteIO
public import Tensors

/// Limits of the format that the reference library also has.
public enum SafetensorsLimits {
  /// Largest header in bytes, when reading and when writing.
  public static let headerByteCount = 100_000_000
  /// Arrays and objects that may be open at the same time in the header.
  public static let nesting = 127
  /// Size of the length field in front of the header.
  static let lengthFieldByteCount = 8
}

/// One tensor of a safetensors file.
public struct SafetensorsEntry: Sendable, Hashable {
  public let info: TensorInfo
  /// First byte and byte behind the last one, counted from the start of the data (the end of the header).
  public let dataRange: Range<UInt64>
}

/// The validated header of a safetensors file: what tensors there are and where. The rules and their order are those of
/// `formats/safetensors.md`.
public struct SafetensorsHeader: Sendable {
  /// All tensors by increasing offset; empty tensors that share an offset in their order in the header.
  public let entries: [SafetensorsEntry]
  public let metadata: SafetensorsMetadata
  /// Size of the JSON text with its padding.
  public let headerByteCount: Int
  /// Bytes behind the last tensor; negative where the file ends before the tensors do. Zero unless asked to be lenient.
  public let surplusByteCount: Int64
  private let indexByName: [UTF8Key: Int]

  /// Offset of the data in the file.
  public var dataOffset: UInt64 { UInt64(SafetensorsLimits.lengthFieldByteCount + headerByteCount) }

  /// The tensor called `name`, compared by UTF-8 bytes.
  public func entry(_ name: String) -> SafetensorsEntry? { indexByName[UTF8Key(name)].map { entries[$0] } }

  /// Where the bytes of an entry are in the file.
  public func fileRange(of entry: SafetensorsEntry) -> Range<UInt64> {
    dataOffset + entry.dataRange.lowerBound..<dataOffset + entry.dataRange.upperBound
  }

  /// Reads and checks the header of an open file. Takes memory for the header only after its length was compared with
  /// the file's.
  /// - Parameter acceptsOtherSize: take a file that is longer or shorter than its tensors, and say by how much: for tools
  ///   that look at damaged files.
  /// - Throws: `ParseFailure` for bytes that are no valid safetensors file, `FileFailure` when reading fails.
  public init(reading file: ReadableFile, acceptsOtherSize: Bool = false) throws {
    do {
      let start = try file.bytes(at: 0, count: Int(min(file.byteCount, UInt64(SafetensorsLimits.lengthFieldByteCount))))
      let count = try Self.headerByteCount(prefix: start.span.rawBytes, fileByteCount: file.byteCount)
      let text = try file.bytes(at: UInt64(SafetensorsLimits.lengthFieldByteCount), count: count)
      try self.init(
        json: text.span.rawBytes, fileByteCount: file.byteCount, acceptsOtherSize: acceptsOtherSize)
    } catch let failure as ParseFailure {
      throw failure.in(file: file.path)
    }
  }

  /// Parses a header that is already in memory.
  /// - Parameters:
  ///   - bytes: the start of the file, at least up to the end of the header.
  ///   - fileByteCount: size of the whole file.
  public init(parsing bytes: RawSpan, fileByteCount: UInt64) throws(ParseFailure) {
    let count = try Self.headerByteCount(prefix: bytes, fileByteCount: fileByteCount)
    var cursor = ByteCursor(bytes)
    _ = try cursor.slice(UInt64(SafetensorsLimits.lengthFieldByteCount))
    try self.init(json: try cursor.slice(UInt64(count)), fileByteCount: fileByteCount)
  }

  /// The length of the header that the file's first eight bytes announce, compared with the limit and the file's size.
  static func headerByteCount(prefix: RawSpan, fileByteCount: UInt64) throws(ParseFailure) -> Int {
    let field = UInt64(SafetensorsLimits.lengthFieldByteCount)
    guard fileByteCount >= field else {
      throw ParseFailure(
        "the file has \(fileByteCount) bytes, a safetensors file has at least \(field)", offset: 0,
        advice: "the download may be incomplete")
    }
    var cursor = ByteCursor(prefix)
    let count = try cursor.read(UInt64.self)
    guard count <= UInt64(SafetensorsLimits.headerByteCount) else {
      throw ParseFailure(
        "the header length is \(count) bytes, at most \(SafetensorsLimits.headerByteCount) are allowed", offset: 0,
        advice: advice(forStart: count))
    }
    guard count <= fileByteCount - field else {
      throw ParseFailure(
        "the header length is \(count) bytes, the file has only \(fileByteCount - field) after the length", offset: 0,
        advice: "the download may be incomplete")
    }
    return Int(count)
  }

  /// What a file that is no safetensors file may be, told from its first eight bytes.
  private static func advice(forStart start: UInt64) -> String {
    let bytes = (0..<8).map { UInt8(truncatingIfNeeded: start >> (8 * $0)) }
    if bytes.elementsEqual("version ".utf8) { return "this is a Git LFS pointer: fetch the file itself (git lfs pull)" }
    if bytes.starts(with: "GGUF".utf8) { return "this is a GGUF file" }
    if bytes.starts(with: [0x50, 0x4B, 0x03, 0x04]) { return "this is a zip archive, perhaps a PyTorch file" }
    if bytes.starts(with: "<".utf8) { return "this looks like a web page: the download failed" }
    return "the file is damaged or no safetensors file"
  }

  private init(json: RawSpan, fileByteCount: UInt64, acceptsOtherSize: Bool = false) throws(ParseFailure) {
    let base = UInt64(SafetensorsLimits.lengthFieldByteCount)
    let table = try HeaderTable(json: json, base: base)
    let order = table.tensors.indices.sorted { a, b in
      let (left, right) = (table.tensors[a], table.tensors[b])
      return (left.begin, left.end, a) < (right.begin, right.end, b)
    }
    var entries: [SafetensorsEntry] = []
    entries.reserveCapacity(order.count)
    var end: UInt64 = 0
    for index in order {
      let entry = try table.tensors[index].validated(after: end)
      end = entry.dataRange.upperBound
      entries.append(entry)
    }
    let dataByteCount = fileByteCount - base - UInt64(json.byteCount)
    // Offsets that no file has would overflow later.
    guard end == dataByteCount || (acceptsOtherSize && end <= UInt64(Int64.max) / 2) else {
      throw ParseFailure(
        "the tensors take \(end) bytes, the file has \(dataByteCount) behind its header", item: entries.last?.info.name,
        offset: base + UInt64(json.byteCount) + min(end, dataByteCount),
        advice: end > dataByteCount ? "the download may be incomplete" : "the file has bytes that belong to no tensor")
    }
    var indexByName = [UTF8Key: Int](minimumCapacity: entries.count)
    for (index, entry) in entries.enumerated() { indexByName[UTF8Key(entry.info.name)] = index }
    self.entries = entries
    self.metadata = table.metadata
    self.headerByteCount = json.byteCount
    surplusByteCount = Int64(clamping: dataByteCount) - Int64(clamping: end)
    self.indexByName = indexByName
  }
}

/// The free-form strings under `__metadata__`, in the file's order.
public struct SafetensorsMetadata: Sendable, Equatable, ExpressibleByDictionaryLiteral {
  public private(set) var entries: [(key: String, value: String)] = []

  public init() {}
  public init(dictionaryLiteral elements: (String, String)...) {
    for (key, value) in elements { set(key, to: value) }
  }

  public var isEmpty: Bool { entries.isEmpty }

  /// The value of `key`, compared by UTF-8 bytes.
  public subscript(key: String) -> String? {
    entries.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
  }

  /// Replaces the value of `key` at its place, or appends it.
  public mutating func set(_ key: String, to value: String) {
    if let index = entries.firstIndex(where: { $0.key.utf8.elementsEqual(key.utf8) }) {
      entries[index].value = value
    } else {
      entries.append((key, value))
    }
  }

  /// Takes entries whose keys are known to differ.
  init(distinct entries: [(key: String, value: String)]) { self.entries = entries }

  public static func == (left: Self, right: Self) -> Bool {
    left.entries.count == right.entries.count
      && zip(left.entries, right.entries).allSatisfy {
        $0.key.utf8.elementsEqual($1.key.utf8) && $0.value.utf8.elementsEqual($1.value.utf8)
      }
  }
}
