internal import CKernels

/// Row-by-row arithmetic of the forward pass in binary32. Sums have a fixed order: the same bits for any number of
/// threads and on any instruction set.
public enum RowMath {
  /// out = x · 1/√(mean(x²) + ε) · weight for every row of `weight.count` elements (Zhang and Sennrich 2019).
  public static func rmsNorm(
    _ x: Span<Float>, weight: Span<Float>, epsilon: Float, into out: inout MutableSpan<Float>, threads: Int,
    instructionSet: InstructionSet = .best
  ) {
    let width = weight.count
    precondition(width > 0 && x.count % width == 0 && out.count == x.count, "whole rows")
    let rows = x.count / width
    x.withUnsafeBufferPointer { x in
      weight.withUnsafeBufferPointer { weight in
        out.withUnsafeMutableBufferPointer { out in
          guard let x = x.baseAddress, let weight = weight.baseAddress, let out = out.baseAddress else { return }
          // Sound: every row is written by one piece of the synchronous loop.
          let lent = Lent((x, weight, out, MathKernels.table(instructionSet)))
          forRows(rows, threads) { row in
            let (x, weight, out, math) = lent.value
            math.pointee.rms_norm(x + row * width, weight, width, epsilon, out + row * width)
          }
        }
      }
    }
  }

  /// The same into an array of its own, which is written once only.
  public static func rmsNorm(
    _ x: Span<Float>, weight: Span<Float>, epsilon: Float, threads: Int, instructionSet: InstructionSet = .best
  ) -> [Float] {
    [Float](unsafeUninitializedCapacity: x.count) { buffer, count in
      if let start = buffer.baseAddress { ck_advise_huge_pages(start, x.count * MemoryLayout<Float>.stride) }
      var out = MutableSpan(_unsafeElements: UnsafeMutableBufferPointer(rebasing: buffer[0..<x.count]))
      rmsNorm(
        x, weight: weight, epsilon: epsilon, into: &out, threads: threads, instructionSet: instructionSet)
      count = x.count
    }
  }

  /// Rotary position embedding of every head of every row, in place, on interleaved pairs:
  /// (a, b) → (a cos φ − b sin φ, a sin φ + b cos φ).
  /// - Parameters:
  ///   - x: `[positions.count, heads · 2 · pairs]`.
  ///   - cosines: `[positions, pairs]` for all positions that occur; `sines` the same.
  public static func rotate(
    _ x: inout MutableSpan<Float>, positions: [Int], heads: Int, pairs: Int, cosines: Span<Float>, sines: Span<Float>,
    threads: Int, instructionSet: InstructionSet = .best
  ) {
    let width = heads * 2 * pairs
    precondition(x.count == positions.count * width, "whole rows")
    precondition(cosines.count == sines.count, "as many cosines as sines")
    precondition((positions.max() ?? 0) * pairs < max(cosines.count, 1), "all positions are in the tables")
    x.withUnsafeMutableBufferPointer { x in
      cosines.withUnsafeBufferPointer { cosines in
        sines.withUnsafeBufferPointer { sines in
          guard let x = x.baseAddress, let cosines = cosines.baseAddress, let sines = sines.baseAddress else { return }
          // Sound: every row is written by one piece of the synchronous loop.
          let lent = Lent((x, cosines, sines, MathKernels.table(instructionSet)))
          forRows(positions.count, threads) { row in
            let (x, cosines, sines, math) = lent.value
            let angle = positions[row] * pairs
            for head in 0..<heads {
              math.pointee.rope(x + row * width + head * 2 * pairs, cosines + angle, sines + angle, pairs)
            }
          }
        }
      }
    }
  }

  /// gate = silu(gate) · up, element by element; silu(z) = z / (1 + exp(−z)).
  public static func siluMultiply(
    _ gate: inout MutableSpan<Float>, _ up: Span<Float>, threads: Int, instructionSet: InstructionSet = .best
  ) {
    precondition(gate.count == up.count, "as many gates as values")
    let math = Lent(MathKernels.table(instructionSet))
    elementwise(&gate, up, threads) { math.value.pointee.silu_multiply($0, $1, $2) }
  }

  /// x += y
  public static func add(
    _ x: inout MutableSpan<Float>, _ y: Span<Float>, threads: Int, instructionSet: InstructionSet = .best
  ) {
    precondition(x.count == y.count, "as many terms")
    let math = Lent(MathKernels.table(instructionSet))
    elementwise(&x, y, threads) { math.value.pointee.add($0, $1, $2) }
  }

  /// Adds Σ (a − b)² and Σ a² to the sums given, row by row of `width` elements in order: taking rows in one call or in
  /// several comes to the same bits.
  public static func addDifference(
    _ a: Span<Float>, _ b: Span<Float>, width: Int, to total: inout (off: Double, whole: Double), threads: Int,
    instructionSet: InstructionSet = .best
  ) {
    let sums = differences(a, b, width: width, threads: threads, instructionSet: instructionSet)
    for row in 0..<sums.count / 2 {
      total.off += sums[2 * row]
      total.whole += sums[2 * row + 1]
    }
  }

  /// Σ (a − b)² and Σ a² of each row of `width` elements, `[rows, 2]`. Within a row, runs of 1024 elements are summed in
  /// sixteen binary32 lanes.
  public static func differences(
    _ a: Span<Float>, _ b: Span<Float>, width: Int, threads: Int, instructionSet: InstructionSet = .best
  ) -> [Double] {
    precondition(a.count == b.count && width > 0 && a.count % width == 0, "whole rows")
    let rows = a.count / width
    var sums = [Double](repeating: 0, count: 2 * rows)
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        sums.withUnsafeMutableBufferPointer { sums in
          guard let a = a.baseAddress, let b = b.baseAddress, let sums = sums.baseAddress else { return }
          // Sound: every row has its own pair of sums.
          let lent = Lent((a, b, sums, MathKernels.table(instructionSet)))
          forRows(rows, threads) { row in
            let (a, b, sums, math) = lent.value
            math.pointee.difference(a + row * width, b + row * width, width, sums + 2 * row)
          }
        }
      }
    }
    return sums
  }

  /// Rows handed to a thread at a time: enough work to be worth the handing.
  private static let rowsPerPiece = 16
  private static let elementsPerPiece = 1 << 15

  private static func forRows(_ rows: Int, _ threads: Int, _ body: @Sendable (Int) -> Void) {
    let pieces = (rows + rowsPerPiece - 1) / rowsPerPiece
    try? Parallel.forEach(count: pieces, threads: threads) { piece in
      for row in piece * rowsPerPiece..<min((piece + 1) * rowsPerPiece, rows) { body(row) }
    }
  }

  private static func elementwise(
    _ x: inout MutableSpan<Float>, _ y: Span<Float>, _ threads: Int,
    _ body: @Sendable (UnsafeMutablePointer<Float>, UnsafePointer<Float>, Int) -> Void
  ) {
    let count = x.count
    x.withUnsafeMutableBufferPointer { x in
      y.withUnsafeBufferPointer { y in
        guard let x = x.baseAddress, let y = y.baseAddress else { return }
        // Sound: pieces are disjoint and the loop is synchronous.
        let lent = Lent((x, y))
        let pieces = (count + elementsPerPiece - 1) / elementsPerPiece
        try? Parallel.forEach(count: pieces, threads: threads) { piece in
          let start = piece * elementsPerPiece
          body(lent.value.0 + start, lent.value.1 + start, min(elementsPerPiece, count - start))
        }
      }
    }
  }
}
