internal import Foundation

/// The tensors of a golden safetensors file, read with Foundation alone: an oracle that shares no code with ours.
public struct GoldenFile {
  private let entries: [String: (type: String, shape: [Int], bytes: [UInt8])]

  public init(_ name: String) throws {
    let data = try Fixtures.bytes(Fixtures.golden(name))
    let length = data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try JSONSerialization.jsonObject(with: Data(data[8..<8 + length])) as? [String: Any] ?? [:]
    entries = header.compactMapValues { value in
      guard let entry = value as? [String: Any], let type = entry["dtype"] as? String,
        let shape = entry["shape"] as? [Int], let offsets = entry["data_offsets"] as? [Int]
      else { return nil }
      return (type, shape, Array(data[8 + length + offsets[0]..<8 + length + offsets[1]]))
    }
  }

  private func entry(_ name: String) throws -> (type: String, shape: [Int], bytes: [UInt8]) {
    guard let entry = entries[name] else { throw CocoaError(.fileReadCorruptFile) }
    return entry
  }

  public func type(_ name: String) throws -> String { try entry(name).type }
  public func shape(_ name: String) throws -> [Int] { try entry(name).shape }
  public func bytes(_ name: String) throws -> [UInt8] { try entry(name).bytes }

  /// Values of an F32 or BF16 tensor.
  public func floats(_ name: String) throws -> [Float] {
    let entry = try entry(name)
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
