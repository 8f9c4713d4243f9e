internal import ByteIO
internal import Llama

/// Rotary position embedding: what is lost here shows in long texts only, or not at all until a user complains.
enum LintRoPE {
  static func check(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard let configuration = subject.configuration else { return }
    let published = LlamaFamily.publishedRoPE(forShapeOf: configuration)
    checkScaling(configuration, published, subject, &findings)
    checkBase(configuration, published, subject, &findings)
    checkParameters(configuration, subject, &findings)
  }

  private static func place(_ subject: LintSubject) -> (file: String?, key: String) {
    switch subject.kind {
    case .gguf: (subject.files.first?.name, "rope_freqs.weight")
    case .meta: (LayoutRecognition.parametersName, "use_scaled_rope")
    default: (LayoutRecognition.configurationName, "rope_scaling")
    }
  }

  /// Models whose every release scales RoPE, and those that claim a context that only scaling gives.
  private static func checkScaling(
    _ configuration: LlamaConfiguration, _ published: [(family: LlamaFamily, rope: RoPEParameters)],
    _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    guard configuration.rope.scaling == .none else { return }
    let sameBase = published.filter { $0.rope.base == configuration.rope.base }
    let scaled = sameBase.filter { $0.rope.scaling != .none }
    guard let first = scaled.first else { return }
    let isAlwaysScaled = scaled.count == sameBase.count
    // Llama 3 and 3.1 have the same shapes; the former ends at 8192 positions.
    guard isAlwaysScaled || configuration.maximumPositions > 8192 else { return }
    let place = place(subject)
    findings.append(
      LintFinding(
        .ropeScalingMissing,
        "there is no \(place.key), but the shape\(isAlwaysScaled ? "" : " and \(configuration.maximumPositions) positions are") \(isAlwaysScaled ? "is " : "")that of \(first.family), whose RoPE is scaled",
        file: place.file, tensor: place.key, found: "unscaled", expected: describe(first.rope)))
  }

  /// A base below the published one is one that was lost; one above is what longer contexts are trained with.
  private static func checkBase(
    _ configuration: LlamaConfiguration, _ published: [(family: LlamaFamily, rope: RoPEParameters)],
    _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    let bases = Set(published.map(\.rope.base)).sorted()
    let base = configuration.rope.base
    guard let least = bases.first, let most = bases.last, !bases.contains(base) else { return }
    let isLost = base < least
    let names = published.map(\.family.description).joined(separator: ", ")
    findings.append(
      LintFinding(
        isLost ? .ropeBaseLost : .ropeBaseUnusual,
        "rope_theta is \(base); models of this shape (\(names)) have \(bases.map { "\($0)" }.joined(separator: " or "))",
        file: place(subject).file, tensor: "rope_theta", found: "\(base)", expected: "\(isLost ? least : most)"))
  }

  /// A directory may have both configurations: as Mistral publishes it, or Meta's in `original/`.
  private static func checkParameters(
    _ configuration: LlamaConfiguration, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    guard subject.kind == .huggingFace else { return }
    for name in [LayoutRecognition.parametersName, "original/" + LayoutRecognition.parametersName] {
      let path = subject.directory + "/" + name
      guard let kind = try? FileSystem.kind(of: path), kind == .file else { continue }
      do {
        let bytes = try ReadableFile.contents(of: path, limit: LayoutRecognition.configurationLimit)
        let parameters = try MetaParameters(parsing: try JSONValue(parsing: bytes))
        compare(parameters, configuration, name, &findings)
      } catch {
        findings.append(LintFinding(.configurationUnreadable, any: error, file: path))
      }
    }
  }

  private static func compare(
    _ parameters: MetaParameters, _ c: LlamaConfiguration, _ file: String, _ findings: inout [LintFinding]
  ) {
    func differ(_ code: LintCode, _ key: String, _ here: String, _ there: String) {
      findings.append(
        LintFinding(
          code, "\(file) says \(key) \(here), config.json says \(there)", file: file, tensor: key, found: here,
          expected: there))
    }
    let sizes = [
      ("dim", parameters.hiddenSize, c.hiddenSize), ("n_layers", parameters.layerCount, c.layerCount),
      ("n_heads", parameters.headCount, c.headCount),
      ("n_kv_heads", parameters.keyValueHeadCount ?? parameters.headCount, c.keyValueHeadCount),
    ]
    for (key, one, two) in sizes where one != two { differ(.parametersDisagree, key, "\(one)", "\(two)") }
    if let base = parameters.ropeBase, base != c.rope.base {
      differ(.ropeDisagreement, "rope_theta", "\(base)", "\(c.rope.base)")
    }
    let isScaled = c.rope.scaling != .none
    if let scales = parameters.usesScaledRoPE, scales != isScaled {
      differ(.ropeDisagreement, "use_scaled_rope", "\(scales)", describe(c.rope))
    }
  }

  private static func describe(_ rope: RoPEParameters) -> String {
    switch rope.scaling {
    case .none: "unscaled"
    case .linear(let factor): "linear, factor \(factor)"
    case .llama3(let factor, _, _, let original): "llama3, factor \(factor) of \(original) positions"
    }
  }
}
