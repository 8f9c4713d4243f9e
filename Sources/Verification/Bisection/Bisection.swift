internal import Foundation

/// Which of a candidate's tensors make it drift: what was found by putting the base's in their place.
public struct Bisection: Sendable, Equatable {
  /// A set of tensors that was put back.
  public struct Test: Sendable, Equatable {
    /// A tensor's name, `configuration`, or words for a group such as `layers 0 to 3`.
    public var name: String
    /// Tensors put back, the configuration counted as one.
    public var tensors: Int
    /// The part of the mean KL divergence that is gone: 1 − D(put back)/D(candidate). Below 0 it has grown.
    public var share: Double
    /// With windows as clusters; nil below two windows.
    public var shareError: Double?
    /// Mean KL divergence that is left, nats.
    public var kld: Double
    /// Mean of NLL(candidate) − NLL(base) that is left, nats.
    public var lnRatio: Double

    public init(name: String, tensors: Int, share: Double, shareError: Double?, kld: Double, lnRatio: Double) {
      self.name = name
      self.tensors = tensors
      self.share = share
      self.shareError = shareError
      self.kld = kld
      self.lnRatio = lnRatio
    }
  }

  /// Scored tokens and windows of each test.
  public var tokens: Int
  public var windows: Int
  /// The most passes of the candidate that the search could take, known before it; the first one, with nothing put back,
  /// is counted.
  public var maximumPasses: Int
  /// Mean KL divergence of the candidate on these tokens, nats.
  public var kld: Double
  /// Its mean of NLL(candidate) − NLL(base), nats.
  public var lnRatio: Double
  /// All that were made, in order.
  public var tests: [Test]
  /// The names of the tensors (or `configuration`) of the smallest set that explains the drift; empty when not even all
  /// tensors do, or there is no drift.
  public var culprits: [String]
  /// The test of that set; nil when there is none.
  public var explanation: Test?

  public init(
    tokens: Int, windows: Int, maximumPasses: Int, kld: Double, lnRatio: Double, tests: [Test], culprits: [String],
    explanation: Test?
  ) {
    self.tokens = tokens
    self.windows = windows
    self.maximumPasses = maximumPasses
    self.kld = kld
    self.lnRatio = lnRatio
    self.tests = tests
    self.culprits = culprits
    self.explanation = explanation
  }

  /// The part of the drift that a set must explain.
  public static let target = GroupSearch.target
  /// Sets of more are called a group and not a few culprits.
  static let mostCulprits = GroupSearch.mostCulprits

  /// Passes of the candidate that were made.
  public var passes: Int { 1 + tests.count }

  /// What was found, in one sentence.
  public var sentence: String {
    guard kld.isFinite else { return "The candidate's scores are not finite: what is broken is named by integrity." }
    guard kld > 0 else { return "There is no drift to explain on these tokens." }
    guard let explanation else {
      return "Not even all differing tensors and the configuration together explain the drift."
    }
    let share = Self.shareText(explanation.share, explanation.shareError)
    if culprits.count <= Self.mostCulprits {
      return
        "\(culprits.joined(separator: ", ")) \(culprits.count == 1 ? "explains" : "explain") \(share) of the drift."
    }
    let few = tests.filter { $0.tensors < explanation.tensors }.max { $0.share < $1.share }
    let best = few.map { "; of less, \($0.name) explains \(Self.shareText($0.share, $0.shareError))" } ?? ""
    return "The drift is spread: the smallest set found that explains it is \(explanation.name), "
      + "\(explanation.tensors) tensors (\(share))\(best)."
  }

  static func shareText(_ share: Double, _ error: Double?) -> String {
    Figure.fixed(share * 100, 1) + (error.map { " ± \(Figure.significant($0 * 100, 2))" } ?? "") + " %"
  }
}
