internal import CKernels

/// Formats that widen to binary32 without loss, as they stand in files: little-endian.
public enum FloatFormat: Sendable, Hashable, CaseIterable {
  case f32, f16, bf16
  /// e4m3**fn**: no infinities, largest magnitude 448, NaN 0x7F and 0xFF.
  case e4m3
  /// Two's complement: codes of integer quantizers.
  case i8

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .e4m3, .i8: 1
    }
  }

  /// Codes that are no weights without their scales.
  public var isCode: Bool { self == .e4m3 || self == .i8 }

  var native: ck_format {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .e4m3: .e4m3
    case .i8: .i8
    }
  }
}

/// Conversions between number formats: exact when widening, rounded once to nearest even when narrowing. The same bytes
/// on every instruction set.
public enum NumberFormat {
  /// Widens all elements of `bytes`; `values` has exactly as many. Exact; NaN stays NaN.
  public static func widen(
    _ bytes: RawSpan, from format: FloatFormat, into values: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    precondition(bytes.byteCount == values.count * format.byteCount, "as many values as elements")
    bytes.withUnsafeBytes { source in
      values.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        numbers(instructionSet).pointee.widen(from, format.native, to, target.count)
      }
    }
  }

  /// Rounds all values into `bytes`, which has exactly their size. e4m3 saturates at ±448; NaN stays NaN. Traps
  /// on `.i8`, whose quantizers round by themselves.
  /// - Returns: the index of the first finite value that became infinite in the format, or nil.
  public static func narrow(
    _ values: Span<Float>, to format: FloatFormat, into bytes: inout MutableSpan<UInt8>,
    instructionSet: InstructionSet = .best
  ) -> Int? {
    precondition(format != .i8, "integers are not rounded to here")
    precondition(bytes.count == values.count * format.byteCount, "room for as many elements as values")
    return values.withUnsafeBufferPointer { source in
      bytes.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return nil }
        let index = numbers(instructionSet).pointee.narrow(from, format.native, to, source.count)
        return index < 0 ? nil : index
      }
    }
  }

  /// All elements of `bytes`, a whole number of them, widened: what `widen` writes.
  public static func widened(_ bytes: RawSpan, from format: FloatFormat) -> [Float] {
    var values = [Float](repeating: 0, count: bytes.byteCount / format.byteCount)
    var span = values.mutableSpan
    widen(bytes, from: format, into: &span)
    return values
  }

  /// The bytes of `values` in binary32, little-endian.
  public static func bytes(of values: [Float]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4 * values.count)
    var span = bytes.mutableSpan
    let overflow = narrow(values.span, to: .f32, into: &span)
    precondition(overflow == nil, "binary32 holds binary32")
    return bytes
  }

  /// The index of the first NaN or infinity among the elements of `bytes`, or nil.
  public static func firstNonFinite(
    _ bytes: RawSpan, format: FloatFormat, instructionSet: InstructionSet = .best
  ) -> Int? {
    bytes.withUnsafeBytes { source in
      guard let from = source.baseAddress else { return nil }
      let count = source.count / format.byteCount
      let index = numbers(instructionSet).pointee.first_nonfinite(from, format.native, count)
      return index < 0 ? nil : index
    }
  }

  static func numbers(_ instructionSet: InstructionSet) -> UnsafePointer<ck_numbers> {
    precondition(instructionSet <= .best, "the processor has \(instructionSet)")
    return ck_numbers_at(Int32(instructionSet.rawValue))
  }
}
