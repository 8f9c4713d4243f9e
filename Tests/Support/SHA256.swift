internal import Crypto

/// SHA-256 in lower-case hexadecimal digits, to compare with digests that other programs made.
public func sha256(_ bytes: [UInt8]) -> String {
  SHA256.hash(data: bytes).map { byte in
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
  }.joined()
}
