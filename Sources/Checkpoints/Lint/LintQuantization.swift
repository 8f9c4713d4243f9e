internal import ByteIO
internal import Llama
internal import Quantization
internal import Tensors

/// Quantized tensors, `quantization_config` and its ignore list against each other, in a Hugging Face directory.
enum LintQuantization {
  /// What tensors of a quantized module are called behind its name.
  private static let companions = [
    "weight_scale", "weight_scale_inv", "weight_packed", "weight_shape", "weight_zero_point", "weight_g_idx",
    "weight_scale_2", "weight_global_scale", "input_scale", "qweight", "qzeros", "scales", "g_idx",
  ]
  /// Names under which scales are stored by one tool or another.
  private static let scaleNames = ["weight_scale", "weight_scale_inv", "scale", "scales", "weight_scales"]

  /// The module that a tensor belongs to: its name without the last part.
  static func module(_ tensor: String) -> String {
    tensor.lastIndex(of: ".").map { String(tensor[..<$0]) } ?? tensor
  }

  /// The last part of a tensor's name.
  private static func suffix(_ tensor: String) -> String {
    tensor.lastIndex(of: ".").map { String(tensor[tensor.index(after: $0)...]) } ?? tensor
  }

  /// Whether the name is that of scales, in any of the layouts.
  static func isScale(_ tensor: String) -> Bool {
    let suffix = suffix(tensor)
    return suffix.hasSuffix("scale") || suffix.hasSuffix("scale_inv") || suffix == "scales"
      || suffix.hasSuffix("_scale_ub")
  }

  private static func isCode(_ type: ElementType) -> Bool {
    switch type {
    case .f8e4m3, .f8e5m2, .i8, .u8, .f4: true
    default: false
    }
  }

  /// Modules that findings explain as a whole, and tensors: the census need not tell them again.
  static func explainedTensors(_ findings: [LintFinding]) -> Set<String> {
    let codes: Set<LintCode> = [
      .excludedButQuantized, .scaleRenamed, .missingQuantization, .quantizationUnread, .quantizedButPlain,
    ]
    return Set(findings.filter { codes.contains($0.code) }.flatMap { $0.explains })
  }

  static func check(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard subject.kind == .huggingFace, subject.document != nil else { return }
    if subject.hasUnreadQuantization { return }
    guard let quantization = subject.quantization else { return checkUnexplained(subject, &findings) }
    guard let configuration = subject.configuration else { return }
    let modules = Modules(configuration, quantization)
    for entry in modules.strayIgnoreEntries {
      findings.append(
        LintFinding(
          .ignoreMatchesNothing, "quantization_config ignores \(entry), which matches no module of the model",
          file: LayoutRecognition.configurationName, found: entry))
    }
    for role in configuration.roles where role.isLinear { check(role, modules, subject, &findings) }
  }

  /// Codes or scales, and no word about them.
  private static func checkUnexplained(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    let tensors = subject.tensors.filter { companions.contains(suffix($0.info.name)) || isCode($0.info.elementType) }
    guard let first = tensors.first else { return }
    let isElsewhere = subject.names.contains("hf_quant_config.json")
    let message =
      "\(tensors.count) tensors such as \(first.info.name) (\(first.info.elementType)) are those of a quantized model, and "
      + (isElsewhere
        ? "only hf_quant_config.json says how, which few readers know" : "config.json has no quantization_config")
    var finding = LintFinding(
      isElsewhere ? .quantizationUnread : .missingQuantization, message, file: first.file.name,
      tensor: first.info.name, found: first.info.elementType.rawValue, expected: "quantization_config")
    finding.explains = tensors.flatMap { [$0.info.name, module($0.info.name)] }
    findings.append(finding)
  }

  private static func check(
    _ role: TensorRole, _ modules: Modules, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    let name = NamingDialect.huggingFace.moduleName(of: role)
    let weight = subject.stored(name + ".weight")
    let present = companions.filter { subject.stored(name + "." + $0) != nil }
    guard let scheme = modules.scheme(of: role) else {
      let type = weight?.tensor.elementType
      guard !present.isEmpty || type.map(isCode) == true else { return }
      let what = present.isEmpty ? "its weight is \(type?.rawValue ?? "")" : "there is \(name).\(present[0])"
      var finding = LintFinding(
        .excludedButQuantized, "\(name): quantization_config excludes the module, but \(what)", tensor: name,
        found: present.isEmpty ? type?.rawValue : present.joined(separator: ", "), expected: "a weight without scales")
      finding.explains = [name]
      findings.append(finding)
      return
    }
    if let weight, !isCode(weight.tensor.elementType), weight.tensor.elementType.isComputable {
      var finding = LintFinding(
        .quantizedButPlain,
        "\(name): quantization_config quantizes the module, but its weight is \(weight.tensor.elementType)",
        tensor: weight.tensor.name, found: weight.tensor.elementType.rawValue, expected: "codes with scales")
      finding.explains = [name]
      return findings.append(finding)
    }
    guard case .packed = scheme.storage else {
      return checkScaleName(name, scheme.scaleSuffix, subject, &findings)
    }
  }

  private static func checkScaleName(
    _ module: String, _ expected: String, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    guard subject.stored(module + "." + expected) == nil,
      let other = scaleNames.first(where: { $0 != expected && subject.stored(module + "." + $0) != nil })
    else { return }
    var finding = LintFinding(
      .scaleRenamed, "\(module): the scales are called \(other), readers of this configuration look for \(expected)",
      tensor: module + "." + other, found: other, expected: expected)
    finding.explains = [module]
    findings.append(finding)
  }
}
