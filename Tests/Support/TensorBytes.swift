public import Tensors

/// Conversions for tests, written for reading: none shares code with the toolkit's kernels.
extension ElementType {
  /// The values in this type, little-endian: F32, F16 and BF16 rounded to nearest even, F8_E4M3 to the nearest code.
  public func bytes(of values: [Float]) -> [UInt8] {
    switch self {
    case .f32: values.flatMap { littleEndian($0.bitPattern, 4) }
    case .f16: values.flatMap { littleEndian(UInt32(Float16($0).bitPattern), 2) }
    case .bf16: values.flatMap { littleEndian(UInt32(bfloat16($0)), 2) }
    case .f8e4m3: values.map { nearestE4M3($0) }
    default: preconditionFailure("\(self) has no values here")
    }
  }

  /// The values of elements stored little-endian.
  public func values(of bytes: [UInt8]) -> [Float] {
    let size = bits / 8
    return stride(from: 0, to: bytes.count, by: size).map { at in
      let word = bytes[at..<at + size].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      switch self {
      case .f32: return Float(bitPattern: word)
      case .f16: return Float(Float16(bitPattern: UInt16(word)))
      case .bf16: return Float(bitPattern: word << 16)
      case .f8e4m3: return e4m3Value(UInt8(word))
      default: preconditionFailure("\(self) has no values here")
      }
    }
  }
}

/// The value of an e4m3fn code: sign, four bits of exponent with bias 7, three of fraction; only 0x7F and 0xFF are NaN.
public func e4m3Value(_ code: UInt8) -> Float {
  let exponent = Int(code >> 3 & 15)
  let fraction = Float(code & 7)
  if code & 0x7F == 0x7F { return .nan }
  let magnitude =
    exponent == 0
    ? fraction * Float(sign: .plus, exponent: -9, significand: 1)
    : Float(sign: .plus, exponent: exponent - 7, significand: 1 + fraction / 8)
  return code & 0x80 == 0 ? magnitude : -magnitude
}

private func littleEndian(_ word: UInt32, _ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: word >> (8 * UInt32($0))) }
}

/// Round to nearest, ties to even; finite values only.
private func bfloat16(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
}

/// By trying all codes; of two equally near ones the even one. Too slow for more than a test.
private func nearestE4M3(_ value: Float) -> UInt8 {
  let magnitude = abs(value)
  var best: UInt8 = 0
  for code in UInt8(1)...0x7E {
    let (distance, shortest) = (abs(e4m3Value(code) - magnitude), abs(e4m3Value(best) - magnitude))
    if distance < shortest || distance == shortest && code % 2 == 0 { best = code }
  }
  return value.sign == .minus ? best | 0x80 : best
}
