/// The protocol `windows`: the text is tokenized without special tokens; each window is the begin-of-text token and the
/// next context − 1 tokens, so that every token is scored exactly once; the last window may be shorter.
public struct TokenWindows: Sendable, Equatable {
  /// Each begins with the begin-of-text token.
  public let windows: [[Int32]]
  /// For each window the index in the text's ids of its first scored token.
  public let starts: [Int]
  public let context: Int

  /// - Parameters:
  ///   - context: tokens of a window, the begin-of-text token included; at least 2.
  ///   - limit: when given, only so many windows are taken that they hold at least this many scored tokens, spread
  ///     evenly over the text: neighbouring windows are alike, and the head of a text is not the text.
  public init(ids: [Int32], context: Int, beginOfText: Int32, limit: Int? = nil) {
    precondition(context >= 2, "a window scores at least one token")
    let step = context - 1
    let count = (ids.count + step - 1) / step
    var chosen = Array(0..<count)
    if let limit, count > 0 {
      let wanted = min(count, max(1, (limit + step - 1) / step))
      // The middle of each of `wanted` equal stretches.
      chosen = (0..<wanted).map { ($0 * count * 2 + count) / (2 * wanted) }
    }
    starts = chosen.map { $0 * step }
    windows = starts.map { [beginOfText] + ids[$0..<min($0 + step, ids.count)] }
    self.context = context
  }

  /// Tokens that are scored.
  public var scoredCount: Int { windows.reduce(0) { $0 + $1.count - 1 } }
}
