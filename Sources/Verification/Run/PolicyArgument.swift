public import ByteIO

extension Policy {
  /// The value of `--policy`: the name of a built-in policy, or a YAML or JSON file.
  /// - Throws: `FileFailure` when it is neither a name nor a readable file; `ParseFailure` for a bad file.
  public init(argument: String) throws {
    if let builtIn = Policy.named(argument) {
      self = builtIn
      return
    }
    guard try FileSystem.kind(of: argument) == .file else {
      throw FileFailure(
        path: argument, operation: "open the policy", kind: .missing,
        detail: "it is neither a built-in policy (\(Policy.builtIn.map(\.name).joined(separator: ", "))) nor a file")
    }
    let bytes = try ReadableFile.contents(of: argument, limit: Policy.maximumFileBytes)
    self = try Policy(parsing: bytes, file: argument)
  }
}

extension VerificationReport {
  /// The verdict in one line, for a summary that has other things to say too.
  public var line: String {
    "\(verdict.word) under policy \(subject.policy.name) on \(Figure.count(tokens)) tokens: \(headline)"
  }

  /// The figures that a conversion's record keeps: those that are the same in every run.
  public var recordEntry: JSONValue {
    func number(_ value: Double?) -> JSONValue {
      value.flatMap { $0.isFinite ? .number(JSONNumber($0)) : nil } ?? .null
    }
    return [
      "verdict": .string(verdict.rawValue),
      "policy": subject.policy.json,
      "text_sha256": subject.text.sha256.map { .string($0) } ?? .null,
      "protocol": .string(subject.scoring.name),
      "context": .number(JSONNumber(subject.scoring.context)),
      "tokens": .number(JSONNumber(tokens)),
      "perplexity": [
        "base": number(base?.perplexity), "candidate": number(drift?.candidate.perplexity),
        "ratio": number(drift?.ratio),
      ],
    ]
  }
}
