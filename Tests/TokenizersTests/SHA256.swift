/// SHA-256 (FIPS 180-4), so that the ids can be compared with the references' digests. `SplitterTests` checks it against
/// the standard's example.
func sha256(_ message: [UInt8]) -> String {
  var bytes = message + [0x80]
  while bytes.count % 64 != 56 { bytes.append(0) }
  for shift in stride(from: 56, through: 0, by: -8) {
    bytes.append(UInt8(truncatingIfNeeded: (UInt64(message.count) * 8) >> UInt64(shift)))
  }
  let constants = primes.map { fraction(of: cubeRoot(of: $0), power: 3, of: $0) }
  var state = primes.prefix(8).map { fraction(of: squareRoot(of: $0), power: 2, of: $0) }
  func rotate(_ x: UInt32, _ by: UInt32) -> UInt32 { x >> by | x << (32 - by) }
  for block in stride(from: 0, to: bytes.count, by: 64) {
    var words = (0..<16).map { index in
      (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[block + index * 4 + $1]) }
    }
    for index in 16..<64 {
      let (a, b) = (words[index - 15], words[index - 2])
      let s0 = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3
      let s1 = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10
      words.append(words[index - 16] &+ s0 &+ words[index - 7] &+ s1)
    }
    var v = state
    for index in 0..<64 {
      let s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)
      let choice = v[4] & v[5] ^ ~v[4] & v[6]
      let first = v[7] &+ s1 &+ choice &+ constants[index] &+ words[index]
      let s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)
      let majority = v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2]
      v = [first &+ s0 &+ majority, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
    }
    for index in 0..<8 { state[index] &+= v[index] }
  }
  return state.map { word in
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }.joined()
}

private let primes: [UInt32] = (2...311).filter { n in !(2..<n).contains { n % $0 == 0 } }

private func squareRoot(of n: UInt32) -> Double { Double(n).squareRoot() }
private func cubeRoot(of n: UInt32) -> Double {
  (0..<99).reduce(Double(n)) { x, _ in x - (x * x * x - Double(n)) / (3 * x * x) }
}

/// The first 32 bits of a root's fractional part; the guess is put right with exact integers.
private func fraction(of root: Double, power: Int, of n: UInt32) -> UInt32 {
  var scaled = UInt64(root * 4_294_967_296)
  func isTooLarge(_ x: UInt64) -> Bool {
    // x = root × 2^32 has at most 37 bits: its powers fit in 128 bits.
    (0..<power).reduce(UInt128(1)) { product, _ in product * UInt128(x) } > UInt128(n) << UInt128(32 * power)
  }
  while isTooLarge(scaled) { scaled -= 1 }
  while !isTooLarge(scaled + 1) { scaled += 1 }
  return UInt32(truncatingIfNeeded: scaled)
}
