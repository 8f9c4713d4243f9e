public import Foundation

/// A safetensors file in memory, read and written with Foundation alone: an oracle and an editor for tests that shares no
/// code with the package's reader and writer.
public struct SafetensorsBytes: Sendable {
  public struct Tensor: Sendable, Equatable {
    public var type: String
    public var shape: [Int]
    public var bytes: [UInt8]

    public init(type: String, shape: [Int], bytes: [UInt8]) {
      self.type = type
      self.shape = shape
      self.bytes = bytes
    }
  }

  public var tensors: [String: Tensor]

  public init(tensors: [String: Tensor] = [:]) { self.tensors = tensors }

  public init(_ url: URL) throws {
    let data = try Fixtures.bytes(url)
    let start = 8 + Self.headerLength(data)
    let header = try JSONSerialization.jsonObject(with: Data(data[8..<start])) as? [String: Any] ?? [:]
    tensors = [:]
    for (name, value) in header where name != "__metadata__" {
      guard let entry = value as? [String: Any], let type = entry["dtype"] as? String,
        let shape = entry["shape"] as? [Int], let offsets = entry["data_offsets"] as? [Int]
      else { throw CocoaError(.fileReadCorruptFile) }
      tensors[name] = Tensor(type: type, shape: shape, bytes: Array(data[start + offsets[0]..<start + offsets[1]]))
    }
  }

  /// Length of the JSON header of a file's bytes.
  public static func headerLength(_ bytes: [UInt8]) -> Int {
    bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
  }

  public subscript(_ name: String) -> Tensor {
    get throws {
      guard let tensor = tensors[name] else { throw CocoaError(.keyValueValidation) }
      return tensor
    }
  }

  /// The file's bytes, tensors by name.
  public func encoded() throws -> [UInt8] {
    var header: [String: Any] = ["__metadata__": ["format": "pt"]]
    var end = 0
    let names = tensors.keys.sorted()
    for name in names {
      let tensor = try self[name]
      header[name] = [
        "dtype": tensor.type, "shape": tensor.shape, "data_offsets": [end, end + tensor.bytes.count],
      ]
      end += tensor.bytes.count
    }
    let json = [UInt8](try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys]))
    return try Self.file(header: json) + names.flatMap { try self[$0].bytes }
  }

  /// A length field and a header, padded with spaces to a multiple of eight bytes.
  public static func file(header: [UInt8]) -> [UInt8] {
    let padded = header + [UInt8](repeating: 0x20, count: (8 - header.count % 8) % 8)
    return (0..<8).map { UInt8(truncatingIfNeeded: padded.count >> (8 * $0)) } + padded
  }

  public func write(to url: URL) throws { try Data(try encoded()).write(to: url) }
}

extension SafetensorsBytes.Tensor {
  /// Values of an F32, F16 or BF16 tensor.
  public var floats: [Float] {
    get throws {
      let size = type == "F32" ? 4 : 2
      return try stride(from: 0, to: bytes.count, by: size).map { at in
        let word = bytes[at..<at + size].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        switch type {
        case "F32": return Float(bitPattern: word)
        case "BF16": return Float(bitPattern: word << 16)
        case "F16": return Float(Float16(bitPattern: UInt16(word)))
        default: throw CocoaError(.formatting)
        }
      }
    }
  }

  /// Stores a 16-bit pattern at an element of an F16 or BF16 tensor.
  public mutating func setHalf(_ pattern: UInt16, at element: Int) {
    bytes[2 * element] = UInt8(truncatingIfNeeded: pattern)
    bytes[2 * element + 1] = UInt8(pattern >> 8)
  }
}
