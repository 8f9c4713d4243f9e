/// A number of bytes as people write it: `5GB`, `500MB`, `4GiB`, `4Gi`, `1.5G`, `1048576`.
public struct ByteSize: Sendable, Hashable, Comparable {
  public let byteCount: UInt64

  public init(_ byteCount: UInt64) { self.byteCount = byteCount }

  public static func < (left: Self, right: Self) -> Bool { left.byteCount < right.byteCount }

  /// Factors by unit, in lower case. `K`, `M`, `G`, `T` are powers of 1000, with or without `B`; `Ki`… are powers of 1024.
  private static let units: [String: UInt64] = {
    var units: [String: UInt64] = ["": 1, "b": 1]
    var (decimal, binary): (UInt64, UInt64) = (1, 1)
    for letter in ["k", "m", "g", "t"] {
      (decimal, binary) = (decimal * 1000, binary * 1024)
      (units[letter], units[letter + "b"]) = (decimal, decimal)
      (units[letter + "i"], units[letter + "ib"]) = (binary, binary)
    }
    return units
  }()

  /// Digits, optionally a fraction, optionally a unit; a fraction of a byte is dropped. `Gb` and the like are refused:
  /// some read them as bits.
  /// - Throws: `ParseFailure` for any other spelling, and for sizes above 2^64 - 1.
  public init(parsing text: String) throws(ParseFailure) {
    let refused = ParseFailure(
      "\"\(text)\" is no size in bytes", advice: "write for example 5GB, 500MB, 4GiB or 1048576")
    let number = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    let unit = text.dropFirst(number.count).drop { $0 == " " }
    let parts = number.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, let whole = parts.first, !whole.isEmpty, unit.allSatisfy(\.isASCII) else { throw refused }
    let isBits = unit.hasSuffix("b") && unit.dropLast().contains { $0.isUppercase && $0 != "B" }
    guard !isBits, let factor = Self.units[unit.lowercased()] else { throw refused }
    let tooLarge = ParseFailure("\"\(text)\" is more than \(UInt64.max) bytes")
    guard whole.count <= 20, let count = UInt128(whole) else { throw tooLarge }
    var size = count * UInt128(factor)
    if parts.count == 2 {
      // Twelve digits tell single bytes of a terabyte apart.
      let digits = parts[1].prefix(12)
      guard let fraction = UInt128(digits) else { throw refused }
      size += fraction * UInt128(factor) / digits.reduce(into: 1) { scale, _ in scale *= 10 }
    }
    guard let byteCount = UInt64(exactly: size) else { throw tooLarge }
    self.byteCount = byteCount
  }
}

extension ByteSize: CustomStringConvertible {
  /// For people: three significant digits in the largest decimal unit that keeps the number at least 1 (`4.98 GB`),
  /// single bytes below 1000.
  public var description: String {
    guard byteCount >= 1000 else { return byteCount == 1 ? "1 byte" : "\(byteCount) bytes" }
    var (unit, scale) = (0, 1000.0)
    let names = ["kB", "MB", "GB", "TB", "PB", "EB"]
    // 999.5 would round to 1000: it belongs to the next unit.
    while Double(byteCount) / scale >= 999.5 && unit < names.count - 1 { (unit, scale) = (unit + 1, scale * 1000) }
    let value = Double(byteCount) / scale
    let decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
    var digits = "\(Int((value * [1.0, 10, 100][decimals]).rounded()))"
    if decimals > 0 { digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -decimals)) }
    return "\(digits) \(names[unit])"
  }
}
