/// How Meta's reference code computes the size of the feed-forward block: two thirds of four times the hidden size, times
/// a multiplier, rounded up to a multiple; in doubles, cut off to integers.
struct FeedForwardRule: Equatable {
  /// `ffn_dim_multiplier`
  let multiplier: Double?
  /// `multiple_of`
  let multipleOf: Int

  /// What Meta's loaders take when `multiple_of` is absent.
  static let defaultMultiple = 256

  /// - Parameter hidden: at most 2²¹, so that with any multiplier below 10¹² the product fits an integer.
  func size(hidden: Int) -> Int {
    var size = Int(2 * Double(4 * hidden) / 3)
    if let multiplier { size = Int(multiplier * Double(size)) }
    return multipleOf * ((size + multipleOf - 1) / multipleOf)
  }
}
