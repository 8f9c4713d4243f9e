public import Kernels
internal import Tensors

/// Finds scale and zero point of groups, without rounding them to codes yet.
public struct GroupSearch: Sendable, Hashable {
  public enum Rule: Sendable, Hashable {
    /// The least Σ weight · (x − value)², among all scales of the grid below the one that spans the group.
    case leastSquares
    /// See `GroupCodes.halfQuadratic`.
    case halfQuadratic
  }

  public let grid: IntegerGrid
  public let rule: Rule
  /// Scales are numbers that F16 holds too, not only BF16.
  public let fitsF16: Bool
  /// Zero points are kept from the lowest code, which wraps around where they are stored less one.
  public let avoidsLowestZeroPoint: Bool

  public init(_ grid: IntegerGrid, rule: Rule, fitsF16: Bool, avoidsLowestZeroPoint: Bool = false) {
    self.grid = grid
    self.rule = rule
    self.fitsF16 = fitsF16
    self.avoidsLowestZeroPoint = avoidsLowestZeroPoint
  }

  /// Candidates of one group, kept from group to group.
  public struct Scratch: Sendable {
    fileprivate var scales: [Float] = []
    fileprivate var zeroPoints: [Float] = []
    public init() {}
  }

  /// - Parameters:
  ///   - values: of one group, finite.
  ///   - weights: how much each matters; empty for all alike. Where they are all zero, all are alike.
  /// - Returns: a positive scale that BF16 holds exactly, and an integer zero point among the codes. A group of zeros has
  ///   scale 1 and zero point 0.
  public func parameters(
    _ values: Span<Float>, weights: Span<Float>, scratch: inout Scratch, instructionSet: InstructionSet = .best
  ) -> GroupCodes.Parameters {
    var (least, most): (Float, Float) = (0, 0)
    for index in values.indices {
      least = min(least, values[index])
      most = max(most, values[index])
    }
    guard least < 0 || most > 0 else { return .init(scale: 1) }
    switch rule {
    case .leastSquares:
      collect(least, most, into: &scratch)
      let areNothing = weights.indices.allSatisfy { weights[$0] == 0 }
      let (index, _) = GroupCodes.search(
        values, weights: areNothing ? weights.extracting(0..<0) : weights, scales: scratch.scales,
        zeroPoints: scratch.zeroPoints, codes: grid.codes,
        instructionSet: instructionSet)
      return .init(scale: scratch.scales[index], zeroPoint: scratch.zeroPoints[index])
    case .halfQuadratic:
      let start = spanning(least, most)
      var found = GroupCodes.halfQuadratic(
        values, from: start, codes: grid.codes, movesScale: grid.isSymmetric, instructionSet: instructionSet)
      found.scale = nearestOnGrid(found.scale)
      found.zeroPoint = clampedZeroPoint(found.zeroPoint)
      return found
    }
  }

  /// Scale and zero point that span a group whose least and largest value are multiplied by `shrink`: what is outside is
  /// clipped.
  public func spanning(_ values: Span<Float>, shrink: Float) -> GroupCodes.Parameters {
    var (least, most): (Float, Float) = (0, 0)
    for index in values.indices {
      least = min(least, values[index])
      most = max(most, values[index])
    }
    return least < 0 || most > 0 ? spanning(least * shrink, most * shrink) : .init(scale: 1)
  }

  /// The scale, on the grid, that spans the group, and its zero point.
  private func spanning(_ least: Float, _ most: Float) -> GroupCodes.Parameters {
    let extent = grid.isSymmetric ? max(-least, most) / grid.halfRange : (most - least) / (2 * grid.halfRange)
    let scale = nearestOnGrid(extent)
    guard !grid.isSymmetric else { return .init(scale: scale) }
    return .init(scale: scale, zeroPoint: clampedZeroPoint(Float(grid.codes.lowerBound) - least / scale))
  }

  private func clampedZeroPoint(_ value: Float) -> Float {
    let lowest = Float(grid.codes.lowerBound) + (avoidsLowestZeroPoint ? 1 : 0)
    return min(max(value, lowest), Float(grid.codes.upperBound)).rounded(.toNearestOrEven)
  }

  // MARK: Candidates

  /// Fractions of the spanning scale that are tried: all of the grid down to the first, every second one down to the second.
  /// Eight bits lose more by clipping than they gain.
  private var shrinkage: (dense: Float, sparse: Float) { grid.bits == 4 ? (0.5, 0.25) : (0.75, 0.75) }

  private func collect(_ least: Float, _ most: Float, into scratch: inout Scratch) {
    scratch.scales.removeAll(keepingCapacity: true)
    scratch.zeroPoints.removeAll(keepingCapacity: true)
    // Symmetric codes reach one step less above zero than below.
    let top =
      grid.isSymmetric ? max(-least, most) / Float(grid.codes.upperBound) : (most - least) / (2 * grid.halfRange - 1)
    let (dense, sparse) = (Self.bits(top * shrinkage.dense), Self.bits(top * shrinkage.sparse))
    let highest = min(Self.bits(top) + 1, 0x7F7F)
    var pattern = max(1, sparse)
    while pattern <= highest {
      let scale = Self.value(pattern)
      if !fitsF16 || Self.isF16(scale) { add(scale, least, most, to: &scratch) }
      pattern += pattern < dense ? 2 : 1
    }
    if scratch.scales.isEmpty { add(nearestOnGrid(top), least, most, to: &scratch) }
  }

  private func add(_ scale: Float, _ least: Float, _ most: Float, to scratch: inout Scratch) {
    guard !grid.isSymmetric else {
      scratch.scales.append(scale)
      scratch.zeroPoints.append(0)
      return
    }
    // Between the zero point that keeps the least value and the one that keeps the largest.
    let one = clampedZeroPoint(Float(grid.codes.lowerBound) - least / scale)
    let other = clampedZeroPoint(Float(grid.codes.upperBound) - most / scale)
    // Of eight bits, too many: the ends and the middle.
    let step = max(1, ((max(one, other) - min(one, other)) / 16).rounded(.up))
    for zeroPoint in stride(from: min(one, other), through: max(one, other), by: step) {
      scratch.scales.append(scale)
      scratch.zeroPoints.append(zeroPoint)
    }
  }

  // MARK: The grid of scales

  /// The number nearest to a positive one that may be a scale, at least the smallest there is.
  func nearestOnGrid(_ scale: Float) -> Float {
    let pattern = min(max(Self.bits(scale), 1), 0x7F7F)
    let nearest = Self.value(pattern)
    guard fitsF16, !Self.isF16(nearest) else { return nearest }
    // Too small for F16's exponent: the nearest multiple of its least number, which has few enough bits for BF16; or its
    // largest number that BF16 holds.
    return nearest > 1 ? 0x1.FEp15 : max(0x1p-24, (nearest / 0x1p-24).rounded(.toNearestOrEven) * 0x1p-24)
  }

  /// The BF16 pattern nearest to a positive number.
  private static func bits(_ value: Float) -> UInt32 {
    let bits = value.bitPattern
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
  }

  private static func value(_ pattern: UInt32) -> Float { Float(bitPattern: pattern << 16) }

  /// Whether F16 holds a positive BF16 number.
  static func isF16(_ value: Float) -> Bool {
    value <= 65504 && (value / 0x1p-24).rounded(.towardZero) * 0x1p-24 == value
  }
}
