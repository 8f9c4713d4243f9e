/// Row-wise FP8 written for reading: one element at a time, rounding by comparing distances. It shares neither code nor
/// method with the kernels.
enum ScalarFP8 {
  /// Values of the codes 0x00 … 0x7E, ascending: S EEEE MMM, bias 7, subnormals below 2⁻⁶, no infinities.
  static let magnitudes: [Double] = (0...0x7E).map { code in
    let exponent = code >> 3
    let mantissa = Double(code & 7)
    let power = Double(sign: .plus, exponent: max(exponent, 1) - 7, significand: 1)
    return (exponent == 0 ? mantissa / 8 : 1 + mantissa / 8) * power
  }

  static func value(_ code: UInt8) -> Double {
    let magnitude = code & 0x7F == 0x7F ? .nan : magnitudes[Int(code & 0x7F)]
    return code & 0x80 == 0 ? magnitude : -magnitude
  }

  /// The code nearest to `x`; of two equally near the one whose code is even; ±448 beyond the largest.
  static func code(_ x: Float) -> UInt8 {
    let magnitude = Double(x.magnitude)
    var low = 0
    var high = magnitudes.count - 1
    while low < high {
      // The first value that is not below the magnitude.
      let middle = (low + high) / 2
      if magnitudes[middle] < magnitude { low = middle + 1 } else { high = middle }
    }
    var nearest = low
    if low > 0 {
      let above = magnitudes[low] - magnitude
      let below = magnitude - magnitudes[low - 1]
      if below < above || (below == above && low % 2 == 1) { nearest = low - 1 }
    }
    return UInt8(nearest) | (x.sign == .minus ? 0x80 : 0)
  }

  /// The nearest BF16 to a finite value, ties to even, as its 16 bits.
  static func bf16(_ x: Float) -> UInt16 {
    let lower = UInt16(x.bitPattern >> 16)
    let upper = lower + 1
    let below = (Double(x) - Double(float(lower))).magnitude
    // Beyond the largest BF16 the next one would be 2¹²⁸, which is infinity's place.
    let next =
      float(upper).isFinite
      ? Double(float(upper)) : Double(sign: x.sign, exponent: 128, significand: 1)
    let above = (next - Double(x)).magnitude
    return below < above || (below == above && lower % 2 == 0) ? lower : upper
  }

  static func float(_ bf16: UInt16) -> Float { Float(bitPattern: UInt32(bf16) << 16) }

  /// Recipe `fp8`: scale = bf16(A/448), 1 when that is zero; code = e4m3(x/scale), the quotient in binary32.
  static func quantizeAgainstBF16Scale(_ row: ArraySlice<Float>) -> (codes: [UInt8], scale: UInt16) {
    let largest = row.map(\.magnitude).max() ?? 0
    let rounded = bf16(largest / 448)
    let scale = float(rounded) == 0 ? 0x3F80 : rounded
    return (row.map { code($0 / float(scale)) }, scale)
  }

  /// Recipes `fp8-meta` and `fp8-fbgemm`: scale = max(A/448, 1/(448·512)), all in binary32.
  static func quantizeAgainstFlooredScale(_ row: ArraySlice<Float>) -> (codes: [UInt8], scale: Float) {
    let largest = row.map(\.magnitude).max() ?? 0
    let scale = max(largest / 448, 1 / (448 * 512))
    return (row.map { code($0 / scale) }, scale)
  }
}
