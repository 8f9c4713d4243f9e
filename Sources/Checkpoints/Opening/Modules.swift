public import Llama
public import Quantization
internal import Tensors

extension Checkpoint {
  /// What the configuration calls the scales of a module: `weight_scale` or another; nil where it says nothing about it.
  public func scaleSuffix(of role: TensorRole) -> String? {
    Modules(configuration, quantization).scheme(of: role)?.scaleSuffix
  }
}

extension Checkpoint {
  /// In which words the configuration says that a module's integer codes lie; nil for none.
  public func integerLayout(of role: TensorRole) -> IntegerLayout? {
    guard case .packed(let form)? = Modules(configuration, quantization).scheme(of: role)?.storage else { return nil }
    return form.layout
  }
}

/// What the quantization configuration says about each linear module of the model.
struct Modules {
  private let configuration: LlamaConfiguration
  private let quantization: QuantizationConfiguration?

  init(_ configuration: LlamaConfiguration, _ quantization: QuantizationConfiguration?) {
    self.configuration = configuration
    self.quantization = quantization
  }

  static func companionName(_ weightName: String, _ suffix: String) -> String {
    String(weightName.dropLast("weight".count)) + suffix
  }

  func scheme(of role: TensorRole) -> QuantizationConfiguration.Module? {
    guard role.isLinear else { return nil }
    return quantization?.scheme(forModule: NamingDialect.huggingFace.moduleName(of: role))
  }

  /// Some modules' codes are packed in words.
  var arePacked: Bool {
    quantization?.hasPackedModules ?? false
  }

  /// The tensors that belong to a quantized weight.
  func companions(_ role: TensorRole) -> [Census.Companion] {
    guard let module = scheme(of: role) else { return [] }
    let shape = configuration.shape(of: role).dimensions
    let name = NamingDialect.huggingFace.name(for: role)
    let scale = Census.Companion(
      name: Self.companionName(name, module.scaleSuffix),
      shapes: module.scheme.acceptedScaleShapes(rows: shape[0], columns: shape[1]), isRequired: true)
    var zeroPoints: [Census.Companion] = []
    if case .packed(let form) = module.storage, !form.isSymmetric {
      zeroPoints = [
        Census.Companion(
          name: Self.companionName(name, PackedWeight.Part.zeroPoints.rawValue), shapes: [scale.shapes[0]],
          isRequired: true)
      ]
    }
    return [scale] + zeroPoints
      + module.optionalSuffixes.map {
        Census.Companion(name: Self.companionName(name, $0), shapes: [[1], []], isRequired: false)
      }
  }

  /// Entries of the ignore list that match no linear module. A head that is tied has no tensor, but it is a module.
  var strayIgnoreEntries: [String] {
    guard let quantization else { return [] }
    let head = NamingDialect.huggingFace.moduleName(of: .outputHead)
    let modules = configuration.roles.filter(\.isLinear).map { NamingDialect.huggingFace.moduleName(of: $0) }
    return quantization.ignoreEntriesMatchingNothing(among: modules + [head])
  }
}
