/// Bytes as well-formed UTF-8.
///
/// Where the input is ill-formed, each maximal subpart of an ill-formed sequence is replaced by one U+FFFD (Unicode
/// Standard, section 3.9, "U+FFFD Substitution of Maximal Subparts"), as the WHATWG decoder and Python's
/// `errors="replace"` do. A byte order mark is text like any other.
public struct RepairedText: Sendable, Equatable {
  /// Well-formed UTF-8.
  public let bytes: [UInt8]
  /// Offset in the input of the first byte that had to be replaced; nil when the input was well-formed.
  public let firstFault: Int?
  /// How many U+FFFD were put in.
  public let replacements: Int

  public init(repairing bytes: [UInt8]) {
    guard let first = UTF8Scanner.firstFault(in: bytes.span) else {
      self.bytes = bytes
      firstFault = nil
      replacements = 0
      return
    }
    let input = bytes.span
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count + 16)
    var replacements = 0
    var position = 0
    while position < input.count {
      let step = UTF8Scanner.step(in: input, at: position)
      if step.isWellFormed {
        for index in position..<position + step.length { output.append(input[index]) }
      } else {
        output += [0xEF, 0xBF, 0xBD]
        replacements += 1
      }
      position += step.length
    }
    self.bytes = output
    firstFault = first
    self.replacements = replacements
  }
}

/// Steps through bytes as UTF-8 (Unicode Standard, table 3-7).
enum UTF8Scanner {
  /// One scalar value, or the maximal subpart of an ill-formed sequence.
  struct Step {
    let length: Int
    let isWellFormed: Bool
  }

  /// Offset of the first ill-formed sequence.
  static func firstFault(in bytes: Span<UInt8>) -> Int? {
    var position = 0
    let count = bytes.count
    while position < count {
      if bytes[position] < 0x80 {
        position += 1
        continue
      }
      let step = step(in: bytes, at: position)
      if !step.isWellFormed { return position }
      position += step.length
    }
    return nil
  }

  static func step(in bytes: Span<UInt8>, at position: Int) -> Step {
    let lead = bytes[position]
    if lead < 0x80 { return Step(length: 1, isWellFormed: true) }
    var second: ClosedRange<UInt8> = 0x80...0xBF
    let length: Int
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0: (length, second) = (3, 0xA0...0xBF)
    case 0xED: (length, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: length = 3
    case 0xF0: (length, second) = (4, 0x90...0xBF)
    case 0xF4: (length, second) = (4, 0x80...0x8F)
    case 0xF1...0xF3: length = 4
    default: return Step(length: 1, isWellFormed: false)
    }
    var taken = 1
    while taken < length {
      guard position + taken < bytes.count,
        (taken == 1 ? second : 0x80...0xBF).contains(bytes[position + taken])
      else { return Step(length: taken, isWellFormed: false) }
      taken += 1
    }
    return Step(length: length, isWellFormed: true)
  }
}
