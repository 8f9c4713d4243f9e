internal import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Which type each tensor of a GGUF gets.
struct GGUFMixture {
  let fileType: GGMLFileType
  /// Types stay as they are, blocks too.
  let keepsBlocks: Bool
  private let configuration: LlamaConfiguration
  private let hasImportanceMatrix: Bool
  private let overrides: [(patterns: ModulePatterns, type: ElementType)]

  /// - Throws: `ConversionFailure` of kind `.usage` for overrides that match nothing, for types that cannot be, and for
  ///   rounding what was rounded before.
  init(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws {
    configuration = checkpoint.configuration
    hasImportanceMatrix = options.importance != nil
    let names = checkpoint.tensors.map { NamingDialect.gguf.name(for: $0.role) }
    overrides = try options.tensorTypes.map { override in
      let patterns: ModulePatterns
      do { patterns = try ModulePatterns([override.pattern]) } catch {
        throw ConversionFailure(.usage, "--tensor-type: \(error)")
      }
      guard patterns.unmatched(among: names).isEmpty else {
        throw ConversionFailure(
          .usage, "--tensor-type \(override.pattern) matches no tensor; they are called like \(names.first ?? "")")
      }
      return (patterns, override.type)
    }
    try Self.check(overrides, checkpoint)
    switch options.target {
    case .ggml(let type): (fileType, keepsBlocks) = (type, false)
    case .element(let type): (fileType, keepsBlocks) = (Self.plain(type), false)
    default:
      let matrices = Set(checkpoint.tensors.filter { $0.shape.rank > 1 && !$0.isQuantized }.map(\.elementType))
      fileType = Self.plain(matrices.count == 1 ? matrices.first ?? .bf16 : .bf16)
      keepsBlocks = true
    }
    try refuseRoundingTwice(checkpoint, options)
  }

  private static func check(
    _ overrides: [(patterns: ModulePatterns, type: ElementType)], _ checkpoint: Checkpoint
  ) throws {
    for (patterns, _) in overrides {
      let found = checkpoint.tensors.filter { patterns.matches(NamingDialect.gguf.name(for: $0.role)) }
      guard let norm = found.first, found.allSatisfy({ $0.shape.rank < 2 }) else { continue }
      let name = NamingDialect.gguf.name(for: norm.role)
      throw ConversionFailure(.usage, "--tensor-type matches only norms such as \(name), which are F32 in every GGUF")
    }
    for tensor in checkpoint.tensors where tensor.shape.rank > 1 {
      let name = NamingDialect.gguf.name(for: tensor.role)
      guard let type = overrides.first(where: { $0.patterns.matches(name) })?.type else { continue }
      guard let block = type.block, tensor.columnCount % block.size.elements != 0 else { continue }
      throw ConversionFailure(
        .usage, "--tensor-type: rows of \(name) have \(tensor.columnCount) elements, no whole blocks of \(block)")
    }
  }

  private static func plain(_ type: ElementType) -> GGMLFileType {
    switch type {
    case .f32: .f32
    case .f16: .f16
    default: .bf16
    }
  }

  private func refuseRoundingTwice(_ checkpoint: Checkpoint, _ options: ConversionOptions) throws {
    for tensor in checkpoint.tensors where tensor.isQuantized && !options.allowsRequantizing {
      let type = elementType(of: tensor)
      guard type.block != nil, type != tensor.elementType || tensor.quantization != nil else { continue }
      throw ConversionFailure(
        .usage,
        "\(checkpoint.path): \(checkpoint.layout.dialect.name(for: tensor.role)) is \(tensor.elementType) and would be rounded once more, to \(type); start from the original, or say --allow-requantize"
      )
    }
  }

  func elementType(of tensor: LogicalTensor) -> ElementType {
    let name = NamingDialect.gguf.name(for: tensor.role)
    let isMatrix = tensor.shape.rank > 1
    if isMatrix, let override = overrides.first(where: { $0.patterns.matches(name) }) { return override.type }
    if keepsBlocks && isMatrix && tensor.quantization == nil { return tensor.elementType }
    return fileType.elementType(of: tensor.role, in: configuration, hasImportanceMatrix: hasImportanceMatrix)
  }
}
