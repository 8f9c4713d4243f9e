public import ByteIO

/// What both models did with one scored token, in one byte. This is also the byte of the evidence file.
///
/// Bit 0: the base's most likely token is the target. Bit 1: the candidate's is. Bit 2: both models' most likely tokens
/// are the same. Bits 4…6: how many of the five most likely tokens both models share, 0…5. Bits 3 and 7 are zero.
public struct TokenFlags: Sendable, Equatable {
  public let rawValue: UInt8

  /// The byte `rawValue`; nil when a reserved bit is set or the overlap is over 5.
  public init?(rawValue: UInt8) {
    guard rawValue & 0b1000_1000 == 0, rawValue >> 4 <= 5 else { return nil }
    self.rawValue = rawValue
  }

  /// - Parameter top5Overlap: 0…5; traps otherwise.
  public init(baseIsRight: Bool, candidateIsRight: Bool, top1Agrees: Bool, top5Overlap: Int) {
    precondition((0...5).contains(top5Overlap), "five tokens share 0 to 5, not \(top5Overlap)")
    rawValue =
      (baseIsRight ? 1 : 0) | (candidateIsRight ? 2 : 0) | (top1Agrees ? 4 : 0) | UInt8(top5Overlap) << 4
  }

  /// One model alone.
  public init(baseIsRight: Bool) {
    self.init(baseIsRight: baseIsRight, candidateIsRight: false, top1Agrees: false, top5Overlap: 0)
  }

  public var baseIsRight: Bool { rawValue & 1 != 0 }
  public var candidateIsRight: Bool { rawValue & 2 != 0 }
  public var top1Agrees: Bool { rawValue & 4 != 0 }
  public var top5Overlap: Int { Int(rawValue >> 4) }
}

/// One window of the text, or a part of one: tokens that were scored in it, which stand together in the arrays of
/// `TokenScores`. Parts of a window have its index and follow one another.
public struct ScoredWindow: Sendable, Equatable {
  /// Which window of the text this is, counted from 0. Windows may be missing when only part of the text was scored.
  public let index: Int
  /// Position in the window (0 is its first input token) of the first scored target.
  public let firstPosition: Int
  /// Scored tokens, at positions `firstPosition ..< firstPosition + count`.
  public let count: Int

  /// Traps on negative numbers, an empty window, or numbers beyond 32 bits (the evidence file's limit).
  public init(index: Int, firstPosition: Int, count: Int) {
    precondition(index >= 0 && firstPosition >= 0 && count > 0, "a scored window holds at least one token")
    precondition(
      index <= UInt32.max && firstPosition <= UInt32.max && count <= UInt32.max, "window numbers are 32 bits")
    self.index = index
    self.firstPosition = firstPosition
    self.count = count
  }
}

/// Scores of every token in text order: parallel arrays, windows one after the other.
///
/// Scores are kept in single precision (relative rounding 6e-8, far below the models' own), because the evidence file
/// holds exactly these numbers: whoever recomputes the statistics from it gets the report's figures, to the last digit.
public struct TokenScores: Sendable, Equatable {
  public private(set) var windows: [ScoredWindow] = []
  /// −ln p(target) under the base, nats.
  public private(set) var baseNLL: [Float] = []
  /// −ln p(target) under the candidate, nats; empty for one model alone.
  public private(set) var candidateNLL: [Float] = []
  /// KL divergence of the whole next-token distribution, base ‖ candidate, nats; empty for one model alone.
  public private(set) var kld: [Float] = []
  public private(set) var flags: [TokenFlags] = []
  public let hasCandidate: Bool
  /// Of each window, not of each part of one; nil where the layers were not compared.
  public var residuals: ResidualDrift?

  public var count: Int { baseNLL.count }

  /// Windows, however many parts of each were scored.
  public var windowCount: Int {
    windows.indices.count { $0 == 0 || windows[$0].index != windows[$0 - 1].index }
  }

  /// Empty scores, to be filled window by window.
  public init(hasCandidate: Bool) { self.hasCandidate = hasCandidate }

  /// Adds a window of a base and a candidate. All arrays have `window.count` elements; traps otherwise.
  public mutating func append(
    _ window: ScoredWindow, baseNLL: [Float], candidateNLL: [Float], kld: [Double], flags: [TokenFlags]
  ) {
    append(window, baseNLL: baseNLL, candidateNLL: candidateNLL, singleKLD: kld.map { Float($0) }, flags: flags)
  }

  mutating func append(
    _ window: ScoredWindow, baseNLL: [Float], candidateNLL: [Float], singleKLD: [Float], flags: [TokenFlags]
  ) {
    precondition(hasCandidate, "these scores are of one model")
    precondition(candidateNLL.count == window.count && singleKLD.count == window.count, "one score per token")
    add(window, baseNLL, flags)
    self.candidateNLL += candidateNLL
    kld += singleKLD
  }

  /// Adds a window of one model alone.
  public mutating func append(_ window: ScoredWindow, nll: [Float], flags: [TokenFlags]) {
    precondition(!hasCandidate, "these scores are of two models")
    add(window, nll, flags)
  }

  private mutating func add(_ window: ScoredWindow, _ nll: [Float], _ flags: [TokenFlags]) {
    precondition(nll.count == window.count && flags.count == window.count, "one score per token")
    windows.append(window)
    baseNLL += nll
    self.flags += flags
  }

  /// The parts' windows together, in the order of the text.
  /// - Throws: `ParseFailure` when a window is in two parts, or when parts are not of one kind: with and without a candidate
  ///   or residuals, or with other layers or stretches.
  public init(merging parts: [TokenScores]) throws(ParseFailure) {
    let first = parts.first ?? TokenScores(hasCandidate: false)
    self.init(hasCandidate: first.hasCandidate)
    if let residuals = first.residuals {
      self.residuals = ResidualDrift(layers: residuals.layerCount, stretches: residuals.stretchCount)
    }
    var all: [(part: Int, window: Slice)] = []
    for (part, scores) in parts.enumerated() {
      guard scores.hasCandidate == hasCandidate,
        scores.residuals.map({ [$0.layerCount, $0.stretchCount] })
          == first.residuals.map({ [$0.layerCount, $0.stretchCount] })
      else { throw ParseFailure("parts of different runs: one has scores that another has not") }
      all += scores.slices.map { (part, $0) }
    }
    all.sort { $0.window.index < $1.window.index }
    for (index, (part, window)) in all.enumerated() {
      guard index == 0 || all[index - 1].window.index != window.index else {
        throw ParseFailure("window \(window.index) is in two parts")
      }
      append(parts[part], window)
    }
  }

  /// A window with all its parts.
  private struct Slice {
    let index: Int
    /// Its number among these windows.
    let number: Int
    let parts: Range<Int>
    let tokens: Range<Int>
  }

  private var slices: [Slice] {
    var slices: [Slice] = []
    var (part, token) = (0, 0)
    while part < windows.count {
      let first = (part: part, token: token)
      while part < windows.count, windows[part].index == windows[first.part].index {
        token += windows[part].count
        part += 1
      }
      slices.append(
        Slice(
          index: windows[first.part].index, number: slices.count, parts: first.part..<part,
          tokens: first.token..<token))
    }
    return slices
  }

  private mutating func append(_ other: TokenScores, _ slice: Slice) {
    windows += other.windows[slice.parts]
    baseNLL += other.baseNLL[slice.tokens]
    flags += other.flags[slice.tokens]
    if hasCandidate {
      candidateNLL += other.candidateNLL[slice.tokens]
      kld += other.kld[slice.tokens]
    }
    guard let theirs = other.residuals else { return }
    let size = theirs.windowSize
    let range = slice.number * size..<(slice.number + 1) * size
    residuals?.append(off: Array(theirs.off[range]), whole: Array(theirs.whole[range]))
  }

  /// A number that no sound model yields.
  public struct NonFinite: Sendable, Equatable {
    public let score: String
    public let token: Int
  }

  /// Tokens with a NaN or infinite score: how many scores, and the first of them in text order.
  public var nonFinite: (count: Int, first: NonFinite?) {
    var count = 0
    var first: NonFinite?
    for (name, values) in [("base NLL", baseNLL), ("candidate NLL", candidateNLL), ("KLD", kld)] {
      for (token, value) in values.enumerated() where !value.isFinite {
        count += 1
        if first.map({ token < $0.token }) ?? true { first = NonFinite(score: name, token: token) }
      }
    }
    return (count, first)
  }
}
