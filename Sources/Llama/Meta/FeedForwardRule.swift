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

extension FeedForwardRule {
  /// Hidden size, multiplier and multiple of the published models.
  private static let published: [(hidden: Int, rule: FeedForwardRule)] = [
    (4096, FeedForwardRule(multiplier: nil, multipleOf: 256)),
    (5120, FeedForwardRule(multiplier: nil, multipleOf: 256)),
    (6656, FeedForwardRule(multiplier: nil, multipleOf: 256)),
    (8192, FeedForwardRule(multiplier: nil, multipleOf: 256)),
    (8192, FeedForwardRule(multiplier: 1.3, multipleOf: 4096)),
    (4096, FeedForwardRule(multiplier: 1.3, multipleOf: 1024)),
    (16384, FeedForwardRule(multiplier: 1.2, multipleOf: 4096)),
    (2048, FeedForwardRule(multiplier: 1.5, multipleOf: 256)),
    (3072, FeedForwardRule(multiplier: 1.0, multipleOf: 256)),
  ]

  /// A rule that gives exactly this size: the published one, else a published multiplier with another power of two, else
  /// the multiplier with the fewest digits. There always is one, so that Meta's own code loads any size.
  init(givingSize size: Int, hidden: Int) {
    func gives(_ rule: FeedForwardRule) -> Bool { rule.size(hidden: hidden) == size }
    if let known = Self.published.first(where: { $0.hidden == hidden && gives($0.rule) }) {
      self = known.rule
      return
    }
    let multiples = [256, 1024, 4096, 512, 2048, 128, 64, 32, 16, 8, 4, 2, 1]
    for multiple in multiples where size % multiple == 0 {
      for multiplier in [nil, 1.3, 1.2, 1.5] {
        let rule = FeedForwardRule(multiplier: multiplier, multipleOf: multiple)
        if gives(rule) {
          self = rule
          return
        }
      }
    }
    self = Self.computed(size: size, hidden: hidden, multipleOf: multiples.first { size % $0 == 0 } ?? 1)
  }

  /// The product may lie anywhere in the last `multipleOf` integers up to the size.
  private static func computed(size: Int, hidden: Int, multipleOf: Int) -> FeedForwardRule {
    let plain = FeedForwardRule(multiplier: nil, multipleOf: 1).size(hidden: hidden)
    let lowest = Double(size - multipleOf + 1) / Double(plain)
    var scale = 1.0
    for _ in 0..<16 {
      // The lowest multiplier's product can come out below its integer: 0.7 · 170 is 118.99….
      for step in [0.0, 1.0] {
        let multiplier = ((lowest * scale).rounded(.up) + step) / scale
        let rule = FeedForwardRule(multiplier: multiplier, multipleOf: multipleOf)
        if rule.size(hidden: hidden) == size { return rule }
      }
      scale *= 10
    }
    preconditionFailure("doubles are fine enough for sizes up to 2²¹")
  }
}
