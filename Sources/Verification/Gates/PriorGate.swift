/// Requirements that stand before the scores, in the order in which they are tested. Where one fails nothing is scored, and
/// the gates behind it are not run.
package enum PriorGate: String, CaseIterable, Sendable {
  /// Files, headers, sizes and scales are whole, configuration and tensors agree (else the model does not open), lint finds no
  /// error of the candidate's files, tensors or quantization, and every weight that was compared is a finite number.
  case integrity
  /// Same dimensions, norms, rotary embedding, attention window and special tokens; a head that one model ties and the
  /// other stores is the same.
  case structure
  /// Same token ids on the text and on hard texts.
  case tokenizer
  /// Every tensor's values, the configuration and the tokenizer are the same; only for policies that promise it.
  case lossless

  var title: String {
    switch self {
    case .integrity: "Faults of files and weights"
    case .structure: "Differences of structure"
    case .tokenizer: "Texts that are tokenized differently"
    case .lossless: "Parts that are not the same"
    }
  }

  var good: String {
    switch self {
    case .integrity: "files, headers and scales are whole, and every weight is a finite number"
    case .structure: "dimensions, norms, rotary embedding and special tokens are the same"
    case .tokenizer: "token ids are the same on the text and on the built-in hard texts"
    case .lossless: "every tensor has the same values, and configuration and tokenizer are the same"
    }
  }

  /// The gate with what was found against it.
  package func gate(problems: [String], note: String? = nil) -> Gate {
    let problems = problems.map { VerificationReport.plain($0) }
    let shown =
      problems.prefix(3).joined(separator: "; ") + (problems.count > 3 ? "; and \(problems.count - 3) more" : "")
    return Gate(
      id: rawValue, title: title, outcome: problems.isEmpty ? .pass : .fail, value: Double(problems.count),
      relation: .equal, limit: 0, explanation: problems.isEmpty ? note ?? good : shown)
  }

  /// The gate behind one that failed.
  func notRun(_ failed: Gate) -> Gate { .notRun(id: rawValue, title: title, failed) }
}

extension Gate {
  static func notRun(id: String, title: String, relation: Relation = .equal, limit: Double = 0, _ failed: Gate) -> Gate
  {
    Gate(
      id: id, title: title, outcome: .none, value: nil, relation: relation, limit: limit,
      explanation: "not run, because \(failed.id) failed")
  }
}

extension Policy {
  /// The gates that stand before scores under this policy.
  package var priorGates: [PriorGate] { PriorGate.allCases.filter { $0 != .lossless || exact } }
}
