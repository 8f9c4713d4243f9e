internal import CKernels

/// Symmetric integer quantization in groups of a row: value = code · scale, codes int8 whatever their range. The same bytes
/// on every instruction set.
public enum IntegerGroups {
  /// scale = max(A / divisor, least) for a group with largest magnitude A; code = x / scale, rounded to nearest even in
  /// binary32 and limited to the codes.
  public struct Arithmetic: Sendable, Hashable {
    public let codes: ClosedRange<Int8>
    public let divisor: Float
    public let leastScale: Float

    public init(codes: ClosedRange<Int8>, divisor: Float, leastScale: Float) {
      self.codes = codes
      self.divisor = divisor
      self.leastScale = leastScale
    }
  }

  /// Sums over groups in the weights' units, squared.
  public struct Measures: Sendable, Equatable {
    public var signalEnergy = 0.0
    public var errorEnergy = 0.0
    public init() {}
  }

  /// Quantizes groups of `size` finite elements one after the other.
  /// - Parameters:
  ///   - codes: one byte per element.
  ///   - scales: one per group.
  ///   - measures: added to, group by group in order.
  public static func quantize(
    _ values: Span<Float>, size: Int, arithmetic: Arithmetic, codes: inout MutableSpan<UInt8>,
    scales: inout MutableSpan<Float>, measures: inout Measures, instructionSet: InstructionSet = .best
  ) {
    precondition(size > 0 && values.count == scales.count * size && codes.count == values.count, "whole groups")
    let range = ck_integer_range(
      low: Float(arithmetic.codes.lowerBound), high: Float(arithmetic.codes.upperBound), divisor: arithmetic.divisor,
      least: arithmetic.leastScale)
    let table = integers(instructionSet)
    values.withUnsafeBufferPointer { source in
      codes.withUnsafeMutableBytes { target in
        guard let from = source.baseAddress, let to = target.baseAddress?.assumingMemoryBound(to: Int8.self) else {
          return
        }
        for group in 0..<scales.count {
          let result = table.pointee.quantize_group(from + group * size, size, range, to + group * size)
          scales[group] = result.scale
          let unit = Double(result.scale) * Double(result.scale)
          measures.signalEnergy += result.signal * unit
          measures.errorEnergy += result.error * unit
        }
      }
    }
  }

  static func integers(_ instructionSet: InstructionSet) -> UnsafePointer<ck_integers> {
    precondition(instructionSet <= .best, "the processor has \(instructionSet)")
    return ck_integers_at(Int32(instructionSet.rawValue))
  }
}

/// Linear maps of rows of values, in binary32.
public enum RowTransforms {
  /// Replaces each row of `columns` values, a power of two, by its product with the normalized Hadamard matrix of that
  /// size in Sylvester order, which is symmetric and its own inverse: sums by the fast transform, multiplied once by
  /// 1/√columns.
  public static func hadamard(
    _ rows: inout MutableSpan<Float>, columns: Int, instructionSet: InstructionSet = .best
  ) {
    precondition(columns > 0 && columns & (columns - 1) == 0 && rows.count % columns == 0, "rows of a power of two")
    let table = IntegerGroups.integers(instructionSet)
    rows.withUnsafeMutableBufferPointer { rows in
      guard let base = rows.baseAddress else { return }
      for start in stride(from: 0, to: rows.count, by: columns) {
        table.pointee.hadamard_row(base + start, columns)
      }
    }
  }

  /// rows[r] += factor · Σₖ left[r, k] · right[k], products and sums rounded one by one in the order of k.
  /// - Parameters:
  ///   - left: `[rows, rank]`
  ///   - right: `[rank, columns]`
  public static func addProduct(
    _ left: Span<Float>, _ right: Span<Float>, rank: Int, factor: Float, to rows: inout MutableSpan<Float>,
    columns: Int, instructionSet: InstructionSet = .best
  ) {
    precondition(columns > 0 && rank > 0 && right.count == rank * columns, "a whole right factor")
    precondition(rows.count % columns == 0 && left.count == rows.count / columns * rank, "a left row for each row")
    let table = IntegerGroups.integers(instructionSet)
    right.withUnsafeBufferPointer { right in
      rows.withUnsafeMutableBufferPointer { rows in
        guard let base = rows.baseAddress, let from = right.baseAddress else { return }
        for row in 0..<rows.count / columns {
          for k in 0..<rank {
            table.pointee.add_scaled(
              base + row * columns, from + k * columns, factor * left[row * rank + k], columns)
          }
        }
      }
    }
  }
}
