public import Foundation

/// A one- or more-dimensional float32 array in NumPy's `.npy` form, version 1 (little-endian, C order).
public struct NumpyFloats: Sendable {
  public let values: [Float]

  public init(_ url: URL) throws {
    let bytes = try Fixtures.bytes(url)
    guard bytes.count > 10, bytes.starts(with: [0x93] + Array("NUMPY".utf8)), bytes[6] == 1 else {
      throw CocoaError(.fileReadCorruptFile)
    }
    let start = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
    guard String(decoding: bytes[10..<start], as: UTF8.self).contains("'<f4'") else {
      throw CocoaError(.fileReadCorruptFile)
    }
    values = stride(from: start, to: bytes.count, by: 4).map { at in
      Float(
        bitPattern: UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16
          | UInt32(bytes[at + 3]) << 24)
    }
  }
}
