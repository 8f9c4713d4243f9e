public import ByteIO
internal import Checkpoints

/// Parts of a text put together: the report that one process would have written.
public struct CombinedParts: Sendable {
  public let report: VerificationReport
  public let scores: TokenScores

  /// The reports of all candidates of one command, in its order: the parts of each put together.
  /// - Throws: as `init`; for candidates of several commands, and for one that has no part at all.
  public static func all(_ parts: [PartEvidence], policy: Policy? = nil) throws(ParseFailure) -> [CombinedParts] {
    guard let first = parts.first else { throw ParseFailure("there is no evidence to combine") }
    let count = first.place.count
    if let other = parts.first(where: { $0.place.count != count }) {
      throw ParseFailure(
        "the evidence of one of \(other.place.count) candidates; that in \(first.path) is of one of \(count)",
        file: other.path, advice: "parts of one report come from one command")
    }
    var combined: [CombinedParts] = []
    for index in 0..<count {
      let own = parts.filter { $0.place.index == index }
      guard let one = own.first else {
        throw ParseFailure("the evidence of candidate \(index + 1) of \(count) is missing")
      }
      let made = try CombinedParts(own, policy: policy)
      if index > 0 { try compare(one, first, sameCandidate: false) }
      combined.append(made)
    }
    return combined
  }

  /// - Parameters:
  ///   - parts: in any order, of one candidate.
  ///   - policy: what the candidate is held to instead of the policy that the parts were given.
  /// - Throws: `ParseFailure` that names the file for parts of different runs, and the parts that are missing or there twice.
  public init(_ parts: [PartEvidence], policy: Policy? = nil) throws(ParseFailure) {
    let parts = try Self.inOrder(parts)
    guard let first = parts.first else { throw ParseFailure("there is no evidence to combine") }
    for part in parts { try Self.compare(part, first) }
    scores = try TokenScores(merging: parts.map(\.scores))
    // The window with number i of those taken belongs to part i mod n; other numbers come from another choice of windows.
    let owners = Dictionary(
      parts.flatMap { part in part.scores.windows.map { ($0.index, part.share.part.index) } }
    ) { first, _ in first }
    let taken = owners.sorted { $0.key < $1.key }
    for (number, owner) in taken.enumerated() where owner.value != number % parts.count {
      throw ParseFailure(
        "window \(owner.key) of the text is in part \(owner.value), where part \(number % parts.count) would have it",
        file: parts[owner.value].path, advice: "the parts were made with different --tokens or --context")
    }
    var subject = Self.subject(parts, scores)
    if let policy { try Self.hold(&subject, to: policy, isStopped: first.isStopped) }
    report =
      first.isStopped ? VerificationReport(stopped: subject) : VerificationReport(subject, scores: scores)
  }

  /// Another policy than the parts were given. Whether losslessness is promised decides on a gate before the scores, which
  /// then rests on the models' digests.
  private static func hold(
    _ subject: inout VerificationReport.Subject, to policy: Policy, isStopped: Bool
  ) throws(ParseFailure) {
    let gate = PriorGate.lossless
    if !policy.exact {
      if isStopped, subject.prior.contains(where: { $0.id == gate.rawValue && $0.outcome == .fail }) {
        throw ParseFailure(
          "the parts scored nothing, because they were to be lossless and are not",
          advice: "make them again with --policy \(policy.name)")
      }
      subject.prior.removeAll { $0.id == gate.rawValue }
    } else if !subject.policy.exact, !subject.prior.contains(where: { $0.outcome == .fail }) {
      let isSame = subject.candidate?.digest == subject.base.digest
      subject.prior.append(
        gate.gate(
          problems: isSame
            ? []
            : [
              "the digests differ; parts made with --policy \(policy.name) would tell in what, or that it is the type alone"
            ]))
    }
    subject.policy = policy
    subject.policyDigest = policy.digest
  }

  /// All parts of one count, each once, by their numbers.
  private static func inOrder(_ parts: [PartEvidence]) throws(ParseFailure) -> [PartEvidence] {
    guard let count = parts.first?.share.part.count else { return [] }
    var byNumber: [Int: PartEvidence] = [:]
    for part in parts {
      guard part.share.part.count == count else {
        throw ParseFailure(
          "part \(part.share.part) is of another division than \(parts[0].share.part) in \(parts[0].path)",
          file: part.path)
      }
      if let other = byNumber.updateValue(part, forKey: part.share.part.index) {
        throw ParseFailure("part \(part.share.part) is there twice, in \(other.path) too", file: part.path)
      }
    }
    let missing = (0..<count).filter { byNumber[$0] == nil }
    guard missing.isEmpty else {
      let shown = missing.prefix(8).map { "\($0)/\(count)" }.joined(separator: ", ")
      throw ParseFailure(
        "\(missing.count == 1 ? "part" : "parts") \(shown)\(missing.count > 8 ? ", …" : "") of the evidence "
          + "\(missing.count == 1 ? "is" : "are") missing", advice: "run llama-verify --part for each and combine again"
      )
    }
    return byNumber.sorted { $0.key < $1.key }.map(\.value)
  }

  /// - Throws: `ParseFailure` with what of a part is not as in the first.
  /// - Parameter sameCandidate: false for parts of two candidates of one command.
  private static func compare(
    _ part: PartEvidence, _ first: PartEvidence, sameCandidate: Bool = true
  ) throws(ParseFailure) {
    let (one, other) = (first.subject, part.subject)
    func text(_ value: String?) -> String { value ?? "none" }
    let fields: [(name: String, String, String)] = [
      ("the base's digest", one.base.digest, other.base.digest),
      ("the candidate's digest", text(one.candidate?.digest), text(other.candidate?.digest)),
      ("the text's SHA-256", text(one.text.sha256), text(other.text.sha256)),
      ("the protocol", one.scoring.name, other.scoring.name),
      ("the context", String(one.scoring.context), String(other.scoring.context)),
      ("the count of windows", String(first.share.windows), String(part.share.windows)),
      ("the policy's SHA-256", text(one.policyDigest), text(other.policyDigest)),
      ("the seed", String(one.bootstrap.seed), String(other.bootstrap.seed)),
      ("the version", one.run.version, other.run.version),
      ("--compute", one.run.compute, other.run.compute),
      ("--emulate", text(one.run.emulation), text(other.run.emulation)),
      ("the instruction set", one.run.instructionSet, other.run.instructionSet),
    ]
    for (name, value, found) in fields where value != found && (sameCandidate || name != "the candidate's digest") {
      throw ParseFailure(
        "\(name) is \(found), in part \(first.share.part) (\(first.path)) it is \(value)", file: part.path,
        advice: name == "the instruction set"
          ? "give every part the same --instruction-set" : "parts of one report come from one command")
    }
    guard sameCandidate else { return }
    // A tensor that is not finite has no ratio, in either part.
    let isSame = one.tensors.elementsEqual(other.tensors) { left, right in
      let isEqual = left.sqnrDecibels == right.sqnrDecibels || left.sqnrDecibels.isNaN && right.sqnrDecibels.isNaN
      return left.name == right.name && left.storage == right.storage && isEqual
    }
    guard isSame, one.prior == other.prior else {
      throw ParseFailure("tensors or gates are not as in part \(first.share.part) (\(first.path))", file: part.path)
    }
  }

  private static func subject(_ parts: [PartEvidence], _ scores: TokenScores) -> VerificationReport.Subject {
    let subjects = parts.map(\.subject)
    var subject = subjects[0]
    subject.share = nil
    subject.text.characters = subjects.reduce(0) { $0 + $1.text.characters }
    subject.text.utf8Bytes = subjects.reduce(0) { $0 + $1.text.utf8Bytes }
    subject.layers = scores.residuals?.layerErrors ?? []
    let runs = subjects.map(\.run)
    subject.run.seconds = runs.reduce(0) { $0 + $1.seconds }
    subject.run.tokensPerSecond = Double(scores.count) / max(subject.run.seconds, 1e-9)
    subject.run.peakRSSBytes = runs.map(\.peakRSSBytes).max() ?? 0
    subject.run.bytesRead = runs.reduce(0) { $0 &+ $1.bytesRead }
    subject.run.weightPasses = runs.reduce(0) { $0 &+ $1.weightPasses }
    // Every part showed its own worst windows, among which are those of the whole.
    let excerpts = Dictionary(subjects.flatMap { $0.excerpts.map { ($0.window, $0) } }) { first, _ in first }
    subject.excerpts =
      excerpts.isEmpty || !scores.hasCandidate || scores.count == 0 || scores.nonFinite.count > 0
      ? [] : WindowDrift.worst(of: scores).compactMap { excerpts[$0.window] }
    return subject
  }
}
