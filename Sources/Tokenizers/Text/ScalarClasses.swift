/// What the split pattern wants to know about a scalar.
package enum ScalarClass: UInt8, Sendable {
  case other, letter, number, whiteSpace
  /// U+000A and U+000D: white space too, but named by the pattern.
  case newline
}

/// A two-level table of `ScalarClass` over all scalar values.
package struct ScalarClasses: Sendable {
  private static let blockBits: UInt32 = 8
  /// Where the block of a scalar starts in `classes`, by the scalar's upper bits.
  private let blocks: [UInt16]
  private let classes: [UInt8]

  package static let shared = ScalarClasses()

  private init() {
    var flat = [UInt8](repeating: ScalarClass.other.rawValue, count: 0x110000)
    func mark(_ ranges: [UInt32], _ kind: ScalarClass) {
      for index in stride(from: 0, to: ranges.count, by: 2) {
        for scalar in ranges[index]...ranges[index + 1] { flat[Int(scalar)] = kind.rawValue }
      }
    }
    mark(UnicodeClasses.letters, .letter)
    mark(UnicodeClasses.numbers, .number)
    mark(UnicodeClasses.whiteSpace, .whiteSpace)
    mark([0x0A, 0x0A, 0x0D, 0x0D], .newline)

    let size = 1 << Int(Self.blockBits)
    var known: [[UInt8]: UInt16] = [:]
    var blocks: [UInt16] = []
    var classes: [UInt8] = []
    for start in stride(from: 0, to: flat.count, by: size) {
      let block = Array(flat[start..<start + size])
      if let place = known[block] {
        blocks.append(place)
      } else {
        let place = UInt16(classes.count / size)
        known[block] = place
        blocks.append(place)
        classes += block
      }
    }
    self.blocks = blocks
    self.classes = classes
  }

  @inline(__always)
  func rawClass(of scalar: UInt32) -> UInt8 {
    let block = Int(blocks[Int(scalar >> Self.blockBits)])
    return classes[block << Int(Self.blockBits) | Int(scalar & (1 << Self.blockBits - 1))]
  }

  package subscript(scalar: UInt32) -> ScalarClass { ScalarClass(rawValue: rawClass(of: scalar)) ?? .other }
}
