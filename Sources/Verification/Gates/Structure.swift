internal import ByteIO
internal import Checkpoints
internal import Llama

/// What of two models must be the same before their scores mean anything.
enum Structure {
  /// One sentence for each difference; empty when there is none.
  /// - Throws: what reading the head and the embedding throws, where one model ties them and the other does not.
  static func differences(_ base: Checkpoint, _ candidate: Checkpoint) throws -> [String] {
    var differences: [String] = []
    for (name, sentence) in Self.differences(base.configuration, candidate.configuration) {
      if name == "tied", try hasSameHead(base, candidate) { continue }
      differences.append(sentence)
    }
    if let one = base.configuration.beginOfTextID, let other = candidate.configuration.beginOfTextID, one != other {
      differences.append("the begin-of-text token is \(one) in the base, \(other) in the candidate")
    }
    // Layouts keep one end-of-text token or several; they contradict one another when none is common.
    let (ends, otherEnds) = (Set(base.configuration.endOfTextIDs), Set(candidate.configuration.endOfTextIDs))
    if !ends.isEmpty && !otherEnds.isEmpty && ends.isDisjoint(with: otherEnds) {
      differences.append(
        "end-of-text tokens are \(ends.sorted()) in the base, \(otherEnds.sorted()) in the candidate")
    }
    return differences
  }

  /// The fields of a configuration, as its digest covers them, that differ.
  static func differences(
    _ base: LlamaConfiguration, _ candidate: LlamaConfiguration
  ) -> [(field: String, sentence: String)] {
    zip(fields(base), fields(candidate)).filter { $0.value != $1.value }.map { own, theirs in
      (own.name, "\(own.name) is \(own.value) in the base, \(theirs.value) in the candidate")
    }
  }

  /// Whether every tensor of the base is in the candidate with the same shape: then the candidate can be run with the base's
  /// tensors in it, whatever its configuration says.
  static func hasSameShapes(_ base: Checkpoint, _ candidate: Checkpoint) -> Bool {
    base.tensors.allSatisfy { candidate.tensor($0.role)?.shape == $0.shape }
      && base.configuration.vocabularySize == candidate.configuration.vocabularySize
  }

  /// The lines that the digest of a configuration covers: the same fields in the same order for every model.
  private static func fields(_ configuration: LlamaConfiguration) -> [(name: String, value: String)] {
    configuration.canonicalText.split(separator: "\n").map { line in
      let parts = line.split(separator: " ", maxSplits: 1)
      return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
    }
  }

  /// Whether a model that stores its head stores the embedding again.
  private static func hasSameHead(_ base: Checkpoint, _ candidate: Checkpoint) throws -> Bool {
    let untied = base.configuration.tiesEmbeddings ? candidate : base
    guard let head = untied.tensor(.outputHead), let embedding = untied.tensor(.tokenEmbedding),
      head.shape == embedding.shape
    else { return false }
    let step = max(1, (1 << 20) / max(1, head.columnCount))
    for start in stride(from: 0, to: head.rowCount, by: step) {
      let rows = start..<min(start + step, head.rowCount)
      if try head.values(rows: rows) != embedding.values(rows: rows) { return false }
    }
    return true
  }
}
