public import ByteIO
internal import Tensors

/// What a compact file will be before a byte of its tensors exists. Of compressed tensors only the largest possible size is
/// known then; they come last, in the order in which they are given, so that all others have their places.
public struct CompactPlan: Sendable, Equatable {
  public let fileName: String
  /// In the file's order.
  public let tensors: [CompactTensor]
  /// With every plane stored as it is, and checksums of zero.
  let layout: GGUFLayout
  private let configuration: String
  private let quantized: [CompactQuantization]
  /// Other keys of the file. Their values may be others in the end, of the same sizes.
  public let metadata: GGUFMetadata

  /// - Parameters:
  ///   - configuration: `config.json`.
  ///   - metadata: other keys of the file.
  /// - Throws: `ParseFailure` when a name is given twice or too long, and when a limit of `GGUFLimits` is passed.
  public init(
    _ tensors: [CompactTensor], configuration: String, quantized: [CompactQuantization], metadata: GGUFMetadata,
    fileName: String
  ) throws(ParseFailure) {
    self.fileName = fileName
    self.tensors = tensors.filter { $0.encoding != .planes } + tensors.filter { $0.encoding == .planes }
    self.configuration = configuration
    self.quantized = quantized
    self.metadata = metadata
    layout = try Self.layout(
      self.tensors, self.tensors.map(\.maximumStoredByteCount), [UInt32](repeating: 0, count: tensors.count),
      configuration, quantized, metadata)
  }

  /// Size of the file; with compressed tensors the largest possible one.
  public var maximumByteCount: UInt64 { layout.fileByteCount }
  public var isCompressed: Bool { tensors.contains { $0.encoding == .planes } }
  /// The header as far as it is known.
  public var headerBytes: [UInt8] { layout.headerBytes }

  /// Offset in the file of a tensor's first byte; nil for those whose place follows from the sizes of others.
  public func fileOffset(of name: String) -> UInt64? {
    guard let tensor = tensors.first(where: { $0.info.name == name }), tensor.encoding != .planes else { return nil }
    return layout.fileOffset(of: name)
  }

  /// The file once sizes and checksums are known. Its header has the same size.
  func layout(
    storedByteCounts: [Int], checksums: [UInt32], metadata: GGUFMetadata
  ) throws(ParseFailure) -> GGUFLayout {
    try Self.layout(tensors, storedByteCounts, checksums, configuration, quantized, metadata)
  }

  private static func layout(
    _ tensors: [CompactTensor], _ storedByteCounts: [Int], _ checksums: [UInt32], _ configuration: String,
    _ quantized: [CompactQuantization], _ metadata: GGUFMetadata
  ) throws(ParseFailure) -> GGUFLayout {
    var metadata = metadata
    CompactDirectory(
      configuration: configuration, tensors: tensors, checksums: checksums, quantized: quantized
    ).set(in: &metadata)
    var stored: [TensorInfo] = []
    for (tensor, byteCount) in zip(tensors, storedByteCounts) {
      stored.append(try tensor.stored(byteCount: byteCount))
    }
    return try GGUFLayout(stored, metadata: metadata)
  }

  /// How a file differs from the plan in what was known before; nil when it does not.
  /// - Parameter metadata: as the writer was told.
  public func firstFault(in file: CompactFile, metadata: GGUFMetadata? = nil) throws -> String? {
    for tensor in tensors {
      guard file.info(tensor.info.name) == tensor.info, file.encoding(of: tensor.info.name) == tensor.encoding else {
        return "does not hold \(tensor.info.name) as it was planned"
      }
    }
    guard file.tensors.count + file.files.count == tensors.count else { return "holds other tensors than were planned" }
    let checksums = tensors.map { file.checksum(of: $0.info.name) ?? 0 }
    let sizes = tensors.map { file.storedByteCount(of: $0.info.name) ?? 0 }
    return try file.hasHeader(
      of: layout(storedByteCounts: sizes, checksums: checksums, metadata: metadata ?? self.metadata))
      ? nil : "has another header than was planned"
  }
}
