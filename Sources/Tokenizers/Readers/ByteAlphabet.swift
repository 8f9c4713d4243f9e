/// GPT-2's spelling of bytes as scalars, in which a `tokenizer.json` writes its tokens: the 188 printable bytes of
/// Latin-1 stand for themselves, the other 68 are U+0100 to U+0143 in ascending order.
struct ByteAlphabet: Sendable {
  static let shared = ByteAlphabet()

  /// By scalar value: the byte, or -1.
  private let bytes: [Int16]
  /// By byte: the scalar value.
  private let scalars: [UInt16]

  private init() {
    var bytes = [Int16](repeating: -1, count: 0x144)
    var scalars = [UInt16](repeating: 0, count: 256)
    var next = 0x100
    for byte in 0..<256 {
      var scalar = byte
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: break
      default:
        scalar = next
        next += 1
      }
      bytes[scalar] = Int16(byte)
      scalars[byte] = UInt16(scalar)
    }
    self.bytes = bytes
    self.scalars = scalars
  }

  /// Appends the bytes that the well-formed UTF-8 `text` spells; false if a scalar is not of the alphabet.
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

  /// Appends the spelling of `bytes`, as UTF-8.
  func encode(_ bytes: some Sequence<UInt8>, into output: inout [UInt8]) {
    for byte in bytes {
      let scalar = scalars[Int(byte)]
      if scalar < 0x80 {
        output.append(UInt8(scalar))
      } else {
        output.append(0xC0 | UInt8(scalar >> 6))
        output.append(0x80 | UInt8(scalar & 0x3F))
      }
    }
  }
}
