/// GPT-2's spelling of bytes as scalars, in which a `tokenizer.json` writes its tokens: the 188 printable bytes of
/// Latin-1 stand for themselves, the other 68 are U+0100 to U+0143 in ascending order.
struct ByteAlphabet: Sendable {
  static let shared = ByteAlphabet()

  /// By scalar value: the byte, or -1.
  private let bytes: [Int16]

  private init() {
    var bytes = [Int16](repeating: -1, count: 0x144)
    var next = 0x100
    for byte in 0..<256 {
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: bytes[byte] = Int16(byte)
      default:
        bytes[next] = Int16(byte)
        next += 1
      }
    }
    self.bytes = bytes
  }

  /// Appends the bytes that the UTF-8 `text` spells; false if a scalar is not of the alphabet.
  func decode(_ text: Span<UInt8>, _ start: Int, _ end: Int, into output: inout [UInt8]) -> Bool {
    var index = start
    while index < end {
      var scalar = Int(text[index])
      index += 1
      if scalar >= 0x80 {
        // Two bytes reach U+07FF; the alphabet ends at U+0143.
        guard scalar < 0xE0, index < end else { return false }
        scalar = (scalar & 0x1F) << 6 | Int(text[index] & 0x3F)
        index += 1
      }
      guard scalar < bytes.count, bytes[scalar] >= 0 else { return false }
      output.append(UInt8(truncatingIfNeeded: bytes[scalar]))
    }
    return true
  }
}
