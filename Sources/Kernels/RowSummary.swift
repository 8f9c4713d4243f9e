internal import CKernels

/// What a look at a row of values tells. The same on every instruction set and number of threads.
public struct RowSummary: Sendable, Equatable {
  /// Sum of squares in binary64, in a fixed order.
  public let squares: Double
  /// The largest magnitude; NaN or infinite when some element is.
  public let largest: Float

  public init(_ row: Span<Float>) {
    let summary = row.withUnsafeBufferPointer { row in
      row.baseAddress.map { ck_summarize_row($0, row.count) } ?? ck_row_summary(squares: 0, largest: 0)
    }
    squares = summary.squares
    largest = Float(bitPattern: summary.largest)
  }

  /// How many e4m3 codes are the largest one of either sign, ±448: 0x7E and 0xFE.
  public static func saturatedCodes(_ codes: RawSpan) -> Int {
    codes.withUnsafeBytes { codes in
      codes.baseAddress.map { ck_count_magnitude($0.assumingMemoryBound(to: UInt8.self), codes.count, 0x7E) } ?? 0
    }
  }
}
