internal import Inference

/// Equal stretches of a window, by which drift is summed up.
public struct PositionBins: Sendable, Equatable {
  /// Tokens of a full window.
  public let context: Int
  /// Eight; fewer for a context below eight.
  public let count: Int

  public static let most = 8

  /// - Parameter context: at least 1.
  public init(context: Int) {
    self.context = context
    count = min(Self.most, context)
  }

  public func range(_ bin: Int) -> Range<Int> { context * bin / count..<context * (bin + 1) / count }

  /// Where each ends.
  public var bounds: [Int] { (0..<count).map { range($0).upperBound } }
}

/// How far the candidate's residual stream is from the base's behind each layer, for each window and stretch of positions:
/// sums of squares over all tokens of the window that were read, scored or not, and over all channels. Kept for each window,
/// so that parts of a text can be put together without rounding otherwise than one run does.
public struct ResidualDrift: Sendable, Equatable {
  public let layerCount: Int
  public let stretchCount: Int
  /// Σ(candidate − base)², `[windows, layers, stretches]`
  public private(set) var off: [Double] = []
  /// Σ base², `[windows, layers, stretches]`
  public private(set) var whole: [Double] = []

  /// - Parameters:
  ///   - layers: at least 1.
  ///   - stretches: at least 1.
  public init(layers: Int, stretches: Int) {
    precondition(layers > 0 && stretches > 0, "a layer and a stretch at least")
    layerCount = layers
    stretchCount = stretches
  }

  /// Nil when nothing was summed up.
  /// - Parameter windows: those that are kept.
  init?(_ sums: ResidualSums, windows: [Int]) {
    guard sums.layerCount > 0 else { return nil }
    self.init(layers: sums.layerCount, stretches: sums.stretchCount)
    let size = windowSize
    for window in windows {
      append(
        off: Array(sums.off[window * size..<(window + 1) * size]),
        whole: Array(sums.whole[window * size..<(window + 1) * size]))
    }
  }

  public var windowCount: Int { off.count / windowSize }
  var windowSize: Int { layerCount * stretchCount }

  /// Adds a window.
  /// - Parameters:
  ///   - off: `[layers, stretches]`
  ///   - whole: `[layers, stretches]`
  public mutating func append(off: [Double], whole: [Double]) {
    precondition(off.count == windowSize && whole.count == windowSize, "a sum for each layer and stretch")
    self.off += off
    self.whole += whole
  }

  private func sum(layer: Int, stretches: Range<Int>) -> (off: Double, whole: Double) {
    var sum = (off: 0.0, whole: 0.0)
    for first in stride(from: layer * stretchCount, to: off.count, by: windowSize) {
      for stretch in stretches {
        sum.off += off[first + stretch]
        sum.whole += whole[first + stretch]
      }
    }
    return sum
  }

  /// ‖candidate − base‖₂ / ‖base‖₂ behind each layer, over all positions.
  public var layerErrors: [LayerError] {
    (0..<layerCount).map { layer in
      let sum = sum(layer: layer, stretches: 0..<stretchCount)
      return LayerError(layer: layer, relativeError: sum.off == 0 ? 0 : (sum.off / sum.whole).squareRoot())
    }
  }

  /// The same of one stretch of positions; nil where no window reaches it.
  public func relativeError(layer: Int, stretch: Int) -> Double? {
    let sum = sum(layer: layer, stretches: stretch..<stretch + 1)
    if sum.off == 0 { return sum.whole == 0 ? nil : 0 }
    return (sum.off / sum.whole).squareRoot()
  }
}
