public import ByteIO

/// The per-token evidence file, `tokens.bin`: every score of a run, so that its statistics can be computed again.
///
/// All numbers are little-endian; arrays follow each other without padding and have one entry per token, in text order.
///
///     offset  size   content
///     0       8      magic, ASCII "LLMTOKEN"
///     8       4      u32 version, 1
///     12      4      u32 flags: bit 0 = a candidate was scored; the others are zero
///     16      8      u64 tokens T
///     24      8      u64 windows W
///     32      12·W   per window: u32 index in the text, u32 position of its first scored token, u32 scored tokens
///             4·T    f32 NLL under the base, nats
///             4·T    f32 NLL under the candidate, nats       (only with a candidate)
///             4·T    f32 KL divergence base ‖ candidate      (only with a candidate)
///             1·T    u8 flags: bit 0 base right, bit 1 candidate right, bit 2 top-1 agrees, bits 4…6 top-5 overlap
///
/// 13 bytes per token with a candidate: 144,000 tokens take 1.9 MB. Nothing stands behind the last array. In NumPy:
/// `numpy.fromfile(f, "<f4", T, offset=32 + 12 * W)`.
public enum Evidence {
  public static let fileName = "tokens.bin"
  static let magic = Array("LLMTOKEN".utf8)
  static let version: UInt32 = 1
  static let headerBytes = 32
  static let windowBytes = 12

  /// The file's bytes.
  public static func encode(_ scores: TokenScores) -> [UInt8] {
    var bytes = magic
    let perToken = scores.hasCandidate ? 13 : 5
    bytes.reserveCapacity(headerBytes + windowBytes * scores.windows.count + perToken * scores.count)
    append(version, to: &bytes)
    append(scores.hasCandidate ? 1 : 0 as UInt32, to: &bytes)
    append(UInt64(scores.count), to: &bytes)
    append(UInt64(scores.windows.count), to: &bytes)
    for window in scores.windows {
      for number in [window.index, window.firstPosition, window.count] { append(UInt32(number), to: &bytes) }
    }
    for array in [scores.baseNLL, scores.candidateNLL, scores.kld] {
      for value in array { append(value.bitPattern, to: &bytes) }
    }
    bytes += scores.flags.map(\.rawValue)
    return bytes
  }

  private static func append(_ number: some FixedWidthInteger, to bytes: inout [UInt8]) {
    var rest = number
    for _ in 0..<number.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  /// Reads the file. Sizes are checked against the bytes that are there before anything is allocated.
  /// - Throws: `ParseFailure` with the offset.
  public static func decode(_ bytes: [UInt8]) throws(ParseFailure) -> TokenScores {
    guard bytes.count >= headerBytes, bytes.starts(with: magic) else {
      throw ParseFailure("not a file of per-token evidence: it does not start with LLMTOKEN", offset: 0)
    }
    let found = word(bytes, 8)
    guard found == version else {
      throw ParseFailure("version \(found), expected \(version)", offset: 8)
    }
    let mode = word(bytes, 12)
    guard mode <= 1 else { throw ParseFailure("unknown flags \(mode)", offset: 12) }
    let hasCandidate = mode == 1
    let tokens = UInt64(word(bytes, 16)) | UInt64(word(bytes, 20)) << 32
    let windows = UInt64(word(bytes, 24)) | UInt64(word(bytes, 28)) << 32
    let (tokenBytes, overflow) = tokens.multipliedReportingOverflow(by: hasCandidate ? 13 : 5)
    let (tableBytes, tableOverflow) = windows.multipliedReportingOverflow(by: UInt64(windowBytes))
    let (all, sumOverflow) = tokenBytes.addingReportingOverflow(tableBytes)
    guard !overflow, !tableOverflow, !sumOverflow, all == UInt64(bytes.count - headerBytes) else {
      throw ParseFailure(
        "\(tokens) tokens in \(windows) windows do not fill \(bytes.count) bytes exactly", offset: 16)
    }
    return try arrays(bytes, tokens: Int(tokens), windows: Int(windows), hasCandidate: hasCandidate)
  }

  private static func arrays(
    _ bytes: [UInt8], tokens: Int, windows: Int, hasCandidate: Bool
  ) throws(ParseFailure) -> TokenScores {
    let start = headerBytes + windowBytes * windows
    func floats(_ array: Int, _ range: Range<Int>) -> [Float] {
      range.map { Float(bitPattern: word(bytes, start + 4 * (array * tokens + $0))) }
    }
    let flagStart = start + (hasCandidate ? 12 : 4) * tokens
    var scores = TokenScores(hasCandidate: hasCandidate)
    var next = 0
    for index in 0..<windows {
      let at = headerBytes + windowBytes * index
      let count = Int(word(bytes, at + 8))
      guard count > 0, count <= tokens - next else {
        throw ParseFailure("window \(index) holds \(count) tokens, \(tokens - next) are left", offset: UInt64(at + 8))
      }
      let window = ScoredWindow(index: Int(word(bytes, at)), firstPosition: Int(word(bytes, at + 4)), count: count)
      let range = next..<next + count
      var flags: [TokenFlags] = []
      flags.reserveCapacity(count)
      for token in range {
        guard let flag = TokenFlags(rawValue: bytes[flagStart + token]) else {
          throw ParseFailure("flags \(bytes[flagStart + token]) use reserved bits", offset: UInt64(flagStart + token))
        }
        flags.append(flag)
      }
      if hasCandidate {
        scores.append(
          window, baseNLL: floats(0, range), candidateNLL: floats(1, range), singleKLD: floats(2, range),
          flags: flags)
      } else {
        scores.append(window, nll: floats(0, range), flags: flags)
      }
      next += count
    }
    guard next == tokens else {
      throw ParseFailure("the windows hold \(next) tokens, the header says \(tokens)", offset: UInt64(headerBytes))
    }
    return scores
  }

  private static func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16 | UInt32(bytes[at + 3]) << 24
  }
}
