internal import CKernels

extension NumberFormat {
  /// Elements converted at a time: their binary32 values stay in the first-level cache.
  private static let blockCount = 2048

  /// Converts elements from one format to another through binary32: exact when widening, rounded once to nearest even
  /// when narrowing (e4m3 saturates at ±448; NaN stays NaN).
  /// - Parameter bytes: has exactly the size of the result.
  /// - Returns: the index of the first finite value that became infinite in the format, or nil.
  public static func convert(
    _ source: RawSpan, from: FloatFormat, to: FloatFormat, into bytes: inout MutableSpan<UInt8>,
    instructionSet: InstructionSet = .best
  ) -> Int? {
    let count = source.byteCount / from.byteCount
    precondition(source.byteCount == count * from.byteCount, "whole elements")
    precondition(bytes.count == count * to.byteCount, "room for as many elements")
    let table = numbers(instructionSet)
    var overflow: Int?
    source.withUnsafeBytes { source in
      bytes.withUnsafeMutableBufferPointer { target in
        guard let input = source.baseAddress, let output = target.baseAddress else { return }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: blockCount) { values in
          guard let middle = values.baseAddress else { return }
          for start in stride(from: 0, to: count, by: blockCount) {
            let part = min(blockCount, count - start)
            table.pointee.widen(input + start * from.byteCount, from.native, middle, part)
            let index = table.pointee.narrow(middle, to.native, output + start * to.byteCount, part)
            if index >= 0 && overflow == nil { overflow = start + index }
          }
        }
      }
    }
    return overflow
  }
}
