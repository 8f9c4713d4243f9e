internal import ByteIO
internal import Checkpoints
internal import Inference
internal import Llama

/// The groups of tensors that a search halves: layers first, then the halves of a layer, then tensors.
struct BisectionGroups {
  /// An element of the search.
  enum Element: Hashable {
    case tensor(TensorRole)
    case configuration

    var name: String {
      switch self {
      case .tensor(let role): NamingDialect.huggingFace.name(for: role)
      case .configuration: "configuration"
      }
    }
  }

  let elements: [Element]
  let root: GroupSearch.Group

  /// - Parameters:
  ///   - differing: the tensors that are not the base's.
  ///   - configuration: whether the configuration differs too.
  init(differing: Set<TensorRole>, layers: Int, configuration: Bool) {
    var elements: [Element] = []
    func leaves(_ roles: [TensorRole]) -> [GroupSearch.Group] {
      roles.filter(differing.contains).map { role in
        elements.append(.tensor(role))
        return GroupSearch.Group(Element.tensor(role).name, [elements.count - 1])
      }
    }
    func group(_ name: String, _ children: [GroupSearch.Group]) -> GroupSearch.Group? {
      children.count > 1 ? GroupSearch.Group(name, children) : children.first
    }
    var units: [(name: String, group: GroupSearch.Group)] = []
    func add(_ name: String, _ unit: GroupSearch.Group?) {
      if let unit { units.append((name, unit)) }
    }
    add("embedding", group("embedding", leaves([.tokenEmbedding])))
    for layer in 0..<layers {
      func half(_ name: String, _ roles: [LayerRole]) -> GroupSearch.Group? {
        group("layer \(layer), \(name)", leaves(roles.map { .layer(layer, $0) }))
      }
      let halves = [
        half("attention", [.attentionNorm, .query, .key, .value, .attentionOutput]),
        half("feed-forward", [.feedForwardNorm, .gate, .up, .down]),
      ].compactMap { $0 }
      add("layer \(layer)", group("layer \(layer)", halves))
    }
    add("head", group("output norm and head", leaves([.outputNorm, .outputHead])))
    var parts = Self.halved(units[...]).map { [$0] } ?? []
    if configuration {
      elements.append(.configuration)
      parts.append(GroupSearch.Group(Element.configuration.name, [elements.count - 1]))
    }
    self.elements = elements
    root = group("all that differs", parts) ?? GroupSearch.Group("nothing", [] as [Int])
  }

  private static func halved(_ units: ArraySlice<(name: String, group: GroupSearch.Group)>) -> GroupSearch.Group? {
    guard let first = units.first, let last = units.last else { return nil }
    guard units.count > 1 else { return first.group }
    let middle = units.startIndex + units.count / 2
    let halves = [halved(units[..<middle]), halved(units[middle...])].compactMap { $0 }
    return GroupSearch.Group("\(first.name) to \(last.name)", halves)
  }
}

extension VerificationRequest {
  /// Tokens that are scored in each test when nothing else is said: eight windows of 512.
  static let bisectionTokens = 4096

  /// Puts the base's tensors in the candidate's place, group by group, and sees how much of the drift is gone.
  /// - Parameter differing: tensors of the base that the candidate has otherwise, or not.
  /// - Throws: `ParseFailure` for models whose tensors have different shapes; `MemoryFailure`; what `check` throws.
  func bisection(
    _ windows: TokenWindows, differing: Set<TensorRole>, check: @escaping @Sendable () throws -> Void,
    progress: (_ passes: UInt64, _ of: UInt64) -> Void
  ) throws -> Bisection {
    guard let candidate else { preconditionFailure("there is a candidate to bisect") }
    for tensor in base.tensors {
      guard let other = candidate.tensor(tensor.role), other.shape != tensor.shape else { continue }
      throw ParseFailure(
        "the tensor has shape \(other.shape), the base's \(tensor.shape)", file: candidate.path,
        item: tensor.role.canonicalText, advice: "--bisect exchanges tensors, which must have one shape")
    }
    let picked = Self.spread(windows, tokens: tokenLimit ?? Self.bisectionTokens)
    let models = try [base, candidate].map {
      try CheckpointWeights($0, emulatingActivations: emulation != nil, threads: threads)
    }
    let plan = try ForwardPlan(
      models, settings: forwardSettings(check), windows: picked.windows, maximumMemory: maximumMemory)
    guard plan.groups.count == 1 else {
      throw MemoryFailure(
        needed: plan.held
          + MemoryEstimate(
            models, settings: plan.settings, tokens: picked.windows.reduce(0) { $0 + $1.count },
            longestWindow: picked.windows.map(\.count).max() ?? 0
          ).total,
        allowed: maximumMemory)
    }
    let groups = BisectionGroups(
      differing: differing, layers: base.configuration.layerCount,
      configuration: base.configuration != candidate.configuration)
    let most = 1 + GroupSearch.cost(groups.root)
    progress(0, UInt64(most))
    let scorer = try SubstitutionScorer(
      base: models[0], candidate: models[1], windows: picked.windows, scored: picked.scored, settings: plan.settings)
    var run = BisectionMeasure(scorer: scorer, groups: groups, whole: try scorer.score(restoring: []))
    var search = GroupSearch(groups.root)
    if run.wholeDivergence > 0 {
      try search.run { elements in
        progress(UInt64(1 + run.tests.count), UInt64(most))
        return try run.measure(elements)
      }
    }
    progress(UInt64(most), UInt64(most))
    return run.result(search, most: most)
  }

  /// Whole windows spread evenly over those given, so many that they hold about so many scored tokens, one at least.
  private static func spread(
    _ all: TokenWindows, tokens: Int
  ) -> (windows: [[Int32]], scored: [[Range<Int>]]) {
    let count = all.windows.count
    let average = max(1, all.scoredCount / max(1, count))
    let wanted = min(count, max(1, (tokens + average - 1) / average))
    let picked = (0..<wanted).map { (2 * $0 * count + count) / (2 * wanted) }
    return (picked.map { all.windows[$0] }, picked.map { all.scored[$0] })
  }
}

/// Measures sets for a search, and keeps what was measured.
private struct BisectionMeasure {
  let scorer: SubstitutionScorer
  let groups: BisectionGroups
  let whole: TokenScoring
  private(set) var tests: [(elements: [Int], test: Bisection.Test)] = []

  init(scorer: SubstitutionScorer, groups: BisectionGroups, whole: TokenScoring) {
    self.scorer = scorer
    self.groups = groups
    self.whole = whole
  }

  private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }
  private static func drift(_ scoring: TokenScoring) -> Double {
    mean(zip(scoring.candidateNLL, scoring.baseNLL).map { $0 - $1 })
  }

  var wholeDivergence: Double { Self.mean(whole.divergence) }

  mutating func measure(_ elements: [Int]) throws -> GroupSearch.Share {
    var roles: Set<TensorRole> = []
    var configuration = false
    for element in elements {
      switch groups.elements[element] {
      case .tensor(let role): roles.insert(role)
      case .configuration: configuration = true
      }
    }
    let scoring = try scorer.score(restoring: roles, configuration: configuration)
    let share = self.share(scoring)
    tests.append(
      (
        elements,
        Bisection.Test(
          name: "", tensors: elements.count, share: share.value, shareError: share.standardError,
          kld: Self.mean(scoring.divergence), lnRatio: Self.drift(scoring))
      ))
    return share
  }

  /// Σa/Σb of the divergence that is gone, a, and that of the candidate, b, with the ratio estimate's error over windows:
  /// √(G/(G − 1) · Σ(a − r·b)²)/Σb (Cochran, Sampling Techniques, 3rd ed., §6.3).
  private func share(_ scoring: TokenScoring) -> GroupSearch.Share {
    var sums: [(gone: Double, all: Double)] = []
    for (index, window) in whole.window.enumerated() {
      while sums.count <= window { sums.append((0, 0)) }
      sums[window].gone += whole.divergence[index] - scoring.divergence[index]
      sums[window].all += whole.divergence[index]
    }
    let all = sums.reduce(0) { $0 + $1.all }
    let value = sums.reduce(0) { $0 + $1.gone } / all
    guard sums.count > 1 else { return GroupSearch.Share(value: value, standardError: nil) }
    let squares = sums.reduce(0) { $0 + ($1.gone - value * $1.all) * ($1.gone - value * $1.all) }
    let count = Double(sums.count)
    return GroupSearch.Share(value: value, standardError: (count / (count - 1) * squares).squareRoot() / all)
  }

  func result(_ search: GroupSearch, most: Int) -> Bisection {
    func test(_ found: GroupSearch.Test) -> Bisection.Test? {
      guard var test = tests.first(where: { $0.elements == found.elements })?.test else { return nil }
      test.name = found.name
      return test
    }
    let smallest = search.smallest
    return Bisection(
      tokens: whole.count, windows: (whole.window.last ?? -1) + 1, maximumPasses: most, kld: wholeDivergence,
      lnRatio: Self.drift(whole), tests: search.tests.compactMap(test),
      culprits: smallest?.elements.map { groups.elements[$0].name } ?? [], explanation: smallest.flatMap(test))
  }
}
