internal import CKernels

/// out[t, o] = tokenScale[t] · rowScale[o] · Σᵢ x[t, i] · w[o, i], summed in binary32.
///
/// Each output is one fixed sequence of operations, whatever else is computed with it: a result does not depend on threads
/// or on which tokens are multiplied together. With kernels that multiply in binary32 it is a chain of fused multiply-adds
/// in order of i within blocks of 256, and blocks are added in order: the same bits on all of them. Kernels on BF16 differ
/// by their own order and rounding of sums; with `Compute.exact` they multiply the terms of a split x = hi + lo (and of w,
/// where BF16 does not hold the weights), which leaves 2⁻¹⁷ relative at most.
///
/// Weights are widened or split in the packing pass, a block of inputs of some rows at a time: a dequantized matrix never
/// exists.
public enum MatrixProduct {
  /// Outputs that one piece of work packs and multiplies at most: with a block of inputs, a quarter of a second-level cache
  /// of a MiB. More would have the activations read less often, fewer leave threads without work.
  private static let outputsPerPiece = 256
  /// Packed activations that stay in the second-level cache while panels of weights pass by, in bytes.
  private static let tokenBlockBytes = 320 << 10

  /// Bytes of packed weights that each thread holds, at most.
  public static func packedByteCount(kernel: ProductKernel) -> Int {
    outputsPerPiece / kernel.tileOutputs * kernel.outputPanelBytes(kernel.block, terms: kernel.terms)
  }

  /// - Returns: `[x.tokens, w.outputs]`
  public static func product(
    _ x: PackedActivations, _ w: borrowing WeightRows, threads: Int
  ) -> [Float] {
    let outputs = w.outputs
    var out: [Float] = []
    w.withPointers { weights in
      out = [Float](unsafeUninitializedCapacity: x.tokens * outputs) { buffer, count in
        if let start = buffer.baseAddress {
          ck_advise_huge_pages(start, buffer.count * MemoryLayout<Float>.stride)
          multiply(x, weights, outputs: outputs, into: start, rowStride: outputs, threads: threads)
        }
        count = x.tokens * outputs
      }
    }
    return out
  }

  /// - Parameters:
  ///   - out: `[tokens, rowStride]`; columns `columnOffset ..< columnOffset + w.outputs` are written.
  public static func multiply(
    _ x: PackedActivations, _ w: borrowing WeightRows, into out: inout MutableSpan<Float>, rowStride: Int,
    columnOffset: Int = 0, threads: Int
  ) {
    precondition(columnOffset >= 0 && columnOffset + w.outputs <= rowStride, "columns are within the row")
    precondition(out.count >= x.tokens * rowStride, "room for all tokens")
    let outputs = w.outputs
    w.withPointers { weights in
      out.withUnsafeMutableBufferPointer { out in
        guard let out = out.baseAddress else { return }
        multiply(x, weights, outputs: outputs, into: out + columnOffset, rowStride: rowStride, threads: threads)
      }
    }
  }

  private static func multiply(
    _ x: PackedActivations, _ w: WeightPointers, outputs: Int, into out: UnsafeMutablePointer<Float>, rowStride: Int,
    threads: Int
  ) {
    precondition(x.inputs == w.inputs, "the matrices fit")
    guard x.tokens > 0, outputs > 0 else { return }
    // Four pieces for each thread where the matrix has them, so that no thread waits long for the last one.
    let tile = x.kernel.tileOutputs
    let wanted = (outputs + 4 * threads - 1) / (4 * threads)
    let perPiece = min(outputsPerPiece, (wanted + tile - 1) / tile * tile)
    // Sound: every piece writes its own columns of `out`, and all buffers outlive the synchronous loop.
    let lent = Lent((w, out))
    try? Parallel.forEach(count: (outputs + perPiece - 1) / perPiece, threads: threads) { piece in
      let (w, out) = lent.value
      let first = piece * perPiece
      ProductPiece(x: x, w: w, outputs: first..<min(first + perPiece, outputs), out: out, rowStride: rowStride)
        .multiply(tokenBlockBytes: tokenBlockBytes)
    }
  }
}

/// Some outputs of all tokens: what one thread computes at a time.
private struct ProductPiece {
  let x: PackedActivations
  let w: WeightPointers
  let outputs: Range<Int>
  let out: UnsafeMutablePointer<Float>
  let rowStride: Int

  private var kernel: ProductKernel { x.kernel }
  private var terms: Int { w.areExactInBF16 ? 1 : kernel.terms }
  private var groups: Int { (outputs.count + kernel.tileOutputs - 1) / kernel.tileOutputs }

  /// Block after block of inputs: weights are packed, then activations pass by in portions that stay in the cache.
  func multiply(tokenBlockBytes: Int) {
    let longest = min(kernel.block, x.inputs)
    let tilesPerBlock = max(1, tokenBlockBytes / kernel.tokenPanelBytes(longest, terms: x.terms))
    withUnsafeTemporaryAllocation(
      byteCount: groups * kernel.outputPanelBytes(longest, terms: terms), alignment: 64
    ) { packed in
      guard let packed = packed.baseAddress else { return }
      kernel.onThisThread {
        for block in stride(from: 0, to: x.inputs, by: kernel.block) {
          let k = min(kernel.block, x.inputs - block)
          pack(block: block, k: k, to: packed)
          for firstTile in stride(from: 0, to: x.tiles, by: tilesPerBlock) {
            let tiles = firstTile..<min(firstTile + tilesPerBlock, x.tiles)
            multiply(tiles, block: block, k: k, packed)
            if block + k == x.inputs { applyScales(tiles) }
          }
        }
      }
    }
  }

  private func pack(block: Int, k: Int, to packed: UnsafeMutableRawPointer) {
    let width = kernel.tileOutputs
    for group in 0..<groups {
      w.pack(
        kernel, terms: terms, firstRow: outputs.lowerBound + group * width,
        count: min(width, outputs.count - group * width), column: block, k: k,
        to: packed + group * kernel.outputPanelBytes(k, terms: terms))
    }
  }

  private func multiply(_ tiles: Range<Int>, block: Int, k: Int, _ packed: UnsafeMutableRawPointer) {
    let (height, width) = (kernel.tileTokens, kernel.tileOutputs)
    let tile = kernel.table.pointee.tile
    let tokenPanelBytes = kernel.tokenPanelBytes(k, terms: x.terms)
    let firstPanel = x.panel(block: block, k: k, tile: tiles.lowerBound)
    for group in 0..<groups {
      let weights = packed + group * kernel.outputPanelBytes(k, terms: terms)
      let column = outputs.lowerBound + group * width
      var panel = firstPanel
      for index in tiles {
        let token = index * height
        tile?(
          panel, Int32(x.terms), weights, Int32(terms), k, out + token * rowStride + column, rowStride,
          min(height, x.tokens - token), min(width, outputs.upperBound - column), block > 0 ? 1 : 0)
        panel += tokenPanelBytes
      }
    }
  }

  private func applyScales(_ tiles: Range<Int>) {
    guard w.rowScales != nil || !x.tokenScales.isEmpty else { return }
    let math = MathKernels.table(.best)
    let tokens = tiles.lowerBound * kernel.tileTokens..<min(tiles.upperBound * kernel.tileTokens, x.tokens)
    for token in tokens {
      let row = out + token * rowStride + outputs.lowerBound
      let factor = x.tokenScales.isEmpty ? 1 : x.tokenScales[token]
      if let scales = w.rowScales {
        math.pointee.scale_columns(row, scales + outputs.lowerBound, factor, outputs.count)
      } else {
        math.pointee.scale(row, factor, outputs.count)
      }
    }
  }
}

/// Pointers handed to the threads of one synchronous loop. Each use says why it is sound.
struct Lent<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// The table of C functions of an instruction set.
enum MathKernels {
  static func table(_ instructionSet: InstructionSet) -> UnsafePointer<ck_math> {
    precondition(instructionSet.isAvailable, "the processor has no \(instructionSet)")
    return ck_math_at(Int32(instructionSet.rawValue))
  }
}
