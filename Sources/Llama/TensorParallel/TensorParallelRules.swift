/// How a tensor is cut over the ranks of a tensor-parallel checkpoint.
public enum ParallelSplit: String, Sendable, Hashable, CaseIterable {
  /// Rank r holds the r-th block of rows (dimension 0, the outputs of a linear).
  case rows
  /// Rank r holds the r-th block of columns (dimension 1, the inputs of a linear).
  case columns
  /// Every rank holds the whole tensor.
  case replicated
}

/// Which tensors a tensor-parallel checkpoint cuts, and how: the table of `formats/tensor-parallel.md`.
public struct TensorParallelRules: Sendable, Hashable {
  /// Both cuts of the token embedding are in the wild.
  public enum EmbeddingSplit: String, Sendable, Hashable, CaseIterable {
    /// Llama 3 and later: the vocabulary is cut.
    case rows
    /// Llama 1, Llama 2, Code Llama: the hidden size is cut.
    case columns
  }

  public let embeddingSplit: EmbeddingSplit

  public init(embeddingSplit: EmbeddingSplit) { self.embeddingSplit = embeddingSplit }

  /// One line of the table.
  public struct Row: Sendable {
    /// The tensor; the layer of a layer's tensor means nothing.
    public let role: TensorRole
    public let split: ParallelSplit
    /// The line holds only for checkpoints that cut the embedding so.
    public let embeddingSplit: EmbeddingSplit?

    init(_ role: TensorRole, _ split: ParallelSplit, if embeddingSplit: EmbeddingSplit? = nil) {
      self.role = role
      self.split = split
      self.embeddingSplit = embeddingSplit
    }
  }

  /// All tensors, in the order of the page.
  public static let table: [Row] = [
    Row(.tokenEmbedding, .columns, if: .columns),
    Row(.tokenEmbedding, .rows, if: .rows),
    Row(.layer(0, .query), .rows),
    Row(.layer(0, .key), .rows),
    Row(.layer(0, .value), .rows),
    Row(.layer(0, .attentionOutput), .columns),
    Row(.layer(0, .gate), .rows),
    Row(.layer(0, .up), .rows),
    Row(.layer(0, .down), .columns),
    Row(.layer(0, .attentionNorm), .replicated),
    Row(.layer(0, .feedForwardNorm), .replicated),
    Row(.outputNorm, .replicated),
    Row(.outputHead, .rows),
  ]

  /// How the tensor with this role is cut.
  public func split(of role: TensorRole) -> ParallelSplit {
    let row = Self.table.first {
      $0.role.isSameTensor(as: role) && ($0.embeddingSplit == nil || $0.embeddingSplit == embeddingSplit)
    }
    guard let row else { preconditionFailure("every role is in the table") }
    return row.split
  }
}

extension TensorRole {
  /// The same tensor, perhaps of another layer.
  fileprivate func isSameTensor(as other: TensorRole) -> Bool {
    guard case .layer(_, let part) = self, case .layer(_, let otherPart) = other else { return self == other }
    return part == otherPart
  }
}
