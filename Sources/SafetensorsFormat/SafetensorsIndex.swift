public import ByteIO

/// The map from tensors to shard files, `model.safetensors.index.json`.
public struct SafetensorsIndex: Sendable, Hashable {
  /// Where one tensor is.
  public struct Location: Sendable, Hashable {
    public let tensor: String
    /// Name of a file in the index's own directory.
    public let fileName: String

    public init(tensor: String, fileName: String) {
      self.tensor = tensor
      self.fileName = fileName
    }
  }

  public static let fileName = "model.safetensors.index.json"
  /// Largest index that is read, in bytes: as large as the largest header.
  public static let maximumByteCount = SafetensorsLimits.headerByteCount

  /// All tensors in the order given or read.
  public let locations: [Location]
  /// Sum of the tensors' sizes in bytes; nil when the file does not say.
  public let totalSize: UInt64?
  /// Number of model parameters; nil when the file does not say.
  public let totalParameters: UInt64?
  /// What other programs may stumble over in this index, as sentences; reading went on nevertheless.
  public let remarks: [String]
  private let fileByTensor: [UTF8Key: String]

  /// - Throws: `ParseFailure` for a tensor listed twice and for file names that are no plain names.
  public init(
    _ locations: [Location], totalSize: UInt64?, totalParameters: UInt64? = nil
  ) throws(ParseFailure) {
    try self.init(locations, totalSize: totalSize, totalParameters: totalParameters, remarks: [])
  }

  private init(
    _ locations: [Location], totalSize: UInt64?, totalParameters: UInt64?, remarks: [String]
  ) throws(ParseFailure) {
    var fileByTensor = [UTF8Key: String](minimumCapacity: locations.count)
    for location in locations {
      try Self.check(location)
      guard fileByTensor.updateValue(location.fileName, forKey: UTF8Key(location.tensor)) == nil else {
        throw ParseFailure("the index lists the tensor twice", item: location.tensor)
      }
    }
    self.locations = locations
    self.totalSize = totalSize
    self.totalParameters = totalParameters
    self.remarks = remarks
    self.fileByTensor = fileByTensor
  }

  /// A hostile index must not lead out of its directory.
  private static func check(_ location: Location) throws(ParseFailure) {
    let name = location.fileName
    let isPlain =
      !name.isEmpty && name != "." && name != ".." && name.utf8.count <= 255
      && name.utf8.allSatisfy { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "\\") && $0 >= 0x20 }
    guard isPlain else {
      throw ParseFailure(
        "the index names \(JSONValue.string(name).serialized(.compact)) as its file, a plain file name is expected",
        item: location.tensor)
    }
  }

  /// The file that holds `tensor`, compared by UTF-8 bytes.
  public func fileName(of tensor: String) -> String? { fileByTensor[UTF8Key(tensor)] }

  /// The shard files, each once, by the bytes of their names.
  public var fileNames: [String] { Set(locations.map { UTF8Key($0.fileName) }).sorted().map(\.text) }
}

// MARK: - Reading

extension SafetensorsIndex {
  /// - Throws: `ParseFailure` for an index that is too large or no valid one, `FileFailure` when it cannot be read.
  public init(reading path: String) throws {
    let bytes = try ReadableFile.contents(of: path, limit: Self.maximumByteCount)
    do throws(ParseFailure) {
      try self.init(parsing: bytes.span.rawBytes)
    } catch {
      throw error.in(file: path)
    }
  }

  /// `metadata` may be missing or odd, which is remarked; `weight_map` must be a map of strings.
  public init(parsing bytes: RawSpan) throws(ParseFailure) {
    var locations: [Location]?
    var metadata: JSONValue?
    var parser = JSONParser(bytes)
    guard try parser.kind() == .object else { throw ParseFailure("the index is no JSON object", offset: parser.offset) }
    try parser.readObject { (key, offset, parser) throws(ParseFailure) in
      switch key {
      case "weight_map":
        guard locations == nil else { throw ParseFailure("weight_map appears twice", offset: offset) }
        locations = try Self.weightMap(&parser)
      case "metadata":
        guard metadata == nil else { throw ParseFailure("metadata appears twice", offset: offset) }
        metadata = try parser.value()
      default: try parser.skipValue()
      }
    }
    try parser.end()
    guard let locations else {
      throw ParseFailure(
        "weight_map is missing from the index", offset: 0, advice: "the index may be of another format")
    }
    var remarks: [String] = []
    if metadata?.object == nil {
      remarks.append("the index has no metadata object, which transformers demands")
    }
    let totalSize = Self.count(metadata?["total_size"])
    if metadata?.object != nil && totalSize == nil {
      remarks.append("the index does not state total_size as a whole number")
    }
    try self.init(
      locations, totalSize: totalSize, totalParameters: Self.count(metadata?["total_parameters"]), remarks: remarks)
  }

  private static func weightMap(_ parser: inout JSONParser) throws(ParseFailure) -> [Location] {
    guard try parser.kind() == .object else { throw ParseFailure("weight_map is no map", offset: parser.offset) }
    var locations: [Location] = []
    try parser.readObject { (tensor, _, parser) throws(ParseFailure) in
      guard try parser.kind() == .string else {
        throw ParseFailure("its file in weight_map is no string", item: tensor, offset: parser.offset)
      }
      locations.append(Location(tensor: tensor, fileName: try parser.string()))
    }
    return locations
  }

  /// A count as written: old versions of transformers spell whole numbers with a fraction (`13476839424.0`).
  private static func count(_ value: JSONValue?) -> UInt64? {
    guard case .number(let number)? = value else { return nil }
    return number.unsigned ?? number.double.flatMap { UInt64(exactly: $0) }
  }
}

// MARK: - Writing

extension SafetensorsIndex {
  /// The file's text: two spaces per level, keys sorted, a final newline, as transformers writes it.
  public func serialized() -> String {
    var metadata = JSONObject()
    if let totalParameters { metadata["total_parameters"] = .number(JSONNumber(totalParameters)) }
    if let totalSize { metadata["total_size"] = .number(JSONNumber(totalSize)) }
    let sorted = locations.map { (UTF8Key($0.tensor), $0.fileName) }.sorted { $0.0 < $1.0 }
    let map = JSONObject(sorted.map { ($0.0.text, .string($0.1)) })
    return JSONValue.object(JSONObject([("metadata", .object(metadata)), ("weight_map", .object(map))])).serialized()
  }
}
