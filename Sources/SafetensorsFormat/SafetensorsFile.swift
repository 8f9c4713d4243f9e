public import ByteIO
public import Tensors

/// An open safetensors file. Opening reads the header only; tensors are read part by part into the caller's buffers,
/// from any number of threads.
public final class SafetensorsFile: TensorSource {
  public let header: SafetensorsHeader
  /// All tensors by increasing offset in the file.
  public let tensors: [TensorInfo]
  private let file: ReadableFile

  public var path: String { file.path }
  public var place: String { path }
  /// Size of the file in bytes.
  public var byteCount: UInt64 { file.byteCount }
  public var metadata: SafetensorsMetadata { header.metadata }

  /// - Parameter acceptsOtherSize: take a file that is longer or shorter than its tensors; reading those that are not all
  ///   there fails.
  /// - Throws: `FileFailure` when the file cannot be opened or read, `ParseFailure` when it is no valid safetensors file.
  public init(path: String, acceptsOtherSize: Bool = false) throws {
    file = try ReadableFile(path: path)
    header = try SafetensorsHeader(reading: file, acceptsOtherSize: acceptsOtherSize)
    tensors = header.entries.map(\.info)
  }

  public func info(_ name: String) -> TensorInfo? { header.entry(name)?.info }

  /// Offset in the file of a tensor's first byte.
  public func fileOffset(of name: String) -> UInt64? {
    header.entry(name).map { header.fileRange(of: $0).lowerBound }
  }

  public func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let entry = header.entry(name) else {
      throw ParseFailure("there is no tensor of this name", file: path, item: name)
    }
    guard offset >= 0, offset <= entry.info.byteCount, buffer.count <= entry.info.byteCount - offset else {
      throw ParseFailure(
        "\(buffer.count) bytes at byte \(offset) of the tensor are asked for, it has \(entry.info.byteCount)",
        file: path,
        item: name)
    }
    try file.read(at: header.fileRange(of: entry).lowerBound + UInt64(offset), into: &buffer)
  }

  public func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    guard let entry = header.entry(name) else { return }
    let (start, part) = (header.fileRange(of: entry).lowerBound, range.clamped(to: 0..<entry.info.byteCount))
    file.advise(advice, start + UInt64(part.lowerBound)..<start + UInt64(part.upperBound))
  }
}
