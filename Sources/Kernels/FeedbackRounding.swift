internal import CKernels

extension FeedbackFactor {
  /// Rows that a piece takes at most, and about the most memory: the more rows, the less often coefficients are packed.
  private static let rowsPerPiece = 480
  private static let bytesPerPiece = 96 << 20
  /// Of an element: its value, error and code.
  private static let bytesPerElement = 9
  /// Tiles of every kernel and lanes divide it.
  private static let rowStep = 96

  /// As many for each thread as for the others.
  private func rowsPerPiece(rows: Int, threads: Int) -> Int {
    let fitting = Self.bytesPerPiece / (Self.bytesPerElement * size) / Self.rowStep * Self.rowStep
    let most = max(Self.rowStep, min(Self.rowsPerPiece, fitting))
    let rounds = (rows + most * threads - 1) / (most * threads)
    let even = (rows + rounds * threads - 1) / (rounds * threads)
    return min(most, (even + Self.rowStep - 1) / Self.rowStep * Self.rowStep)
  }

  /// Rounds rows of a weight, each by itself: code = clamp(rne(target / scale + zero)), in binary32. The same bits on any
  /// number of threads and on all instruction sets.
  ///
  /// Each thread holds some rows with their errors and codes: 96 MiB, or 96 rows if that is more.
  /// - Parameters:
  ///   - values: `[rows, size]`, finite.
  ///   - codes: takes two's complement bytes `[rows, size]`.
  /// - Returns: tr(Δ·(H + λI)·Δᵀ) of the errors made, without the columns that no token drives.
  @discardableResult
  public func round(
    _ values: Span<Float>, rows: Int, grid: borrowing FeedbackGrid, into codes: inout MutableSpan<UInt8>, threads: Int,
    instructionSet: InstructionSet = .best
  ) -> Double {
    precondition(values.count == rows * size && codes.count == values.count, "whole rows")
    precondition(grid.groupOfColumn.count == size, "a group for each column")
    guard rows > 0, size > 0 else { return 0 }
    let groups = grid.scales.count / rows
    precondition(grid.scales.count == rows * groups, "as many scales in each row")
    var zeroPoints: UnsafePointer<Int8>?
    if let span = grid.zeroPoints {
      precondition(span.count == rows * groups, "a zero point for each scale")
      // Lent for the whole call, so that the address stays good.
      span.withUnsafeBufferPointer { zeroPoints = $0.baseAddress }
    }
    precondition(grid.groupOfColumn.allSatisfy { $0 >= 0 && $0 < groups }, "groups have scales")
    var costs = [Double](repeating: 0, count: rows)
    let perPiece = rowsPerPiece(rows: rows, threads: threads)
    let groupOfPosition = columns.map { grid.groupOfColumn[Int($0)] }
    let (low, high) = (Float(grid.codes.lowerBound), Float(grid.codes.upperBound))
    grid.scales.withUnsafeBufferPointer { scales in
      values.withUnsafeBufferPointer { values in
        codes.withUnsafeMutableBytes { codes in
          costs.withUnsafeMutableBufferPointer { costs in
            guard let scales = scales.baseAddress, let values = values.baseAddress, let costs = costs.baseAddress,
              let codes = codes.baseAddress?.assumingMemoryBound(to: Int8.self)
            else { return }
            let operands = FeedbackOperands(
              values: values, codes: codes, scales: scales, zeroPoints: zeroPoints, groups: groups,
              groupOfPosition: groupOfPosition, low: low, high: high, costs: costs)
            // Sound: every piece has its own rows of codes and costs, and all buffers outlive the synchronous loop.
            let lent = Lent(operands)
            try? Parallel.forEach(count: (rows + perPiece - 1) / perPiece, threads: threads) { index in
              let part = index * perPiece..<min((index + 1) * perPiece, rows)
              FeedbackPiece(factor: self, operands: lent.value, rows: part, instructionSet: instructionSet).run()
            }
          }
        }
      }
    }
    return costs.reduce(0, +)
  }
}

/// What all pieces of a weight share.
private struct FeedbackOperands {
  let values: UnsafePointer<Float>
  let codes: UnsafeMutablePointer<Int8>
  let scales: UnsafePointer<Float>
  let zeroPoints: UnsafePointer<Int8>?
  let groups: Int
  let groupOfPosition: [Int32]
  let low: Float
  let high: Float
  let costs: UnsafeMutablePointer<Double>
}

/// Some rows of a weight, rounded block after block of positions from the last to the first. What the blocks behind add to
/// a block's targets is one matrix product of their errors, packed as they come, with the factor's columns.
private struct FeedbackPiece {
  private static let block = Int(ck_feedback_block)
  private static let lanes = Int(ck_feedback_lanes)

  let factor: FeedbackFactor
  let operands: FeedbackOperands
  let rows: Range<Int>
  let kernel: ProductKernel
  let table: UnsafePointer<ck_feedbacks>
  /// Positions and rows, up to whole blocks and lanes.
  private let width: Int
  private let height: Int
  /// `[height, width]` in the order of positions, zeros where there are no rows: gathered once, or every access to a block
  /// would take a line of the cache for a single element.
  private let values: AlignedBytes
  private let codes: AlignedBytes
  /// Errors, for each block of positions tile after tile of rows.
  private let packedErrors: AlignedBytes
  private let packedCoefficients: AlignedBytes
  /// `[height, block]`
  private let sums: AlignedBytes
  private let errors: AlignedBytes
  /// A block's coefficients `[block, block]`: rows of the factor itself would fall on the same lines of the cache.
  private let coefficients: AlignedBytes
  /// For each sixteen rows, `[groups, lanes]`; those of zeros behind them.
  private let scales: AlignedBytes
  private let costs: AlignedBytes

  private var size: Int { factor.size }
  private var tiles: Int { (rows.count + kernel.tileTokens - 1) / kernel.tileTokens }
  private var scaleCount: Int { height * operands.groups }

  init(factor: FeedbackFactor, operands: FeedbackOperands, rows: Range<Int>, instructionSet: InstructionSet) {
    self.factor = factor
    self.operands = operands
    self.rows = rows
    let kernel = ProductKernel(instructionSet.inFloat32)
    self.kernel = kernel
    table = ck_feedbacks_at(Int32(instructionSet.rawValue))
    let tiles = (rows.count + kernel.tileTokens - 1) / kernel.tileTokens
    let blocks = (factor.size + Self.block - 1) / Self.block
    width = blocks * Self.block
    height = (rows.count + Self.lanes - 1) / Self.lanes * Self.lanes
    values = AlignedBytes(byteCount: height * width * 4)
    codes = AlignedBytes(byteCount: height * width)
    packedErrors = AlignedBytes(
      byteCount: blocks * tiles * kernel.tokenPanelBytes(Self.block, terms: kernel.terms))
    packedCoefficients = AlignedBytes(
      byteCount: Self.block / kernel.tileOutputs * kernel.outputPanelBytes(Self.block, terms: kernel.terms))
    sums = AlignedBytes(byteCount: height * Self.block * 4)
    errors = AlignedBytes(byteCount: height * Self.block * 4)
    coefficients = AlignedBytes(byteCount: Self.block * Self.block * 4)
    scales = AlignedBytes(byteCount: 2 * height * operands.groups * 4)
    costs = AlignedBytes(byteCount: height * MemoryLayout<Double>.stride)
  }

  func run() {
    takeScales()
    takeValues()
    costs.start.initializeMemory(as: Double.self, repeating: 0, count: height)
    // Rows that are not there have sums of zero too.
    sums.start.initializeMemory(as: Float.self, repeating: 0, count: height * Self.block)
    kernel.onThisThread {
      for block in stride(from: (size - 1) / Self.block, through: 0, by: -1) {
        addBlocksBehind(block)
        round(block)
        if block > 0 { packErrors(block) }
      }
    }
    giveCodes()
  }

  private func takeValues() {
    let to = values.start.initializeMemory(as: Float.self, repeating: 0, count: height * width)
    factor.columns.withUnsafeBufferPointer { columns in
      for line in 0..<rows.count {
        let (row, from) = (to + line * width, operands.values + (rows.lowerBound + line) * size)
        for position in 0..<size { row[position] = from[Int(columns[position])] }
      }
    }
  }

  private func giveCodes() {
    let from = codes.start.assumingMemoryBound(to: Int8.self)
    let costs = costs.start.assumingMemoryBound(to: Double.self)
    factor.columns.withUnsafeBufferPointer { columns in
      for line in 0..<rows.count {
        let (row, to) = (from + line * width, operands.codes + (rows.lowerBound + line) * size)
        for position in 0..<size { to[Int(columns[position])] = row[position] }
        operands.costs[rows.lowerBound + line] = costs[line]
      }
    }
  }

  private func length(_ block: Int) -> Int { min(Self.block, size - block * Self.block) }

  private func errorPanel(_ block: Int, tile: Int) -> UnsafeMutableRawPointer {
    packedErrors.start + block * tiles * kernel.tokenPanelBytes(Self.block, terms: kernel.terms)
      + tile * kernel.tokenPanelBytes(length(block), terms: kernel.terms)
  }

  /// Scales and zero points, rows side by side.
  private func takeScales() {
    let to = scales.start.bindMemory(to: Float.self, capacity: 2 * scaleCount)
    for run in 0..<height / Self.lanes {
      for lane in 0..<Self.lanes {
        let row = rows.lowerBound + run * Self.lanes + lane
        for group in 0..<operands.groups {
          let at = (run * operands.groups + group) * Self.lanes + lane
          let from = row * operands.groups + group
          let scale = row < rows.upperBound ? operands.scales[from] : 1
          precondition(scale.isFinite && scale != 0, "scales are finite and not zero")
          to[at] = scale
          to[scaleCount + at] = row < rows.upperBound ? operands.zeroPoints.map { Float($0[from]) } ?? 0 : 0
        }
      }
    }
  }

  private func addBlocksBehind(_ block: Int) {
    let (height, width) = (kernel.tileTokens, kernel.tileOutputs)
    let terms = Int32(kernel.terms)
    let sums = sums.start.assumingMemoryBound(to: Float.self)
    let last = (size - 1) / Self.block
    if block == last { return }
    for behind in stride(from: last, to: block, by: -1) {
      let depth = length(behind)
      factor.coefficients.withUnsafeBufferPointer { coefficients in
        guard let from = coefficients.baseAddress else { return }
        let start = from + behind * Self.block * size + block * Self.block
        for column in stride(from: 0, to: Self.block, by: width) {
          let panel = packedCoefficients.start
          kernel.table.pointee.pack_columns(start + column, size, width, depth, terms, panel)
          for tile in 0..<tiles {
            kernel.table.pointee.tile(
              errorPanel(behind, tile: tile), terms, panel, terms, depth,
              sums + tile * height * Self.block + column, Self.block, min(height, rows.count - tile * height), width,
              behind < last ? 1 : 0)
          }
        }
      }
    }
  }

  private func round(_ block: Int) {
    let first = block * Self.block
    takeCoefficients(block)
    let scales = scales.start.assumingMemoryBound(to: Float.self)
    let sums = sums.start.assumingMemoryBound(to: Float.self)
    let errors = errors.start.assumingMemoryBound(to: Float.self)
    factor.costs.withUnsafeBufferPointer { costs in
      operands.groupOfPosition.withUnsafeBufferPointer { groups in
        guard let costs = costs.baseAddress, let groups = groups.baseAddress else { return }
        for line in stride(from: 0, to: height, by: Self.lanes) {
          let ofLanes = scales + line * operands.groups
          var part = ck_feedback(
            size: length(block), values: values.start.assumingMemoryBound(to: Float.self) + line * width + first,
            codes: codes.start.assumingMemoryBound(to: Int8.self) + line * width + first, stride: width,
            sums: sums + line * Self.block, coefficients: coefficients.start.assumingMemoryBound(to: Float.self),
            scales: ofLanes, zeros: ofLanes + scaleCount, groups: groups + first, low: operands.low,
            high: operands.high, costs: costs + first, errors: errors + line * Self.block)
          table.pointee.round_block(&part, self.costs.start.assumingMemoryBound(to: Double.self) + line)
        }
      }
    }
  }

  private func takeCoefficients(_ block: Int) {
    let to = coefficients.start.bindMemory(to: Float.self, capacity: Self.block * Self.block)
    factor.coefficients.withUnsafeBufferPointer { coefficients in
      guard let from = coefficients.baseAddress else { return }
      let start = from + block * Self.block * (size + 1)
      for row in 0..<length(block) { (to + row * Self.block).update(from: start + row * size, count: row) }
    }
  }

  private func packErrors(_ block: Int) {
    let errors = errors.start.assumingMemoryBound(to: Float.self)
    for tile in 0..<tiles {
      let row = tile * kernel.tileTokens
      kernel.table.pointee.pack_tokens(
        errors + row * Self.block, Self.block, min(kernel.tileTokens, rows.count - row), length(block),
        Int32(kernel.terms), errorPanel(block, tile: tile))
    }
  }
}
