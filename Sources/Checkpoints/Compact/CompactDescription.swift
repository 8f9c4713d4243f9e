internal import GGUFFormat
internal import Llama
internal import Quantization
internal import Tensors

/// What the keys say of a quantized weight.
struct CompactDescription {
  let scheme: WeightScheme
  let activations: ActivationScheme
  let adapterScale: Double
  let isRotated: Bool

  init?(_ entry: CompactQuantization) {
    guard let scheme = WeightScheme(canonicalText: entry.scheme),
      let activations = ActivationScheme(canonicalText: entry.activations), entry.adapterScale.isFinite
    else { return nil }
    (self.scheme, self.activations) = (scheme, activations)
    (adapterScale, isRotated) = (entry.adapterScale, entry.isRotated)
  }

  /// Tensors of the weight's module that are neither scales nor an adapter.
  static func companionNames(of role: TensorRole, _ source: CompactFile) -> [String] {
    let adapters = CompactNames.adapterNames(of: role)
    let known = [
      NamingDialect.gguf.name(for: role), CompactNames.scaleName(of: role), CompactNames.zeroPointName(of: role),
      CompactNames.groupIndexName(of: role), adapters.a, adapters.b,
    ]
    let prefix = NamingDialect.gguf.moduleName(of: role) + "."
    return source.tensors.map(\.name).filter { $0.hasPrefix(prefix) && !known.contains($0) }
  }

  /// The tensors that belong to a weight of this kind.
  func companions(
    of role: TensorRole, _ configuration: LlamaConfiguration, _ source: CompactFile
  ) -> [Census.Companion] {
    let shape = configuration.shape(of: role)
    guard shape.rank == 2 else { return [] }
    let (rows, columns) = (shape.dimensions[0], shape.dimensions[1])
    let adapters = CompactNames.adapterNames(of: role)
    var companions = [
      Census.Companion(
        name: CompactNames.scaleName(of: role), shapes: scheme.acceptedScaleShapes(rows: rows, columns: columns),
        isRequired: true)
    ]
    if adapterScale != 0 {
      let rank = source.info(adapters.a)?.shape.rows ?? 0
      companions.append(.init(name: adapters.a, shapes: [[rank, columns]], isRequired: true))
      companions.append(.init(name: adapters.b, shapes: [[rows, rank]], isRequired: true))
    }
    // Their shapes follow from the scales': checked where they are read.
    let optional = [CompactNames.zeroPointName(of: role), CompactNames.groupIndexName(of: role)].compactMap { name in
      source.info(name).map { Census.Companion(name: name, shapes: [$0.shape], isRequired: false) }
    }
    return companions + optional
      + Self.companionNames(of: role, source).map {
        // The activations' scale and its like: one number.
        .init(name: $0, shapes: [[1], []], isRequired: false)
      }
  }
}
