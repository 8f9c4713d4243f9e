public import ByteIO

/// `quantization_config` of a Hugging Face `config.json`: which linear modules are stored as FP8 or integer codes, and how
/// their scales are called and read.
///
/// Read are compressed-tensors `float-quantized` (row-wise, per tensor, blocks), `int-quantized` and `pack-quantized`,
/// `fbgemm_fp8`, `fp8` (blocks or per tensor), `gptq` and `awq`. Everything else is refused by name: reading codes as weights would give a model that runs and is wrong.
public struct QuantizationConfiguration: Sendable {
  /// `quant_method` as it stands in the document.
  public let method: String
  /// The document as it was read.
  public let document: JSONValue

  /// How one linear module is stored.
  public struct Module: Sendable, Hashable {
    public let scheme: WeightScheme
    /// Name of the scales: `<module>.<scaleSuffix>`.
    public let scaleSuffix: String
    /// Other tensors that the module may have; they are not needed to read the weight.
    public let optionalSuffixes: [String]
    public let activations: ActivationScheme
    public let storage: Storage

    public init(
      scheme: WeightScheme, scaleSuffix: String, optionalSuffixes: [String], activations: ActivationScheme,
      storage: Storage = .fp8
    ) {
      self.storage = storage
      self.scheme = scheme
      self.scaleSuffix = scaleSuffix
      self.optionalSuffixes = optionalSuffixes
      self.activations = activations
    }
  }

  /// What the codes are and where they are stored.
  public enum Storage: Sendable, Hashable {
    /// e4m3, one in a byte, under the weight's own name.
    case fp8
    /// int8, one in a byte, under the weight's own name.
    case int8
    /// Integers in words.
    case packed(PackedForm)
  }

  public struct PackedForm: Sendable, Hashable {
    public let layout: IntegerLayout
    public let bits: Int
    public let isSymmetric: Bool
    /// A list may give each input its group.
    public let hasGroupIndex: Bool

    public init(layout: IntegerLayout, bits: Int, isSymmetric: Bool, hasGroupIndex: Bool) {
      self.layout = layout
      self.bits = bits
      self.isSymmetric = isSymmetric
      self.hasGroupIndex = hasGroupIndex
    }
  }

  let rules: [Rule]
  let ignored: IgnoredModules

  /// One `config_groups` entry, or the one rule of the other methods.
  struct Rule: Sendable {
    /// Exact names and expressions; nil when only `coversLinear` counts.
    let targets: ModulePatterns
    /// The class `Linear` is a target.
    let coversLinear: Bool
    let module: Module
  }

  /// - Throws: `ParseFailure` that says which method, format or option was found and is not read.
  public init(parsing document: JSONValue) throws(ParseFailure) {
    guard document.object != nil else { throw ParseFailure("quantization_config is no JSON object") }
    guard let method = document["quant_method"]?.string else {
      throw ParseFailure("quantization_config has no quant_method", advice: Self.adviceOriginal)
    }
    self.method = method
    self.document = document
    switch method {
    case "compressed-tensors":
      rules = try CompressedTensors.rules(document)
      ignored = IgnoredModules(
        matching: .patterns(try ModulePatterns(try document.names("ignore"))), try document.names("ignore"))
    case "fbgemm_fp8":
      rules = [try Self.fbgemmRule(document)]
      ignored = IgnoredModules(matching: .boundaries, try document.names("modules_to_not_convert"))
    case "fp8":
      rules = [try Self.fineGrainedRule(document)]
      let names = try document.names("modules_to_not_convert") + document.names("ignored_layers")
      ignored = IgnoredModules(matching: .boundaries, names)
    case "gptq":
      rules = [try GPTQAndAWQ.gptqRule(document)]
      ignored = IgnoredModules(
        matching: .parts, try document.names("modules_to_not_convert") + GPTQAndAWQ.heads(document))
    case "awq":
      rules = [try GPTQAndAWQ.awqRule(document)]
      ignored = IgnoredModules(
        matching: .parts, try document.names("modules_to_not_convert") + GPTQAndAWQ.heads(document))
    default:
      throw ParseFailure(
        "quant_method is \"\(method)\"; read are compressed-tensors (float-, int- and pack-quantized), fbgemm_fp8, fp8, gptq and awq",
        advice: Self.adviceOriginal)
    }
  }

  static let adviceOriginal = "start from the unquantized model"

  /// How the module called `module` is stored, or nil when it is not quantized.
  /// - Parameter isLinear: whether it is a linear module (not an embedding or a norm).
  public func scheme(forModule module: String, isLinear: Bool = true) -> Module? {
    guard isLinear, !ignored.contains(module) else { return nil }
    // As compressed-tensors: a target that names the module goes before one that names its class.
    return (rules.first { $0.targets.matches(module) } ?? rules.first { $0.coversLinear })?.module
  }

  /// Some module's codes may be packed in words.
  public var hasPackedModules: Bool {
    rules.contains { if case .packed = $0.module.storage { true } else { false } }
  }

  /// Entries of the ignore list that match none of the linear `modules`: a sign of another model's configuration.
  public func ignoreEntriesMatchingNothing(among modules: [String]) -> [String] {
    ignored.entries.filter { entry in !modules.contains { ignored.entry(entry, covers: $0) } }
  }
}

// MARK: - fbgemm_fp8 and fp8

extension QuantizationConfiguration {
  private static func fbgemmRule(_ document: JSONValue) throws(ParseFailure) -> Rule {
    var bound: Float?
    if let value = document["activation_scale_ub"], !value.isNull {
      guard let number = value.double, number > 0, Float(number).isFinite else {
        throw ParseFailure("activation_scale_ub of fbgemm_fp8 is \(value.brief), expected a positive number")
      }
      bound = Float(number)
    }
    return Rule(
      targets: try ModulePatterns([]), coversLinear: true,
      module: Module(
        scheme: .rowWise, scaleSuffix: "weight_scale", optionalSuffixes: ["input_scale_ub"],
        activations: .dynamicPerToken(upperBound: bound)))
  }

  private static func fineGrainedRule(_ document: JSONValue) throws(ParseFailure) -> Rule {
    try document.expect("fmt", is: "e4m3", orAbsent: true)
    let activation = document["activation_scheme"]?.string ?? "dynamic"
    guard activation == "dynamic" || activation == "static" else {
      throw ParseFailure("activation_scheme of fp8 is \"\(activation)\", expected \"dynamic\" or \"static\"")
    }
    let module: Module
    if let size = document["weight_block_size"], !size.isNull {
      let (rows, columns) = try size.blockSize("weight_block_size")
      guard activation == "dynamic" else {
        throw ParseFailure("fp8 with weight_block_size has activation_scheme \"static\"; only \"dynamic\" is defined")
      }
      module = Module(
        scheme: .block(rows: rows, columns: columns), scaleSuffix: "weight_scale_inv", optionalSuffixes: [],
        activations: .dynamicPerGroup(columns))
    } else {
      module = Module(
        scheme: .perTensor, scaleSuffix: "weight_scale",
        optionalSuffixes: activation == "static" ? ["input_scale"] : [],
        activations: activation == "static" ? .staticPerTensor : .dynamicPerToken(upperBound: nil))
    }
    return Rule(targets: try ModulePatterns([]), coversLinear: true, module: module)
  }
}

/// The modules that a configuration excludes.
struct IgnoredModules: Sendable {
  enum Matching: Sendable {
    /// Full names, `re:` expressions and the class name `Linear`: compressed-tensors.
    case patterns(ModulePatterns)
    /// A full name, the start of one up to a dot, or its end from a dot on: what vLLM (full names only) and transformers
    /// both take a full name for; abbreviated names are transformers' alone.
    case boundaries
    /// Names that have an entry somewhere in them: AWQ and GPTQ.
    case parts
  }

  let matching: Matching
  let entries: [String]

  init(matching: Matching, _ entries: [String]) {
    self.matching = matching
    self.entries = entries
  }

  func contains(_ module: String) -> Bool {
    switch matching {
    case .patterns(let patterns): patterns.matches(module) || entries.contains { Self.isLinearClass($0) }
    case .boundaries: entries.contains { Self.boundary($0, module) }
    case .parts: entries.contains { module.contains($0) }
    }
  }

  func entry(_ entry: String, covers module: String) -> Bool {
    switch matching {
    case .patterns:
      Self.isLinearClass(entry) || ((try? ModulePatterns([entry]))?.matches(module) ?? false)
    case .boundaries: Self.boundary(entry, module)
    case .parts: module.contains(entry)
    }
  }

  static func isLinearClass(_ entry: String) -> Bool { entry.utf8.elementsEqual("Linear".utf8) }

  private static func boundary(_ entry: String, _ module: String) -> Bool {
    let part = Array(entry.utf8)
    let name = Array(module.utf8)
    let dot = UInt8(ascii: ".")
    guard !part.isEmpty, part.count <= name.count else { return false }
    if part.count == name.count { return part == name }
    return (name.starts(with: part) && (name[part.count] == dot || part.last == dot))
      || (name.suffix(part.count) == part[...] && (name[name.count - part.count - 1] == dot || part.first == dot))
  }
}
