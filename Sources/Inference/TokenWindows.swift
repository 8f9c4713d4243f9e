/// A text's token ids cut into windows, and the part of each window that is scored.
public struct TokenWindows: Sendable, Equatable {
  /// What the model reads, each window from position 0.
  public let windows: [[Int32]]
  /// For each window its number among all windows of the text, which may be more than were taken.
  public let indices: [Int]
  /// For each window the positions in it that are scored, each 1 or more, ascending; all others are only read.
  public let scored: [[Range<Int>]]
  /// For each window what is added to a scored position to have the token's index in the text's ids; empty where there is
  /// no one text.
  public let offsets: [Int]
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
    windows = indices.map { [beginOfText] + ids[$0 * step..<min(($0 + 1) * step, ids.count)] }
    scored = windows.map { [1..<$0.count] }
    offsets = indices.map { $0 * step - 1 }
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
    windows = indices.map { chunk in
      lead + stream[chunk * context + lead.count..<(chunk + 1) * context]
    }
    scored = windows.map { [first..<$0.count] }
    offsets = indices.map { $0 * context - lead.count }
    self.context = context
  }

  /// Windows that are whole by themselves, conversations above all, each cut behind its first `context` tokens.
  /// - Parameters:
  ///   - texts: with the positions that are scored, each 1 or more.
  ///   - limit: as in the protocol `windows`.
  public init(separate texts: [(ids: [Int32], scored: [Range<Int>])], context: Int, limit: Int? = nil) {
    let cut = texts.map { text in
      (ids: Array(text.ids.prefix(context)), scored: text.scored.map { $0.clamped(to: 1..<max(1, context)) })
    }
    let usable = cut.indices.filter { index in cut[index].scored.contains { !$0.isEmpty } }
    let average = usable.reduce(0) { $0 + cut[$1].scored.reduce(0) { $0 + $1.count } } / max(1, usable.count)
    let taken = Self.spread(over: usable.count, limit: limit, perWindow: max(1, average)).map { usable[$0] }
    indices = taken
    windows = taken.map { cut[$0].ids }
    scored = taken.map { cut[$0].scored.filter { !$0.isEmpty } }
    offsets = []
    self.context = context
  }

  /// Some of these windows.
  /// - Parameter numbers: places in `windows`, ascending.
  public func selecting(_ numbers: [Int]) -> TokenWindows { TokenWindows(self, numbers) }

  private init(_ all: TokenWindows, _ numbers: [Int]) {
    windows = numbers.map { all.windows[$0] }
    indices = numbers.map { all.indices[$0] }
    scored = numbers.map { all.scored[$0] }
    offsets = all.offsets.isEmpty ? [] : numbers.map { all.offsets[$0] }
    context = all.context
  }

  /// The numbers of the windows to take of `count`: all, or as few as hold `limit` scored tokens, each the middle of one
  /// of as many equal stretches of the text.
  private static func spread(over count: Int, limit: Int?, perWindow: Int) -> [Int] {
    guard let limit, count > 0 else { return Array(0..<count) }
    let wanted = min(count, max(1, limit / perWindow + (limit % perWindow == 0 ? 0 : 1)))
    return (0..<wanted).map { ($0 * count * 2 + count) / (2 * wanted) }
  }

  /// Tokens that are scored.
  public var scoredCount: Int { scored.joined().reduce(0) { $0 + $1.count } }
}
