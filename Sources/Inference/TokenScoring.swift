/// What the scored tokens came to, in text order.
public struct TokenScoring: Sendable {
  /// −ln p(token) under the base, natural logarithm.
  public internal(set) var baseNLL: [Double] = []
  /// Empty for one model alone, as are all arrays that compare.
  public internal(set) var candidateNLL: [Double] = []
  /// KLD(base‖candidate) of the distributions that predicted the token, in nats.
  public internal(set) var divergence: [Double] = []
  /// The base's most probable token was the text's.
  public internal(set) var baseIsRight: [Bool] = []
  public internal(set) var candidateIsRight: [Bool] = []
  /// Both models' most probable tokens are the same.
  public internal(set) var topAgrees: [Bool] = []
  /// How many of the five most probable tokens both models share.
  public internal(set) var top5Overlap: [Int] = []
  /// Index of the window and position in it (its first token has position 0) of each scored token.
  public internal(set) var window: [Int] = []
  public internal(set) var position: [Int] = []
  /// How far the residual streams behind the layers are apart; empty for one model alone and where nobody asked.
  public internal(set) var residuals = ResidualSums()

  public init() {}

  public var count: Int { baseNLL.count }

  /// √(Σ(a − b)²/Σa²) of the residual stream behind each layer; empty for one model alone.
  public var layerDrift: [Double] { residuals.relativeErrors }
}

/// Sums of squares of the residual stream behind each layer, of each window and stretch of positions: over all tokens that
/// were read, scored or not.
public struct ResidualSums: Sendable, Equatable {
  public internal(set) var layerCount = 0
  public internal(set) var stretchCount = 0
  /// Σ(base − candidate)², `[windows, layers, stretches]`
  public internal(set) var off: [Double] = []
  /// Σ base², `[windows, layers, stretches]`
  public internal(set) var whole: [Double] = []

  public init() {}

  init(layers: Int, stretches: Int, windows: Int) {
    layerCount = layers
    stretchCount = stretches
    off = Array(repeating: 0, count: windows * layers * stretches)
    whole = off
  }

  /// Adds up a layer's rows.
  /// - Parameters:
  ///   - sums: of each token of each window, the square of the difference and that of the base.
  ///   - sizes: tokens of each window.
  ///   - bounds: where stretches end, ascending; positions from the last on belong to the last stretch.
  mutating func add(_ sums: [Double], layer: Int, sizes: [Int], bounds: [Int]) {
    var row = 0
    for (window, size) in sizes.enumerated() {
      var stretch = 0
      let first = (window * layerCount + layer) * stretchCount
      for position in 0..<size {
        while stretch + 1 < stretchCount && position >= bounds[stretch] { stretch += 1 }
        off[first + stretch] += sums[2 * row]
        whole[first + stretch] += sums[2 * row + 1]
        row += 1
      }
    }
  }

  /// Puts the windows of `other` behind these.
  mutating func append(_ other: ResidualSums) {
    (layerCount, stretchCount) = (other.layerCount, other.stretchCount)
    off += other.off
    whole += other.whole
  }

  /// Of each layer. Windows are summed in order, so that it does not matter how they were grouped.
  var relativeErrors: [Double] {
    (0..<layerCount).map { layer in
      var sum = (off: 0.0, whole: 0.0)
      for first in stride(from: layer * stretchCount, to: off.count, by: layerCount * stretchCount) {
        for index in first..<first + stretchCount {
          sum.off += off[index]
          sum.whole += whole[index]
        }
      }
      return sum.off == 0 ? 0 : (sum.off / sum.whole).squareRoot()
    }
  }
}
