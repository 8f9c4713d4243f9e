public import ByteIO

/// The evidence file, `tokens.bin`: every score of a run and the facts about it, so that its report can be made again, and
/// reports of parts of a text put together. Bytes, limits and vectors are in `formats/evidence.md`.
public struct Evidence: Sendable, Equatable {
  public static let fileName = "tokens.bin"
  /// Bytes of the facts.
  public static let maximumFactBytes = 4 << 20
  /// Arrays and objects of the facts that may be open at the same time.
  public static let maximumFactDepth = 8
  public static let maximumLayers = 4096
  public static let maximumStretches = 64

  public var scores: TokenScores
  /// One JSON object, or nil.
  public var facts: JSONValue?

  public init(scores: TokenScores, facts: JSONValue? = nil) {
    self.scores = scores
    self.facts = facts
  }

  static let magic = Array("LLMTOKEN".utf8)
  static let version: UInt32 = 2
  static let headerBytes = 48
  static let windowBytes = 12

  // MARK: Writing

  /// The file's bytes. Traps on facts beyond the limits.
  public var bytes: [UInt8] {
    let text = facts.map { Array($0.serialized(.compact).utf8) } ?? []
    precondition(text.count <= Self.maximumFactBytes, "facts have at most \(Self.maximumFactBytes) bytes")
    let residuals = scores.residuals
    var bytes = Self.magic
    let perToken = scores.hasCandidate ? 13 : 5
    bytes.reserveCapacity(
      Self.headerBytes + Self.windowBytes * scores.windows.count + perToken * scores.count
        + 16 * (residuals?.off.count ?? 0) + text.count)
    Self.append(Self.version, to: &bytes)
    Self.append(scores.hasCandidate ? 1 : 0 as UInt32, to: &bytes)
    Self.append(UInt64(scores.count), to: &bytes)
    Self.append(UInt64(scores.windows.count), to: &bytes)
    Self.append(UInt32(residuals?.layerCount ?? 0), to: &bytes)
    Self.append(UInt32(residuals?.stretchCount ?? 0), to: &bytes)
    Self.append(UInt64(text.count), to: &bytes)
    for window in scores.windows {
      for number in [window.index, window.firstPosition, window.count] { Self.append(UInt32(number), to: &bytes) }
    }
    for array in [scores.baseNLL, scores.candidateNLL, scores.kld] {
      for value in array { Self.append(value.bitPattern, to: &bytes) }
    }
    bytes += scores.flags.map(\.rawValue)
    for array in [residuals?.off ?? [], residuals?.whole ?? []] {
      for value in array { Self.append(value.bitPattern, to: &bytes) }
    }
    return bytes + text
  }

  private static func append(_ number: some FixedWidthInteger, to bytes: inout [UInt8]) {
    var rest = number
    for _ in 0..<number.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  // MARK: Reading

  /// Reads a file. All sizes are checked against the bytes that are there before anything is allocated.
  /// - Throws: `ParseFailure` with the offset.
  public init(parsing bytes: [UInt8]) throws(ParseFailure) {
    let layout = try EvidenceLayout(bytes)
    scores = try layout.scores()
    facts = try layout.facts()
  }
}

/// Where the arrays of a file are.
private struct EvidenceLayout {
  let bytes: [UInt8]
  let tokens: Int
  /// Of the table; those of one window of the text stand together.
  let entries: Int
  let hasCandidate: Bool
  let layers: Int
  let stretches: Int
  /// Distinct windows in the table.
  let windows: Int
  let factBytes: Int

  var scoresStart: Int { Evidence.headerBytes + Evidence.windowBytes * entries }
  var flagsStart: Int { scoresStart + (hasCandidate ? 12 : 4) * tokens }
  var residualsStart: Int { flagsStart + tokens }
  var residualCount: Int { windows * layers * stretches }
  var factsStart: Int { residualsStart + 16 * residualCount }

  init(_ bytes: [UInt8]) throws(ParseFailure) {
    guard bytes.count >= Evidence.headerBytes, bytes.starts(with: Evidence.magic) else {
      throw ParseFailure("not a file of per-token evidence: it does not start with LLMTOKEN", offset: 0)
    }
    self.bytes = bytes
    let version = bytes.word(8)
    guard version == Evidence.version else {
      throw ParseFailure("version \(version), expected \(Evidence.version)", offset: 8)
    }
    let mode = bytes.word(12)
    guard mode <= 1 else { throw ParseFailure("unknown flags \(mode)", offset: 12) }
    hasCandidate = mode == 1
    let (layers, stretches) = (bytes.word(32), bytes.word(36))
    guard layers <= Evidence.maximumLayers, (layers == 0) == (stretches == 0), layers == 0 || hasCandidate else {
      throw ParseFailure("sums of \(layers) layers, \(stretches) stretches", offset: 32)
    }
    guard stretches <= Evidence.maximumStretches else {
      throw ParseFailure("\(stretches) stretches, at most \(Evidence.maximumStretches)", offset: 36)
    }
    (self.layers, self.stretches) = (Int(layers), Int(stretches))
    let facts = bytes.long(40)
    guard facts <= Evidence.maximumFactBytes else {
      throw ParseFailure("\(facts) bytes of facts, at most \(Evidence.maximumFactBytes)", offset: 40)
    }
    factBytes = Int(facts)
    // No array may have more entries than the file has bytes, so that no product below can overflow.
    let most = UInt64(bytes.count)
    let (tokens, entries) = (bytes.long(16), bytes.long(24))
    guard tokens <= most else { throw ParseFailure("\(tokens) tokens in \(most) bytes", offset: 16) }
    guard entries <= most / UInt64(Evidence.windowBytes),
      Int(entries) * Evidence.windowBytes <= bytes.count - Evidence.headerBytes
    else { throw ParseFailure("a table of \(entries) windows in \(most) bytes", offset: 24) }
    (self.tokens, self.entries) = (Int(tokens), Int(entries))
    windows = try Self.distinctWindows(bytes, entries: Int(entries))
    try checkSize()
  }

  private static func distinctWindows(_ bytes: [UInt8], entries: Int) throws(ParseFailure) -> Int {
    var distinct = 0
    var previous: UInt32?
    for entry in 0..<entries {
      let at = Evidence.headerBytes + Evidence.windowBytes * entry
      let index = bytes.word(at)
      if index == previous { continue }
      guard previous.map({ $0 < index }) ?? true else {
        throw ParseFailure("window \(index) is behind window \(previous ?? 0)", offset: UInt64(at))
      }
      distinct += 1
      previous = index
    }
    return distinct
  }

  private func checkSize() throws(ParseFailure) {
    let scores = tokens * (hasCandidate ? 13 : 5) + Evidence.windowBytes * entries
    let (sums, overflow) = (16 * windows).multipliedReportingOverflow(by: layers * stretches)
    let (all, more) = sums.addingReportingOverflow(Evidence.headerBytes + scores + factBytes)
    guard !overflow, !more, all == bytes.count else {
      throw ParseFailure(
        "\(tokens) tokens, \(entries) windows, sums of \(layers) layers and \(factBytes) bytes of facts do not fill "
          + "\(bytes.count) bytes exactly", offset: 16)
    }
  }

  func scores() throws(ParseFailure) -> TokenScores {
    var scores = TokenScores(hasCandidate: hasCandidate)
    var next = 0
    for entry in 0..<entries {
      let at = Evidence.headerBytes + Evidence.windowBytes * entry
      let count = Int(bytes.word(at + 8))
      guard count > 0, count <= tokens - next else {
        throw ParseFailure("window \(entry) holds \(count) tokens, \(tokens - next) are left", offset: UInt64(at + 8))
      }
      let window = ScoredWindow(
        index: Int(bytes.word(at)), firstPosition: Int(bytes.word(at + 4)), count: count)
      try append(window, next..<next + count, to: &scores)
      next += count
    }
    guard next == tokens else {
      throw ParseFailure(
        "the windows hold \(next) tokens, the header says \(tokens)", offset: UInt64(Evidence.headerBytes))
    }
    if layers > 0 { scores.residuals = try residuals() }
    return scores
  }

  private func append(_ window: ScoredWindow, _ range: Range<Int>, to scores: inout TokenScores) throws(ParseFailure) {
    func floats(_ array: Int) -> [Float] {
      range.map { Float(bitPattern: bytes.word(scoresStart + 4 * (array * tokens + $0))) }
    }
    var flags: [TokenFlags] = []
    flags.reserveCapacity(range.count)
    for token in range {
      guard let flag = TokenFlags(rawValue: bytes[flagsStart + token]) else {
        throw ParseFailure("flags \(bytes[flagsStart + token]) use reserved bits", offset: UInt64(flagsStart + token))
      }
      flags.append(flag)
    }
    if hasCandidate {
      scores.append(window, baseNLL: floats(0), candidateNLL: floats(1), singleKLD: floats(2), flags: flags)
    } else {
      scores.append(window, nll: floats(0), flags: flags)
    }
  }

  private func residuals() throws(ParseFailure) -> ResidualDrift {
    var residuals = ResidualDrift(layers: layers, stretches: stretches)
    let size = layers * stretches
    func doubles(_ array: Int, _ window: Int) throws(ParseFailure) -> [Double] {
      var values: [Double] = []
      values.reserveCapacity(size)
      for index in window * size..<(window + 1) * size {
        let at = residualsStart + 8 * (array * residualCount + index)
        let value = Double(bitPattern: bytes.long(at))
        // Broken models give NaN and infinity; a sum of squares is never below zero.
        guard !(value < 0) else { throw ParseFailure("a sum of squares is \(value)", offset: UInt64(at)) }
        values.append(value)
      }
      return values
    }
    for window in 0..<windows {
      residuals.append(off: try doubles(0, window), whole: try doubles(1, window))
    }
    return residuals
  }

  func facts() throws(ParseFailure) -> JSONValue? {
    guard factBytes > 0 else { return nil }
    let text = Array(bytes[factsStart...])
    let span = text.span.rawBytes
    let value = try JSONValue(
      parsing: span, base: UInt64(factsStart),
      rules: JSONRules(maximumDepth: Evidence.maximumFactDepth, numbersMustBeFinite: true))
    guard value.object != nil else { throw ParseFailure("facts are one JSON object", offset: UInt64(factsStart)) }
    return value
  }
}

extension [UInt8] {
  /// u32, little-endian.
  fileprivate func word(_ at: Int) -> UInt32 {
    UInt32(self[at]) | UInt32(self[at + 1]) << 8 | UInt32(self[at + 2]) << 16 | UInt32(self[at + 3]) << 24
  }

  /// u64, little-endian.
  fileprivate func long(_ at: Int) -> UInt64 { UInt64(word(at)) | UInt64(word(at + 4)) << 32 }
}
