/// A text's token ids cut into windows, and the part of each window that is scored.
public struct TokenWindows: Sendable, Equatable {
  /// What the model reads, each window from position 0.
  public let windows: [[Int32]]
  /// For each window its number among all windows of the text, which may be more than were taken.
  public let indices: [Int]
  /// For each window the index in the text's ids of its first scored token.
  public let starts: [Int]
  /// Position in its window of the first scored token, 1 or more; the tokens in front are only read.
  public let firstScored: Int
  /// Tokens of a full window.
  public let context: Int

  /// The protocol `windows`: the text is tokenized without special tokens; each window is the begin-of-text token and the
  /// next context − 1 tokens, so that every token is scored exactly once; the last window may be shorter.
  /// - Parameters:
  ///   - context: tokens of a window, the begin-of-text token included; at least 2.
  ///   - limit: when given, only so many windows are taken that they hold at least this many scored tokens, spread
  ///     evenly over the text: neighbouring windows are alike, and the head of a text is not the text.
  public init(ids: [Int32], context: Int, beginOfText: Int32, limit: Int? = nil) {
    precondition(context >= 2, "a window scores at least one token")
    let step = context - 1
    indices = Self.spread(over: ids.count / step + (ids.count % step == 0 ? 0 : 1), limit: limit, perWindow: step)
    starts = indices.map { $0 * step }
    windows = starts.map { [beginOfText] + ids[$0..<min($0 + step, ids.count)] }
    firstScored = 1
    self.context = context
  }

  /// The protocol `llama.cpp`, as its `llama-perplexity` scores a text (`perplexity()` in tools/perplexity): the stream
  /// is the begin-of-text token and the text's ids; it is cut into chunks of `context` tokens that do not overlap, and
  /// what is left over is dropped. The begin-of-text token takes the place of each chunk's first token. Positions
  /// context/2 (rounded down) … context − 2 predict the token behind them, so context − 1 − context/2 tokens of a chunk
  /// are scored, and its first half is only read.
  /// - Parameters:
  ///   - ids: the text's tokens without special tokens.
  ///   - context: tokens of a chunk; at least 3, because a chunk of 2 scores none.
  ///   - beginOfText: nil for a model that has none: nothing is put in front and nothing is replaced.
  ///   - limit: as in the protocol `windows`.
  public init(chunksOf ids: [Int32], context: Int, beginOfText: Int32?, limit: Int? = nil) {
    precondition(context >= 3, "a chunk scores at least one token")
    let lead = beginOfText.map { [$0] } ?? []
    let stream = lead + ids
    let first = context / 2 + 1
    indices = Self.spread(over: stream.count / context, limit: limit, perWindow: context - first)
    starts = indices.map { $0 * context + first - lead.count }
    windows = indices.map { chunk in
      lead + stream[chunk * context + lead.count..<(chunk + 1) * context]
    }
    firstScored = first
    self.context = context
  }

  /// The numbers of the windows to take of `count`: all, or as few as hold `limit` scored tokens, each the middle of one
  /// of as many equal stretches of the text.
  private static func spread(over count: Int, limit: Int?, perWindow: Int) -> [Int] {
    guard let limit, count > 0 else { return Array(0..<count) }
    let wanted = min(count, max(1, limit / perWindow + (limit % perWindow == 0 ? 0 : 1)))
    return (0..<wanted).map { ($0 * count * 2 + count) / (2 * wanted) }
  }

  /// Tokens that are scored.
  public var scoredCount: Int { windows.reduce(0) { $0 + max(0, $1.count - firstScored) } }
}
