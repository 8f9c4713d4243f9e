public import Tensors

/// What llama.cpp calls a file's type: which element type each tensor of a model gets. The names are those that its tools
/// take, in lower case.
///
/// Most tensors have the type that the name says. Heads, values and down projections lose more than others when they lose
/// bits, so the mixtures give some of them a wider type. For dense models.
///
/// Source: `formats/gguf.md`.
// The field's own names, which have an underscore.
// swift-format-ignore: AlwaysUseLowerCamelCase
public enum GGMLFileType: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case f32
  case f16
  case bf16
  case q8_0
  case q4_0
  case q4_1
  case q5_0
  case q5_1
  case iq4_nl
  case q4_k_s
  case q4_k_m
  case q5_k_s
  case q5_k_m
  case q6_k

  /// The number in `general.file_type`. It informs; loaders go by the type of each tensor.
  public var id: UInt32 {
    switch self {
    case .f32: 0
    case .f16: 1
    case .q4_0: 2
    case .q4_1: 3
    case .q8_0: 7
    case .q5_0: 8
    case .q5_1: 9
    case .q4_k_s: 14
    case .q4_k_m: 15
    case .q5_k_s: 16
    case .q5_k_m: 17
    case .q6_k: 18
    case .iq4_nl: 25
    case .bf16: 32
    }
  }

  /// The file type with this number in `general.file_type`; nil for those that are not written here.
  public init?(id: UInt32) {
    guard let known = Self.allCases.first(where: { $0.id == id }) else { return nil }
    self = known
  }

  public var description: String { rawValue }

  /// The element type that the name says: of every tensor that no rule gives another.
  public var defaultType: ElementType {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .q8_0: .block(.q8_0)
    case .q4_0: .block(.q4_0)
    case .q4_1: .block(.q4_1)
    case .q5_0: .block(.q5_0)
    case .q5_1: .block(.q5_1)
    case .iq4_nl: .block(.iq4_nl)
    case .q4_k_s, .q4_k_m: .block(.q4_k)
    case .q5_k_s, .q5_k_m: .block(.q5_k)
    case .q6_k: .block(.q6_k)
    }
  }
}

extension GGMLFileType {
  /// The element type of one tensor of a model.
  /// - Parameter hasImportanceMatrix: the quantizers know how much each column matters; two mixtures depend on it.
  public func elementType(
    of role: TensorRole, in configuration: LlamaConfiguration, hasImportanceMatrix: Bool = false
  ) -> ElementType {
    // Norms are small, and everything multiplies by them.
    guard role.isMatrix else { return .f32 }
    guard case .block(let block) = defaultType else { return defaultType }
    let columns = configuration.shape(of: role).dimensions.last ?? 1
    let chosen =
      role.isHead(in: configuration)
      ? headType(block, columns: columns)
      : layerType(of: role, block, configuration, hasImportanceMatrix: hasImportanceMatrix)
    return Self.fitting(chosen, columns: columns)
  }

  /// Of the output head, or of the embedding that is the head too.
  private func headType(_ block: BlockType, columns: Int) -> BlockType {
    if block == .q8_0 || columns % block.size.elements != 0 { return .q8_0 }
    return .q6_k
  }

  private func layerType(
    of role: TensorRole, _ block: BlockType, _ configuration: LlamaConfiguration, hasImportanceMatrix: Bool
  ) -> BlockType {
    guard case .layer(let layer, let part) = role else { return block }
    switch part {
    case .value: return valueType(block, layer, configuration)
    case .down: return downType(block, layer, configuration.layerCount, hasImportanceMatrix: hasImportanceMatrix)
    default: return block
    }
  }

  private func valueType(_ block: BlockType, _ layer: Int, _ configuration: LlamaConfiguration) -> BlockType {
    let chosen: BlockType =
      switch self {
      case .q4_k_m, .q5_k_m: Self.getsMore(layer, of: configuration.layerCount) ? .q6_k : block
      case .q4_k_s: layer < 4 ? .q5_k : block
      case .iq4_nl: configuration.headCount / configuration.keyValueHeadCount >= 4 ? .q5_k : block
      default: block
      }
    // Eight heads share the values of a 70B: they are small, and matter to all of the eight. The 65B of Llama 1, with as
    // many layers, has no such groups.
    let is70B = configuration.layerCount == 80 && configuration.headCount != configuration.keyValueHeadCount
    return is70B && chosen == .q4_k ? .q5_k : chosen
  }

  private func downType(_ block: BlockType, _ layer: Int, _ count: Int, hasImportanceMatrix: Bool) -> BlockType {
    let isEarly = layer < count / 8
    switch self {
    case .q4_k_m, .q5_k_m: return Self.getsMore(layer, of: count) ? .q6_k : block
    case .q4_k_s: return isEarly ? .q5_k : block
    case .iq4_nl: return isEarly && !hasImportanceMatrix ? .q5_k : block
    case .q4_0: return isEarly && hasImportanceMatrix ? .q4_1 : block
    case .q5_0: return isEarly && hasImportanceMatrix ? .q5_1 : block
    default: return block
    }
  }

  /// The first and the last eighth of the layers, and every third between them.
  private static func getsMore(_ layer: Int, of count: Int) -> Bool {
    layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2
  }

  /// The type itself when rows are whole blocks of it, else the nearest of 32 elements, else F16.
  private static func fitting(_ type: BlockType, columns: Int) -> ElementType {
    func fits(_ type: BlockType) -> Bool { columns % type.size.elements == 0 }
    if fits(type) { return .block(type) }
    let substitute: BlockType? =
      switch type {
      case .q4_k: .q5_0
      case .q5_k: .q5_1
      case .q6_k: .q8_0
      default: nil
      }
    return substitute.flatMap { fits($0) ? .block($0) : nil } ?? .f16
  }
}

extension TensorRole {
  /// False for norms, which are vectors.
  fileprivate var isMatrix: Bool {
    switch self {
    case .outputNorm: false
    case .tokenEmbedding, .outputHead: true
    case .layer(_, let role): role.isLinear
    }
  }

  /// Whether logits come from this tensor.
  fileprivate func isHead(in configuration: LlamaConfiguration) -> Bool {
    self == .outputHead || self == .tokenEmbedding && configuration.tiesEmbeddings
  }
}
