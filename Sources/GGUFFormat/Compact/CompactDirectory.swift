internal import ByteIO
internal import Tensors

/// The keys of the compact profile: what the file holds, as `formats/compact.md` lists them.
public enum CompactProfile {
  /// Value of `general.architecture`: llama.cpp refuses it by this name.
  public static let architecture = "llama-compact"
  public static let version: UInt32 = 1
  /// Begins the names of tensors whose bytes are those of a file.
  public static let filePrefix = "files/"

  static let architectureKey = "general.architecture"
  static let versionKey = "compact.version"
  static let configurationKey = "compact.config"
  static let tensors = "compact.tensors."
  static let quantized = "compact.quantized."

  /// Whether a GGUF is a compact file.
  public static func describes(_ metadata: GGUFMetadata) -> Bool {
    metadata[architectureKey] == GGUFValue(architecture)
  }

  /// The name of the tensor that holds a file; nil when it would be longer than names may be.
  public static func tensorName(ofFile name: String) -> String? {
    let tensor = filePrefix + name
    return tensor.utf8.count <= GGUFLimits.tensorNameByteCount && !name.contains("/") ? tensor : nil
  }
}

/// What the keys of a compact file say.
struct CompactDirectory {
  let configuration: String
  /// In the order of the keys.
  let tensors: [CompactTensor]
  /// CRC-32 of the decoded bytes of each.
  let checksums: [UInt32]
  let quantized: [CompactQuantization]

  init(
    configuration: String, tensors: [CompactTensor], checksums: [UInt32], quantized: [CompactQuantization]
  ) {
    (self.configuration, self.tensors) = (configuration, tensors)
    (self.checksums, self.quantized) = (checksums, quantized)
  }

  // MARK: Writing

  func set(in metadata: inout GGUFMetadata) {
    typealias P = CompactProfile
    func array(_ key: String, _ values: GGUFArray) { metadata.set(key, to: .array(values)) }
    metadata.set(P.architectureKey, to: GGUFValue(P.architecture))
    metadata.set(P.versionKey, to: .uint32(P.version))
    metadata.set(P.configurationKey, to: GGUFValue(configuration))
    array(P.tensors + "names", GGUFArray(tensors.map(\.info.name)))
    array(P.tensors + "types", GGUFArray(tensors.map(\.info.elementType.rawValue)))
    array(P.tensors + "shapes", GGUFArray(tensors.map(\.info.shape.description)))
    array(P.tensors + "encodings", GGUFArray(tensors.map(\.encoding.rawValue)))
    array(P.tensors + "crc32", GGUFArray(checksums))
    if quantized.isEmpty { return }
    array(P.quantized + "names", GGUFArray(quantized.map(\.weight)))
    array(P.quantized + "schemes", GGUFArray(quantized.map(\.scheme)))
    array(P.quantized + "activations", GGUFArray(quantized.map(\.activations)))
    array(P.quantized + "adapter_scales", GGUFArray(quantized.map(\.adapterScale)))
    array(P.quantized + "rotated", GGUFArray(quantized.map(\.isRotated)))
  }

  // MARK: Reading

  /// - Throws: `ParseFailure` with the key for what is missing, of another type or length, or means nothing.
  init(_ metadata: GGUFMetadata) throws(ParseFailure) {
    typealias P = CompactProfile
    let version = try metadata.requiredScalar(P.versionKey, as: UInt32.self)
    guard version == P.version else {
      throw ParseFailure(
        "the version is \(version), expected \(P.version)", file: metadata.file, item: P.versionKey,
        advice: "the file is from a later version of this tool")
    }
    configuration = try metadata.requiredString(P.configurationKey)
    let list = Lists(metadata, prefix: P.tensors)
    let names = try list.strings("names")
    let types = try list.strings("types", count: names.count)
    let shapes = try list.strings("shapes", count: names.count)
    let encodings = try list.strings("encodings", count: names.count)
    checksums = try list.values("crc32", as: UInt32.self, count: names.count)
    var tensors: [CompactTensor] = []
    for (index, name) in names.enumerated() {
      func failure(_ key: String, _ text: String) -> ParseFailure {
        ParseFailure("\"\(text.prefix(80))\" of \(name) means nothing", file: metadata.file, item: P.tensors + key)
      }
      guard let type = Self.elementType(types[index]) else { throw failure("types", types[index]) }
      guard let encoding = CompactEncoding(rawValue: encodings[index]) else {
        throw failure("encodings", encodings[index])
      }
      guard let shape = Self.shape(shapes[index]) else { throw failure("shapes", shapes[index]) }
      do throws(ParseFailure) {
        tensors.append(
          try CompactTensor(TensorInfo(name: name, elementType: type, shape: shape), encoding: encoding))
      } catch {
        throw metadata.file.map { error.in(file: $0) } ?? error
      }
    }
    self.tensors = tensors
    quantized = try Self.quantized(metadata)
  }

  private static func quantized(_ metadata: GGUFMetadata) throws(ParseFailure) -> [CompactQuantization] {
    typealias P = CompactProfile
    guard metadata[P.quantized + "names"] != nil else { return [] }
    let list = Lists(metadata, prefix: P.quantized)
    let names = try list.strings("names")
    let schemes = try list.strings("schemes", count: names.count)
    let activations = try list.strings("activations", count: names.count)
    let scales = try list.values("adapter_scales", as: Double.self, count: names.count)
    let rotated = try list.values("rotated", as: Bool.self, count: names.count)
    return names.indices.map {
      CompactQuantization(
        weight: names[$0], scheme: schemes[$0], activations: activations[$0], adapterScale: scales[$0],
        isRotated: rotated[$0])
    }
  }

  private static func elementType(_ name: String) -> ElementType? {
    ElementType(rawValue: name) ?? BlockType(rawValue: name).map { .block($0) }
  }

  /// `[4096, 1024]`, as `Shape` is printed.
  private static func shape(_ text: String) -> Shape? {
    guard text.utf8.count <= 200, text.hasPrefix("["), text.hasSuffix("]") else { return nil }
    let inside = text.dropFirst().dropLast()
    if inside.isEmpty { return [] }
    var extents: [Int] = []
    for part in inside.split(separator: ",", omittingEmptySubsequences: false) {
      guard let extent = Int(part.drop { $0 == " " }), extent >= 0 else { return nil }
      extents.append(extent)
    }
    return extents.count <= GGUFLimits.rank ? Shape(extents) : nil
  }
}

/// Arrays of equal length under one prefix.
private struct Lists {
  private let metadata: GGUFMetadata
  private let prefix: String

  init(_ metadata: GGUFMetadata, prefix: String) {
    self.metadata = metadata
    self.prefix = prefix
  }

  private func failure(_ key: String, _ message: String) -> ParseFailure {
    ParseFailure(message, file: metadata.file, item: prefix + key, offset: metadata.entry(prefix + key)?.offset)
  }

  func strings(_ key: String, count: Int? = nil) throws(ParseFailure) -> [String] {
    guard let array = try metadata.strings(prefix + key) else { throw failure(key, "the key is missing") }
    try check(array.count, key, count)
    guard array.count <= GGUFLimits.tensorCount else {
      throw failure(key, "there are \(array.count) elements, at most \(GGUFLimits.tensorCount) are allowed")
    }
    var texts: [String] = []
    for index in 0..<array.count {
      guard let text = array.string(at: index).text else { throw failure(key, "element \(index) is no UTF-8") }
      texts.append(text)
    }
    return texts
  }

  func values<T: GGUFScalar>(_ key: String, as type: T.Type, count: Int) throws(ParseFailure) -> [T] {
    guard let value = metadata[prefix + key] else { throw failure(key, "the key is missing") }
    guard case .array(let array) = value, let values = array.values(as: type) else {
      throw failure(key, "the value is \(value.typeText), expected is array of \(T.valueType)")
    }
    try check(values.count, key, count)
    return values
  }

  private func check(_ found: Int, _ key: String, _ count: Int?) throws(ParseFailure) {
    guard let count, found != count else { return }
    throw failure(key, "the array has \(found) elements, there are \(count) names")
  }
}
