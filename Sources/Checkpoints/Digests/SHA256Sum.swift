internal import ByteIO
internal import Crypto

/// SHA-256 (FIPS 180-4) of bytes that arrive in pieces, as lower-case hexadecimal digits.
public struct SHA256Sum {
  private var hasher = SHA256()

  public init() {}

  public mutating func update(_ bytes: [UInt8]) { hasher.update(data: bytes) }
  public mutating func update(_ bytes: ArraySlice<UInt8>) { hasher.update(data: bytes) }
  public mutating func update(_ text: String) { hasher.update(data: Array(text.utf8)) }

  public consuming func hexadecimal() -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in hasher.finalize() {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }

  public static func hexadecimal(of bytes: [UInt8]) -> String {
    var sum = SHA256Sum()
    sum.update(bytes)
    return sum.hexadecimal()
  }

  /// Of a whole file, read in pieces. Symbolic links are followed.
  public static func hexadecimal(
    ofFile path: String, progress: (_ bytes: Int) throws -> Void = { _ in }
  ) throws -> String {
    let file = try ReadableFile(path: path)
    var sum = SHA256Sum()
    var buffer = [UInt8](repeating: 0, count: Int(min(file.byteCount, 1 << 20)))
    var offset: UInt64 = 0
    while offset < file.byteCount {
      let count = Int(min(UInt64(buffer.count), file.byteCount - offset))
      var span = buffer.mutableSpan
      var part = span.part(0..<count)
      try file.read(at: offset, into: &part)
      sum.update(buffer[0..<count])
      offset += UInt64(count)
      try progress(count)
    }
    return sum.hexadecimal()
  }
}
