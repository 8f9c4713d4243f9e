public import ByteIO
internal import Checkpoints
internal import Foundation
internal import Inference
internal import Llama
internal import Tokenizers

/// Two models that read the same text in tokens of their own: compared by what tokens cannot blur, nats for each character
/// and bits for each byte. There is no verdict: limits are on tokens.
public struct OwnTokenizers: Sendable {
  /// One model's reading of the text.
  struct Reading: Sendable {
    let identity: ModelIdentity
    let tokens: Int
    /// −ln p of each segment, nats.
    let nll: [Double]
    var sum: Double { nll.reduce(0, +) }
  }

  let base: Reading
  let candidate: Reading
  /// Of each segment.
  let byteCounts: [Int]
  let characters: Int
  private let path: String
  private let sha256: String
  private let context: Int

  /// Bytes of a segment at least: it ends with a line. Both models begin each anew.
  private static let segmentByteCount = 4096

  /// - Throws: `ParseFailure` for models, tokenizers or text that cannot be used; `FileFailure`; `MemoryFailure`; what
  ///   `checkCancellation` throws.
  public init(
    _ request: VerificationRequest, checkCancellation: @escaping @Sendable () throws -> Void = {},
    progress: @escaping VerificationRequest.Progress = { _, _, _ in }
  ) throws {
    let bytes = try ReadableFile.contents(of: request.textPath, limit: 1 << 30)
    let text = RepairedText(repairing: bytes).bytes
    let segments = Self.segments(text)
    guard !segments.isEmpty, let other = request.candidate else {
      throw ParseFailure("the text is empty", file: request.textPath)
    }
    byteCounts = segments.map(\.count)
    characters = text.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    path = request.textPath
    sha256 = SHA256Sum.hexadecimal(of: bytes)
    context = request.context
    base = try Self.read(request, request.base, segments, checkCancellation) { progress("base", $0, $1) }
    candidate = try Self.read(request, other, segments, checkCancellation) { progress("candidate", $0, $1) }
  }

  private static func segments(_ text: [UInt8]) -> [[UInt8]] {
    var segments: [[UInt8]] = []
    var current: [UInt8] = []
    for line in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      current += line + [UInt8(ascii: "\n")]
      if current.count >= segmentByteCount {
        segments.append(current)
        current = []
      }
    }
    // The last line feed was never there.
    if !current.isEmpty { current.removeLast() } else if !segments.isEmpty { segments[segments.count - 1].removeLast() }
    return segments + (current.isEmpty ? [] : [current])
  }

  private static func read(
    _ request: VerificationRequest, _ model: Checkpoint, _ segments: [[UInt8]],
    _ check: @escaping @Sendable () throws -> Void, _ progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws -> Reading {
    guard let tokenizer = try model.tokenizer() else { throw ParseFailure("there is no tokenizer", file: model.path) }
    guard let begin = tokenizer.beginOfText ?? model.configuration.beginOfTextID.flatMap(Int32.init(exactly:)) else {
      throw ParseFailure("neither tokenizer nor config.json names a begin-of-text token", file: model.path)
    }
    var windows: [[Int32]] = []
    var owners: [Int] = []
    for (index, segment) in segments.enumerated() {
      let own = TokenWindows(ids: tokenizer.encode(segment), context: request.context, beginOfText: begin).windows
      windows += own
      owners += own.map { _ in index }
    }
    var alone = request
    (alone.base, alone.candidates) = (model, [])
    let pass = try ForwardRun(
      alone, windows: windows, scored: windows.map { [1..<$0.count] }, check: check, progress: progress)
    let scoring = pass.scorings[0]
    var nll = [Double](repeating: 0, count: segments.count)
    for (window, value) in zip(scoring.window, scoring.baseNLL) { nll[owners[window]] += value }
    return Reading(identity: try pass.inspection.identities().base, tokens: scoring.count, nll: nll)
  }

  // MARK: Figures

  /// Candidate − base in bits for each byte, clustered by segment.
  var difference: ClusteredEstimate {
    let sums = zip(candidate.nll, base.nll).map { ($0 - $1) / M_LN2 }
    return ClusteredEstimate(
      totals: WindowTotals(sums: sums, sizes: byteCounts.map { Double($0) }), allZero: sums.allSatisfy { $0 == 0 })
  }

  private var byteCount: Int { byteCounts.reduce(0, +) }
  private func bitsPerByte(_ reading: Reading) -> Double { reading.sum / M_LN2 / Double(byteCount) }

  /// The document of `--json`: schema `llama-verify/1` without what needs the same tokens.
  public var document: JSONValue {
    func number(_ value: Double) -> JSONValue { value.isFinite ? .number(JSONNumber(value)) : .null }
    func identity(_ reading: Reading) -> JSONValue {
      [
        "path": .string(reading.identity.path), "layout": .string(reading.identity.layout),
        "digest": .string(reading.identity.digest),
      ]
    }
    let interval = difference.interval95
    return [
      "schema": .string(VerificationReport.schema), "verdict": "none", "exit_code": 0, "base": identity(base),
      "candidate": identity(candidate),
      "text": [
        "path": .string(path), "sha256": .string(sha256), "bytes": .number(JSONNumber(byteCount)),
        "characters": .number(JSONNumber(characters)), "segments": .number(JSONNumber(byteCounts.count)),
      ],
      "tokens": [
        "base": .number(JSONNumber(base.tokens)), "candidate": .number(JSONNumber(candidate.tokens)),
        "context": .number(JSONNumber(context)), "protocol": "each its own tokenizer",
      ],
      "nll": [
        "base_per_token": number(base.sum / Double(base.tokens)),
        "candidate_per_token": number(candidate.sum / Double(candidate.tokens)),
        "base_per_character": number(base.sum / Double(characters)),
        "candidate_per_character": number(candidate.sum / Double(characters)),
        "base_bits_per_byte": number(bitsPerByte(base)), "candidate_bits_per_byte": number(bitsPerByte(candidate)),
      ],
      "difference": [
        "bits_per_byte": number(difference.mean),
        "bits_per_byte_ci95": interval.map { [number($0.lowerBound), number($0.upperBound)] } ?? .null,
        "nats_per_character": number((candidate.sum - base.sum) / Double(characters)),
      ],
    ]
  }

  public var summary: String {
    let change = difference
    let interval = change.interval95.map {
      "95 % interval \(Figure.signed($0.lowerBound, 5)) to \(Figure.signed($0.upperBound, 5))"
    }
    return """
      The candidate needs \(Figure.signed(change.mean, 5)) bits per byte (\(interval ?? "one segment gives no interval")).

      base       \(base.identity.path) (\(base.identity.layout), \(base.identity.digest.prefix(24)))
      candidate  \(candidate.identity.path) (\(candidate.identity.layout), \(candidate.identity.digest.prefix(24)))
      text       \(Figure.count(byteCount)) bytes in \(byteCounts.count) segments, context \(context)

                                base     candidate
      tokens            \(Self.padded(Figure.count(base.tokens)))  \(Self.padded(Figure.count(candidate.tokens)))
      bits per byte     \(Self.padded(Figure.fixed(bitsPerByte(base), 5)))  \(Self.padded(Figure.fixed(bitsPerByte(candidate), 5)))
      nats per character\(Self.padded(Figure.fixed(base.sum / Double(characters), 5)))  \(Self.padded(Figure.fixed(candidate.sum / Double(characters), 5)))

      Each model read the text in tokens of its own: figures per token would not compare, and no policy was applied.

      """
  }

  private static func padded(_ text: String) -> String { String(repeating: " ", count: max(0, 12 - text.count)) + text }
}
