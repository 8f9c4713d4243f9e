import Support

/// GPTQ as its paper has it (Frantar et al., arXiv:2210.17323, algorithm 1), in binary64 and with an explicit inverse.
struct TextbookGPTQ {
  let order: [Int]
  /// U of (H + λI)⁻¹ = Uᵀ·U, rows and columns in the order of rounding.
  let upper: [[Double]]

  /// - Parameter gram: H + λI.
  init(_ gram: [[Double]], order: [Int]) {
    self.order = order
    let permuted = order.map { row in order.map { gram[row][$0] } }
    let lower = Self.cholesky(Self.inverse(permuted))
    upper = order.indices.map { row in order.indices.map { lower[$0][row] } }
  }

  /// Rounds one row.
  /// - Parameter round: the code and the value of a target in a column.
  func quantize(_ row: [Float], round: (_ target: Double, _ column: Int) -> (code: Int8, value: Double)) -> [Int8] {
    var targets = order.map { Double(row[$0]) }
    var codes = [Int8](repeating: 0, count: row.count)
    for (index, column) in order.enumerated() {
      let found = round(targets[index], column)
      codes[column] = found.code
      let error = (targets[index] - found.value) / upper[index][index]
      for later in index..<order.count { targets[later] -= error * upper[index][later] }
    }
    return codes
  }

  private static func cholesky(_ matrix: [[Double]]) -> [[Double]] {
    var lower = matrix
    for j in matrix.indices {
      for k in 0..<j { lower[j][j] -= lower[j][k] * lower[j][k] }
      lower[j][j] = lower[j][j].squareRoot()
      for i in j + 1..<max(j + 1, matrix.count) {
        var sum = lower[i][j]
        for k in 0..<j { sum -= lower[i][k] * lower[j][k] }
        lower[i][j] = sum / lower[j][j]
        lower[j][i] = 0
      }
    }
    return lower
  }

  /// Gauss and Jordan, with the largest pivot of each column.
  private static func inverse(_ matrix: [[Double]]) -> [[Double]] {
    let size = matrix.count
    var left = matrix
    var right = (0..<size).map { row in (0..<size).map { $0 == row ? 1.0 : 0 } }
    for column in 0..<size {
      let pivot = (column..<size).max { abs(left[$0][column]) < abs(left[$1][column]) } ?? column
      left.swapAt(pivot, column)
      right.swapAt(pivot, column)
      let factor = 1 / left[column][column]
      for k in 0..<size {
        left[column][k] *= factor
        right[column][k] *= factor
      }
      let (leftRow, rightRow) = (left[column], right[column])
      for row in 0..<size where row != column && left[row][column] != 0 {
        let factor = left[row][column]
        for k in 0..<size {
          left[row][k] -= factor * leftRow[k]
          right[row][k] -= factor * rightRow[k]
        }
      }
    }
    return right
  }
}

/// A weight to be rounded, its inputs, and the grid of its codes.
struct RoundingProblem {
  let rows: Int
  let size: Int
  let tokens: Int
  let groups: Int
  let x: [Float]
  let weights: [Float]
  let scales: [Float]
  let zeroPoints: [Int8]?
  let groupOfColumn: [Int32]
  /// Columns that no token drives.
  let undriven: [Int]
  static let codes: ClosedRange<Int8> = -8...7

  init(
    rows: Int, size: Int, tokens: Int, groupSize: Int, hasZeroPoints: Bool = false, undriven: [Int] = [], seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    (self.rows, self.size, self.tokens) = (rows, size, tokens)
    let groups = (size + groupSize - 1) / groupSize
    self.groups = groups
    // Channels that move together, and some large ones: what makes one column's error another's to mend.
    let common = (0..<4).map { _ in (0..<size).map { _ in random.normal(1) } }
    let gains = (0..<size).map { $0 % 40 == 11 ? 12 : 0.3 + abs(random.normal(1)) }
    var x: [Float] = []
    for _ in 0..<tokens {
      let mixed = common.map { _ in random.normal(1) }
      for column in 0..<size {
        let shared = (0..<4).reduce(Float(0)) { $0 + mixed[$1] * common[$1][column] }
        x.append(undriven.contains(column) ? 0 : gains[column] * (shared + random.normal(0.5)))
      }
    }
    self.x = x
    self.undriven = undriven
    let weights = (0..<rows * size).map { _ in random.normal(0.05) }
    self.weights = weights
    groupOfColumn = (0..<size).map { Int32($0 / groupSize) }
    var (scales, zeroPoints): ([Float], [Int8]) = ([], [])
    for row in 0..<rows {
      for group in 0..<groups {
        let values = weights[row * size + group * groupSize..<row * size + min((group + 1) * groupSize, size)]
        let (low, high) = (min(values.min() ?? 0, 0), max(values.max() ?? 0, 0))
        if hasZeroPoints {
          let scale = max((high - low) / 15, 1e-6)
          scales.append(scale)
          zeroPoints.append(Int8(min(max((-8 - low / scale).rounded(.toNearestOrEven), -8), 7)))
        } else {
          // Not 7.5: the largest magnitude would be a tie, which binary32 and binary64 take differently.
          scales.append(max(max(-low, high) / 7.3, 1e-6))
        }
      }
    }
    self.scales = scales
    self.zeroPoints = hasZeroPoints ? zeroPoints : nil
  }

  /// H in binary64.
  func gram() -> [[Double]] {
    var result = [[Double]](repeating: [Double](repeating: 0, count: size), count: size)
    for token in 0..<tokens {
      let row = x[token * size..<(token + 1) * size].map(Double.init)
      for i in 0..<size where row[i] != 0 {
        for j in 0..<size { result[i][j] += row[i] * row[j] }
      }
    }
    return result
  }

  func round(_ target: Double, row: Int, column: Int) -> (code: Int8, value: Double) {
    let at = row * groups + Int(groupOfColumn[column])
    let zero = Double(zeroPoints?[at] ?? 0)
    let scale = Double(scales[at])
    let code = min(max((target / scale + zero).rounded(.toNearestOrEven), -8), 7)
    return (Int8(code), (code - zero) * scale)
  }

  func nearest() -> [Int8] {
    weights.indices.map { round(Double(weights[$0]), row: $0 / size, column: $0 % size).code }
  }

  /// W − Q
  func errors(_ codes: [Int8]) -> [Double] {
    codes.indices.map { index in
      let at = index / size * groups + Int(groupOfColumn[index % size])
      return Double(weights[index]) - (Double(codes[index]) - Double(zeroPoints?[at] ?? 0)) * Double(scales[at])
    }
  }

  /// Squared errors of the outputs of all tokens, in binary64.
  func outputError(_ codes: [Int8]) -> Double {
    let errors = errors(codes)
    var total = 0.0
    for row in 0..<rows {
      for token in 0..<tokens {
        var sum = 0.0
        for column in 0..<size { sum += errors[row * size + column] * Double(x[token * size + column]) }
        total += sum * sum
      }
    }
    return total
  }
}
