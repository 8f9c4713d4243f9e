internal import CKernels

/// Groups of integer codes that share a scale and a zero point: value = (code − zeroPoint) · scale, codes int8 whatever
/// their range. The same bytes on every instruction set.
public enum GroupCodes {
  /// Scale and zero point of a group. Zero points of files are integers; a search may pass others on its way.
  public struct Parameters: Sendable, Hashable {
    public var scale: Float
    public var zeroPoint: Float

    public init(scale: Float, zeroPoint: Float = 0) {
      self.scale = scale
      self.zeroPoint = zeroPoint
    }
  }

  /// What rounding did to a group, in the units of its values.
  public struct Measures: Sendable, Equatable {
    /// Σ x²
    public var signalEnergy = 0.0
    /// Σ (x − value)²
    public var errorEnergy = 0.0
    /// The largest |x − value|.
    public var largestError: Float = 0
    /// Elements that lie more than half a step beyond the codes.
    public var saturated = 0

    public init() {}

    mutating func add(_ other: ck_group_measures) {
      signalEnergy += other.signal
      errorEnergy += other.error
      largestError = max(largestError, other.largest)
      saturated += other.saturated
    }
  }

  /// code = rne(clamp(x / scale + zeroPoint)), quotient and sum in binary32. The values are finite.
  public static func quantize(
    _ values: Span<Float>, _ parameters: Parameters, codes range: ClosedRange<Int8>,
    into codes: inout MutableSpan<UInt8>, instructionSet: InstructionSet = .best
  ) {
    precondition(codes.count == values.count, "one code per value")
    let table = groups(instructionSet)
    values.withUnsafeBufferPointer { source in
      codes.withUnsafeMutableBytes { target in
        guard let from = source.baseAddress, let to = target.baseAddress?.assumingMemoryBound(to: Int8.self) else {
          return
        }
        table.pointee.quantize(from, source.count, native(parameters, range), to)
      }
    }
  }

  /// Adds what rounding did to a group.
  public static func measure(
    _ values: Span<Float>, codes: Span<UInt8>, _ parameters: Parameters, codes range: ClosedRange<Int8>,
    addingTo measures: inout Measures, instructionSet: InstructionSet = .best
  ) {
    precondition(codes.count == values.count, "one code per value")
    let table = groups(instructionSet)
    let result = values.withUnsafeBufferPointer { source in
      codes.withUnsafeBytes { codes -> ck_group_measures in
        guard let from = source.baseAddress, let to = codes.baseAddress?.assumingMemoryBound(to: Int8.self) else {
          return ck_group_measures()
        }
        return table.pointee.measure(from, to, source.count, native(parameters, range))
      }
    }
    measures.add(result)
  }

  /// The largest |a − b|, element by element.
  public static func largestDifference(
    _ a: Span<Float>, _ b: Span<Float>, instructionSet: InstructionSet = .best
  ) -> Float {
    precondition(a.count == b.count, "as many elements")
    let table = groups(instructionSet)
    return a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        guard let one = a.baseAddress, let other = b.baseAddress else { return 0 }
        return table.pointee.largest_difference(one, other, a.count)
      }
    }
  }

  /// values = (codes − zeroPoint) · scale, the product rounded once to binary32.
  public static func dequantize(
    _ codes: Span<UInt8>, _ parameters: Parameters, into values: inout MutableSpan<Float>,
    instructionSet: InstructionSet = .best
  ) {
    precondition(codes.count == values.count, "one value per code")
    let table = groups(instructionSet)
    codes.withUnsafeBytes { codes in
      values.withUnsafeMutableBufferPointer { values in
        guard let from = codes.baseAddress?.assumingMemoryBound(to: Int8.self), let to = values.baseAddress else {
          return
        }
        table.pointee.dequantize(from, values.count, parameters.scale, parameters.zeroPoint, to)
      }
    }
  }

  /// values[r, c] = (codes[r, c] − zeroPoints[r, g]) · scales[r, g] with g = groups[c], or c / size without `groups`.
  /// - Parameters:
  ///   - codes: whole rows of `columns` codes.
  ///   - scales: `[rows, groups in a row]`
  ///   - zeroPoints: int8 in the same shape; empty for zeros.
  ///   - groups: for each column its group.
  public static func dequantize(
    rows codes: RawSpan, columns: Int, size: Int, groups columnGroups: [Int32]?, scales: Span<Float>,
    zeroPoints: Span<UInt8>, into values: inout MutableSpan<Float>, instructionSet: InstructionSet = .best
  ) {
    precondition(
      columns > 0 && size > 0 && codes.byteCount % columns == 0 && values.count == codes.byteCount, "whole rows")
    let rows = codes.byteCount / columns
    let perRow = (columns + size - 1) / size
    precondition(
      scales.count == rows * perRow && zeroPoints.isEmpty || zeroPoints.count == scales.count, "a scale per group")
    precondition(columnGroups?.count ?? columns == columns, "a group for each column")
    let table = groups(instructionSet)
    codes.withUnsafeBytes { codes in
      values.withUnsafeMutableBufferPointer { values in
        scales.withUnsafeBufferPointer { scales in
          guard let from = codes.baseAddress?.assumingMemoryBound(to: Int8.self), let to = values.baseAddress,
            let factors = scales.baseAddress
          else { return }
          for row in 0..<rows {
            let (start, first) = (row * columns, row * perRow)
            if let columnGroups {
              withZeroPoints(zeroPoints) { zeros in
                ck_dequantize_indexed(
                  from + start, columns, columnGroups, factors + first, zeros.map { $0 + first }, to + start)
              }
              continue
            }
            for group in 0..<perRow {
              let column = start + group * size
              let zero = zeroPoints.isEmpty ? 0 : Float(Int8(bitPattern: zeroPoints[first + group]))
              table.pointee.dequantize(
                from + column, min(size, columns - group * size), factors[first + group], zero, to + column)
            }
          }
        }
      }
    }
  }

  /// Of candidates for a group's scale and zero point the first with the least Σ weight · (x − value)².
  /// - Parameters:
  ///   - weights: how much each element matters, ≥ 0; empty for all alike.
  ///   - scales: positive; `zeroPoints` has as many.
  /// - Returns: its index and that sum.
  public static func search(
    _ values: Span<Float>, weights: Span<Float>, scales: [Float], zeroPoints: [Float], codes range: ClosedRange<Int8>,
    instructionSet: InstructionSet = .best
  ) -> (index: Int, error: Float) {
    precondition(!scales.isEmpty && scales.count == zeroPoints.count, "as many zero points as scales")
    precondition(weights.isEmpty || weights.count == values.count, "one weight per value")
    let table = groups(instructionSet)
    var error: Float = 0
    let index = values.withUnsafeBufferPointer { values -> Int in
      guard let from = values.baseAddress else { return 0 }
      func found(_ weights: UnsafePointer<Float>?) -> Int {
        table.pointee.search(
          from, weights, values.count, scales, zeroPoints, scales.count, Float(range.lowerBound),
          Float(range.upperBound), &error)
      }
      if weights.isEmpty { return found(nil) }
      return weights.withUnsafeBufferPointer { found($0.baseAddress) }
    }
    return (index, error)
  }

  /// Half-quadratic quantization (HQQ, Badri and Shaji 2023) of one group, without data: alternates between
  /// e = shrink(x − value), shrink(v) = sign(v) · max(0, |v| − |v|^(p − 1) / β) with p = 0.7, and the zero point (or the
  /// scale) that fits x − e best, β growing by `growth`; ends when Σ |x − value| no longer falls.
  /// - Parameter movesScale: fit the scale and leave the zero point: for symmetric codes.
  /// - Returns: the best parameters met, the zero point no integer.
  public static func halfQuadratic(
    _ values: Span<Float>, from start: Parameters, codes range: ClosedRange<Int8>, movesScale: Bool,
    iterations: Int = 20, beta: Float = 10, growth: Float = 1.01, instructionSet: InstructionSet = .best
  ) -> Parameters {
    let table = groups(instructionSet)
    return values.withUnsafeBufferPointer { values in
      guard let from = values.baseAddress else { return start }
      let result = table.pointee.half_quadratic(
        from, values.count, native(start, range), movesScale ? 1 : 0, Int32(iterations), beta, growth)
      return Parameters(scale: result.scale, zeroPoint: result.zero)
    }
  }

  /// Scale, zero point and codes of a group as compressed-tensors computes them, every step rounded to `format`:
  /// symmetric scale = max|x| / `halfRange`; else scale = (max − min) / (codes − 1) with 0 among the values, and
  /// zeroPoint = rne(clamp(low − min / scale)). A scale of zero becomes the format's epsilon.
  public static func library(
    _ values: Span<Float>, format: FloatFormat, isSymmetric: Bool, codes range: ClosedRange<Int8>, halfRange: Float,
    into codes: inout MutableSpan<UInt8>
  ) -> Parameters {
    precondition(codes.count == values.count, "one code per value")
    return values.withUnsafeBufferPointer { source in
      codes.withUnsafeMutableBytes { target in
        guard let from = source.baseAddress, let to = target.baseAddress?.assumingMemoryBound(to: Int8.self) else {
          return Parameters(scale: 1)
        }
        let result = ck_library_group(
          from, source.count, format.native, isSymmetric ? 1 : 0, Float(range.lowerBound), Float(range.upperBound),
          halfRange, to)
        return Parameters(scale: result.scale, zeroPoint: result.zero)
      }
    }
  }

  private static func withZeroPoints(_ zeroPoints: Span<UInt8>, _ body: (UnsafePointer<Int8>?) -> Void) {
    if zeroPoints.isEmpty { return body(nil) }
    zeroPoints.withUnsafeBytes { body($0.baseAddress?.assumingMemoryBound(to: Int8.self)) }
  }

  private static func native(_ parameters: Parameters, _ range: ClosedRange<Int8>) -> ck_group {
    ck_group(
      scale: parameters.scale, zero: parameters.zeroPoint, low: Float(range.lowerBound), high: Float(range.upperBound))
  }

  private static func groups(_ instructionSet: InstructionSet) -> UnsafePointer<ck_groups> {
    precondition(instructionSet.isAvailable, "the processor has \(instructionSet)")
    return ck_groups_at(Int32(instructionSet.rawValue))
  }
}
