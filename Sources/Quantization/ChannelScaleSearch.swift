internal import Foundation
public import Kernels

/// The factors of a group of linears' shared inputs that leave the least error when the linears' weights are quantized
/// multiplied by them, and whatever makes the inputs divides by them (AWQ, Lin et al., arXiv:2306.00978).
///
/// With mean magnitudes x of the inputs and w̄ of the weights relative to their groups, s = x^r / (w̄^(1−r) + 1e-4) is tried
/// for r = 0, 1/20 … 19/20, at least 1e-4, divided by √(max s · min s); and s = 1. The loss is Σ ‖X·(W − Q(W·s)/s)ᵀ‖² over
/// the linears, on a sample X of their inputs.
public struct ChannelScaleSearch: Sendable {
  /// Steps of r.
  private static let steps = 20
  /// Outputs whose errors are held at a time.
  private static let rowsPerTile = 512
  private static let rowsPerPiece = 32

  /// Dequantizes what quantizing gives: `[rows, columns]` values to as many. Rows do not depend on each other, and calls
  /// come from several threads.
  public typealias Quantizer = @Sendable (_ values: [Float], _ rows: Int) -> [Float]

  /// What a search found.
  public struct Result: Sendable, Equatable {
    /// s, one factor for each column.
    public let scales: [Float]
    public let loss: Double
    /// With s = 1.
    public let identityLoss: Double
    /// r, or nil for s = 1: nothing was better.
    public let ratio: Double?
  }

  private let columns: Int
  private let sample: PackedActivations
  private let meanMagnitudes: [Float]
  private let tie: [Int]?
  private let threads: Int

  /// - Parameters:
  ///   - activations: X, `[tokens, columns]`.
  ///   - meanMagnitudes: the mean of |x| in each column, of more tokens than the sample's perhaps.
  ///   - tie: a class for each column from 0 on. Columns of a class get one s, from the means of x and of w̄ in the class: for
  ///     inputs that several columns are made of one output, as grouped-query attention's are of its values.
  public init(
    activations: Span<Float>, tokens: Int, meanMagnitudes: [Float], tie: [Int]? = nil, threads: Int,
    kernel: ProductKernel = ProductKernel()
  ) {
    columns = meanMagnitudes.count
    precondition(columns > 0 && activations.count == tokens * columns, "whole rows")
    precondition(tie.map { $0.count == meanMagnitudes.count } ?? true, "a class for each column")
    sample = PackedActivations(activations, tokens: tokens, inputs: columns, threads: threads, kernel: kernel)
    self.meanMagnitudes = meanMagnitudes
    self.tie = tie
    self.threads = threads
  }

  /// The same result on any number of threads.
  /// - Parameters:
  ///   - linears: weights of each linear, `[rows, columns]`.
  ///   - groupSize: columns that share a scale, nil for whole rows.
  public func best(linears: [[Float]], groupSize: Int?, quantizer: Quantizer) -> Result {
    precondition(linears.allSatisfy { $0.count % columns == 0 }, "whole rows")
    let x = tied(meanMagnitudes)
    let weights = tied(relativeMagnitudes(linears, groupSize: groupSize ?? columns))
    let ones = [Float](repeating: 1, count: columns)
    let identityLoss = loss(linears, scales: ones, quantizer)
    var best = Result(scales: ones, loss: identityLoss, identityLoss: identityLoss, ratio: nil)
    for step in 0..<Self.steps {
      let ratio = Double(step) / Double(Self.steps)
      let scales = Self.scales(x, weights, ratio: ratio)
      let found = loss(linears, scales: scales, quantizer)
      if found < best.loss {
        best = Result(scales: scales, loss: found, identityLoss: identityLoss, ratio: ratio)
      }
    }
    return best
  }

  /// s of a ratio.
  private static func scales(_ x: [Float], _ weights: [Float], ratio: Double) -> [Float] {
    let raw = x.indices.map { column -> Float in
      let weight = Float(pow(Double(weights[column]), 1 - ratio)) + 1e-4
      let scale = Float(pow(Double(x[column]), ratio)) / weight
      return scale < 1e-4 ? 1e-4 : scale
    }
    let finite = raw.filter(\.isFinite)
    let middle = ((finite.max() ?? 1) * (finite.min() ?? 1)).squareRoot()
    return raw.map { ($0 / middle).isFinite ? $0 / middle : 1 }
  }

  /// The mean over all rows of |w| / (max |w| of its group + 1e-6), for each column.
  private func relativeMagnitudes(_ linears: [[Float]], groupSize: Int) -> [Float] {
    precondition(groupSize > 0, "groups have elements")
    var sums = [Double](repeating: 0, count: columns)
    var rows = 0
    for values in linears {
      rows += values.count / columns
      for start in stride(from: 0, to: values.count, by: columns) {
        for first in stride(from: 0, to: columns, by: groupSize) {
          let group = first..<min(first + groupSize, columns)
          let largest = group.reduce(Float(0)) { max($0, values[start + $1].magnitude) } + 1e-6
          for column in group { sums[column] += Double(values[start + column].magnitude / largest) }
        }
      }
    }
    return sums.map { Float($0 / Double(max(rows, 1))) }
  }

  /// Means over the classes of columns.
  private func tied(_ values: [Float]) -> [Float] {
    guard let tie else { return values }
    var sums = [Double](repeating: 0, count: (tie.max() ?? 0) + 1)
    var counts = [Int](repeating: 0, count: sums.count)
    for (column, value) in values.enumerated() {
      sums[tie[column]] += Double(value)
      counts[tie[column]] += 1
    }
    return tie.map { Float(sums[$0] / Double(counts[$0])) }
  }

  private func loss(_ linears: [[Float]], scales: [Float], _ quantizer: Quantizer) -> Double {
    var total = 0.0
    for values in linears {
      for first in stride(from: 0, to: values.count, by: Self.rowsPerTile * columns) {
        let part = first..<min(first + Self.rowsPerTile * columns, values.count)
        total += squaredOutputs(errors(values, part, scales, quantizer))
      }
    }
    return total
  }

  /// W − Q(W·s)/s of some rows.
  private func errors(_ values: [Float], _ part: Range<Int>, _ scales: [Float], _ quantizer: Quantizer) -> [Float] {
    let columns = columns
    var errors = [Float](repeating: 0, count: part.count)
    var span = errors.mutableSpan
    Parallel.stripes(of: &span, stripe: Self.rowsPerPiece * columns, threads: threads) { start, stripe in
      let from = part.lowerBound + start
      var scaled = Array(values[from..<from + stripe.count])
      for row in stride(from: 0, to: scaled.count, by: columns) {
        for column in 0..<columns { scaled[row + column] *= scales[column] }
      }
      let rounded = quantizer(scaled, scaled.count / columns)
      precondition(rounded.count == scaled.count, "a value for each")
      for row in stride(from: 0, to: scaled.count, by: columns) {
        for column in 0..<columns {
          stripe[row + column] = values[from + row + column] - rounded[row + column] / scales[column]
        }
      }
    }
    return errors
  }

  /// ‖X·Δᵀ‖²: products in binary32, summed in binary64 where they come from different runs of 1024.
  private func squaredOutputs(_ errors: [Float]) -> Double {
    let outputs = errors.count / columns
    let rows = WeightRows(values: errors.span, outputs: outputs, inputs: columns)
    let products = MatrixProduct.product(sample, rows, threads: threads)
    var sums = (off: 0.0, whole: 0.0)
    RowMath.addDifference(products.span, products.span, width: outputs, to: &sums, threads: threads)
    return sums.whole
  }
}
