internal import ByteIO
internal import Foundation
internal import Kernels
internal import Llama
internal import Synchronization
internal import Tensors

/// Whether the rows of queries and keys are in the order that the layout says.
///
/// In a trained model the sizes of a head's rows follow the rotary frequency: the logarithm of a row's norm is, but for
/// noise, a smooth function of the number of its pair, the same for both rows of the pair. In a wrong order it is not. A
/// parabola is fitted to each head by least squares under the order that the layout says and under each order that a faulty
/// converter leaves behind; the test statistic is the mean over heads of ln(residual here / residual there), divided by
/// its standard error (heads are taken as independent), which is nearly normal around a value below zero when the order is
/// right, and around 0 where rows tell nothing.
///
/// Power: `formats/lint.md` has what was measured. Sixteen heads over all layers are the fewest that are judged.
struct LintRowOrder {
  /// Standard errors by which another order must fit better. Where rows tell nothing, chance reaches that once in 1,700 times
  /// with sixteen heads (Student's t with 15 degrees of freedom), once in 30,000 with many.
  static let threshold = 4.0
  /// How much better it must fit, in the logarithm of the residual: what is certain and tiny is no order of rows.
  static let leastGain = 0.05
  private static let fewestHeads = 16
  /// Coefficients of a parabola take three degrees of freedom of a head's.
  private static let fewestRows = 8

  /// An order in which a converter may have left the rows.
  private struct Order {
    let description: String
    /// Canonical row i of a head, or of all rows, is row `source(i)` of what is canonical by the layout's word.
    let source: [Int]
  }

  private let configuration: LlamaConfiguration
  private let headRows: Int

  init(_ configuration: LlamaConfiguration) {
    self.configuration = configuration
    headRows = configuration.headDimension
  }

  /// - Parameter tensors: of the whole model; queries and keys of all layers are read.
  /// - Throws: `FileFailure`. Tensors whose values cannot be read are left out: that is told elsewhere.
  func check(
    _ tensors: [LogicalTensor], dialect: NamingDialect, threads: Int, _ findings: inout [LintFinding]
  ) throws {
    guard headRows >= Self.fewestRows else { return }
    for part in [LayerRole.query, .key] {
      let wanted = tensors.filter { if case .layer(_, part) = $0.role { true } else { false } }
      let norms = try Self.rowNorms(wanted, threads: threads)
      let rows = (part == .query ? configuration.headCount : configuration.keyValueHeadCount) * headRows
      guard let verdict = verdict(norms.filter { $0.count == rows }, part, dialect) else { continue }
      let name = dialect.name(for: .layer(0, part))
      let statistic = (verdict.statistic * 10).rounded() / 10
      findings.append(
        LintFinding(
          .rowOrder,
          "\(name) and its like: the norms of the rows fit \(verdict.order) better than the layout's order, by \(statistic) standard errors over \(verdict.heads) heads",
          tensor: name, found: verdict.order, expected: "the layout's order of rows"))
    }
  }

  // MARK: Norms of rows

  /// ln of the sum of squares of every row, tensor by tensor, in canonical order by the layout's word.
  private static func rowNorms(_ tensors: [LogicalTensor], threads: Int) throws -> [[Double]] {
    let found = Mutex<[Int: [Double]]>([:])
    try Parallel.forEach(count: tensors.count, threads: threads) { index in
      guard let norms = try? rowNorms(tensors[index]) else { return }
      found.withLock { $0[index] = norms }
    }
    let results = found.withLock { $0 }
    return tensors.indices.compactMap { results[$0] }
  }

  private static func rowNorms(_ tensor: LogicalTensor) throws -> [Double] {
    var norms: [Double] = []
    let step = max(1, (1 << 18) / max(1, tensor.columnCount))
    for start in stride(from: 0, to: tensor.rowCount, by: step) {
      let range = start..<min(start + step, tensor.rowCount)
      let values = try tensor.values(rows: range)
      for row in 0..<range.count {
        let summary = RowSummary(values.span.extracting(row * tensor.columnCount..<(row + 1) * tensor.columnCount))
        norms.append(log(summary.squares))
      }
    }
    return norms
  }

  // MARK: The test

  private func verdict(
    _ tensors: [[Double]], _ part: LayerRole, _ dialect: NamingDialect
  ) -> (order: String, statistic: Double, heads: Int)? {
    // A row of zeros has no logarithm, and tells nothing about its head.
    let stated = residuals(tensors, nil)
    guard stated.count >= Self.fewestHeads else { return nil }
    var best: (order: String, statistic: Double, heads: Int)?
    for order in orders(part, dialect) {
      let other = residuals(tensors, order.source)
      let gains = zip(stated, other).compactMap { one, two -> Double? in
        guard let one, let two, one > 0, two > 0 else { return nil }
        return log(one / two)
      }
      guard gains.count >= Self.fewestHeads else { continue }
      let mean = gains.reduce(0, +) / Double(gains.count)
      let variance = gains.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gains.count - 1)
      let statistic = mean / max((variance / Double(gains.count)).squareRoot(), 1e-12)
      guard mean > Self.leastGain, statistic > Self.threshold, statistic > best?.statistic ?? 0 else { continue }
      best = (order.description, statistic, gains.count)
    }
    return best
  }

  /// The orders that faulty converters leave behind.
  ///
  /// With F the order of pairs by rows of halves and t the right rows: a layout of pairs that was written without F holds
  /// t after F, one written with F twice t before F; a layout of halves the other way round.
  private func orders(_ part: LayerRole, _ dialect: NamingDialect) -> [Order] {
    let forward = RowPermutation.halvesToPairs(headDimension: headRows)
    let rows = part == .query ? configuration.headCount * headRows : configuration.keyValueHeadCount * headRows
    func sources(_ permutation: RowPermutation) -> [Int] { (0..<rows).map { permutation.source(of: $0) } }
    let hasHalves = dialect == .huggingFace
    var orders = [
      Order(
        description: "an order that was not permuted", source: sources(hasHalves ? forward.inverse : forward)),
      Order(
        description: "an order that was permuted twice", source: sources(hasHalves ? forward : forward.inverse)),
    ]
    // Keys permuted in heads of the size that they would have if there were as many as query heads.
    let group = configuration.headCount / max(1, configuration.keyValueHeadCount)
    let wrongRows = headRows / max(1, group)
    if part == .key, group > 1, headRows % group == 0, wrongRows % 2 == 0, wrongRows > 2 {
      let wrong = RowPermutation.halvesToPairs(headDimension: wrongRows)
      let source = (0..<rows).map { row in
        hasHalves
          ? forward.inverse.source(of: wrong.source(of: row)) : wrong.inverse.source(of: forward.source(of: row))
      }
      orders.append(Order(description: "an order that was permuted with num_attention_heads", source: source))
    }
    return orders
  }

  /// Sum of squared residuals of each head's parabola, nil for a head with a row of zeros.
  private func residuals(_ tensors: [[Double]], _ source: [Int]?) -> [Double?] {
    let basis = Self.basis(pairs: headRows / 2)
    return tensors.flatMap { norms -> [Double?] in
      stride(from: 0, to: norms.count - headRows + 1, by: headRows).map { start -> Double? in
        let head = (start..<start + headRows).map { norms[source?[$0] ?? $0] }
        guard head.allSatisfy(\.isFinite) else { return nil }
        var rest = head.reduce(0) { $0 + $1 * $1 }
        for vector in basis {
          let product = zip(vector, head).reduce(0) { $0 + $1.0 * $1.1 }
          rest -= product * product
        }
        return max(rest, 0)
      }
    }
  }

  /// Orthonormal polynomials of degrees 0 to 2 in the number of the pair, each value for both rows of the pair
  /// (Gram-Schmidt).
  private static func basis(pairs: Int) -> [[Double]] {
    var basis: [[Double]] = []
    for degree in 0...2 {
      var vector = (0..<2 * pairs).map { row -> Double in
        let x = 2 * Double(row / 2) / Double(max(1, pairs - 1)) - 1
        return (0..<degree).reduce(1) { product, _ in product * x }
      }
      for other in basis {
        let product = zip(vector, other).reduce(0) { $0 + $1.0 * $1.1 }
        for index in vector.indices { vector[index] -= product * other[index] }
      }
      let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
      basis.append(vector.map { $0 / length })
    }
    return basis
  }
}
