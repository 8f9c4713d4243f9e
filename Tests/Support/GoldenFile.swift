internal import Foundation

/// The tensors of a golden safetensors file, read with Foundation alone: an oracle that shares no code with ours.
public struct GoldenFile {
  private let file: SafetensorsBytes

  public init(_ name: String) throws { file = try SafetensorsBytes(Fixtures.golden(name)) }

  public func type(_ name: String) throws -> String { try file[name].type }
  public func shape(_ name: String) throws -> [Int] { try file[name].shape }
  public func bytes(_ name: String) throws -> [UInt8] { try file[name].bytes }

  /// Values of an F32 or BF16 tensor.
  public func floats(_ name: String) throws -> [Float] {
    let entry = try file[name]
    let size = entry.type == "F32" ? 4 : 2
    return stride(from: 0, to: entry.bytes.count, by: size).map { at in
      let word = entry.bytes[at..<at + size].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return Float(bitPattern: size == 4 ? word : word << 16)
    }
  }
}

/// Names of the rows of a golden file, from its manifest.
public func goldenRowNames(_ file: String) throws -> [String] {
  let data = try Data(contentsOf: Fixtures.golden("manifest.json"))
  let manifest = try JSONSerialization.jsonObject(with: data) as? [String: Any]
  let files = manifest?["files"] as? [[String: Any]] ?? []
  guard let rows = files.first(where: { $0["file"] as? String == file })?["rows"] as? [String] else {
    throw CocoaError(.fileReadCorruptFile)
  }
  return rows
}
