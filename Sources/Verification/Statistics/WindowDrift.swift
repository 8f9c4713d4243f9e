/// How one window of the text drifts.
public struct WindowDrift: Sendable, Equatable {
  /// The window's index in the text.
  public let window: Int
  public let tokens: Int
  /// Mean of NLL(candidate) − NLL(base) over its scored tokens, nats.
  public let lnRatio: Double
  /// Mean KL divergence, nats.
  public let kld: Double
  /// Share of its tokens whose most likely token is the same.
  public let top1: Double
  /// Of the token with the largest drift: its position in the window (0 is the first input token), and its drift in nats.
  public let worstPosition: Int
  public let worstDrift: Double

  public static let most = 20

  /// The windows whose likelihood falls most, worst first; those that fall not at all are left out. Scores are finite, of
  /// a base and a candidate.
  static func worst(of scores: TokenScores) -> [WindowDrift] {
    var all: [WindowDrift] = []
    var (entry, token) = (0, 0)
    while entry < scores.windows.count {
      let index = scores.windows[entry].index
      var (count, drift, kld, agreeing) = (0, 0.0, 0.0, 0)
      var worst = (position: 0, drift: -Double.infinity)
      while entry < scores.windows.count, scores.windows[entry].index == index {
        let part = scores.windows[entry]
        for offset in 0..<part.count {
          let change = Double(scores.candidateNLL[token]) - Double(scores.baseNLL[token])
          if change > worst.drift { worst = (part.firstPosition + offset, change) }
          drift += change
          kld += Double(scores.kld[token])
          agreeing += scores.flags[token].top1Agrees ? 1 : 0
          token += 1
        }
        count += part.count
        entry += 1
      }
      let size = Double(count)
      all.append(
        WindowDrift(
          window: index, tokens: count, lnRatio: drift / size, kld: kld / size, top1: Double(agreeing) / size,
          worstPosition: worst.position, worstDrift: worst.drift))
    }
    return Array(
      all.filter { $0.lnRatio > 0 }.sorted { ($1.lnRatio, $0.window) < ($0.lnRatio, $1.window) }.prefix(most))
  }
}
