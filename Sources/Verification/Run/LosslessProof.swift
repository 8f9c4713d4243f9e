public import ByteIO
public import Checkpoints
internal import Llama

/// The proof that two checkpoints are one model, whatever their layouts, without a text: digests of every tensor, of the
/// configuration and of the tokenizer. Equal digests prove more than any scores can; a difference is named.
public struct LosslessProof: Sendable {
  /// One part of the models that was compared.
  public struct Difference: Sendable, Equatable {
    /// A tensor's role, such as `layers.3.query`; or `configuration`, `tokenizer`.
    public let part: String
    /// The digests; nil where a model does not have the part.
    public let base: String?
    public let candidate: String?

    var text: String {
      switch (base, candidate) {
      case (_, nil): "\(part) is missing from the candidate"
      case (nil, _): "\(part) is not in the base"
      default: "\(part) differs"
      }
    }
  }

  private let base: ModelIdentity
  private let candidate: ModelIdentity
  /// In model order; the configuration and the tokenizer last.
  public let differences: [Difference]
  /// Tensors whose digests are equal.
  public let equalTensors: Int

  public var verdict: Verdict { differences.isEmpty ? .pass : .fail }

  /// Reads all tensors of both models once.
  /// - Throws: `ParseFailure` and `FileFailure` from reading, what `check` throws.
  public init(
    _ base: Checkpoint, _ candidate: Checkpoint, threads: Int, check: @escaping @Sendable () throws -> Void = {}
  ) throws {
    let one = try base.digest(threads: threads) { _ in try check() }
    let other = try candidate.digest(threads: threads) { _ in try check() }
    self.init(
      ModelIdentity(path: base.path, layout: base.layout.rawValue, digest: one.model), one,
      ModelIdentity(path: candidate.path, layout: candidate.layout.rawValue, digest: other.model), other)
  }

  init(_ base: ModelIdentity, _ one: ModelDigest, _ candidate: ModelIdentity, _ other: ModelDigest) {
    var theirs = Dictionary(other.tensors.map { ($0.role, $0.digest) }) { first, _ in first }
    var differences: [Difference] = []
    for tensor in one.tensors {
      let match = theirs.removeValue(forKey: tensor.role)
      if match != tensor.digest {
        differences.append(Difference(part: tensor.role.canonicalText, base: tensor.digest, candidate: match))
      }
    }
    equalTensors = one.tensors.count - differences.count
    for tensor in other.tensors where theirs[tensor.role] != nil {
      differences.append(Difference(part: tensor.role.canonicalText, base: nil, candidate: tensor.digest))
    }
    if one.configuration != other.configuration {
      differences.append(Difference(part: "configuration", base: one.configuration, candidate: other.configuration))
    }
    if one.tokenizer != other.tokenizer {
      differences.append(Difference(part: "tokenizer", base: one.tokenizer, candidate: other.tokenizer))
    }
    self.base = base
    self.candidate = candidate
    self.differences = differences
  }

  /// The document of `--json`: schema `llama-verify/1` without what only scores give, and the member `lossless`.
  public var document: JSONValue {
    func identity(_ model: ModelIdentity) -> JSONValue {
      ["path": .string(model.path), "layout": .string(model.layout), "digest": .string(model.digest)]
    }
    return [
      "schema": .string(VerificationReport.schema),
      "verdict": .string(verdict.rawValue),
      "exit_code": .number(JSONNumber(Int(verdict.exitCode))),
      "policy": Policy.lossless.json,
      "base": identity(base),
      "candidate": identity(candidate),
      "lossless": [
        "equal_tensors": .number(JSONNumber(equalTensors)),
        "differences": .array(
          differences.map {
            [
              "part": .string($0.part), "base": $0.base.map { .string($0) } ?? .null,
              "candidate": $0.candidate.map { .string($0) } ?? .null,
            ]
          }),
      ],
    ]
  }

  public var summary: String {
    var lines =
      differences.isEmpty
      ? ["PASS  The two checkpoints are one model: \(equalTensors) tensors, configuration and tokenizer are equal."]
      : [
        "FAIL  The two checkpoints are not one model: \(differences.count) difference\(differences.count == 1 ? "" : "s"), \(equalTensors) tensors are equal."
      ]
    lines.append("")
    lines.append("base       \(base.path) (\(base.layout), \(base.digest))")
    lines.append("candidate  \(candidate.path) (\(candidate.layout), \(candidate.digest))")
    if !differences.isEmpty { lines.append("") }
    lines += differences.prefix(40).map { "  \($0.text)" }
    if differences.count > 40 { lines.append("  and \(differences.count - 40) more (--json lists all)") }
    return lines.joined(separator: "\n") + "\n"
  }
}
