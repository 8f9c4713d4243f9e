public import ByteIO
public import Checkpoints

/// The scores of one part of a text and all that its share of a report needs: a file of evidence whose facts name the part.
public struct PartEvidence: Sendable {
  /// What the file is called in messages.
  public let path: String
  let subject: VerificationReport.Subject
  let scores: TokenScores
  let share: WindowShare
  var place: CandidatePlace { subject.place }

  /// More bytes than any file of evidence has: 330 million tokens.
  private static let maximumBytes = 4 << 30
  private static let suffix = ".tokens.bin"

  /// The name of a part's file in a folder of evidence: `part-00002-of-00004.tokens.bin`, with `.candidate-01` and so on in
  /// it where there are several.
  public static func fileName(of part: WorkPart, candidate: CandidatePlace) -> String {
    func padded(_ number: Int, _ length: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, length - digits.count)) + digits
    }
    let one = candidate.count > 1 ? ".candidate-\(padded(candidate.index + 1, 2))" : ""
    return "part-\(padded(part.index, 5))-of-\(padded(part.count, 5))\(one)\(suffix)"
  }

  /// Reads a file, or all files of parts that a folder holds, in the order of their names.
  /// - Throws: `ParseFailure` and `FileFailure` that name the file.
  public static func read(_ path: String) throws -> [PartEvidence] {
    guard try FileSystem.kind(of: path) == .directory else { return [try PartEvidence(file: path)] }
    let names = try FileSystem.names(in: path).filter { $0.hasPrefix("part-") && $0.hasSuffix(suffix) }.sorted()
    guard !names.isEmpty else {
      throw ParseFailure("the folder holds no evidence", file: path, advice: "its files are called part-…\(suffix)")
    }
    return try names.map { try PartEvidence(file: "\(path)/\($0)") }
  }

  private init(file path: String) throws {
    let bytes = try ReadableFile.contents(of: path, limit: Self.maximumBytes)
    do throws(ParseFailure) {
      try self.init(Evidence(parsing: bytes), path: path)
    } catch {
      throw error.in(file: path)
    }
  }

  /// - Throws: `ParseFailure` for evidence without facts, or not of a part.
  public init(_ evidence: Evidence, path: String) throws(ParseFailure) {
    guard let facts = evidence.facts else { throw ParseFailure("the evidence has no facts, only scores") }
    subject = try VerificationReport.Subject(facts: facts, scores: evidence.scores)
    guard let share = subject.share else {
      throw ParseFailure("the evidence is of a whole run, not of a part", advice: "--part writes parts")
    }
    scores = evidence.scores
    self.share = share
    self.path = path
    // A gate that fails before the scores leaves none; damage may also be found beside them.
    guard scores.windowCount == share.count || isStopped else {
      throw ParseFailure("part \(share.part) holds \(scores.windowCount) windows, expected \(share.count)")
    }
    guard place.count == 1 || scores.hasCandidate else {
      throw ParseFailure("one of \(place.count) candidates, but there is none", item: "facts.part.candidates")
    }
  }

  /// A gate before the scores failed, and nothing was scored.
  var isStopped: Bool { scores.count == 0 && subject.prior.contains { $0.outcome == .fail } }
}
