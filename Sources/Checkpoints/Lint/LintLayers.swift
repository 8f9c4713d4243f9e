internal import ByteIO
internal import Llama
internal import Tensors

/// What shows when the layers of a model are laid beside each other.
enum LintLayers {
  /// A norm whose weights are all below, or reach beyond, what any published model comes near to (0.003 to 60).
  static let normRange: ClosedRange<Float> = 1e-3...1e3
  /// Norms are taken for exchanged when each is at least this many times nearer to the other's siblings, in squared
  /// distance; norms of random weights are as near to one as to the other.
  static let swapFactor = 4.0

  static func check(_ subject: LintSubject, _ scans: [LintValues.Scanned], _ findings: inout [LintFinding]) {
    checkNorms(scans, &findings)
    checkSwappedNorms(subject, scans, &findings)
    checkDuplicates(subject, scans, &findings)
    checkHead(subject, scans, &findings)
  }

  private static func checkNorms(_ scans: [LintValues.Scanned], _ findings: inout [LintFinding]) {
    for scanned in scans where scanned.role?.isNorm == true {
      guard let scan = scanned.scan, scan.nonFinite == nil, scan.largest > 0, !normRange.contains(scan.largest) else {
        continue
      }
      findings.append(
        LintFinding(
          .oddNorm, "\(scanned.name): the largest weight of the norm is \(scan.largest)", file: scanned.file,
          tensor: scanned.name, found: "\(scan.largest)", expected: "\(normRange.lowerBound) to \(normRange.upperBound)"
        ))
    }
  }

  // MARK: Exchanged norms

  private static func checkSwappedNorms(
    _ subject: LintSubject, _ scans: [LintValues.Scanned], _ findings: inout [LintFinding]
  ) {
    var norms: [LayerRole: [Int: [Float]]] = [:]
    for scanned in scans {
      guard case .layer(let layer, let part)? = scanned.role, !part.isLinear, let scan = scanned.scan,
        scan.nonFinite == nil, !scan.values.isEmpty
      else { continue }
      if norms[part]?[layer] == nil { norms[part, default: [:]][layer] = scan.values }
    }
    guard let attention = norms[.attentionNorm], let feedForward = norms[.feedForwardNorm] else { return }
    for layer in attention.keys.sorted() {
      guard let own = attention[layer], let other = feedForward[layer] else { continue }
      let neighbours = [layer - 1, layer + 1].compactMap { near -> (attention: [Float], feedForward: [Float])? in
        guard let one = attention[near], let two = feedForward[near], one.count == own.count, two.count == own.count
        else { return nil }
        return (one, two)
      }
      // An exchanged neighbour would make this one look exchanged too: both must say so.
      guard neighbours.count == 2, other.count == own.count else { continue }
      let isSwapped = neighbours.allSatisfy { near in
        distance(own, near.attention) > swapFactor * distance(own, near.feedForward)
          && distance(other, near.feedForward) > swapFactor * distance(other, near.attention)
      }
      guard isSwapped else { continue }
      let dialect = subject.kind.dialect
      let names = (dialect.name(for: .layer(layer, .attentionNorm)), dialect.name(for: .layer(layer, .feedForwardNorm)))
      findings.append(
        LintFinding(
          .swappedNorms,
          "\(names.0) is like the neighbouring layers' feed-forward norms, \(names.1) like their attention norms",
          tensor: names.0, found: "norms like the other kind's", expected: "norms like the neighbours'"))
    }
  }

  private static func distance(_ one: [Float], _ two: [Float]) -> Double {
    zip(one, two).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
  }

  // MARK: Copies

  private static func checkDuplicates(
    _ subject: LintSubject, _ scans: [LintValues.Scanned], _ findings: inout [LintFinding]
  ) {
    var layers: [Int: [String]] = [:]
    for scanned in scans where scanned.info.shape.rank > 1 {
      guard let (layer, rest) = subject.kind.dialect.layerAndRest(of: scanned.name), let scan = scanned.scan else {
        continue
      }
      // Layers of zeros or of nothing are told as that.
      if scan.rowCount > 0 && scan.largest == 0 { continue }
      let rank = subject.kind == .meta ? scanned.file : ""
      layers[layer, default: []].append("\(rank) \(rest) \(scanned.info.byteCount) \(scan.checksum)")
    }
    var first: [[String]: Int] = [:]
    for layer in layers.keys.sorted() {
      guard let contents = layers[layer]?.sorted(), contents.count >= 2 else { continue }
      guard let other = first[contents] else {
        first[contents] = layer
        continue
      }
      findings.append(
        LintFinding(
          .duplicatedLayer, "all matrices of layer \(layer) hold the same bytes as those of layer \(other)",
          tensor: subject.kind.dialect.name(for: .layer(layer, .query)), found: "the bytes of layer \(other)",
          expected: "a layer of its own"))
    }
  }

  /// The head against the embedding: what the configuration says of them, and what they are.
  private static func checkHead(
    _ subject: LintSubject, _ scans: [LintValues.Scanned], _ findings: inout [LintFinding]
  ) {
    guard subject.kind == .huggingFace, let configuration = subject.configuration,
      let head = scans.first(where: { $0.role == .outputHead }),
      let embedding = scans.first(where: { $0.role == .tokenEmbedding }), let headScan = head.scan,
      let embeddingScan = embedding.scan
    else { return }
    let areEqual =
      head.info.shape == embedding.info.shape && head.info.elementType == embedding.info.elementType
      && headScan.checksum == embeddingScan.checksum && headScan.squares == embeddingScan.squares
    if configuration.tiesEmbeddings, !areEqual {
      findings.append(
        LintFinding(
          .tiedHeadDiffers, "\(head.name) is stored and differs from the embedding, though tie_word_embeddings is true",
          file: head.file, tensor: head.name, found: "other values", expected: "those of \(embedding.name)"))
    } else if !configuration.tiesEmbeddings, areEqual {
      findings.append(
        LintFinding(
          .headEqualsEmbedding, "\(head.name) has the values of \(embedding.name), though tie_word_embeddings is false",
          file: head.file, tensor: head.name, found: "equal values"))
    }
  }
}

extension TensorRole {
  fileprivate var isNorm: Bool {
    switch self {
    case .outputNorm: true
    case .layer(_, let part): !part.isLinear
    default: false
    }
  }
}
