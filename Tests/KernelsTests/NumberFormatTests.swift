import Kernels
import Support
import Testing

private let levels = InstructionSet.available
private let lengths = [0, 1, 15, 16, 17, 31, 32, 33, 1003]

private func littleEndian(_ patterns: [UInt16]) -> [UInt8] {
  patterns.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
}
private let allHalves = littleEndian(Array(0...UInt16.max))

private func widened(_ bytes: [UInt8], _ format: FloatFormat, _ level: InstructionSet) -> [Float] {
  var values = [Float](repeating: -1, count: bytes.count / format.byteCount)
  var span = values.mutableSpan
  NumberFormat.widen(bytes.span.bytes, from: format, into: &span, instructionSet: level)
  return values
}

private func narrowed(_ values: [Float], _ format: FloatFormat, _ level: InstructionSet) -> (
  bytes: [UInt8], overflow: Int?
) {
  var bytes = [UInt8](repeating: 0xAA, count: values.count * format.byteCount)
  var span = bytes.mutableSpan
  let overflow = NumberFormat.narrow(values.span, to: format, into: &span, instructionSet: level)
  return (bytes, overflow)
}

private func patterns16(_ bytes: [UInt8]) -> [UInt16] {
  stride(from: 0, to: bytes.count, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
}

/// Random bit patterns, half of them with an exponent near the e4m3 range and half near the limits of F16 and BF16.
private func randomPatterns(_ count: Int, seed: UInt64) -> [Float] {
  var random = SeededRandom(seed: seed)
  return (0..<count).map { index in
    let bits = UInt32.random(in: 0...UInt32.max, using: &random)
    guard index % 2 == 0 else { return Float(bitPattern: bits) }
    let exponent = UInt32.random(in: 100...145, using: &random)
    return Float(bitPattern: bits & 0x807F_FFFF | exponent << 23)
  }
}

@Suite("Number formats")
struct NumberFormatTests {
  /// Origin: torch, golden tables/e4m3_to_f32.bin. The payload of NaN is not part of the contract.
  @Test(arguments: levels)
  func decodesEveryE4M3Code(_ level: InstructionSet) throws {
    let table = try Fixtures.bytes(Fixtures.golden("tables/e4m3_to_f32.bin"))
    let expected = widened(table, .f32, .scalar)
    let found = widened(Array(0...255), .e4m3, level)
    for code in 0..<256 {
      if expected[code].isNaN {
        #expect(found[code].isNaN, "code \(code)")
      } else {
        #expect(found[code].bitPattern == expected[code].bitPattern, "code \(code)")
      }
    }
  }

  /// Origin: torch 2.13, golden tables; all 65,536 inputs.
  @Test(arguments: levels, ["clamped", "torch"])
  func encodesEveryHalfToE4M3(_ level: InstructionSet, _ kind: String) throws {
    for (format, name) in [(FloatFormat.bf16, "bf16"), (.f16, "f16")] {
      let expected = try Fixtures.bytes(Fixtures.golden("tables/\(name)_to_e4m3_\(kind).bin"))
      let found = narrowed(widened(allHalves, format, level), .e4m3, level).bytes
      #expect(found == expected, "\(name)")
      var direct = [UInt8](repeating: 0, count: 65536)
      var span = direct.mutableSpan
      let overflow = NumberFormat.convert(
        allHalves.span.bytes, from: format, to: .e4m3, into: &span, instructionSet: level)
      #expect(overflow == nil && direct == expected)
    }
  }

  /// Origin: torch, golden tables/f32_ties_e4m3.safetensors: midpoints of neighbouring codes and their neighbours.
  @Test(arguments: levels)
  func encodesTies(_ level: InstructionSet) throws {
    let golden = try GoldenFile("tables/f32_ties_e4m3.safetensors")
    #expect(try narrowed(golden.floats("x"), .e4m3, level).bytes == golden.bytes("clamped"))
  }

  /// Against the definition: the nearest code by distance in binary64 (exact here), ties to the even code.
  @Test(arguments: levels)
  func encodesRandomPatternsToTheNearestE4M3(_ level: InstructionSet) {
    let seed = SeededRandom.freshSeed()
    let magnitudes = widened(Array(0...0x7E), .e4m3, .scalar).map(Double.init)
    let values = randomPatterns(20_000, seed: seed)
    let found = narrowed(values, .e4m3, level).bytes
    for (value, code) in zip(values, found) {
      if value.isNaN {
        #expect(code & 0x7F == 0x7F, "seed \(seed)")
        continue
      }
      let size = min(Double(value.magnitude), 448)
      var best = 0
      for candidate in magnitudes.indices {
        let closer = abs(magnitudes[candidate] - size), far = abs(magnitudes[best] - size)
        if closer < far || (closer == far && candidate % 2 == 0) { best = candidate }
      }
      let expected = UInt8(best) | (value.sign == .minus ? 0x80 : 0)
      #expect(code == expected, "\(value) at \(level), seed \(seed)")
    }
  }

  /// Against Swift's own Float16, which rounds to nearest even by the language's definition.
  @Test(arguments: levels)
  func agreesWithFloat16(_ level: InstructionSet) {
    for (pattern, value) in widened(allHalves, .f16, level).enumerated() {
      let half = Float16(bitPattern: UInt16(pattern))
      #expect(half.isNaN ? value.isNaN : value.bitPattern == Float(half).bitPattern, "\(pattern)")
    }
    let seed = SeededRandom.freshSeed()
    // Random patterns, and every midpoint of two neighbouring positive halves with both its neighbours.
    let midpoints = (0..<UInt16(0x7BFF)).flatMap { pattern in
      let middle = (Float(Float16(bitPattern: pattern)) + Float(Float16(bitPattern: pattern + 1))) / 2
      return [middle.nextDown, middle, middle.nextUp, -middle]
    }
    let values = randomPatterns(50_000, seed: seed) + midpoints + [65519.996, 65520, 65535, 65536]
    for (value, pattern) in zip(values, patterns16(narrowed(values, .f16, level).bytes)) {
      let expected = Float16(value)
      if value.isNaN {
        #expect(Float16(bitPattern: pattern).isNaN && pattern & 0x200 != 0)
      } else {
        #expect(pattern == expected.bitPattern, "\(value), seed \(seed)")
      }
    }
  }

  /// Against the definition: of the two neighbouring BF16 values the nearer by binary64 distance, ties to even.
  @Test(arguments: levels)
  func roundsToTheNearestBF16(_ level: InstructionSet) {
    for (pattern, value) in widened(allHalves, .bf16, level).enumerated() {
      #expect(value.bitPattern == UInt32(pattern) << 16)
    }
    let seed = SeededRandom.freshSeed()
    let ties = (0..<UInt32(0x7F80)).map { Float(bitPattern: $0 << 16 | 0x8000) }
    let values = randomPatterns(50_000, seed: seed) + ties + ties.map(\.nextUp) + ties.map(\.nextDown)
    for (value, found) in zip(values, patterns16(narrowed(values, .bf16, level).bytes)) {
      if value.isNaN {
        #expect(Float(bitPattern: UInt32(found) << 16).isNaN && found & 0x40 != 0)
        continue
      }
      let below = value.bitPattern >> 16
      // 2^128 stands for the infinity above the largest finite value.
      let size = { (pattern: UInt32) -> Double in
        pattern & 0x7FFF == 0x7F80 ? 0x1p128 : Double(Float(bitPattern: (pattern & 0x7FFF) << 16))
      }
      let exact = value.isInfinite ? 0x1p128 : Double(value.magnitude)
      let down = exact - size(below), up = size(below + 1) - exact
      let roundsUp = !value.isInfinite && (up < down || (up == down && below % 2 == 1))
      #expect(UInt32(found) == below + (roundsUp ? 1 : 0), "\(value), seed \(seed)")
    }
  }

  @Test(arguments: levels)
  func namesTheFirstFiniteValueThatOverflows(_ level: InstructionSet) {
    for at in [0, 5, 15, 16, 40, 1002] {
      var values = [Float](repeating: 1, count: 1003)
      values[0] = .infinity  // an infinity is no overflow
      values[1] = .nan
      values[at] = -65520
      #expect(narrowed(values, .f16, level).overflow == at)
      #expect(narrowed(values, .bf16, level).overflow == nil)
      #expect(narrowed(values, .f32, level).overflow == nil)
      #expect(narrowed(values, .e4m3, level).overflow == nil)
      values[at] = Float(bitPattern: 0x7F7F_8000)
      #expect(narrowed(values, .bf16, level).overflow == at)
      if at < 1002 { values[1002] = 1e30 }
      #expect(narrowed(values, .f16, level).overflow == at)
    }
    #expect(narrowed([65519.996], .f16, level).overflow == nil)
  }

  @Test(arguments: levels)
  func convertsBetweenHalves(_ level: InstructionSet) {
    var bytes = [UInt8](repeating: 0, count: allHalves.count)
    var span = bytes.mutableSpan
    // 0x4780 is BF16's 65536, the first that F16 cannot hold.
    let overflow = NumberFormat.convert(
      allHalves.span.bytes, from: .bf16, to: .f16, into: &span, instructionSet: level)
    #expect(overflow == 0x4780)
    for (pattern, found) in patterns16(bytes).enumerated() {
      let value = Float(bitPattern: UInt32(pattern) << 16)
      #expect(value.isNaN ? Float16(bitPattern: found).isNaN : found == Float16(value).bitPattern)
    }
    var backBytes = [UInt8](repeating: 0, count: allHalves.count)
    var backSpan = backBytes.mutableSpan
    let back = NumberFormat.convert(
      allHalves.span.bytes, from: .f16, to: .bf16, into: &backSpan, instructionSet: level)
    #expect(back == nil)
    let expected = narrowed(widened(allHalves, .f16, .scalar), .bf16, .scalar).bytes
    #expect(backBytes == expected)
  }

  @Test(arguments: levels, FloatFormat.allCases.filter { $0 != .i8 })
  func findsTheFirstNonFinite(_ level: InstructionSet, _ format: FloatFormat) {
    for length in lengths {
      let values = [Float](repeating: 1.5, count: length)
      let clean = narrowed(values, format, .scalar).bytes
      #expect(NumberFormat.firstNonFinite(clean.span.bytes, format: format, instructionSet: level) == nil)
      for at in [0, length / 2, length - 1] where at >= 0 && at < length {
        for bad in format == .e4m3 ? [Float.nan, -.nan] : [Float.nan, .infinity, -.infinity] {
          var broken = values
          broken[at] = bad
          broken[length - 1] = .nan
          let bytes = narrowed(broken, format, .scalar).bytes
          #expect(NumberFormat.firstNonFinite(bytes.span.bytes, format: format, instructionSet: level) == at)
        }
      }
    }
  }

  /// Every level against the scalar definition: identical bytes at every length, NaN payloads included.
  @Test(arguments: levels.filter { $0 > .scalar }, FloatFormat.allCases.filter { $0 != .i8 })
  func equalsTheScalarLevel(_ level: InstructionSet, _ format: FloatFormat) {
    let seed = SeededRandom.freshSeed()
    for length in lengths {
      let values = randomPatterns(length, seed: seed &+ UInt64(length))
      let scalar = narrowed(values, format, .scalar)
      let vector = narrowed(values, format, level)
      #expect(vector.bytes == scalar.bytes && vector.overflow == scalar.overflow, "seed \(seed), length \(length)")
      var random = SeededRandom(seed: seed)
      let bytes = (0..<length * format.byteCount).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(
        widened(bytes, format, level).map(\.bitPattern) == widened(bytes, format, .scalar).map(\.bitPattern),
        "seed \(seed), length \(length)")
    }
  }
}
