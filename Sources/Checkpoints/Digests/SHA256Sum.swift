internal import ByteIO
internal import Crypto

/// SHA-256 (FIPS 180-4) of bytes that arrive in pieces, as lower-case hexadecimal digits.
public struct SHA256Sum {
  private var hasher = SHA256()

  public init() {}

  public mutating func update(_ bytes: [UInt8]) { hasher.update(data: bytes) }
  public mutating func update(_ bytes: ArraySlice<UInt8>) { hasher.update(data: bytes) }
  public mutating func update(_ text: String) { hasher.update(data: Array(text.utf8)) }

  public consuming func hexadecimal() -> String { Self.digits(of: hasher.finalize()) }

  /// Two lower-case hexadecimal digits for each byte.
  static func digits(of bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
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
  public static func hexadecimal(ofFile path: String) throws -> String {
    try FileSum(.sha256, ofFile: path).compute()
  }
}
