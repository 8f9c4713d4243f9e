import Verification

/// Scores with a closed form, so that an outside program can make the same ones.
///
/// Twelve windows of unequal size, 165 tokens, context 17. With i the token's number in text order:
/// base NLL b = 1 + (29·i mod 97)/32, drift d = ((37·i + 11) mod 101 − 45)/1024, KLD k = (53·i mod 89)²/65536,
/// top-1 agrees unless 7·i mod 10 = 0, top-5 overlap 3·i mod 6, base right unless i mod 3 = 0, candidate right when the
/// base is, except that every eleventh token (i mod 11 = 0) is turned. All are exact in single precision.
///
/// The expected figures in the tests come from NumPy 2.4.6, SciPy 1.17.1 and statsmodels 0.15.0 on the same formulas:
/// clustered errors from `OLS(v, ones).fit(cov_type="cluster")`, t quantiles from `scipy.stats.t`, percentiles from
/// `numpy.quantile`, McNemar from `scipy.stats.binomtest`, BCa from `scipy.stats.bootstrap` with 200,000 resamples.
enum Sample {
  static let sizes = [16, 12, 16, 9, 16, 14, 16, 16, 7, 16, 16, 11]
  static let text = TextFacts(characters: 700, utf8Bytes: 750, path: "eval.txt", sha256: "ab12")
  static let run = RunFacts(
    seconds: 12.5, tokensPerSecond: 26.4, peakRSSBytes: 123_456_789, bytesRead: 987_654_321, threads: 2,
    instructionSet: "avx2",
    compute: "exact", version: "0.1.0")
  /// One limit.
  static let policy = Policy(name: "fp8", maximumRatio: 1.01)
  static let base = ModelIdentity(path: "models/base", layout: "hf-safetensors", digest: "sha256:0011223344556677")
  static let other = ModelIdentity(path: "models/fp8", layout: "hf-safetensors", digest: "sha256:8899aabbccddeeff")

  static func baseNLL(_ i: Int) -> Float { 1 + Float(29 * i % 97) / 32 }
  static func drift(_ i: Int) -> Float { Float((37 * i + 11) % 101 - 45) / 1024 }
  static func kld(_ i: Int) -> Double { Double((53 * i % 89) * (53 * i % 89)) / 65536 }
  static func flags(_ i: Int) -> TokenFlags {
    let right = i % 3 != 0
    return TokenFlags(
      baseIsRight: right, candidateIsRight: right != (i % 11 == 0), top1Agrees: 7 * i % 10 != 0,
      top5Overlap: 3 * i % 6)
  }
  static let same = TokenFlags(baseIsRight: true, candidateIsRight: true, top1Agrees: true, top5Overlap: 5)

  /// The scores above.
  static func scores() -> TokenScores {
    scores(sizes: sizes, drift: drift, kld: kld, flags: flags)
  }

  /// A model against itself.
  static func identical(sizes: [Int] = sizes) -> TokenScores {
    scores(sizes: sizes, drift: { _ in 0 }, kld: { _ in 0 }, flags: { _ in same })
  }

  static func scores(
    sizes: [Int], base: (Int) -> Float = baseNLL, drift: (Int) -> Float, kld: (Int) -> Double = kld,
    flags: (Int) -> TokenFlags = flags
  ) -> TokenScores {
    var scores = TokenScores(hasCandidate: true)
    var start = 0
    for (index, size) in sizes.enumerated() {
      let tokens = start..<start + size
      scores.append(
        ScoredWindow(index: index, firstPosition: 1, count: size), baseNLL: tokens.map(base),
        candidateNLL: tokens.map { base($0) + drift($0) }, kld: tokens.map(kld), flags: tokens.map(flags))
      start += size
    }
    return scores
  }

  static func alone() -> TokenScores {
    var scores = TokenScores(hasCandidate: false)
    var start = 0
    for (index, size) in sizes.enumerated() {
      scores.append(
        ScoredWindow(index: index, firstPosition: 1, count: size), nll: (start..<start + size).map(baseNLL),
        flags: (start..<start + size).map { TokenFlags(baseIsRight: $0 % 3 != 0) })
      start += size
    }
    return scores
  }

  static func subject(
    policy: Policy = policy, candidate: ModelIdentity? = other, base: ModelIdentity = base,
    layers: [LayerError] = (0..<4).map { LayerError(layer: $0, relativeError: 0.001 * Double($0 + 1)) },
    tensors: [TensorError] = [TensorError(name: "model.layers.0.mlp.down_proj.weight", sqnrDecibels: 31.6)]
  ) -> VerificationReport.Subject {
    VerificationReport.Subject(
      base: base, candidate: candidate, text: text, scoring: ScoringProtocol(name: "windows", context: 17),
      layers: candidate == nil ? [] : layers, tensors: candidate == nil ? [] : tensors, run: run, policy: policy,
      policyDigest: "cafe0123")
  }

  static func report(_ scores: TokenScores = scores(), policy: Policy = policy) -> VerificationReport {
    VerificationReport(subject(policy: policy), scores: scores)
  }
}

/// Whether two numbers agree to `tolerance` relative to the larger.
func isClose(_ value: Double?, _ expected: Double, _ tolerance: Double = 1e-12) -> Bool {
  guard let value else { return false }
  return abs(value - expected) <= tolerance * max(abs(value), abs(expected))
}
