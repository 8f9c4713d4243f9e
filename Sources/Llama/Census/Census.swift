public import Tensors

/// The comparison of a checkpoint's tensors with what its configuration demands: every tensor has a role, every role its
/// tensor, and all shapes agree.
public struct Census: Sendable {
  /// A stored tensor as the census sees it.
  public struct Entry: Sendable {
    public let name: String
    public let elementType: ElementType
    public let shape: Shape

    public init(name: String, elementType: ElementType, shape: Shape) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
    }
  }

  /// What belongs to a weight besides the weight: the tensors that a quantization explains.
  public struct Companion: Sendable {
    public let name: String
    /// The shapes that readers of the format accept.
    public let shapes: [Shape]
    public let isRequired: Bool

    public init(name: String, shapes: [Shape], isRequired: Bool) {
      self.name = name
      self.shapes = shapes
      self.isRequired = isRequired
    }
  }

  /// Roles present, with the names that the layout gives them, in model order.
  public private(set) var found: [(role: TensorRole, name: String)] = []
  /// Errors first, each in model order.
  public private(set) var problems: [CensusProblem] = []

  /// - Parameter companions: the tensors that belong to a role's weight beside it.
  public init(
    _ configuration: LlamaConfiguration, entries: [Entry], dialect: NamingDialect,
    companions: (TensorRole) -> [Companion] = { _ in [] }
  ) {
    var unclaimed: [[UInt8]: Entry] = [:]
    for entry in entries { unclaimed[Array(entry.name.utf8)] = entry }
    var collected: [CensusProblem] = []
    for role in configuration.roles {
      let name = dialect.name(for: role)
      guard let entry = unclaimed.removeValue(forKey: Array(name.utf8)) else {
        collected.append(.missing(name: name, role: role))
        continue
      }
      found.append((role, name))
      let expected = configuration.shape(of: role)
      if entry.shape != expected {
        collected.append(
          .wrongShape(name: name, found: entry.shape, expected: expected, hint: configuration.hint(role, entry.shape)))
      }
      for companion in companions(role) {
        guard let entry = unclaimed.removeValue(forKey: Array(companion.name.utf8)) else {
          if companion.isRequired { collected.append(.missingScale(name: companion.name, weight: name)) }
          continue
        }
        if !companion.shapes.contains(entry.shape) {
          collected.append(
            .wrongShape(name: companion.name, found: entry.shape, expected: companion.shapes[0], hint: nil))
        }
      }
    }
    for entry in entries where unclaimed[Array(entry.name.utf8)] != nil {
      collected.append(Self.unclaimedProblem(entry, configuration, dialect))
    }
    problems = collected.filter { $0.severity == .error } + collected.filter { $0.severity == .warning }
  }

  private static func unclaimedProblem(
    _ entry: Entry, _ configuration: LlamaConfiguration, _ dialect: NamingDialect
  ) -> CensusProblem {
    if dialect.isLeftover(entry.name) { return .leftover(name: entry.name) }
    guard let role = dialect.role(for: entry.name) else { return .extra(name: entry.name) }
    if role == .outputHead { return .headThoughTied(name: entry.name) }
    if let layer = role.layer, layer >= configuration.layerCount {
      return .layerBeyondCount(name: entry.name, layerCount: configuration.layerCount)
    }
    return .extra(name: entry.name)
  }
}

extension LlamaConfiguration {
  /// What a wrong shape probably means, in words.
  fileprivate func hint(_ role: TensorRole, _ shape: Shape) -> String? {
    guard shape.rank == 2 else { return nil }
    let (rows, columns) = (shape.dimensions[0], shape.dimensions[1])
    switch role {
    case .tokenEmbedding, .outputHead:
      guard columns == hiddenSize else { return nil }
      return "vocab_size should be \(rows), or the embedding was resized without the configuration"
    case .layer(_, .key), .layer(_, .value):
      guard columns == hiddenSize, rows % headDimension == 0 else { return nil }
      return
        "the rows are those of \(rows / headDimension) key/value heads, num_key_value_heads says \(keyValueHeadCount)"
    case .layer(_, .query):
      guard columns == hiddenSize, rows % headDimension == 0 else { return nil }
      return "the rows are those of \(rows / headDimension) heads, num_attention_heads says \(headCount)"
    case .layer(_, .gate), .layer(_, .up):
      return columns == hiddenSize ? "intermediate_size should be \(rows)" : nil
    case .layer(_, .down):
      return rows == hiddenSize ? "intermediate_size should be \(columns)" : nil
    default: return nil
    }
  }
}
